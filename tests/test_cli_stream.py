"""``run --stream`` as a controller meets it: through pipes, a frame and its answer at a time."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from commands import only_object, say

from sltdeploy.cli import streaming
from sltdeploy.exporting import PROGRAM
from sltdeploy.program_file import from_bytes
from sltdeploy.reference import run
from sltdeploy.runtime import Runner

STEPS = 6
PATIENCE_S = 60
MISSED = "--deadline-ms 0.000001"  # a nanosecond
CALL = """
import sys
from sltdeploy.cli import call
code = 99
try:
    code = call(sys.argv[1:])
except SystemExit:  # a command ends by returning its code
    pass
sys.exit(code)
"""


@contextmanager
def serving(options: str) -> Generator["subprocess.Popen[bytes]"]:
    """``sltdeploy run artifact OPTIONS`` with pipes on all sides."""
    command = [sys.executable, "-c", CALL, "run", "artifact", *options.split()]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=buffered,
    ) as process:
        watchdog = threading.Timer(PATIENCE_S, process.kill)  # an answer that never comes
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


def pipes(process: "subprocess.Popen[bytes]") -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
    """Its stdin, stdout, stderr."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    return process.stdin, process.stdout, process.stderr


def frames() -> tuple[np.ndarray, np.ndarray]:
    """Steps of x.npy, and what the reference answers."""
    x = np.load("x.npy")[:STEPS, :1]
    expected = run(from_bytes(Path("artifact", PROGRAM).read_bytes()), x).output
    assert len(np.unique(expected, axis=0)) > 1
    return x[:, 0], expected[:, 0]


def line(row: np.ndarray) -> bytes:
    """A frame as JSON."""
    return json.dumps(row.tolist()).encode() + b"\n"


def answered(process: "subprocess.Popen[bytes]", row: np.ndarray) -> np.ndarray:
    """Send a frame as JSON and wait for its answer."""
    to, back, _ = pipes(process)
    to.write(line(row))
    to.flush()
    return np.array(json.loads(back.readline())["out"])


def test_each_json_line_is_answered_before_the_next(here: Path) -> None:
    x, expected = frames()
    with serving("--stream ndjson") as process:
        for row, right in zip(x, expected, strict=True):
            np.testing.assert_allclose(answered(process, row), right, rtol=1e-6)
        to, back, told = pipes(process)
        to.close()
        assert back.read() == b""
        assert process.wait(60) == 0
        summary = told.read().decode()
    assert summary.startswith(f"{STEPS} frames: p50 ")
    assert "p99" in summary
    assert "worst" in summary
    assert summary.count("\n") == 1


def test_each_raw_frame_is_answered_before_the_next(here: Path) -> None:
    x, expected = frames()
    with serving("--stream raw --deadline-ms 60000") as process:
        to, back, told = pipes(process)
        for row, right in zip(x, expected, strict=True):
            to.write(row.astype("<f4").tobytes())
            to.flush()
            got = np.frombuffer(back.read(right.size * 4), "<f4")
            np.testing.assert_allclose(got, right, rtol=1e-6)
        to.close()
        assert process.wait(60) == 0
        assert told.read().endswith(b", 0 past the deadline of 60000 ms\n")


def test_a_frame_past_its_deadline_gives_zeros_or_ends_it(here: Path) -> None:
    x, expected = frames()
    assert expected[:3].any()
    with serving(f"--stream ndjson {MISSED} --on-miss zero") as process:
        for row in x[:3]:
            assert not answered(process, row).any()
        pipes(process)[0].close()
        assert process.wait(60) == 0
        assert b"3 past the deadline of 1e-06 ms" in pipes(process)[2].read()
    with serving(f"--stream ndjson {MISSED} --on-miss raise") as process:
        to, back, told = pipes(process)
        to.write(line(x[0]))
        to.close()
        assert process.wait(60) == 1
        assert back.read() == b""
        lines = told.read().decode().splitlines()
    assert lines[0].startswith("1 frame: ")
    assert lines[1].startswith("error: frame 1: step ")


