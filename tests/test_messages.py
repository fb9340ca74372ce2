"""Messages: every spike, followed by hand to every core on which it has a synapse."""

from dataclasses import replace

import numpy as np
import pytest
from cores import LIF, dense, kernel, limited, network

from sltdeploy.arithmetic import apply_ops
from sltdeploy.counting import count
from sltdeploy.machine import Target
from sltdeploy.mapping import fit
from sltdeploy.mapping.placing import place
from sltdeploy.pricing import energy
from sltdeploy.program import (
    Array,
    Conv,
    Convention,
    DelayLine,
    Input,
    Linear,
    Pool,
    Population,
    Program,
    Projection,
    Relay,
    Reshape,
)
from sltdeploy.reference import run
from sltdeploy.synapse import without_bias
from sltdeploy.target import load

STEPS, BATCH = 12, 2
SMALL1 = limited(
    load("loihi1"),
    {"neurons_per_core": 30, "synapse_words_per_core": 400, "axons_out_per_core": 90},
)
SMALL2 = limited(load("loihi2"), {"neurons_per_core": 50, "synapse_words_per_core": 300})
TINY2 = limited(SMALL2, {"synapse_words_per_core": 35})  # a layer's channels are cut as well
PLACED = (SMALL1, SMALL2, limited(SMALL2, {}, "lava-2022"), TINY2, load("loihi1"), load("loihi2"))


def pruned(post: int, pre: int) -> Linear:
    """A linear layer of which a tenth is left."""
    rng = np.random.default_rng(post * pre)
    return Linear((rng.random((post, pre)) < 0.1).astype(np.float32))


def spikes(program: Program) -> Array:
    """Input in which three of ten elements spike."""
    shape = (STEPS, BATCH, *program.inputs[0].shape)
    return (np.random.default_rng(3).random(shape) < 0.3).astype(np.float32)


def chain() -> Program:
    """Convolutions with borders, stride, groups and pooling, then dense, then pruned."""
    grouped = Conv(np.ones((6, 2, 3, 3), np.float32), groups=2, padding=(1, 1, 1, 1))
    return network(
        (2, 9, 8),
        (kernel(4, 2, padding=1),),
        (grouped,),
        (kernel(5, 6, stride=(2, 2)),),
        (Pool((2, 1), (2, 1)), Reshape((5 * 2 * 3,)), dense(40, 30)),
        (pruned(33, 40),),
    )


def branched() -> Program:
    """A relay, a delay line, a loop, and two ways between the same layers."""
    late = DelayLine(np.full((20,), 2), spiking=True)
    populations = (
        Population("in", (20,), Input("spikes")),
        Population("late", (20,), late),
        Population("sum", (16,), Relay()),
        Population("a", (45,), LIF),
        Population("b", (70,), LIF),
    )
    projections = (
        Projection("in", "late"),
        Projection("in", "sum", (pruned(16, 20),)),
        Projection("sum", "a", (pruned(45, 16),)),
        Projection("late", "a", (pruned(45, 20),)),
        Projection("a", "a", (pruned(45, 45),), recurrent=True),
        Projection("a", "b", (pruned(70, 45),)),
        Projection("a", "b", (pruned(70, 45),), recurrent=True),
        Projection("in", "b", (pruned(70, 20),)),
    )
    return Program(Convention(1e-3), populations, projections, ("b",))


def joined(program: Program, source: str, target: str) -> Array:
    """Whether neuron j of ``source`` has a way to neuron i of ``target``, (post, pre) bool."""
    pre, post = program.population(source).size, program.population(target).size
    shape = program.population(source).shape
    found = np.zeros((post, pre), bool)
    for p in program.projections:
        if p.target != target:
            continue
        if p.source == source:
            ones = np.eye(pre).reshape(pre, *shape)
            found |= apply_ops(without_bias(p.ops), ones).reshape(pre, post).T != 0
        elif isinstance(program.population(p.source).rule, Relay | DelayLine):
            middle = program.population(p.source)
            ones = np.eye(middle.size).reshape(middle.size, *middle.shape)
            second = apply_ops(without_bias(p.ops), ones).reshape(middle.size, post).T != 0
            found |= second @ joined(program, source, middle.name)
    return found


