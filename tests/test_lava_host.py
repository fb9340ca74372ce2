"""Finding, making and running an interpreter with Lava; fake ones stand in for Lava itself."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sltdeploy import lava_host
from sltdeploy.errors import CheckError, InputError, MissingComponentError
from sltdeploy.lava_host import environment, interpreters, processes
from sltdeploy.lava_host.running import run_network

FIXTURES = Path(__file__).with_name("fixtures") / "lava_packages"
HERE = Path(sys.executable)
X = np.zeros((2, 3, 4), np.float32)
GONE_S = 10.0

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


# --------------------------------------------------------------------------------------- running


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def all_gone(pids: list[int]) -> bool:
    """Whether none of the processes is left, soon."""
    deadline = time.monotonic() + GONE_S
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(alive, pids))


@pytest.fixture
def pids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """File to which the fake packages write their process numbers."""
    path = tmp_path / "pids"
    monkeypatch.setenv("FAKE_LAVA_PIDS", str(path))
    yield path
    for pid in read_pids(path):
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def read_pids(path: Path) -> list[int]:
    """Process numbers written so far."""
    return [int(n) for n in path.read_text().split()] if path.exists() else []


def test_a_package_that_never_ends_is_stopped_with_its_children(pids: Path) -> None:
    with pytest.raises(CheckError, match=r"time limit of 1\.5 s.*--timeout") as error:
        run_network(HERE, FIXTURES / "endless", X, timeout_s=1.5)
    assert "asleep" in str(error.value)
    assert "\n" not in str(error.value)
    # the package, a child that asks for nothing better, and one that ignores SIGTERM
    assert len(read_pids(pids)) == 3
    assert all_gone(read_pids(pids))


def test_ctrl_c_leaves_no_process(pids: Path) -> None:
    def interrupt(line: str) -> None:
        if line == "asleep":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_network(HERE, FIXTURES / "endless", X, timeout_s=60, on_line=interrupt)
    assert len(read_pids(pids)) == 3
    assert all_gone(read_pids(pids))


def test_when_we_are_killed_it_ends_too(pids: Path) -> None:
    code = (
        "import sys, numpy as np\nfrom pathlib import Path\n"
        "from sltdeploy.lava_host.running import run_network\n"
        f"run_network(Path(sys.executable), {str(FIXTURES / 'endless')!r}, "
        "np.zeros((2, 3, 4)), timeout_s=60, on_line=lambda s: print(s, flush=True))\n"
    )
    with subprocess.Popen([str(HERE), "-c", code], stdout=subprocess.PIPE, text=True) as ours:
        assert ours.stdout is not None
        for line in ours.stdout:
            if line == "asleep\n":
                break
        ours.kill()
    assert len(read_pids(pids)) == 3
    assert all_gone(read_pids(pids))


def test_what_a_package_leaves_behind_is_ended(pids: Path) -> None:
    sent = run_network(HERE, FIXTURES / "leaver", X)
    assert sent["out"].shape == (2, 3, 1)
    assert len(read_pids(pids)) == 2
    assert all_gone(read_pids(pids))


def test_a_crash_is_one_line_with_the_last_words() -> None:
    with pytest.raises(CheckError, match=r"failed with exit code 1: .*ValueError: no spikes today"):
        run_network(HERE, FIXTURES / "crash", X)


def test_what_it_prints_comes_as_plain_lines() -> None:
    lines: list[str] = []
    with pytest.raises(CheckError) as error:
        run_network(HERE, FIXTURES / "crash", X, on_line=lines.append)
    assert lines[:2] == ["\ufffd\ufffd starting", "red"]
    assert str(error.value).isprintable()


@pytest.mark.parametrize("what", ["text", "array", "nothing", "shape", "pickle"])
def test_garbage_is_no_result(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_LAVA_GARBAGE", what)
    with pytest.raises(CheckError, match=r"result.*wrote"):
        run_network(HERE, FIXTURES / "garbage", X)


def test_the_package_gets_the_input_and_no_foreign_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere/else")
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    lines: list[str] = []
    sent = run_network(HERE, FIXTURES / "echo", x, on_line=lines.append)
    np.testing.assert_array_equal(sent["out"], x)
    assert lines == ["--as-sent --record"]
    sent = run_network(HERE, FIXTURES / "echo", {"file": x, "a/b": x}, record=False)
    np.testing.assert_array_equal(sent["file"], x)
    assert set(sent) == {"file", "a/b"}


def test_a_folder_without_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no network\.py"):
        run_network(HERE, tmp_path, X)


def test_last_words_are_the_last_three_lines() -> None:
    assert processes.Finished(1, ("a", "b", "", "c", "d")).last_words == "b | c | d"
    assert processes.Finished(1, ("", " ")).last_words == "it said nothing"
