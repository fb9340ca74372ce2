"""``bench``: what it times, in which order, what it compares, and what it says."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import programs
import pytest
from commands import only_object, say
from lava_nets import lif, single, small

from sltdeploy import benching, exporting
from sltdeploy.benching.contenders import Opened, bare_onnx
from sltdeploy.benching.measuring import (
    WARM,
    Agreement,
    agreement,
    durations,
    sent,
    statistics,
)
from sltdeploy.benching.surroundings import surroundings
from sltdeploy.errors import InputError
from sltdeploy.exporting import PROGRAM, export
from sltdeploy.program import Array, Program
from sltdeploy.program_file import from_bytes
from sltdeploy.reference import run
from sltdeploy.runtime import open_artifact
from sltdeploy.runtime.latency import Stopwatch
from sltdeploy.stimulus import example


class Fake:
    """A contender whose steps take ``ns`` each by `clock`; it writes down what it is asked."""

    now = 0
    log: list[tuple[str, str, int]]

    def __init__(self, name: str, ns: int) -> None:
        self.name, self.ns = name, ns

    def begin(self) -> None:
        """Write it down."""
        Fake.log.append((self.name, "begin", 0))

    def step(self, frame: int) -> int:
        """Write it down and let time pass."""
        Fake.log.append((self.name, "step", frame))
        Fake.now += self.ns
        return frame

    def read(self, sent: int) -> Mapping[str, Array]:
        """Something of the frame."""
        return {"spikes": np.array([sent % 2 == 0]), "values": np.array([float(sent)])}


def clock() -> int:
    return Fake.now


def no_show(done: int, total: int, what: str) -> None:
    """Show nothing."""


@pytest.fixture(autouse=True)
def fresh() -> None:
    """Nothing has been asked."""
    Fake.now, Fake.log = 0, []


def test_each_step_is_timed_alone_in_turns_after_some_warm_ones() -> None:
    a, b = Fake("a", 7), Fake("b", 11)
    taken = durations((a, b), frames=3, steps=4, rounds=2, clock=clock, show=no_show)
    assert {name: values.tolist() for name, values in taken.items()} == {
        "a": [7] * 8,
        "b": [11] * 8,
    }
    frames = [k % 3 for k in range(WARM + 4)]
    expected = [
        entry
        for _ in range(2)
        for name in "ab"
        for entry in ((name, "begin", 0), *((name, "step", k) for k in frames))
    ]
    assert Fake.log == expected


def test_rounds_are_kept_apart() -> None:
    a = Fake("a", 0)

    def show(done: int, total: int, what: str) -> None:
        assert (total, what) == (3, "a")
        a.ns = 10 * (done + 1)

    taken = durations((a,), frames=1, steps=2, rounds=3, clock=clock, show=show)
    assert taken["a"].tolist() == [10, 10, 20, 20, 30, 30]


def test_statistics_are_ranks() -> None:
    taken = np.random.default_rng(0).permutation(np.arange(1, 2001)) * 1000
    found = statistics(taken, deadline_ms=1.5)
    assert (found.p50_us, found.p95_us, found.p99_us, found.p999_us) == (1000, 1900, 1980, 1998)
    assert (found.worst_us, found.jitter_us, found.mean_us) == (2000, 980, 1000.5)
    assert (found.steps, found.deadline_us, found.misses) == (2000, 1500, 500)
    assert statistics(taken).misses is None
    watch = Stopwatch(1_500_000)
    for ns in taken:
        watch.add(int(ns))
    about = watch.latency()
    for name, value in vars(found).items():
        assert getattr(about, name) == pytest.approx(value, rel=1 / 32)


def test_one_step_is_every_percentile() -> None:
    found = statistics(np.array([5000]))
    assert {found.p50_us, found.p95_us, found.p99_us, found.p999_us, found.worst_us} == {5.0}


def test_agreement_counts_spikes_and_measures_values() -> None:
    first = sent(Fake("a", 0), 4)
    assert first["spikes"].shape == (4, 1)
    assert agreement(first, first) == Agreement(2, 4, 0, 4, 0.0)
    other = {"spikes": first["spikes"].copy(), "values": first["values"] + 0.5}
    other["spikes"][1:3] = np.logical_not(other["spikes"][1:3])
    assert agreement(first, other) == Agreement(2, 4, 2, 4, 0.5)


def test_agreement_hides_no_nan() -> None:
    first = {"a": np.array([1, np.inf, np.nan]), "b": np.array([2.0])}
    same = agreement(first, first)
    assert same.worst == 0
    assert same.to_json()["worst"] == 0
    other = agreement(first, {**first, "a": np.array([np.nan, np.inf, np.nan])})
    assert np.isnan(other.worst)
    assert json.dumps(other.to_json(), allow_nan=False)


@pytest.mark.parametrize("kind", ["opened", "bare"])
def test_contenders_send_what_the_reference_sends(tmp_path: Path, kind: str) -> None:
    """Two inputs, spikes and values; again from the first state on, each time."""
    program = programs.branches()
    export(program, None, tmp_path / "a", format="onnx")
    frames = example(program, steps=9, batch=1)
    assert len(frames) > 1
    expected = run(program, frames)
    with open_artifact(tmp_path / "a") as runner:
        c = (
            Opened("o", runner, frames)
            if kind == "opened"
            else bare_onnx("o", tmp_path / "a", frames)
        )
        for _ in range(2):
            got = sent(c, 9)
            assert set(got) == set(program.outputs)
            for name, values in got.items():
                assert values.dtype == (bool if program.population(name).spiking else np.float32)
                np.testing.assert_allclose(
                    values.astype(float), expected.records[name].astype(float), atol=1e-6
                )


def ticking(steps: int, each: tuple[int, ...]) -> Iterator[int]:
    """Clock of rounds in which contender k's steps take ``each[k]``; two readings a step."""
    now = 0
    for reading in count():
        yield now
        if reading % 2 == 0:
            now += each[reading // (2 * steps) % len(each)]


def test_ratios_are_those_of_the_medians(here: Path) -> None:
    plan = benching.Plan(("onnxruntime",), steps=5, rounds=3, deadline_ms=0.001)
    times = ticking(5, (1500, 6000))
    found = benching.bench(Path("artifact"), plan, clock=lambda: next(times))
    assert [t.name for t in found.timed] == ["artifact", "onnxruntime"]
    assert [t.latency.p50_us for t in found.timed] == [1.5, 6.0]
    assert [t.ratio for t in found.timed] == [1.0, 0.25]
    assert [t.latency.steps for t in found.timed] == [15, 15]
    assert [t.latency.misses for t in found.timed] == [15, 15]
    assert found.refused == {}


def test_the_input_has_the_rate_that_was_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    export(programs.each_rule()["lif"], None, folder, format="onnx")
    silent = benching.bench(folder, benching.Plan(("onnxruntime",), 50, 1, rate=0.0))
    busy = benching.bench(folder, benching.Plan(("onnxruntime",), 50, 1, rate=1.0))
    assert silent.timed[1].agreement.spikes < busy.timed[1].agreement.spikes
    assert busy.timed[1].agreement.differing == 0
    assert busy.frames == 50


def test_long_benches_repeat_their_frames(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def spy(program: Program, *, steps: int, **options: Any) -> dict[str, Array]:
        drawn.append(steps)
        return example(program, steps=steps, **options)

    monkeypatch.setattr(benching, "example", spy)
    found = benching.bench(Path("artifact"), benching.Plan(steps=300, rounds=1))
    assert [found.frames] == drawn == [benching.FRAMES]
    assert benching.FRAMES < 300 == found.timed[0].latency.steps


def test_a_rival_that_sends_something_else_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = small(lif(threshold=single(0.5)))
    other = small(lif(threshold=single(1.5)))
    x = example(program, steps=40, batch=1, rate=0.5, seed=benching.SEED)
    right, wrong = run(program, x).output, run(other, x).output
    assert right.any()
    export(program, None, tmp_path / "a", format="onnx")

    def exports_another(_: Program, *places: Any, **options: Any) -> exporting.Artifact:
        return export(other, *places, **options)

    monkeypatch.setattr(exporting, "export", exports_another)
    command = f"bench {tmp_path / 'a'} --against onnxruntime --steps 40 --rounds 1 --rate 0.5"
    assert say(f"{command} --json") == 0
    own, rival = only_object(capfd.readouterr().out)["timed"]
    assert own["agreement"]["differing"] == 0
    assert rival["agreement"]["differing"] == int((right != wrong).sum()) > 0
    assert rival["agreement"]["spikes"] == int(right.sum())


def test_a_rival_that_is_not_installed_is_left_out(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert say("bench artifact --against onnxruntime --steps 3 --rounds 1") == 0
    out, err = capfd.readouterr()
    assert err.startswith("ONNX Runtime dense step, IO binding: left out: ")
    assert 'pip install "sltdeploy[onnx]"' in err
    assert out.count("artifact") >= 1


def test_the_command_prints_a_line_for_each(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = "bench artifact --against onnxruntime,onnxruntime --steps 30 --rounds 2"
    assert say(f"{command} --deadline-ms 1000000") == 0
    out, err = capfd.readouterr()
    assert err == ""
    head, own, rival, compared, *rest = out.splitlines()
    assert head.split()[:4] == ["what", "median", "us", "p95"]
    assert "misses" in head
    assert own.split()[0] == "artifact"
    assert own.split()[-3:] == ["0", "1.000", "0"]
    assert rival.startswith("ONNX Runtime dense step")
    assert compared == "compared: 90 values of the outputs"
    assert rest[0].startswith("2 rounds of 30 steps, 30 frames at 0.05 spikes")
    assert say("bench artifact --steps 3 --rounds 1") == 0
    assert "misses" not in capfd.readouterr().out


def test_the_command_says_what_was_compared(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export(programs.each_rule()["lif"], None, tmp_path / "a", format="onnx")
    assert say(f"bench {tmp_path / 'a'} --steps 50 --rounds 1 --rate 0.5") == 0
    own = next(x for x in capfd.readouterr().out.splitlines() if x.startswith("compared: "))
    spikes, elements = (int(word) for word in own.split() if word.isdigit())
    assert 0 < spikes < elements
    assert say(f"bench {tmp_path / 'a'} --steps 50 --rounds 1 --rate 0") == 0
    assert f"0 spikes in {elements} elements of the outputs; no output" in capfd.readouterr().out


def test_json_holds_all_that_a_figure_must_be_read_with(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = "bench artifact --against onnxruntime --steps 4 --rounds 2 --rate 0.5"
    assert say(f"{command} --json") == 0
    found = only_object(capfd.readouterr().out)
    assert found["plan"] == {
        "against": ["onnxruntime"],
        "steps": 4,
        "rounds": 2,
        "rate": 0.5,
        "deadline_ms": None,
    }
    assert [t["name"] for t in found["timed"]] == ["artifact", "onnxruntime"]
    own, other = found["timed"]
    assert own["latency"]["steps"] == 8
    assert other["ratio"] == own["latency"]["p50_us"] / other["latency"]["p50_us"]
    assert other["agreement"]["differing"] == 0
    assert (other["agreement"]["elements"], other["agreement"]["values"]) == (0, 4 * 3)
    about = found["surroundings"]
    assert about["threads"] == 1
    assert about["versions"]["numpy"] == np.__version__
    assert {"date", "machine", "system", "cpu", "cores", "load", "python"} <= set(about)


def test_surroundings_leave_out_what_is_not_there() -> None:
    found = surroundings(("numpy", "no-such-package"))
    assert set(found["versions"]) == {"sltdeploy", "numpy"}
    assert json.loads(json.dumps(found)) == found


def test_an_integer_artifact_has_no_float_rival(tmp_path: Path) -> None:
    x = example(programs.each_rule()["lif"])
    folder = tmp_path / "a"
    export(programs.each_rule()["lif"], None, folder, format="lava", quantize="int8", calibration=x)
    assert from_bytes((folder / PROGRAM).read_bytes()).numbers == "loihi"
    found = benching.bench(folder, benching.Plan(("onnxruntime",), 3, 1))
    assert found.refused == {"onnxruntime": "the program holds loihi integers, ONNX takes floats"}
    assert len(found.timed) == 1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("--against numpy", ["'numpy'", "norse, torch, compile, onnxruntime"]),
        ("--steps 0", ["steps is 0", "at least 1"]),
        ("--rounds 0", ["rounds is 0", "at least 1"]),
        ("--rate 1.5", ["rate is 1.5", "0 to 1"]),
        ("--rate nan", ["rate is nan"]),
        ("--deadline-ms 0", ["deadline is 0", "positive"]),
        ("--deadline-ms inf", ["deadline is inf"]),
    ],
)
def test_a_wrong_plan_is_one_line(
    here: Path, capfd: pytest.CaptureFixture[str], options: str, named: list[str]
) -> None:
    assert say(f"bench artifact {options}") == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert [word for word in named if word not in err] == []


def test_all_that_is_wrong_with_a_plan_is_told_at_once() -> None:
    wrong: Any = replace(benching.Plan(), against=("a", "b"), steps=0, rounds=0, rate=-1)
    with pytest.raises(InputError) as caught:
        benching.bench(Path("nowhere"), wrong)
    assert len(caught.value.violations) == 5


def test_what_is_no_artifact_is_refused(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert say("bench occupied") == 2
    assert "manifest.json" in capfd.readouterr().err
