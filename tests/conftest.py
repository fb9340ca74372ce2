"""What all tests share: reproducible hypothesis runs, and which files run on Python 3.10.

Searching needs torch and Norse, which are for Python 3.11 and later; the rest of the package
also runs on 3.10, beside lava-nc. There the test files that import them are left out.
"""

import ast
import sys
from pathlib import Path

import lava_nets
import pytest
from commands import write_files
from hypothesis import settings

settings.register_profile("same every time", derandomize=True, deadline=None)
settings.load_profile("same every time")

FROM_311 = ("norse", "torch", "sltdeploy.demo", "sltdeploy.search")


def needs_311(source: str) -> bool:
    """Whether ``source`` imports, anywhere, what exists from Python 3.11 on."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return any(n == m or n.startswith(f"{m}.") for n in names for m in FROM_311)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out, on 3.10 only, what cannot be imported there."""
    if sys.version_info >= (3, 11) or collection_path.suffix != ".py":
        return None
    return True if needs_311(collection_path.read_text("utf8")) else None


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    """Networks drawn in a test do not depend on the tests before it."""
    lava_nets.same_numbers()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `commands.write_files` in it; the test runs there, on a narrow terminal.

    The environment that ``setup lava`` makes is not this machine's.
    """
    write_files(tmp_path)
    monkeypatch.setenv("SLTDEPLOY_LAVA_ENV", str(tmp_path / "lava"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "40")
    return tmp_path
