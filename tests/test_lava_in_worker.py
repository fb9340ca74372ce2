"""Lava itself in a worker: its failures end, its networks stay apart, its memory is given back."""

import contextlib
import re
import time
from pathlib import Path

import numpy as np
import pytest
from lava_nets import dyadic, lif, program, single, small
from lava_there import need_lava

import sltdeploy as slt
from sltdeploy import exporting, reference
from sltdeploy.atomic import write_folder
from sltdeploy.errors import CheckError, InputError
from sltdeploy.exporting import load
from sltdeploy.lava_host.running import Worker
from sltdeploy.program import Array, Input, Linear, Program
from sltdeploy.runtime.lava_runner import LavaRunner

ONE_FAILS = Path(__file__).with_name("fixtures") / "lava_packages" / "one_fails"
X = np.zeros((2, 3, 4), np.float32)
LIMIT_S = 300.0  # on a machine that does much else, too
GONE_S = 10.0


@pytest.fixture(scope="module")
def python() -> Path:
    """An interpreter with Lava."""
    return need_lava()


def segments_of_nobody() -> set[str]:
    """Segments of shared memory that no process has open; Lava makes one for each channel."""
    folder = Path("/dev/shm")
    held: set[str] = set()
    for path in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            held |= set(re.findall("/dev/shm/(psm_[0-9a-f]+)", path.read_text()))
    return {path.name for path in folder.glob("psm_*")} - held if folder.exists() else set()


def none_new(before: set[str]) -> bool:
    """Whether no segment was left behind; other tests run at the same time."""
    deadline = time.monotonic() + GONE_S
    while not segments_of_nobody() <= before and time.monotonic() < deadline:
        time.sleep(0.1)
    return segments_of_nobody() <= before


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        ("raise", "ValueError: no spikes today | a process of Lava's failed"),
        ("kill", "step 2 of 5 | a process of Lava's was killed by signal 9"),
        ("main", "ValueError: no spikes today"),
    ],
)
def test_where_lava_would_wait_for_ever_the_run_fails(
    failure: str, words: str, python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if failure == "kill" and not Path("/proc").exists():
        pytest.skip("a killed process of Lava's is read from /proc")
    monkeypatch.setenv("FAKE_LAVA_FAILURE", failure)
    lines, before = list[str](), segments_of_nobody()
    with Worker(python) as worker:
        with pytest.raises(CheckError) as error:
            worker.run(ONE_FAILS, X, timeout_s=LIMIT_S, on_line=lines.append)
        assert words in str(error.value)
        assert "time limit" not in str(error.value)
        assert lines[:2] == ["compiler imported: True", "step 2 of 5"]
        assert none_new(before)


def two_inputs() -> Program:
    """Events and pixels to hidden neurons, which a readout sums up."""
    return program(
        {
            "events": ((4,), Input("spikes")),
            "pixels": ((2,), Input("graded")),
            "hidden": ((3,), lif()),
            "out": ((2,), lif(threshold=None, reset=None, decay=single(0.75))),
        },
        {
            ("events", "hidden"): (Linear(dyadic(3, 4)),),
            ("pixels", "hidden"): (Linear(dyadic(3, 2)),),
            ("hidden", "out"): (Linear(dyadic(2, 3)),),
        },
        ("out",),
    )


@pytest.mark.usefixtures("python")
def test_a_runner_takes_several_inputs_and_gives_potentials(tmp_path: Path) -> None:
    p, rng, lines = two_inputs(), np.random.default_rng(1), list[str]()
    x = {
        "events": rng.random((9, 2, 4)) < 0.5,
        "pixels": rng.integers(-8, 8, (9, 2, 2)).astype(np.float32) / 8,
    }
    artifact = exporting.export(p, None, tmp_path / "artifact", format="lava")
    expected, state = reference.run(p, x), reference.initial_state(p, 2)
    membranes: dict[str, list[Array]] = {"hidden": [], "out": []}
    for t in range(9):
        _, state = reference.step(p, state, {name: values[t] for name, values in x.items()})
        for name, kept in membranes.items():
            kept.append(np.asarray(state[name].v))
    with slt.open(artifact, engine="lava", timeout_s=LIMIT_S, on_line=lines.append) as runner:
        assert isinstance(runner, LavaRunner)
        first = runner.run(x, record=True, potentials=True)
        second = runner.run(x, potentials=True)
        third = runner.run(x)
        with pytest.raises(InputError, match="engine='fast' to step it"):
            runner.step({name: values[0] for name, values in x.items()})
    assert expected.records["hidden"].any()
    assert set(first.records) == {*x, "hidden", "out", "hidden.v", "out.v"}
    assert set(second.records) == {"hidden.v", "out.v"}
    assert third.records == {}
    np.testing.assert_array_equal(first.records["hidden"], expected.records["hidden"])
    for result in (first, second, third):
        np.testing.assert_array_equal(result.outputs["out"], expected.records["out"])
    for name, kept in membranes.items():
        for result in (first, second):
            np.testing.assert_array_equal(result.records[f"{name}.v"], np.stack(kept))
    assert lines[-1].startswith("step ")


def test_networks_in_turn_give_what_each_gives_alone(python: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((12, 2, 4)) < 0.5
    for name, p in (("first", small(lif())), ("second", small(lif(decay=single(0.25))))):
        write_folder(tmp_path / name, load("lava").export(p, {}, None).files)
    alone: dict[str, dict[str, Array]] = {}
    for name in ("first", "second"):
        with Worker(python) as worker:
            alone[name] = worker.run(tmp_path / name, x, timeout_s=LIMIT_S)
    assert alone["first"]["n"].tobytes() != alone["second"]["n"].tobytes()
    before = segments_of_nobody()
    with Worker(python) as worker:
        for name in ("first", "second", "second", "first"):
            sent = worker.run(tmp_path / name, x, timeout_s=LIMIT_S)
            assert {n: (v.dtype, v.tobytes()) for n, v in sent.items()} == {
                n: (v.dtype, v.tobytes()) for n, v in alone[name].items()
            }
    assert none_new(before)
