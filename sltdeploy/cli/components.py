"""``setup`` and ``doctor``: what this machine has, and how to add what it lacks."""

import platform
from pathlib import Path
from typing import Annotated

import typer

from sltdeploy import __version__
from sltdeploy.cli import options
from sltdeploy.cli.outcome import Outcome, Table
from sltdeploy.cli.progress import bar

# package: (what it is for, how to get it)
PARTS = {
    "numpy": ("everything", "pip install sltdeploy"),
    "nir": ("reading and writing NIR", "pip install sltdeploy"),
    "torch": ("search", 'pip install "sltdeploy[search]"'),
    "norse": ("search", 'pip install "sltdeploy[search]"'),
    "scikit-learn": ("search on the digits", 'pip install "sltdeploy[search]"'),
    "onnx": ("export to ONNX", 'pip install "sltdeploy[onnx]"'),
    "onnxruntime": ("running ONNX artifacts", 'pip install "sltdeploy[robot]"'),
    "matplotlib": ("reports", 'pip install "sltdeploy[report]"'),
    "jinja2": ("reports", 'pip install "sltdeploy[report]"'),
}

setup = typer.Typer(
    name="setup",
    help="Add a component that lives in an environment of its own.",
    no_args_is_help=False,
)


@setup.callback()
def what() -> None:
    """Add a component that lives in an environment of its own."""


@setup.command()
def lava(
    python: Annotated[
        Path | None,
        typer.Option("--python", metavar="P", help="A Python 3.10. Default: it is looked for."),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the environment.")] = False,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> Outcome:
    """Install lava-nc 0.10.0 into an environment of its own, on Python 3.10."""
    from sltdeploy import lava_host

    if remove:
        removed = lava_host.remove()
        answer = "removed the environment" if removed else "there was no environment to remove"
        return Outcome({"removed": removed}, (answer,))
    said: list[str] = []
    with bar() as show:

        def on_line(line: str) -> None:
            show(0, 1, line, "" if said else f"{line}: a few minutes the first time")
            said.append(line)

        host = lava_host.setup(python, on_line)
    return Outcome(
        {"python": str(host.python), "version": host.version, "lava": host.lava},
        (f"lava-nc {host.lava} on Python {host.version}: {host.python}",),
    )


def doctor(json: options.AsJson = False, debug: options.Debug = False) -> Outcome:
    """Show versions and what is missing, with the command that adds it."""
    from sltdeploy import lava_host

    found = {name: _version(name) for name in PARTS}
    rows = tuple(
        (name, version or "missing", PARTS[name][0], "" if version else PARTS[name][1])
        for name, version in found.items()
    )
    status = lava_host.status()
    host = status.host
    found_lava = None if host is None else host.lava
    lava_row = ("lava-nc", found_lava or "missing", "running Lava artifacts", status.advice)
    runs_in = () if host is None else (f"Lava runs in {host.python} ({host.origin})",)
    python = platform.python_version()
    data = {
        "sltdeploy": __version__,
        "python": python,
        "platform": platform.platform(),
        "packages": found,
        "lava": found_lava,
        "lava_python": None if host is None else str(host.python),
        "lava_advice": status.advice,
    }
    header = f"sltdeploy {__version__}, Python {python}, {platform.platform()}"
    table = Table(("package", "version", "for", "add it with"), (*rows, lava_row))
    return Outcome(data, (header, table, *runs_in))


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None
