"""The wheel: one top-level name, everything inside, a command that runs from any folder."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built with the hatchling that is installed here."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(ROOT)], check=True, timeout=300)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment with the wheel; its dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True, symlinks=True)
    python = folder / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, str(wheel)], check=True, timeout=300)
    own = next(path for path in sys.path if path.endswith("site-packages"))
    place = next((folder / "lib").glob("python*/site-packages"))
    (place / "dependencies.pth").write_text(own, "utf8")
    return folder


def names(wheel: Path) -> list[str]:
    """Names of all files in ``wheel``."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_one_top_level_name(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in names(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"sltdeploy"}


def test_everything_of_the_checkout_is_inside(wheel: Path) -> None:
    places = {"sltdeploy": "sltdeploy", "exporters": "sltdeploy/exporters"}
    places |= {"targets": "sltdeploy/targets"}
    expected = {
        f"{inside}/{path.relative_to(ROOT / outside).as_posix()}"
        for outside, inside in places.items()
        for path in (ROOT / outside).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name[0] != "."
    }
    kinds = {Path(name).suffix for name in expected}
    assert {".py", ".toml", ".typed"} <= kinds  # code, targets and recipes, types
    assert expected <= set(names(wheel))
    assert not [name for name in names(wheel) if "__pycache__" in name]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--version"], "sltdeploy 0."),
        (["targets"], "loihi2"),
        (["targets", "raspberry-pi-4"], "raspberry-pi-4"),
        (["doctor"], "onnxruntime"),
    ],
)
def test_the_command_runs_from_another_folder(
    installed: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    done = subprocess.run(
        [str(installed / "bin" / "sltdeploy"), *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert said in done.stdout


def test_exporters_targets_and_recipes_load_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = """
import sltdeploy
from sltdeploy import exporting, target
assert "site-packages" in sltdeploy.__file__ and "wheel" not in sltdeploy.__file__
assert {"lava", "nir", "onnx"} <= set(exporting.names()), exporting.names()
assert "loihi2" in [target.load(name).name for name in target.names()]
for name in exporting.names():
    assert "site-packages" in exporting.load(name).__file__
"""
    subprocess.run(
        [str(installed / "bin" / "python"), "-P", "-c", code]
        if sys.version_info >= (3, 11)
        else [str(installed / "bin" / "python"), "-c", code],
        cwd=tmp_path,
        check=True,
        timeout=60,
    )
