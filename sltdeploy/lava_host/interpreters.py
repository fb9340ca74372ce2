"""Python interpreters: which have Lava, and which could. Each is tried by running it."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sltdeploy.lava_host.processes import clean_environment

LAVA_NC = "0.10.0"  # the last release
PYTHON = (3, 10)  # the only one that it runs on
PROBE_S = 60.0  # importing Lava takes half a second, more on a cold disk

# `-c` puts the working directory on the path, where anything may lie under the name lava.
LAVA_PROBE = """
import sys
sys.path = [p for p in sys.path if p]
from importlib.metadata import version
from lava.proc.lif.process import LIFReset
import json, platform
print(json.dumps([platform.python_version(), version("lava-nc")]))
"""
VENV_PROBE = """
import ensurepip, json, sys, venv
print(json.dumps([sys.executable, list(sys.version_info[:2])]))
"""


@dataclass(frozen=True)
class LavaHost:
    """An interpreter that has Lava; ``origin`` says how it was found."""

    python: Path
    version: str
    lava: str
    origin: str


def examine(python: Path, origin: str) -> LavaHost | str:
    """Import Lava in ``python``; return what is there, or in a few words why not."""
    answer = _ask(python, LAVA_PROBE)
    if isinstance(answer, str):
        return answer
    return LavaHost(python, answer[0], answer[1], origin)


def is_python310(python: Path) -> bool:
    """Whether ``python`` runs, is a 3.10 and can make virtual environments."""
    answer = _ask(python, VENV_PROBE)
    return not isinstance(answer, str) and tuple(answer[1]) == PYTHON


def find_python310() -> Path | None:
    """First Python 3.10 that runs and can make environments: on PATH, of pyenv, of uv, this one."""
    return next((python for python in _candidates() if is_python310(python)), None)


def _candidates() -> Iterator[Path]:
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        # A pyenv shim has this name too, and fails where no such version is chosen.
        if folder and (python := Path(folder, "python3.10")).is_file():
            yield python
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(root.glob("versions/3.10*/bin/python3.10"), key=_version, reverse=True)
    uv = shutil.which("uv")
    if uv is not None:
        answer = _run([uv, "python", "find", "3.10"])
        if answer is not None and answer.returncode == 0 and answer.stdout.strip():
            yield Path(answer.stdout.strip())
    if sys.version_info[:2] == PYTHON:
        yield Path(sys.executable)


def _version(python: Path) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", python.parents[1].name)]


def _ask(python: Path, probe: str) -> Any | str:
    """What ``probe`` prints, from JSON; or why not."""
    answer = _run([str(python), "-c", probe])
    if answer is None:
        return "it cannot be run"
    if answer.returncode != 0:
        spoken = answer.stderr.strip().splitlines()
        return spoken[-1].strip() if spoken else f"it ends with exit code {answer.returncode}"
    try:
        return json.loads(answer.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return "it is no Python: it prints something else"


def _run(command: list[str]) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(
            command,
            capture_output=True,
            encoding="utf8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            cwd=tempfile.gettempdir(),
            env=clean_environment(),
            timeout=PROBE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
