"""Finding and making an interpreter with Lava; fake ones stand in for Lava itself."""

import sys
from pathlib import Path

import pytest

from sltdeploy import lava_host
from sltdeploy.errors import CheckError, InputError, MissingComponentError
from sltdeploy.lava_host import environment, interpreters

HERE = Path(sys.executable)

LAVA = """#!/bin/sh
echo '["3.10.99", "0.10.0"]'
"""
PYTHON310 = """#!/bin/sh
echo '["{0}", [3, 10]]'
"""
BROKEN = """#!/bin/sh
echo 'pyenv: python3.10: command not found' >&2
exit 127
"""


def script(path: Path, text: str) -> Path:
    """An executable file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.format(path))
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def _bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No interpreter with Lava anywhere, and an empty place for our environment."""
    monkeypatch.setenv("SLTDEPLOY_LAVA_ENV", str(tmp_path / "lava"))
    monkeypatch.delenv("SLTDEPLOY_LAVA_PYTHON", raising=False)
    monkeypatch.setenv("PATH", "/bin:/usr/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setattr(interpreters, "PYTHON", (2, 7))
    monkeypatch.setattr(environment, "PYTHON", (2, 7))


@pytest.fixture
def python310(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python 3.10 that only says so, behind a shim of that name which does not run."""
    script(tmp_path / "shims" / "python3.10", BROKEN)
    found = script(tmp_path / "bin" / "python3.10", PYTHON310)
    monkeypatch.setenv("PATH", f"{tmp_path / 'shims'}:{tmp_path / 'bin'}:/bin:/usr/bin")
    monkeypatch.setattr(interpreters, "PYTHON", (3, 10))
    return found


def test_nothing_found_says_exactly_what_to_install() -> None:
    assert lava_host.find() is None
    with pytest.raises(MissingComponentError, match=r"needs Python 3\.10") as error:
        lava_host.require()
    for way in ("uv python install 3.10", "pyenv install 3.10", "sltdeploy setup lava --python"):
        assert way in str(error.value)
    assert lava_host.status().advice == str(error.value)


def test_with_a_python_310_the_advice_is_one_command(python310: Path) -> None:
    with pytest.raises(MissingComponentError) as error:
        lava_host.require()
    # The message stands in reports too, so it names no path of the machine.
    assert str(error.value) == (
        "Lava is not installed: run 'sltdeploy setup lava'; a Python 3.10 for it is there"
    )
    assert str(python310) not in str(error.value)


def test_a_shim_that_does_not_run_is_skipped(python310: Path) -> None:
    assert lava_host.find_python310() == python310


@pytest.mark.usefixtures("python310")
def test_pyenv_versions_are_found_newest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/bin:/usr/bin")
    for version in ("3.10.9", "3.10.13", "3.11.4"):
        script(tmp_path / "pyenv/versions" / version / "bin/python3.10", PYTHON310)
    found = lava_host.find_python310()
    assert found == tmp_path / "pyenv/versions/3.10.13/bin/python3.10"


@pytest.mark.usefixtures("python310")
def test_uv_is_asked_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = script(tmp_path / "uv_made" / "python", PYTHON310)
    script(tmp_path / "uv_bin" / "uv", f"#!/bin/sh\necho {python}\n")
    monkeypatch.setenv("PATH", f"{tmp_path / 'uv_bin'}:/bin:/usr/bin")
    assert lava_host.find_python310() == python


def test_what_is_named_comes_before_what_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = script(tmp_path / "lava/bin/python", LAVA)
    variable = script(tmp_path / "variable", LAVA)
    argument = script(tmp_path / "argument", LAVA)
    found = lava_host.find()
    assert found == lava_host.LavaHost(ours, "3.10.99", "0.10.0", "environment")
    monkeypatch.setenv("SLTDEPLOY_LAVA_PYTHON", str(variable))
    assert lava_host.require().python == variable
    assert lava_host.require(argument).python == argument


@pytest.mark.parametrize(
    ("text", "why"),
    [(BROKEN, "command not found"), ("#!/bin/sh\necho hello\n", "is no Python"), ("", "be run")],
)
def test_what_is_named_and_has_no_lava_is_refused(tmp_path: Path, text: str, why: str) -> None:
    script(tmp_path / "lava/bin/python", LAVA)
    named = script(tmp_path / "named", text or "neither binary nor script")
    with pytest.raises(MissingComponentError, match=why):
        lava_host.find(named)


def test_a_python_without_lava_is_told_from_one_with(tmp_path: Path) -> None:
    bare = script(tmp_path / "bare", f'#!/bin/sh\nexec {HERE} -I -S "$@"\n')
    with pytest.raises(MissingComponentError, match="No module named"):
        lava_host.find(bare)


# ------------------------------------------------------------------------------- the environment


def maker(tmp_path: Path, *, pip: str = "exit 0") -> Path:
    """A 'Python 3.10' whose venv makes a python that has Lava; its pip does as told."""
    made = f'#!/bin/sh\nif [ "$2" = pip ]; then echo Collecting lava-nc; {pip}; fi\n'
    made += """echo '["3.10.99", "0.10.0"]'\n"""
    (tmp_path / "made").write_text(made)
    return script(
        tmp_path / "base" / "python3.10",
        '#!/bin/sh\nif [ "$2" = venv ]; then\n  mkdir -p "$3/bin"\n'
        f'  cp {tmp_path / "made"} "$3/bin/python"; chmod +x "$3/bin/python"\n'
        "else\n  echo '[\"here\", [3, 10]]'\nfi\n",
    )


@pytest.fixture
def _real_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreters, "PYTHON", (3, 10))


@pytest.mark.usefixtures("_real_version")
def test_setup_makes_an_environment_once_and_removes_it(tmp_path: Path) -> None:
    said: list[str] = []
    host = lava_host.setup(maker(tmp_path), said.append)
    assert host.python == tmp_path / "lava/bin/python"
    assert "Collecting lava-nc" in said
    assert lava_host.status().complete
    again: list[str] = []
    assert lava_host.setup(None, again.append) == host
    assert again == []
    assert lava_host.remove()
    assert not lava_host.remove()
    assert lava_host.find() is None


@pytest.mark.usefixtures("_real_version")
def test_half_an_environment_is_made_anew(tmp_path: Path) -> None:
    base = maker(tmp_path)
    lava_host.setup(base)
    (tmp_path / "lava" / environment.MARK).write_text("being made\n")
    (tmp_path / "lava" / "left over").touch()
    lava_host.setup(base)
    assert not (tmp_path / "lava" / "left over").exists()
    script(tmp_path / "lava/bin/python", BROKEN)  # complete, and broken since
    said: list[str] = []
    lava_host.setup(base, said.append)
    assert "does not work any more" in said[0]


def test_what_is_wrong_with_the_environment_is_said(tmp_path: Path, python310: Path) -> None:
    mark, python = tmp_path / "lava" / environment.MARK, tmp_path / "lava/bin/python"
    assert lava_host.status().advice.startswith("Lava is not installed: run")
    python.parent.mkdir(parents=True)
    mark.write_text("being made\n")
    half = "the environment for Lava is half made: run 'sltdeploy setup lava'; it is made anew"
    assert lava_host.status().advice == half
    mark.write_text(environment.COMPLETE)
    python.symlink_to(tmp_path / "moved away")
    with pytest.raises(MissingComponentError) as error:
        lava_host.require()
    assert "does not work any more (the Python that it was made with is gone)" in str(error.value)
    assert str(tmp_path) not in str(error.value)
    python.unlink()
    script(python, BROKEN)
    assert "does not work any more: run" in lava_host.status().advice
    python310.unlink()
    if sys.version_info[:2] != (3, 10):  # there, this interpreter is one
        assert "does not work any more, and it needs Python 3.10" in lava_host.status().advice


@pytest.mark.usefixtures("_real_version")
def test_a_moved_interpreter_is_repaired(tmp_path: Path) -> None:
    base = maker(tmp_path)
    host = lava_host.setup(base)
    host.python.unlink()
    host.python.symlink_to(tmp_path / "moved away")
    assert lava_host.find() is None
    said: list[str] = []
    assert lava_host.setup(base, said.append) == host
    assert "does not work any more (it cannot be run): making it anew" in said[0]
    assert lava_host.find() == host


def test_setup_makes_nothing_where_lava_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = script(tmp_path / "named", LAVA)
    monkeypatch.setenv("SLTDEPLOY_LAVA_PYTHON", str(named))
    said: list[str] = []
    assert lava_host.setup(None, said.append).python == named
    assert said == ["Lava is there already, nothing is made (SLTDEPLOY_LAVA_PYTHON)"]
    assert not (tmp_path / "lava").exists()
    script(named, BROKEN)
    with pytest.raises(MissingComponentError, match="command not found"):
        lava_host.setup()


@pytest.mark.usefixtures("_real_version")
def test_what_cannot_be_removed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lava_host.setup(maker(tmp_path))

    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("shutil.rmtree", refuse)
    with pytest.raises(CheckError, match="cannot be removed: Permission denied"):
        lava_host.remove()


@pytest.mark.usefixtures("_real_version")
def test_a_failed_installation_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CheckError, match=r"exit code 7: Collecting lava-nc \| no network"):
        lava_host.setup(maker(tmp_path, pip="echo no network; exit 7"))
    assert not (tmp_path / "lava").exists()


@pytest.mark.usefixtures("_real_version")
def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "lava").mkdir()
    (tmp_path / "lava" / "thesis.tex").touch()
    for act in (lambda: lava_host.setup(maker(tmp_path)), lava_host.remove):
        with pytest.raises(InputError, match="left alone"):
            act()
    assert (tmp_path / "lava" / "thesis.tex").exists()


@pytest.mark.usefixtures("_real_version")
def test_setup_refuses_another_python(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no Python 3\.10"):
        lava_host.setup(script(tmp_path / "python", "#!/bin/sh\necho '[\"here\", [3, 12]]'\n"))
    assert not (tmp_path / "lava").exists()
