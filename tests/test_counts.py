"""Populations, totals and kinds of what was counted."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sltdeploy.anatomy import describe, fan_in, neuron_kind
from sltdeploy.counting import count
from sltdeploy.errors import InputError
from sltdeploy.program import (
    Conv,
    Convention,
    Input,
    Linear,
    LoihiNeuron,
    Neuron,
    Pool,
    Population,
    Program,
    Projection,
    Relay,
    Reshape,
    Rule,
    Scale,
)
from sltdeploy.reference import run


def lif(threshold: float | None = 0.5) -> Neuron:
    """LIF neurons that keep a quarter; without a threshold a readout."""
    zero = np.zeros((), np.float32)
    return Neuron(
        decay=zero + np.float32(0.25),
        bias=zero,
        v_init=zero,
        threshold=None if threshold is None else np.array(threshold, np.float32),
        v_reset=None if threshold is None else zero,
    )


LOIHI = LoihiNeuron(4095, 1024, np.zeros((), np.int32), 0, 1.0, vth=5)


def two_layers(rng: np.random.Generator, *, readout: bool = False) -> Program:
    """``6 -> 4 -> 3`` with half of the weights 0."""
    w = [(rng.random(s) * (rng.random(s) > 0.5)).astype(np.float32) for s in ((4, 6), (3, 4))]
    return Program(
        Convention(dt=1e-3),
        (
            Population("input", (6,), Input("spikes")),
            Population("0", (4,), lif()),
            Population("1", (3,), lif(None if readout else 0.5)),
        ),
        (Projection("input", "0", (Linear(w[0]),)), Projection("0", "1", (Linear(w[1]),))),
        ("1",),
    )


def spikes(rng: np.random.Generator, *shape: int) -> Any:
    """Random spikes."""
    return rng.random(shape) < 0.5


def test_populations() -> None:
    """Spikes, rates, updates and silent neurons, readouts included."""
    rng = np.random.default_rng(9)
    program = two_layers(rng, readout=True)
    trace = run(program, spikes(rng, 5, 2, 6))
    given_, hidden, out = count(program, trace).populations
    assert [p.kind for p in (given_, hidden, out)] == ["spike input", "LIF", "LI"]
    assert given_.updates == 0
    assert (hidden.updates, out.updates) == (20, 15)
    record = trace.records["0"]
    assert hidden.spikes.tolist() == [int(record[:, b].sum()) for b in range(2)]
    assert hidden.rate == pytest.approx(float(record.mean()))
    assert hidden.silent == sum(not record[:, :, n].any() for n in range(4))
    assert out.spikes.tolist() == [0, 0]
    assert out.events.sum() == np.count_nonzero(trace.records["1"]) > 0


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        (lif(), "LIF"),
        (replace(lif(), decay=np.ones(())), "IF"),
        (replace(lif(), decay_syn=np.zeros(())), "CubaLIF"),
        (lif(None), "LI"),
        (replace(lif(None), decay=np.ones(())), "I"),
        (replace(lif(None), decay_syn=np.zeros(())), "CubaLI"),
        (LOIHI, "LIF"),
        (replace(LOIHI, dv=0), "IF"),
        (replace(LOIHI, du=100, vth=None), "CubaLI"),
        (Relay(), "relay"),
        (Input("graded"), "graded input"),
    ],
)
def test_kinds(rule: Rule, kind: str) -> None:
    """Each rule has the name of its NIR node."""
    assert neuron_kind(rule) == kind


def test_json_and_totals() -> None:
    """JSON holds exact totals, and totals are sums."""
    rng = np.random.default_rng(10)
    program = two_layers(rng)
    counts = count(program, run(program, spikes(rng, 5, 3, 6)))
    plain = json.loads(json.dumps(counts.to_json()))
    assert plain["totals"]["synops"]["total"] == int(counts.synops.sum()) > 0
    assert plain["totals"]["synops"]["mean"] == pytest.approx(counts.synops.mean())
    assert plain["totals"]["weights"] == counts.weights == 24 + 12
    assert plain["totals"]["sparsity"] == pytest.approx(1 - counts.nonzero / 36)
    assert plain["projections"][0]["ops"] == "Linear 6->4"
    assert counts.synops_dense == 5 * counts.synapses == 5 * 36
    assert counts.synops.tolist() == np.sum([p.synops for p in counts.projections], axis=0).tolist()
    assert counts.synops_unpruned.sum() > counts.synops.sum()


def test_what_is_refused() -> None:
    """A foreign trace and an empty one."""
    program, other = (two_layers(np.random.default_rng(seed)) for seed in (1, 2))
    with pytest.raises(InputError, match="another program"):
        count(program, run(other, np.zeros((1, 1, 6), bool)))
    for shape in ((0, 1, 6), (1, 0, 6)):
        with pytest.raises(InputError, match="needs 1 or more"):
            count(program, run(program, np.zeros(shape, bool)))


def test_fan_in_counts_paths_within_the_borders() -> None:
    """A tap on padding is no path, nor is a zero weight."""
    kernel = np.ones((1, 2, 3, 3), np.float32)
    kernel[0, 1, 0, 0] = 0
    reached = fan_in((Conv(kernel, padding=(1, 1, 1, 1)),), (2, 4, 4))
    assert reached[0].tolist() == [
        [8, 12, 12, 8],
        [12, 17, 17, 11],
        [12, 17, 17, 11],
        [8, 11, 11, 7],
    ]


def test_ops_in_words() -> None:
    """What a report prints, defaults left out."""
    kernel = np.zeros((8, 2, 3, 5), np.float32)
    ops = (
        Conv(kernel, padding=(1, 1, 1, 1), groups=2),
        Conv(kernel, stride=(2, 2), padding=(0, 1, 0, 1), dilation=(1, 2)),
        Pool((2, 2), (2, 2), kind="average"),
        Pool((2, 2), (1, 1), (1, 1, 1, 1)),
        Scale(np.ones(())),
        Reshape((2, 3)),
    )
    assert [describe(op) for op in ops] == [
        "Conv 3x5 4->8, padding 1, groups 2",
        "Conv 3x5 2->8, stride 2, padding (0, 1, 0, 1), dilation (1, 2)",
        "average pool 2x2",
        "sum pool 2x2, stride 1, padding 1",
        "scale",
        "reshape to 2x3",
    ]
