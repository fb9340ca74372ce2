"""Random networks in the reference and in ONNX Runtime against an oracle that shares no code.

A tenth of the full comparison with a fixed seed and a tenth with a fresh one, which is printed;
the whole of it is ``python tests/random_networks.py --count 10000 --seed N``.
"""

import secrets
from dataclasses import replace
from functools import partial
from typing import Any
from unittest.mock import Mock

import network_comparison
import numpy as np
import pytest
from network_comparison import Total, compare, compare_many, in_onnx
from random_networks import random_network
from random_parts import Array

from sltdeploy import reference
from sltdeploy.lowering import lower
from sltdeploy.program import Neuron, Program

TENTH = {True: 1000, False: 200}  # dyadic networks, float networks
FEATURES = (
    *("Affine", "AvgPool2d", "Conv1d", "Conv2d", "CubaLI", "CubaLIF", "Delay", "Flatten", "I"),
    *("IF", "Input", "LI", "LIF", "Linear", "NIRGraph", "Output", "Scale", "SumPool2d"),
    *("Threshold", "ge", "gt", "zero", "subtract", "pruned", "self loop", "ring", "skip"),
    *("loop in a nested graph", "two inputs", "two outputs"),
)


def assert_same(total: Total, least_spikes: int) -> None:
    """No spike differs, and there were many; near misses are shown."""
    if total.inside:
        print("within the margin:", *total.inside, sep="\n")
    assert total.differences == []
    assert total.spikes > least_spikes


@pytest.mark.parametrize("dyadic", [True, False])
def test_a_tenth_with_a_fixed_seed(dyadic: bool) -> None:
    """The same networks in each run; they hold everything that the generator knows."""
    total = compare_many(2026, TENTH[dyadic], dyadic=dyadic)
    assert_same(total, 100 * TENTH[dyadic])
    assert {name: total.features[name] for name in FEATURES if total.features[name] < 3} == {}
    assert total.inside == []


@pytest.mark.parametrize("dyadic", [True, False])
def test_a_tenth_with_a_fresh_seed(dyadic: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Others in each run; a difference names its network."""
    seed = secrets.randbelow(2**40)
    with capsys.disabled():
        print(f"\n{TENTH[dyadic]} random networks, dyadic={dyadic}, from seed {seed}")
    assert_same(compare_many(seed, TENTH[dyadic], dyadic=dyadic), 50 * TENTH[dyadic])


def test_networks_are_the_same_in_each_process() -> None:
    """A seed names a network."""
    network = random_network(3)
    assert lower(network.graph).digest() == lower(random_network(3).graph).digest()
    assert network.graph.metadata == random_network(3).graph.metadata
    assert len({lower(random_network(seed).graph).digest() for seed in range(20)}) == 20


def changed(changes: dict[str, Any], program: Program) -> Program:
    """``program`` with every spiking neuron changed."""
    return replace(
        program,
        populations=tuple(
            replace(p, rule=replace(p.rule, **changes))
            if isinstance(p.rule, Neuron) and p.rule.spiking
            else p
            for p in program.populations
        ),
    )


def instant(program: Program) -> Program:
    """``program`` with the weights of what is recurrent set to nothing."""
    late = [p for p in program.projections if p.recurrent]
    reached = {q.target for q in program.projections if q not in late}
    kept = tuple(q for q in program.projections if q not in late or q.target not in reached)
    return replace(program, projections=kept)


@pytest.mark.parametrize(
    "change",
    [
        partial(changed, {"comparison": "gt"}),
        partial(changed, {"v_init": np.full((), 0.125, np.float32)}),
        partial(changed, {"bias": np.full((), 0.125, np.float32)}),
        instant,
    ],
    ids=["comparison", "first potential", "bias", "recurrent projections"],
)
def test_another_program_shows(change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each change of what `lower` gives is found among fifty networks, in both machines."""

    def lowered(graph: Any) -> Program:
        return change(lower(graph))

    monkeypatch.setattr(network_comparison, "lower", lowered)
    found = compare_many(2026, 50, dyadic=True).differences
    assert any(": reference, " in line for line in found)
    assert any(": ONNX Runtime, " in line for line in found)


def flipped(records: dict[str, Array], name: str) -> dict[str, Array]:
    """``records`` with the first spike of ``name`` turned around."""
    record = records[name].copy()
    record[(0,) * record.ndim] = 1 - record[(0,) * record.ndim]
    return {**records, name: record}


@pytest.mark.parametrize("margin", [0.0, 1e9])
def test_float_spikes_are_judged_by_their_distance(
    margin: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One spike turned in one machine: a difference, or a case to report within the margin."""
    network = next(n for n in map(float_network, range(50)) if "LIF" in n.features)
    name = next(n for n in network.graph.nodes if n.startswith("lif"))
    assert compare(network).inside == compare(network).differences == []
    turned = flipped(in_onnx(lower(network.graph), network.x), name)
    monkeypatch.setattr(network_comparison, "in_onnx", Mock(return_value=turned))
    monkeypatch.setattr(network_comparison, "MARGIN", margin)
    found = compare(network)
    (line,) = found.inside if margin else found.differences
    assert line.startswith(f"ONNX Runtime, {name}, step 0, sample 0: ")
    assert not (found.differences if margin else found.inside)


def float_network(seed: int) -> Any:
    """A network with numbers of any kind."""
    return random_network(seed, dyadic=False)


def test_float_values_are_judged_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """A readout that is off by a thousandth, in both machines' place."""
    network = next(n for n in map(float_network, range(50)) if "LI" in n.features)
    name = next(n for n in network.graph.nodes if n.startswith("li") and n[2].isdigit())
    trace = reference.run(lower(network.graph), network.x)
    scale = max(1.0, float(np.abs(trace.records[name]).max()))
    off = {**trace.records, name: trace.records[name] + np.float32(1e-3 * scale)}
    monkeypatch.setattr(reference, "run", Mock(return_value=replace(trace, records=off)))
    assert any(line.startswith(f"reference, {name}, ") for line in compare(network).differences)
