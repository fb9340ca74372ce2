"""Our own environment with Lava: where it lies, making it, removing it, what there is."""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sltdeploy.errors import CheckError, InputError, MissingComponentError
from sltdeploy.lava_host.interpreters import (
    LAVA_NC,
    PYTHON,
    LavaHost,
    examine,
    find_python310,
    is_python310,
)
from sltdeploy.lava_host.processes import OnLine, run

PYTHON_VARIABLE = "SLTDEPLOY_LAVA_PYTHON"
FOLDER_VARIABLE = "SLTDEPLOY_LAVA_ENV"
MARK = ".sltdeploy-lava"  # lies in our environment: COMPLETE, or anything else while it is made
COMPLETE = f"lava-nc=={LAVA_NC}\n"
SETUP = "sltdeploy setup lava"


@dataclass(frozen=True)
class Status:
    """What this machine has for Lava; ``advice`` is empty where nothing is missing."""

    host: LavaHost | None
    environment: Path
    complete: bool
    python310: Path | None
    advice: str


def environment() -> Path:
    """Where our environment lies or would lie."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).absolute()
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "sltdeploy" / "lava"


def find(python: str | Path | None = None) -> LavaHost | None:
    """An interpreter that has Lava, or None.

    Looked for in this order: ``python``, the variable SLTDEPLOY_LAVA_PYTHON, our environment, this
    interpreter. One that is named and lacks Lava raises `MissingComponentError`: nothing else
    is taken in its place.
    """
    for named, origin in ((python, "argument"), (os.environ.get(PYTHON_VARIABLE), PYTHON_VARIABLE)):
        if named:
            found = examine(Path(named), origin)
            if isinstance(found, str):
                raise MissingComponentError(
                    f"{named} ({origin}) has no Lava that works: {found}: install lava-nc "
                    f"{LAVA_NC} there (Python 3.10 only), or run '{SETUP}' and name none"
                )
            return found
    for candidate, origin in _unnamed():
        found = examine(candidate, origin)
        if isinstance(found, LavaHost):
            return found
    return None


def require(python: str | Path | None = None) -> LavaHost:
    """`find`, or `MissingComponentError` that says what to install."""
    found = find(python)
    if found is None:
        raise MissingComponentError(_advice(find_python310(), _trouble(environment())))
    return found


def status() -> Status:
    """What there is and what to do, without changing anything."""
    python310 = find_python310()
    advice = ""
    try:
        host = find()
    except MissingComponentError as error:
        host, advice = None, str(error)
    if host is None and not advice:
        advice = _advice(python310, _trouble(environment()))
    return Status(host, environment(), _is_complete(environment()), python310, advice)


def setup(python: str | Path | None = None, on_line: OnLine | None = None) -> LavaHost:
    """Make our environment with lava-nc 0.10.0, or leave be what works.

    ``python`` names the Python 3.10 to use; without it nothing is made where `find` finds Lava.
    ``on_line`` gets each line of progress. Half an environment, from a crash or a Ctrl-C, is made
    anew, and so is one that does not work any more. Raises `InputError` where another thing lies
    at its place, `MissingComponentError` without a Python 3.10, or where an interpreter is named
    that lacks Lava, `CheckError` where the installation fails; then nothing is left.
    """
    folder = environment()
    say = on_line or _silent
    if python is None and not folder.exists() and (host := find()) is not None:
        say(f"Lava is there already, nothing is made ({host.origin})")
        return host
    if _is_complete(folder):
        found = examine(_python_of(folder), "environment")
        if isinstance(found, LavaHost):
            return found
        say(f"{folder} does not work any more ({found}): making it anew")
    _refuse_what_is_not_ours(folder)
    base = _base(python)
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        (folder / MARK).write_text("being made\n")
        say(f"making an environment in {folder} with {base}")
        _step([str(base), "-m", "venv", str(folder)], folder, say)
        say(f"installing lava-nc {LAVA_NC}")
        pip = [str(_python_of(folder)), "-m", "pip", "--disable-pip-version-check"]
        _step([*pip, "install", f"lava-nc=={LAVA_NC}"], folder, say)
        found = examine(_python_of(folder), "environment")
        if isinstance(found, str):
            raise CheckError(f"{folder}: lava-nc was installed and does not work: {found}")
        (folder / MARK).write_text(COMPLETE)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise CheckError(f"{folder}: cannot be made: {error.strerror or error}") from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return found


def remove() -> bool:
    """Remove our environment; False where there is none."""
    folder = environment()
    if not folder.exists():
        return False
    _refuse_what_is_not_ours(folder)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise CheckError(f"{folder}: cannot be removed: {error.strerror or error}") from None
    return True


def _silent(line: str) -> None:
    """Say nothing."""


def _unnamed() -> Iterator[tuple[Path, str]]:
    folder = environment()
    if _python_of(folder).is_file():
        yield _python_of(folder), "environment"
    if sys.version_info[:2] == PYTHON:
        yield Path(sys.executable), "this interpreter"


def _base(python: str | Path | None) -> Path:
    if python is not None:
        if not is_python310(Path(python)):
            raise InputError(
                f"{python}: is no Python 3.10 that runs and has the modules venv and ensurepip; "
                "lava-nc runs on 3.10 only"
            )
        return Path(python)
    found = find_python310()
    if found is None:
        raise MissingComponentError(_advice(None, ""))
    return found


def _advice(python310: Path | None, trouble: str) -> str:
    """What to do, without a path of this machine; reports quote it."""
    state = trouble or "Lava is not installed"
    if python310 is not None:
        then = "it is made anew" if trouble else "a Python 3.10 for it is there"
        return f"{state}: run '{SETUP}'; {then}"
    return (
        f"{state}, and it needs Python 3.10 with venv, which was not found on PATH, "
        "with pyenv or with uv: install one ('uv python install 3.10' or 'pyenv install 3.10'), "
        f"then run '{SETUP}'; or name one: '{SETUP} --python PATH'"
    )


def _trouble(folder: Path) -> str:
    """What is wrong with an environment of ours that has no Lava that works; empty without one."""
    if not (folder / MARK).is_file():
        return ""
    if not _is_complete(folder):
        return "the environment for Lava is half made"
    gone = "" if _python_of(folder).exists() else " (the Python that it was made with is gone)"
    return f"the environment for Lava does not work any more{gone}"


def _is_complete(folder: Path) -> bool:
    try:
        return (folder / MARK).read_text() == COMPLETE
    except OSError:
        return False


def _refuse_what_is_not_ours(folder: Path) -> None:
    ours = (folder / MARK).is_file()
    empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not ours and not empty:
        raise InputError(
            f"{folder}: was not made by '{SETUP}' and is left alone: name another folder in "
            f"{FOLDER_VARIABLE}, or an interpreter with Lava in {PYTHON_VARIABLE}"
        )


def _python_of(folder: Path) -> Path:
    return folder / "bin" / "python"


def _step(command: list[str], folder: Path, say: OnLine) -> None:
    done = run(command, cwd=folder, timeout_s=None, on_line=say)
    if done.code != 0:
        raise CheckError(
            f"'{' '.join(command[1:3])}' failed with exit code {done.code}: {done.last_words}"
        )
