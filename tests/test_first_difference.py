"""Where an artifact starts to differ, and how far the reference was from its threshold there."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import nir
import numpy as np
import programs
import pytest

import sltdeploy as slt
from sltdeploy import reference
from sltdeploy.errors import InputError
from sltdeploy.potentials import Distance, before_reset, distance
from sltdeploy.program import (
    Array,
    DelayLine,
    Input,
    Linear,
    LoihiNeuron,
    Population,
    Program,
    Projection,
)
from sltdeploy.runtime import Runner
from sltdeploy.runtime.runner import RunResult
from sltdeploy.trace import Trace
from sltdeploy.verification import compare

PROGRAM = programs.branches()


def traced() -> tuple[Trace, dict[str, Array]]:
    """Trace of `PROGRAM` on a fixed input, and a copy of its records to change."""
    trace = reference.run(PROGRAM, programs.stimulus(PROGRAM))
    return trace, {name: record.copy() for name, record in trace.records.items()}


# ----------------------------------------------------------------------------- whole artifacts


def layer(weight: float) -> nir.NIRGraph:
    """Build Input -> Affine -> LIF -> Output; v <- 0.75 v + 0.25 W x, threshold 0.25."""
    values = np.array([[0.5, 1.0], [weight, 0.75]], np.float32)
    ones = np.ones(2, np.float32)
    return nir.NIRGraph(
        {
            "in": nir.Input({"input": np.array([2])}),
            "fc": nir.Affine(values, np.zeros(2, np.float32)),
            "lif": nir.LIF(ones * 2.0**-8, ones, ones * 0, ones * 0.25, ones * 0),
            "out": nir.Output({"output": np.array([2])}),
        },
        [("in", "fc"), ("fc", "lif"), ("lif", "out")],
        metadata={"dt": 2.0**-10},
    )


def test_a_changed_weight_is_found_where_it_first_shows(tmp_path: Path) -> None:
    slt.export(layer(0.25), None, tmp_path / "a", format="nir")
    slt.export(layer(2.0), None, tmp_path / "b", format="nir")
    data = (tmp_path / "b/network.nir").read_bytes()
    (tmp_path / "a/network.nir").write_bytes(data)
    manifest = json.loads((tmp_path / "a/manifest.json").read_text("utf8"))
    manifest["files"]["network.nir"] = hashlib.sha256(data).hexdigest()
    (tmp_path / "a/manifest.json").write_text(json.dumps(manifest), "utf8")

    x = np.zeros((4, 2, 2), np.float32)  # the first sample stays silent
    x[0, 1] = (0, 0.25)
    x[1:, 1] = (0.5, 0.25)
    found = slt.verify(tmp_path / "a", x)
    first = found.first
    assert first is not None
    # v = 0.25 * 0.75 * 0.25, then 0.75 v + 0.25 (0.25 * 0.5 + 0.75 * 0.25); with 2.0 it spikes.
    u = 0.75 * 0.046875 + 0.078125
    assert (first.population, first.neuron, first.sample, first.step) == ("lif", (1,), 1, 1)
    assert (first.expected, first.got) == (0.0, 1.0)
    assert first.distance == Distance(u - 0.25)
    assert found.lines()[0] == (
        "first difference: population 'lif', step 1, sample 1, neuron (1,): reference 0, "
        "membrane 0.136719 below threshold, artifact 1"
    )
    told = json.loads(json.dumps(found.to_json()))["first"]
    assert told["neuron"] == [1]
    assert told["distance"] == {"value": u - 0.25, "integers": None}


class Flipping(Runner):
    """Runs as the runner within does, and flips some spikes of what it recorded."""

    def __init__(self, inner: Runner, flips: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__(inner.manifest)
        self.inner, self.flips = inner, flips

    @property
    def latency_steps(self) -> int:
        """As within."""
        return self.inner.latency_steps

    def step(self, x: Array | Mapping[str, Array]) -> dict[str, Array]:
        """As within."""
        return self.inner.step(x)

    def run(self, x: Array | Mapping[str, Array], *, record: bool = False) -> RunResult:
        """As within, but for the flips."""
        result = self.inner.run(x, record=record)
        records = {name: values.copy() for name, values in result.records.items()}
        for name, where in self.flips.items():
            records[name][where] ^= True
        return RunResult(result.outputs, records)

    def reset(self, batch: int | None = None) -> None:
        """As within."""
        self.inner.reset(batch)

    def close(self) -> None:
        """As within."""
        self.inner.close()


@pytest.mark.parametrize(
    ("flips", "name"),
    [
        # step, sample, neuron
        ({"hidden/a": (9, 1, 3)}, "hidden/a"),
        ({"hidden/a": (9, 0, 0), "out": (4, 2, 1)}, "out"),  # time comes before program order
        ({"out": (4, 0, 0), "hidden/b": (4, 2, 3)}, "hidden/b"),  # which comes before the sample
    ],
)
def test_one_flipped_spike_is_named(
    tmp_path: Path, flips: Mapping[str, tuple[int, ...]], name: str
) -> None:
    slt.export(PROGRAM, None, tmp_path / "a", format="onnx")
    fed = programs.stimulus(PROGRAM)
    with slt.open(tmp_path / "a") as runner:
        found = slt.verify(Flipping(runner, flips), fed)
    assert [m.population for m in found.mismatches] == [n for n in ORDER if n in flips]
    first = found.first
    assert first is not None
    step, sample, *neuron = flips[name]
    assert (first.population, first.step, first.sample) == (name, step, sample)
    assert first.neuron == tuple(neuron)
    assert (first.expected == 1.0) != (first.got == 1.0)
    near = first.distance
    assert near is not None
    assert near.value == membranes()[name][step, sample][tuple(neuron)] - LIMITS[name]
    assert (near.value > 0) == (first.expected == 1.0)


ORDER = [p.name for p in PROGRAM.populations]
LIMITS = {"hidden/a": 0.5, "hidden/b": 0.75, "out": 1.0}


def membranes() -> dict[str, Array]:
    """Membranes before reset of `PROGRAM` on its stimulus, written out equation by equation."""
    fed = programs.stimulus(PROGRAM)
    weights = {
        p.name: next((op.weight for op in p.ops if isinstance(op, Linear)), np.zeros(0))
        for p in PROGRAM.projections
    }
    steps, batch = fed["touch"].shape[:2]
    v = {n: np.zeros((batch, 3 if n == "out" else 4), np.float32) for n in LIMITS}
    j = np.zeros((batch, 4), np.float32)
    found: dict[str, list[Array]] = {n: [] for n in LIMITS}

    def arriving(source: str, target: str, x: Array) -> Array:
        return np.asarray(x @ weights[f"{source} -> {target}"].T, np.float32)

    for t in range(steps):
        image, touch = fed["image"][t].reshape(batch, 16), fed["touch"][t]
        ua = 0.75 * v["hidden/a"] + (
            arriving("image", "hidden/a", image) + arriving("touch", "hidden/a", touch)
        )
        a = ua > 0.5
        j = np.float32(0.5) * j + (a + arriving("touch", "hidden/b", touch))
        ub = 0.75 * v["hidden/b"] + j
        b = ub >= 0.75
        total = a + 0.5 * b + arriving("touch", "sum", touch)
        uo = 0.75 * v["out"] + (arriving("sum", "out", total) + arriving("copy", "out", b))
        for name, u in (("hidden/a", ua), ("hidden/b", ub), ("out", uo)):
            found[name].append(u.astype(np.float32))
        v["hidden/a"] = np.where(a, 0, ua).astype(np.float32)
        v["hidden/b"] = np.where(b, 0, ub).astype(np.float32)
        v["out"] = np.where(uo > 1, uo - 1, uo).astype(np.float32)
    return {n: np.stack(rows) for n, rows in found.items()}


def test_a_value_has_no_threshold() -> None:
    trace, got = traced()
    got["value"][5, 0, 1] += 1
    found = compare(PROGRAM, trace, got)
    assert found.first is not None
    assert (found.first.population, found.first.step, found.first.neuron) == ("value", 5, (1,))
    assert found.first.distance is None
    assert "membrane" not in found.lines()[0]


# ----------------------------------------------------------------------------- membranes


def test_every_membrane_of_every_step() -> None:
    trace, _ = traced()
    for name, expected in membranes().items():
        for t, b in np.ndindex(*expected.shape[:2]):
            np.testing.assert_array_equal(before_reset(trace, name, b, t), expected[t, b])


@pytest.mark.parametrize("name", sorted(programs.each_rule()))
def test_the_membrane_decides_the_spike(name: str) -> None:
    """The sign of the distance is the spike, for every rule that spikes; others have none."""
    program = programs.each_rule()[name]
    trace = reference.run(program, programs.stimulus(program))
    rule = program.population("out").rule
    for t, b, n in np.ndindex(*trace.output.shape):
        near = distance(trace, "out", (n,), b, t)
        if not program.population("out").spiking:
            assert near is None
            continue
        assert near is not None
        ties = getattr(rule, "comparison") == "ge"  # noqa: B009 - a rule that spikes has it
        assert trace.output[t, b, n] == (near.value > 0 or (ties and near.value == 0))


def test_loops_and_delays_bring_what_they_hold() -> None:
    """A neuron that hears itself a step later, and its input two steps later."""
    program = Program(
        programs.CONVENTION,
        (
            Population("in", (1,), Input("spikes")),
            Population("late", (1,), DelayLine(np.array([2]), spiking=True)),
            Population("n", (1,), programs.neuron(1.0, decay=0.5)),
        ),
        (
            Projection("in", "late"),
            Projection("late", "n", (Linear(np.array([[0.75]], np.float32)),)),
            Projection("n", "n", (Linear(np.array([[-2.0]], np.float32)),), recurrent=True),
        ),
        ("n",),
    )
    trace = reference.run(program, np.ones((6, 1, 1), np.float32))
    held = [before_reset(trace, "n", 0, t)[0] for t in range(6)]
    # Steps 0, 1: nothing arrives. Then 0.75, 0.375 + 0.75 fires; 0 + 0.75 - 2; half of it + 0.75.
    assert held == [0, 0, 0.75, 1.125, -1.25, 0.125]
    assert distance(trace, "n", (0,), 0, 3) == Distance(0.125)
    assert distance(trace, "late", (0,), 0, 3) is None
    assert distance(trace, "in", (0,), 0, 3) is None


def integers() -> Program:
    """Build a Loihi program: one neuron, v keeps 3/4, u nothing; a = 3 x, threshold 10."""
    rule = LoihiNeuron(4095, 1024, np.array([5]), 1, 320.0, vth=10)
    return Program(
        programs.CONVENTION,
        (
            Population("in", (1,), Input("graded", scale=2.0, low=-4, high=7)),
            Population("out", (1,), rule),
        ),
        (Projection("in", "out", (Linear(np.array([[3]])),)),),
        ("out",),
        "loihi",
    )


def test_the_chip_s_integers_are_exact() -> None:
    trace = reference.run(integers(), np.array([[[0.5]], [[1.0]], [[1.5]]]))
    got = {"out": trace.records["out"].copy()}
    # x = 1, 2, 3: a << 6 is 192, 384, 576; bias 5 << 1; threshold 10 << 6.
    first = 192 + 10
    second = (first * 3072 >> 12) + 384 + 10
    assert (first, second) == (202, 545)
    assert [before_reset(trace, "out", 0, t)[0] for t in range(2)] == [first, second]
    got["out"][1:] ^= True
    found = compare(integers(), trace, got)
    assert found.first is not None
    assert found.first.step == 1
    assert found.first.distance == Distance((545 - 640) / 320, 545 - 640)
    assert "membrane 0.296875 (95 in the chip's integers) below threshold" in found.lines()[0]


def test_the_words_for_a_distance() -> None:
    assert str(Distance(0.0)) == "at threshold"
    assert str(Distance(0.25)) == "0.25 above threshold"
    assert str(Distance(-2.0)) == "2 below threshold"


def test_what_has_no_membrane_is_refused() -> None:
    trace, _ = traced()
    with pytest.raises(InputError) as caught:
        before_reset(trace, "sum", 3, 12)
    assert caught.value.violations == (
        "population 'sum': Relay has no membrane, give one of neurons",
        "step 12 must be 0 or more and below 12, the trace's length",
        "sample 3 must be 0 or more and below 3",
    )
    with pytest.raises(InputError, match="population 'x' is missing, these are: image, touch"):
        before_reset(trace, "x", 0, 0)
    with pytest.raises(InputError, match="step -1 must be 0 or more"):
        before_reset(trace, "out", 0, -1)