def by_hand(program: Program, target: Target, records: dict[str, Array]) -> dict[str, int]:
    """Messages of all samples by ``source -> target``, spike by spike."""
    cuts = place(program, target, {}).cuts
    sent: dict[str, int] = {}
    for source in program.populations:
        if isinstance(source.rule, Relay | DelayLine):
            continue
        for name, cut in cuts.items():
            ways = joined(program, source.name, name)
            if not ways.any():
                continue
            fired = records[source.name].reshape(-1, source.size)
            total = 0
            for step in fired:
                for neuron in np.flatnonzero(step):
                    total += len({int(cut.core[i]) for i in np.flatnonzero(ways[:, neuron])})
            sent[f"{source.name} -> {name}"] = total
    return sent


@pytest.mark.parametrize(
    "target", PLACED, ids=["1-small", "2-small", "2-older", "2-tiny", "1", "2"]
)
@pytest.mark.parametrize("make", [chain, branched])
def test_messages_are_those_of_every_spike_by_hand(make: object, target: Target) -> None:
    assert callable(make)
    program = make()
    assert isinstance(program, Program)
    trace = run(program, spikes(program))
    found = fit(program, target)
    counts = count(program, trace, found)
    expected = by_hand(program, target, dict(trace.records))
    sent = {f"{m.source} -> {m.target}": int(m.messages.sum()) for m in counts.messages}
    assert sent == expected
    assert sum(sent.values()) > 0
    assert int(counts.sent.sum()) == sum(sent.values())
    assert {m.cores for m in counts.messages} != {0}


def test_the_small_chips_need_many_cores() -> None:
    """Else the test above would not tell cores from layers."""
    for target in PLACED[:4]:
        for program in (chain(), branched()):
            assert max(fit(program, target).cores.values()) > 1
    assert [layer.cut for layer in fit(chain(), TINY2).layers][1].startswith("tiles of 3 x")


def test_a_dense_layer_sends_to_each_of_its_cores() -> None:
    """Dense keeps its zeros, and so an axon to every core."""
    weight = np.ones((100, 8), np.float32) * (np.arange(8) != 3)
    program = network((8,), (Linear(weight),))
    (reach,) = fit(program, SMALL2).reaches
    assert reach.cores.tolist() == [2] * 8


def test_messages_are_priced_on_loihi_1() -> None:
    """111 pJ for each spike and core; counted without a placement there is a note."""
    program = branched()
    trace = run(program, spikes(program))
    counts = count(program, trace, fit(program, SMALL1))
    (term,) = [t for t in energy(counts, SMALL1, 10.0).terms if t.event == "message"]
    assert term.energy is not None
    assert term.energy.nominal == pytest.approx(111e-12 * counts.sent.mean())
    assert term.energy.low == pytest.approx(1.7e-12 * counts.sent.mean())
    assert "predicted placement" in term.note
    plain = count(program, trace)
    assert plain.messages == ()
    assert not plain.sent.any()
    (term,) = [t for t in energy(plain, SMALL1, 10.0).terms if t.event == "message"]
    assert "not mapped" in term.note
    whole = counts.to_json()["messages"]
    assert [(m["source"], m["target"]) for m in whole] == [
        (m.source, m.target) for m in counts.messages
    ]
    assert whole[0]["messages"]["total"] == int(counts.messages[0].messages.sum())


def test_a_fit_of_nothing_counts_nothing() -> None:
    """A processor has no cores between which messages go."""
    program = network((4,), (dense(3, 4),))
    trace = run(program, np.ones((3, 1, 4), np.float32))
    assert count(program, trace, fit(program, load("cortex-m7"))).messages == ()
    assert replace(count(program, trace), messages=()).sent.tolist() == [0]
