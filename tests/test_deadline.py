"""Steps that take too long: what they give instead, what is counted, and what goes on."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import programs
import pytest
from test_engines import integers

import sltdeploy as slt
from sltdeploy import reference
from sltdeploy.errors import CheckError, InputError
from sltdeploy.program import Array
from sltdeploy.runtime import Realtime, Runner, opening
from sltdeploy.runtime.deadline import Deadline, OnMiss
from sltdeploy.runtime.manifest import read
from sltdeploy.runtime.onnx_engine import OnnxEngine
from sltdeploy.runtime.stepping import StepRunner

PROGRAM = programs.branches()
FED = programs.stimulus(PROGRAM)
EXPECTED = {n: r for n, r in reference.run(PROGRAM, FED).records.items() if n in PROGRAM.outputs}
MS = 1_000_000
LATE = (2, 3, 6)  # steps that take longer than the deadline


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Lay down the ONNX artifact of `PROGRAM`."""
    slt.export(PROGRAM, None, tmp_path / "a", format="onnx")
    return tmp_path / "a"


def timed(folder: Path, took: Iterable[int], deadline: Deadline | None = None) -> StepRunner:
    """Open it with a clock by which steps take ``took`` nanoseconds, a year apart."""

    def ticks() -> Iterator[int]:
        now = 0
        for duration in took:
            now += 365 * 86_400 * 10**9
            yield now
            now += duration
            yield now

    engine = OnnxEngine(read(folder), (folder / "model.onnx").read_bytes())
    return StepRunner(read(folder), engine, deadline=deadline, clock=ticks().__next__)


def at(t: int) -> dict[str, Array]:
    """Input of step ``t``."""
    return {name: x[t] for name, x in FED.items()}


def durations() -> list[int]:
    """One millisecond is kept by exactly as much."""
    return [MS + 1 if t in LATE else MS for t in range(12)]


def step_all(runner: Runner) -> list[dict[str, Array]]:
    """All steps, and what was returned is the caller's to spoil."""
    kept: list[dict[str, Array]] = []
    for t in range(12):
        sent = runner.step(at(t))
        kept.append({n: a.copy() for n, a in sent.items()})
        for a in sent.values():
            a[...] = 1 - a
    return kept


@pytest.mark.parametrize("on_miss", ["hold", "zero"])
def test_a_late_step_gives_something_else_and_the_state_moves_on(
    folder: Path, on_miss: OnMiss
) -> None:
    with timed(folder, durations(), Deadline(1.0, on_miss)) as runner:
        got = step_all(runner)
        assert (runner.latency.steps, runner.latency.misses) == (12, len(LATE))
        assert runner.latency.deadline_us == 1000.0
    last_in_time = {2: 1, 3: 1, 6: 5}
    for t, sent in enumerate(got):
        assert list(sent) == list(PROGRAM.outputs)
        for name, values in sent.items():
            expected = EXPECTED[name]
            if t in LATE:
                expected = (
                    np.zeros_like(expected)
                    if on_miss == "zero"
                    else expected[[last_in_time.get(k, k) for k in range(12)]]
                )
            assert values.dtype == expected.dtype
            np.testing.assert_array_equal(values, expected[t], f"{name} at {t}")
    assert any((EXPECTED[n][3] != EXPECTED[n][1]).any() for n in PROGRAM.outputs)


def test_a_late_step_may_raise(folder: Path) -> None:
    with timed(folder, durations(), Deadline(1.0, "raise")) as runner:
        for t in range(12):
            if t in LATE:
                with pytest.raises(CheckError) as caught:
                    runner.step(at(t))
                assert str(caught.value) == (
                    f"step {t + 1} took 1.000001 ms, the deadline is 1 ms: its outputs are lost, "
                    "the state has moved on"
                )
                assert caught.value.exit_code == 1
            else:
                for name, values in runner.step(at(t)).items():
                    np.testing.assert_array_equal(values, EXPECTED[name][t])
        assert runner.latency.misses == len(LATE)


