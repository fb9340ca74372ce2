"""The command line: ``sltdeploy``.

Exit codes: 0 fine; 1 a check said no; 2 bad usage or bad input; 3 a component is missing; 130
interrupted. An error is one line a violation on stderr, or one JSON object on stdout under
``--json``; a traceback only under ``--debug``.

Each command is a function from its options to an `Outcome`; only this module prints results.
Nothing heavy is imported before a command runs.
"""

import os
import sys
import traceback
from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import Annotated

import typer

from sltdeploy import __version__
from sltdeploy.cli import artifacts, benching, components, costs, descriptions, finding
from sltdeploy.cli.outcome import INTERRUPTED, Outcome, failure, hang_up, note, show
from sltdeploy.errors import SltError

GO_ON = {  # command: how to go on after Ctrl-C
    "demo": "the same command goes on from the last finished epoch",
    "find": "the same command with --resume goes on from the last finished epoch",
}
SAYS_IT_ITSELF = ("--help", "--version")

ABOUT = "Find the winning spiking ticket, ship it to the chip or the robot, know its energy."
CODES = "Exit codes: 0 fine, 1 a check said no, 2 bad usage or input, 3 a component is missing."

app = typer.Typer(name="sltdeploy", help=ABOUT, epilog=CODES, pretty_exceptions_enable=False)
app.command()(finding.demo)
app.command()(finding.find)
app.command()(artifacts.export)
app.command()(artifacts.run)
app.command()(artifacts.verify)
app.command()(benching.bench)
app.command()(costs.energy)
app.command()(descriptions.inspect)
app.command()(descriptions.targets)
app.add_typer(components.setup)
app.command()(components.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sltdeploy {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
]


@app.callback()
def root(version: Version = False) -> None:
    """Take what stands before the command."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command in ``argv`` (default: this process's) and exit with its code."""
    sys.exit(call(sys.argv[1:] if argv is None else argv))


def call(argv: Sequence[str]) -> int:
    """Run the command in ``argv``; returns the exit code."""
    options = list(argv)[: argv.index("--")] if "--" in argv else list(argv)
    as_json = "--json" in options and not any(each in options for each in SAYS_IT_ITSELF)
    try:
        # Libraries print to stdout as they please; under --json it holds our object only.
        with _stdout_on_stderr() if as_json else nullcontext():
            outcome = _outcome(argv, "--debug" in options)
        if "error" in outcome.data and not as_json:
            for line in outcome.data["error"]["messages"]:
                note(f"error: {line}")
        elif outcome.data:
            show(outcome, as_json)
    except BrokenPipeError:  # the reader went away, as `head` does
        return hang_up().code
    return outcome.code


def _outcome(argv: Sequence[str], debug: bool) -> Outcome:
    """What the command gives back, or the failure that its exception means."""
    try:
        if not argv:
            app(args=["--help"], prog_name="sltdeploy", standalone_mode=False)
            return Outcome({}, (), 2)
        result = app(args=list(argv), prog_name="sltdeploy", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(argv[0])
    except Exception as error:
        if debug:
            traceback.print_exception(error)
        return _failure(error)
    if isinstance(result, Outcome):
        return result
    # Typer turns Ctrl-C into this code; 0 is --help or --version, which have printed.
    return _interrupted(argv[0]) if result == INTERRUPTED else Outcome({}, (), int(result or 0))


def _failure(error: Exception) -> Outcome:
    match error:
        case SltError():
            return failure(error.exit_code, error.violations)
        case typer.TyperException():
            return failure(2, [_usage(error)])
        case OSError():
            where = error.filename or "input or output"
            return failure(2, [f"{where}: {error.strerror or error}"])
        case _:
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            return failure(1, [f"internal error: {what}; run again with --debug to see where"])


def _usage(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    message = " ".join(error.format_message().split()).replace("Value error, ", "").rstrip(".")
    return f"{message}: see {context.command_path if context else 'sltdeploy'} --help"


def _interrupted(command: str) -> Outcome:
    how = GO_ON.get(command, "nothing was written by halves, run the command again")
    return failure(INTERRUPTED, [f"interrupted: {how}"])


@contextmanager
def _stdout_on_stderr() -> Generator[None]:
    """Send what anyone writes to stdout, C libraries too, to stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
