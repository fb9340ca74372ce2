"""What goes wrong, by what the caller can do about it.

Each class carries the exit code of the command line: 1 a check said no, 2 bad usage or bad
input, 3 a component is missing. A message is one line a violation: what, where, the value and
the limit, the fix. Several violations are raised together, never only the first.
"""

from collections.abc import Generator, Iterable
from contextlib import contextmanager


class SltError(Exception):
    """Base of all errors that a user can cause or cure."""

    exit_code = 2

    def __init__(self, *violations: str) -> None:
        super().__init__("\n".join(violations))
        self.violations = violations


class InputError(SltError):
    """The input is wrong: a file, a shape, a value, an option."""

    exit_code = 2


class CheckError(SltError):
    """The input is fine, and the answer is no: a mismatch, a network that does not fit."""

    exit_code = 1


class MissingComponentError(SltError):
    """A program or package that this step needs is not there; the message says how to get it."""

    exit_code = 3


def raise_all(violations: Iterable[str]) -> None:
    """Raise one `InputError` with every violation, or nothing if there is none."""
    found = tuple(violations)
    if found:
        raise InputError(*found)


@contextmanager
def located(where: object) -> Generator[None]:
    """Put ``where: `` before each violation of an error raised inside."""
    try:
        yield
    except SltError as error:
        raise type(error)(*(f"{where}: {line}" for line in error.violations)) from None