def test_a_bad_frame_is_named_and_ends_it_with_2(here: Path) -> None:
    x, expected = frames()
    with serving("--stream ndjson") as process:
        np.testing.assert_allclose(answered(process, x[0]), expected[0], rtol=1e-6)
        to, back, told = pipes(process)
        to.write(line(x[1][:3]))
        to.close()
        assert process.wait(60) == 2
        assert back.read() == b""
        lines = told.read().decode().splitlines()
    assert lines[0].startswith("1 frame: ")
    assert lines[1] == "error: frame 2: input 'input' has shape (1, 3), must be (B, 6)"
    assert len(lines) == 2


def test_a_reader_that_goes_away_ends_it_quietly(here: Path) -> None:
    x, expected = frames()
    with serving("--stream ndjson") as process:
        np.testing.assert_allclose(answered(process, x[0]), expected[0], rtol=1e-6)
        to, back, told = pipes(process)
        back.close()
        to.write(line(x[1]))
        to.flush()
        assert process.wait(60) == 1
        assert told.read() == b""


def test_ctrl_c_ends_it_with_130_and_the_summary(here: Path) -> None:
    x, expected = frames()
    with serving("--stream ndjson") as process:
        np.testing.assert_allclose(answered(process, x[0]), expected[0], rtol=1e-6)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        lines = pipes(process)[2].read().decode().splitlines()
    assert lines[0].startswith("1 frame: ")
    assert lines[1:] == ["error: interrupted: the stream ends here"]


def test_no_frame_at_all_is_fine(here: Path) -> None:
    with serving("--stream ndjson") as process:
        to, back, told = pipes(process)
        to.close()
        assert process.wait(60) == 0
        assert (back.read(), told.read()) == (b"", b"no frames\n")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("", ["--input", "--out", "--stream"]),
        ("--input x.npy", ["--input", "--out", "--stream"]),
        ("--stream ndjson --input x.npy", ["--input does not go with --stream"]),
        ("--stream raw --out y.npz", ["--out does not go with --stream"]),
        ("--stream raw --record", ["--record does not go with --stream"]),
        ("--stream csv", ["--stream", "ndjson", "raw"]),
        ("--input x.npy --out y.npz --deadline-ms 1", ["--deadline-ms goes with --stream only"]),
        ("--input x.npy --out y.npz --on-miss zero", ["--on-miss goes with --stream only"]),
        ("--input x.npy --out y.npz --deadline-ms 0", ["--deadline-ms goes with --stream only"]),
        ("--stream raw --deadline-ms 0", ["deadline is 0", "positive"]),
        ("--stream raw --on-miss zero", ["--on-miss needs --deadline-ms"]),
        ("--stream raw --engine lava", ["--engine lava does not go with --stream"]),
    ],
)
def test_files_and_a_stream_do_not_mix(
    here: Path, capfd: pytest.CaptureFixture[str], options: str, named: list[str]
) -> None:
    assert say(f"run artifact {options}") == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert [word for word in named if word not in err] == []
    assert not Path("y.npz").exists()


def test_options_reach_the_runner(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the first frames of a machine, which take long, are not the controller's."""
    given: dict[str, Any] = {}
    opening = streaming.open_artifact

    def spy(artifact: Path, **options: Any) -> Runner:
        given.update(options)
        return opening(artifact, **options)

    monkeypatch.setattr(streaming, "open_artifact", spy)
    monkeypatch.setattr(streaming, "standard", lambda: (io.BytesIO(), io.BytesIO()))
    assert say("run artifact --stream raw --engine fast --deadline-ms 5 --on-miss zero") == 0
    assert given.pop("warmup") > 1
    assert given == {"engine": "fast", "deadline_ms": 5.0, "on_miss": "zero"}
    assert say("run artifact --stream raw") == 0
    assert (given["engine"], given["deadline_ms"], given["on_miss"]) == (None, None, "hold")


def test_all_that_does_not_go_with_a_stream_is_told_at_once(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flags = "--input x.npy --out y.npz --record --timeout 1 --engine lava"
    assert say(f"run artifact --stream raw {flags}") == 2
    assert capfd.readouterr().err.count("does not go with --stream") == 5


def test_a_stream_has_no_room_for_a_json_object(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert say("run artifact --stream ndjson --json") == 2
    messages = only_object(capfd.readouterr().out)["error"]["messages"]
    assert len(messages) == 1
    assert messages[0].startswith("--json does not go with --stream")
