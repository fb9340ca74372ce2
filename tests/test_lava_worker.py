"""One interpreter that runs many networks: time limits, failures, nothing leaks, nothing stays.

Fake packages stand in for Lava; test_lava_in_worker.py has Lava itself.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from commands import say

import sltdeploy as slt
from sltdeploy import lava_host
from sltdeploy.errors import CheckError, InputError
from sltdeploy.lava_host import connection, processes, running
from sltdeploy.lava_host.running import Worker
from sltdeploy.program import Array

FIXTURES = Path(__file__).with_name("fixtures") / "lava_packages"
HERE = Path(sys.executable)
X = np.zeros((2, 3, 4), np.float32)
LIMIT_S = 60.0
GONE_S = 10.0
OF_OURS = """
import os, signal, sys
from pathlib import Path
import numpy as np
from sltdeploy.lava_host import Worker
folder, x = Path({folder!r}), np.zeros((2, 3, 4), np.float32)
worker = Worker(sys.executable)
def say(line):
    print(line, flush=True)
"""


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:  # gone since, or no Linux
        return not Path("/proc").exists()


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


@pytest.fixture
def worker() -> Iterator[Worker]:
    """One in this interpreter, which has no Lava."""
    with Worker(HERE) as running_one:
        yield running_one


def read_pids(path: Path) -> list[int]:
    """Process numbers written so far."""
    return [int(n) for n in path.read_text().split()] if path.exists() else []


def run_by(worker: Worker) -> int:
    """Process that runs the networks of ``worker``; each of them starts from nothing."""
    lines: list[str] = []
    sent = worker.run(FIXTURES / "leaky", X, on_line=lines.append)
    assert sent["out"].all()
    (line,) = lines
    return int(line.removeprefix("run by "))


# -------------------------------------------------------------------- what goes in and comes out


@pytest.mark.parametrize("what", ["text", "array", "nothing", "shape", "pickle"])
def test_garbage_is_no_result(what: str, monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    monkeypatch.setenv("FAKE_LAVA_GARBAGE", what)
    with pytest.raises(CheckError, match=r"result.*wrote"):
        worker.run(FIXTURES / "garbage", X)


def test_the_package_gets_the_input_and_no_foreign_paths(
    monkeypatch: pytest.MonkeyPatch, worker: Worker
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere/else")
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    lines: list[str] = []
    sent = worker.run(FIXTURES / "echo", x, on_line=lines.append)
    np.testing.assert_array_equal(sent["out"], x)
    sent = worker.run(FIXTURES / "echo", x, record=False, potentials=True, on_line=lines.append)
    assert lines == ["--as-sent --record", "--as-sent --potentials"]
    sent = worker.run(FIXTURES / "echo", {"file": x, "a/b": x}, record=False)
    np.testing.assert_array_equal(sent["file"], x)
    assert set(sent) == {"file", "a/b"}


def test_a_folder_without_network_is_refused(tmp_path: Path, worker: Worker) -> None:
    with pytest.raises(InputError, match=r"has no network\.py"):
        worker.run(tmp_path, X)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf")])
def test_a_time_limit_that_is_none_is_refused(limit: float, worker: Worker) -> None:
    with pytest.raises(InputError, match="must be a positive number of seconds"):
        worker.run(FIXTURES / "echo", X, timeout_s=limit)


def test_last_words_are_the_last_three_lines() -> None:
    assert processes.Finished(1, ("a", "b", "", "c", "d")).last_words == "b | c | d"
    assert processes.Finished(1, ("", " ")).last_words == "it said nothing"


# ------------------------------------------------------------------------------- what goes wrong


def test_a_package_that_never_ends_is_stopped_with_its_children(
    pids: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leap(line: str) -> None:
        """Let the time be over once all of its processes run."""
        if line == "asleep":
            later = time.monotonic() + 2 * LIMIT_S
            monkeypatch.setattr(connection, "time", Mock(monotonic=lambda: later))

    with pytest.raises(CheckError, match=r"time limit of 60 s.*--timeout") as error:
        worker.run(FIXTURES / "endless", X, timeout_s=LIMIT_S, on_line=leap)
    assert "asleep" in str(error.value)
    assert "\n" not in str(error.value)
    # the package, a child that asks for nothing better, and one that ignores SIGTERM
    assert len(read_pids(pids)) == 3
    assert all_gone(read_pids(pids))


def test_ctrl_c_leaves_no_process(pids: Path, worker: Worker) -> None:
    def interrupt(line: str) -> None:
        if line == "asleep":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.run(FIXTURES / "endless", X, timeout_s=60, on_line=interrupt)
    assert len(read_pids(pids)) == 3
    assert all_gone(read_pids(pids))


def test_when_we_are_killed_it_ends_too(pids: Path) -> None:
    code = OF_OURS.format(folder=str(FIXTURES / "endless"))
    code += "worker.run(folder, x, timeout_s=60, on_line=say)\n"
    with subprocess.Popen([str(HERE), "-c", code], stdout=subprocess.PIPE, text=True) as ours:
        assert ours.stdout is not None
        for line in ours.stdout:
            if line == "asleep\n":
                break
        ours.kill()
    assert len(read_pids(pids)) == 3
    assert all_gone(read_pids(pids))


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "worker.close()", ""])
def test_an_idle_worker_ends_with_us(end: str) -> None:
    code = OF_OURS.format(folder=str(FIXTURES / "leaky"))
    code += f"worker.run(folder, x, on_line=say)\n{end}\n"
    done = subprocess.run(
        [str(HERE), "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == (-signal.SIGKILL if "kill" in end else 0)
    assert done.stderr == ""
    assert all_gone([int(done.stdout.split()[-1])])


def test_what_a_package_leaves_behind_is_ended(pids: Path, worker: Worker) -> None:
    sent = worker.run(FIXTURES / "leaver", X)
    assert sent["out"].shape == (2, 3, 1)
    assert len(read_pids(pids)) == 2
    assert all_gone(read_pids(pids))
    assert run_by(worker)


def test_a_crash_is_one_line_with_the_last_words(worker: Worker) -> None:
    with pytest.raises(CheckError, match=r"failed with exit code 1: .*ValueError: no spikes today"):
        worker.run(FIXTURES / "crash", X)


def test_what_it_prints_comes_as_plain_lines(worker: Worker) -> None:
    lines: list[str] = []
    with pytest.raises(CheckError) as error:
        worker.run(FIXTURES / "crash", X, on_line=lines.append)
    assert lines[:2] == ["\ufffd\ufffd starting", "red"]
    assert not any("worker.py" in line for line in lines)
    assert str(error.value).isprintable()


def test_after_a_failure_the_next_run_has_a_fresh_interpreter(worker: Worker) -> None:
    first = run_by(worker)
    with pytest.raises(CheckError, match="no spikes today"):
        worker.run(FIXTURES / "crash", X)
    assert all_gone([first])
    assert run_by(worker) != first


def test_an_idle_worker_that_was_killed_is_started_anew(worker: Worker) -> None:
    first = run_by(worker)
    os.kill(first, signal.SIGKILL)
    assert run_by(worker) != first


def test_a_worker_that_is_killed_in_a_run_is_a_failure(pids: Path, worker: Worker) -> None:
    def kill(line: str) -> None:
        if line == "asleep":
            package = read_pids(pids)[0]
            status = Path(f"/proc/{package}/stat").read_text().rsplit(")", 1)[1]
            os.kill(int(status.split()[1]), signal.SIGKILL)

    if not Path("/proc").exists():
        pytest.skip("who runs the package is read from /proc")
    pids.touch()
    with pytest.raises(CheckError, match="asleep"):
        worker.run(FIXTURES / "endless", X, timeout_s=LIMIT_S, on_line=kill)
    assert all_gone(read_pids(pids))


def test_an_interpreter_that_does_not_run_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(CheckError, match="No such file"), Worker(tmp_path / "nowhere") as worker:
        worker.run(FIXTURES / "echo", X)


# ------------------------------------------------------------------------------ many in one


def test_one_interpreter_runs_all_and_none_notices_another(worker: Worker) -> None:
    assert len({run_by(worker) for _ in range(3)}) == 1


def test_what_lava_is_made_of_is_imported_once(worker: Worker) -> None:
    lines: list[str] = []
    for _ in range(2):
        worker.run(FIXTURES / "preloaded", X, on_line=lines.append)
    assert lines == ["True False", "True False"]


def test_nothing_is_held_after_a_run(worker: Worker) -> None:
    if not Path("/proc").exists():
        pytest.skip("open files are read from /proc")
    ours, theirs = [], []
    for _ in range(8):
        pid = run_by(worker)
        ours.append(len(list(Path("/proc/self/fd").iterdir())))
        theirs.append(len(list(Path(f"/proc/{pid}/fd").iterdir())))
        assert threading.active_count() <= 3
    assert len(set(ours)) == 1
    assert len(set(theirs)) == 1


def test_threads_take_turns(worker: Worker) -> None:
    xs = [np.full((2, 3, 4), k, np.float32) for k in range(6)]

    def echo(x: Array) -> Array:
        return worker.run(FIXTURES / "echo", x)["out"]

    with ThreadPoolExecutor(3) as pool:
        for x, sent in zip(xs, pool.map(echo, xs), strict=True):
            np.testing.assert_array_equal(sent, x)


def test_a_fork_of_ours_starts_its_own(worker: Worker) -> None:
    del worker
    code = OF_OURS.format(folder=str(FIXTURES / "leaky"))
    code += (
        "run = lambda: worker.run(folder, x, on_line=say)\n"
        "run()\nif os.fork() == 0:\n    run()\n    sys.exit()\n"
        "assert os.wait()[1] == 0\nrun()\n"
    )
    done = subprocess.run(
        [str(HERE), "-c", code], capture_output=True, text=True, check=False, timeout=LIMIT_S
    )
    assert done.returncode == 0, done.stderr
    first, forked, last = (int(line.removeprefix("run by ")) for line in done.stdout.splitlines())
    assert first == last != forked
    assert all_gone([first, forked])


def test_runs_share_a_worker_until_another_interpreter_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(python: str | Path | None = None) -> lava_host.LavaHost:
        return lava_host.LavaHost(HERE, "3.10", "0.10.0", "test")

    monkeypatch.setattr(running, "require", found)
    lines: list[str] = []
    lava_host.close_shared()
    try:
        for variable in ("a", "a", "b"):
            monkeypatch.setenv("SLTDEPLOY_LAVA_ENV", str(tmp_path / variable))
            lava_host.run_package(FIXTURES / "leaky", X, on_line=lines.append)
        assert lines[0] == lines[1] != lines[2]
        assert all_gone([int(lines[0].split()[-1])])
        lava_host.run_package(FIXTURES / "leaky", X, python=HERE, on_line=lines.append)
        assert lines[3] not in lines[:3]
    finally:
        lava_host.close_shared()
    assert all_gone([int(line.split()[-1]) for line in lines])


# --------------------------------------------------------------------------------- the command line


@pytest.mark.parametrize(
    ("command", "debug"),
    [("verify new", False), ("run new --engine lava --input x.npy --out y.npz", True)],
)
@pytest.mark.usefixtures("here")
def test_the_commands_say_how_far_lava_is(
    command: str, debug: bool, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert say("export net.nir --format lava --out new") == 0

    def run_package(
        folder: Path,
        x: Mapping[str, Array],
        *,
        timeout_s: float | None,
        record: bool,
        potentials: bool,
        on_line: Callable[[str], None],
    ) -> Mapping[str, Array]:
        on_line("step 50 of 100")
        on_line("compiler_graphs.py:895: UserWarning")
        with slt.open(folder, engine="fast") as runner:
            return runner.run(x, record=True).records

    monkeypatch.setattr(lava_host, "run_package", run_package)
    capfd.readouterr()
    assert say(command + (" --debug" if debug else "")) == 0
    said = ["step 50 of 100", *(["compiler_graphs.py:895: UserWarning"] if debug else [])]
    assert capfd.readouterr().err.splitlines() == said
