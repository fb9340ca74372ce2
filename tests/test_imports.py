"""What starts fast imports little: the package, ``--help``, and what runs on a robot."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    *("h5py", "jinja2", "lava", "matplotlib", "nir", "norse"),
    *("onnx", "onnxruntime", "scipy", "sklearn", "torch"),
)

# Not one of these is needed to run an artifact; onnxruntime and numpy are.
NOT_ON_A_ROBOT = tuple(name for name in HEAVY if name != "onnxruntime")

HELP = """
from sltdeploy.cli import call
assert call(["--help"]) == 0
assert call(["export", "--help"]) == 0
"""


def loaded(code: str, names: tuple[str, ...], cwd: Path) -> list[str]:
    """Which of the packages ``names`` a fresh interpreter has imported after ``code``."""
    report = f"\nimport sys\nprint('loaded', *[n for n in {names!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code + report],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=60,
        check=True,
    )
    return done.stdout.splitlines()[-1].split()[1:]


def test_importing_the_package_imports_nothing_heavy(tmp_path: Path) -> None:
    assert loaded("import sltdeploy", (*HEAVY, "numpy"), tmp_path) == []


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    assert loaded(HELP, (*HEAVY, "numpy"), tmp_path) == []


def test_opening_an_artifact_imports_what_a_robot_has(tmp_path: Path) -> None:
    assert loaded("import sltdeploy.runtime", HEAVY, tmp_path) == []


@pytest.mark.parametrize("name", ["nir", "safetensors"])
def test_the_check_can_fail(name: str, tmp_path: Path) -> None:
    assert loaded(f"import sltdeploy, {name}", (name,), tmp_path) == [name]


def test_public_names_are_there_and_load_on_use(tmp_path: Path) -> None:
    code = "import sltdeploy as slt\nassert set(slt.__all__) <= set(dir(slt))\nslt.run"
    assert loaded(code, ("numpy", "torch"), tmp_path) == ["numpy"]