@pytest.mark.parametrize("back", ["reset", "run", "state"])
def test_outputs_are_not_held_over_a_jump(folder: Path, back: str) -> None:
    """What was before `reset`, a run or another state is over: zeros are held."""
    late = 2 * MS
    with timed(folder, [late, 1, late, late], Deadline(1.0)) as runner:
        runner.reset(3)
        state = runner.state
        for t, expected in enumerate((None, 1, 1)):
            for name, values in runner.step(at(t)).items():
                np.testing.assert_array_equal(values, 0 if expected is None else EXPECTED[name][1])
                values[...] = 1 - values  # it is the caller's, what is held is not
        if back == "state":
            runner.state = state
        elif back == "run":
            runner.run(FED)
        else:
            runner.reset()
        assert not any(a.any() for a in runner.step(at(3)).values())
    assert any(EXPECTED[name][1].any() for name in PROGRAM.outputs)


def test_steps_are_measured_without_a_deadline_and_nothing_else_is(folder: Path) -> None:
    with timed(folder, [3000, 5000, 4000]) as runner:
        assert runner.latency.steps == 0
        runner.run(FED)
        runner.reset(3)
        for t in range(2):
            runner.step(at(t))
        with pytest.raises(InputError):
            runner.step({})
        latency = runner.latency
        assert (latency.steps, latency.mean_us, latency.worst_us) == (2, 4.0, 5.0)
        assert (latency.misses, latency.deadline_us) == (None, None)


def test_the_clock_is_monotonic_and_a_long_step_is_seen(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through `open`: a deadline that no step can keep."""
    monkeypatch.setattr("time.time", lambda: 0.0)
    with slt.open(folder, deadline_ms=1e-6, on_miss="zero") as runner:
        got = step_all(runner)
        assert runner.latency.misses == runner.latency.steps == 12
        assert runner.latency.p50_us > 0
        result = runner.run(FED)  # a run has no deadline
    assert not any(a.any() for sent in got for a in sent.values())
    for name, values in result.outputs.items():
        np.testing.assert_array_equal(values, EXPECTED[name])


def test_warming_up_steps_on_zeros_and_leaves_no_trace(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Array]] = []
    step = StepRunner.step

    def spied(self: StepRunner, x: dict[str, Array]) -> dict[str, Array]:
        seen.append(x)
        return step(self, x)

    monkeypatch.setattr(StepRunner, "step", spied)
    with slt.open(folder, verify=False, warmup=7, deadline_ms=1e-6, on_miss="raise") as runner:
        assert len(seen) == 7
        assert all(x["image"].shape == (1, 1, 4, 4) and not x["image"].any() for x in seen)
        assert runner.latency.steps == runner.latency.misses == 0
    with slt.open(folder, warmup=3) as runner:
        for t in range(12):  # three samples: the batch size is free again
            for name, values in runner.step(at(t)).items():
                np.testing.assert_array_equal(values, EXPECTED[name][t])


def test_what_the_system_refuses_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Realtime] = []

    def apply(wanted: Realtime) -> tuple[str, ...]:
        asked.append(wanted)
        return ("no",)

    monkeypatch.setattr(opening, "apply", apply)
    with slt.open(folder, realtime=Realtime(cpu=3)) as runner:
        assert runner.refusals == ("no",)
    assert asked == [Realtime(cpu=3)]
    monkeypatch.undo()
    with slt.open(folder) as runner:
        assert runner.refusals == ()


def test_wrong_options_are_named_before_anything_is_read(tmp_path: Path) -> None:
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"warmup": -1}, "warmup is -1 steps, must be 0 or more"),
        ({"threads": 0}, "threads is 0, must be at least 1"),
        ({"deadline_ms": 0}, "deadline is 0 ms, must be a positive number"),
        ({"deadline_ms": float("nan")}, "deadline is nan ms"),
        ({"on_miss": "panic"}, "on_miss is 'panic', must be one of hold, zero, raise"),
        ({"timeout_s": 0}, "time limit is 0 s"),
    )
    for options, said in cases:
        with pytest.raises(InputError, match=said):
            slt.open(tmp_path / "nothing", **options)
    with pytest.raises(InputError) as caught:
        Deadline(-1.0, "panic")  # pyright: ignore[reportArgumentType]
    assert len(caught.value.violations) == 2


def test_lava_keeps_no_deadlines(tmp_path: Path) -> None:
    slt.export(integers(), None, tmp_path / "a", format="lava")
    with pytest.raises(InputError) as caught:
        slt.open(tmp_path / "a", engine="lava", warmup=1, deadline_ms=1.0, realtime=Realtime(cpu=0))
    assert [line.split("leave ")[1].split(" ")[0] for line in caught.value.violations] == [
        "warmup",
        "deadline_ms",
        "realtime",
    ]
