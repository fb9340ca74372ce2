"""A progress bar on stderr: drawn on a terminal, plain lines elsewhere."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console

from sltdeploy.cli.outcome import note, visible


class Bar(Protocol):
    """What a long task reports to."""

    def __call__(self, done: int, total: int, what: str, line: str = "") -> None:
        """Show that ``done`` of ``total`` are done; ``line``, where given, stays on the screen."""
        ...


def on_terminal() -> bool:
    """Whether a bar is drawn; else progress is plain lines."""
    return Console(stderr=True).is_terminal


@contextmanager
def bar() -> Generator[Bar]:
    """Show the progress of what runs inside."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _plain
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as drawn:
        task = drawn.add_task("", total=None)

        def show(done: int, total: int, what: str, line: str = "") -> None:
            if line:
                drawn.console.print(visible(line), markup=False, emoji=False)
            drawn.update(task, completed=done, total=total, description=visible(what))

        yield show


def _plain(done: int, total: int, what: str, line: str = "") -> None:
    if line:
        note(line)
