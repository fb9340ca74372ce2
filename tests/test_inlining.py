"""Inlining: the same spikes and values at every step, from the first one on, by fewer parts."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from late_programs import delay, late_programs, network
from programs import CONVENTION, dyadic, neuron, random_program, stimulus

from sltdeploy import inlining
from sltdeploy.inlining import inline
from sltdeploy.program import (
    Array,
    DelayLine,
    Input,
    Linear,
    Neuron,
    Op,
    Population,
    Program,
    Projection,
    Relay,
    Reshape,
    Rule,
)
from sltdeploy.quantize import for_loihi
from sltdeploy.reference import run

EYE = np.eye(5, dtype=np.float32)


def same(before: Program, after: Program, steps: int = 9) -> None:
    """Both give the same records of what both have, outputs among them."""
    x = stimulus(before, steps=steps, batch=2)
    a, b = run(before, x).records, run(after, x).records
    assert set(before.outputs) <= set(b)
    for name in set(a) & set(b):
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def tangle(seed: int) -> Program:
    """Relays, delays and neurons joined at random, forward and back, biases here and there.

    Weights are -1, 0 and 1, one or two a row, so that sums of spikes and of k / 16 are exact.
    """
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.integers(1, 4, 8)]
    populations = [
        Population("in", (sizes[0],), Input("spikes")),
        Population("x", (sizes[1],), Input("graded")),
        *(Population(f"p{k}", (n,), _rule(rng, n)) for k, n in enumerate(sizes[2:])),
        Population("out", (2,), neuron(0.5)),
    ]
    projections: list[Projection] = []
    for k, target in enumerate(populations[2:], 2):
        for m in {*rng.integers(max(0, k - 3), k, int(rng.integers(1, 3)))}:
            projections.append(_joined(rng, populations[m], target, recurrent=False))
        if rng.random() < 0.3:
            source = populations[int(rng.integers(2, len(populations)))]
            projections.append(_joined(rng, source, target, recurrent=True))
    shown = [p.name for p in populations[2:-1] if rng.random() < 0.2]
    return Program(CONVENTION, tuple(populations), tuple(projections), ("out", *shown))


def _rule(rng: np.random.Generator, size: int) -> Rule:
    kind = rng.integers(4)
    if kind < 2:
        return Relay()
    if kind == 3:
        return neuron(0.5, decay_syn=0.5 if rng.random() < 0.5 else None)
    even = rng.random() < 0.7
    return DelayLine(np.asarray(rng.integers(0, 4, 1 if even else size), np.int32))


def _joined(
    rng: np.random.Generator, a: Population, b: Population, *, recurrent: bool
) -> Projection:
    ops: tuple[Op, ...] = ()
    if a.shape != b.shape or rng.random() < 0.7:
        weight = np.zeros((b.size, a.size), np.float32)
        weight[np.arange(b.size), rng.integers(0, a.size, b.size)] = rng.choice([-1, 1], b.size)
        biased = rng.random() < 0.25
        ops = (Linear(weight, dyadic(rng, b.size, span=4, bits=2) if biased else None),)
    return Projection(a.name, b.name, ops, recurrent=recurrent)


@pytest.mark.parametrize("seed", range(150))
def test_random_programs_do_the_same(seed: int) -> None:
    before = tangle(seed)
    after = inline(before)
    same(before, after)
    same(after, inline(after))


def test_tangles_meet_every_case() -> None:
    """What the random programs are made of: else the test above says little."""
    gone = moved = kept = looped = 0
    for seed in range(150):
        before = tangle(seed)
        after = inline(before)
        names = {p.name for p in after.populations}
        gone += sum(p.name not in names for p in before.populations)
        moved += sum(p.name not in {q.name for q in before.populations} for p in after.populations)
        kept += sum(
            isinstance(p.rule, Relay) and p.name not in after.outputs for p in after.populations
        )
        looped += sum(q.recurrent for q in after.projections)
    assert gone > 100
    assert moved > 20
    assert kept > 10
    assert looped > 100


@pytest.mark.parametrize("seed", range(0, 60, 2))
def test_feed_forward_networks_do_the_same(seed: int) -> None:
    before = random_program(seed)
    after = inline(before)
    x = stimulus(before)
    a, b = run(before, x).records, run(after, x).records
    for name in set(a) & set(b):
        np.testing.assert_allclose(
            a[name].astype(float), b[name].astype(float), rtol=1e-5, atol=1e-5, err_msg=name
        )


@pytest.mark.parametrize("case", late_programs())
def test_networks_that_wait_do_the_same(case: str) -> None:
    before = late_programs()[case]
    same(before, inline(before))


def kinds(program: Program) -> list[str]:
    """Populations but inputs and neurons."""
    return [p.name for p in program.populations if not isinstance(p.rule, Input | Neuron)]


def between(*rules: tuple[str, Rule], ops: Sequence[Op] = (), recurrent: str = "") -> Program:
    """From a over ``rules`` in turn to out; weights in front of each, ``ops`` before out."""
    rng = np.random.default_rng(3)
    names = ["in", "a", *(name for name, _ in rules), "out"]
    weight = Linear(dyadic(rng, 5, 5))
    projections = [
        Projection(a, b, (weight,) if b != "out" else tuple(ops), recurrent=b in recurrent.split())
        for a, b in pairwise(names)
    ]
    parts = {"a": neuron(0.25), **dict(rules), "out": neuron(0.5)}
    return network(parts, *projections)


def test_relays_vanish_and_two_late_edges_stay() -> None:
    once = between(("r", Relay()), ("s", Relay()), recurrent="r")
    after = inline(once)
    assert kinds(after) == []
    (q,) = after.into("out")
    assert (q.source, q.recurrent, len(q.ops)) == ("a", True, 2)
    same(once, after)
    twice = between(("r", Relay()), recurrent="r out")
    assert inline(twice) is twice


def test_a_bias_behind_a_relay_counts_once() -> None:
    """Two sources, one bias: doubled it would be seen at once."""
    bias = np.full(5, 0.375, np.float32)
    before = network(
        {"a": neuron(0.25), "b": neuron(0.5), "r": Relay(), "out": neuron(1.0, decay=1.0)},
        Projection("in", "a"),
        Projection("in", "b"),
        Projection("a", "r"),
        Projection("b", "r"),
        Projection("r", "out", (Linear(EYE / 4, bias),)),
    )
    after = inline(before)
    assert len(after.into("out")) == 2
    same(before, after)


def test_an_output_relay_stays_and_feeds_nobody() -> None:
    rng = np.random.default_rng(4)
    before = network(
        {"a": neuron(0.25), "r": Relay(), "out": neuron(0.5)},
        Projection("in", "a"),
        Projection("a", "r", (Linear(dyadic(rng, 5, 5)),)),
        Projection("r", "out", (Linear(dyadic(rng, 5, 5)),)),
    )
    shown = Program(CONVENTION, before.populations, before.projections, ("out", "r"))
    after = inline(shown)
    assert [p.name for p in after.populations] == ["in", "a", "r", "out"]
    assert [(q.source, q.target) for q in after.projections] == [
        ("in", "a"),
        ("a", "r"),
        ("a", "out"),
    ]
    same(shown, after)


def test_delays_of_values_move_to_the_spikes() -> None:
    before = between(("d", delay(2)), ("e", delay(1)), ops=(Linear(EYE / 2),))
    after = inline(before)
    assert kinds(after) == ["d.a", "e.d.a"]
    for name in ("d.a", "e.d.a"):
        rule = after.population(name).rule
        assert isinstance(rule, DelayLine)
        assert rule.spiking
        assert [len(q.ops) for q in after.into(name)] == [0]
    (q,) = after.into("out")
    assert (q.source, len(q.ops)) == ("e.d.a", 3)
    same(before, after)


@pytest.mark.parametrize(
    "stays",
    [
        between(("d", delay([1, 2, 1, 1, 1]))),
        network(
            {"d": delay(2), "out": neuron(0.5)},
            Projection("in", "d", (Linear(EYE, np.ones(5, np.float32)),)),
            Projection("d", "out"),
        ),
        network(
            {"d": delay(2), "e": delay(1), "out": neuron(0.5)},
            Projection("in", "d", (Reshape((5,)),)),
            Projection("d", "e"),
            Projection("e", "out", (Linear(EYE),)),
        ),
    ],
    ids=["uneven", "biased", "raw inputs"],
)
def test_what_cannot_move_stays(stays: Program) -> None:
    assert inline(stays) is stays


def test_a_line_behind_a_relay_says_that_it_carries_spikes() -> None:
    before = network(
        {"a": neuron(0.25), "r": Relay(), "d": delay(2), "out": neuron(0.5)},
        Projection("in", "a"),
        Projection("a", "r"),
        Projection("r", "d"),
        Projection("d", "out"),
    )
    after = inline(before)
    rule = after.population("d").rule
    assert isinstance(rule, DelayLine)
    assert rule.spiking
    same(before, after)


def test_several_sources_get_a_line_each_and_names_stay_free() -> None:
    rng = np.random.default_rng(5)
    before = Program(
        CONVENTION,
        (
            Population("in", (5,), Input("graded")),
            Population("a", (3,), neuron(0.25)),
            Population("b", (4,), neuron(0.25)),
            Population("d.a", (4,), neuron(0.25)),
            Population("d", (2,), delay(2)),
            Population("out", (2,), neuron(0.5)),
        ),
        (
            Projection("in", "a", (Linear(dyadic(rng, 3, 5)),)),
            Projection("in", "b", (Linear(dyadic(rng, 4, 5)),)),
            Projection("b", "d.a"),
            Projection("a", "d", (Linear(dyadic(rng, 2, 3)),)),
            Projection("d.a", "d", (Linear(dyadic(rng, 2, 4)),), recurrent=True),
            Projection("d", "out", (Linear(dyadic(rng, 2, 2), dyadic(rng, 2)),)),
        ),
        ("out",),
    )
    after = inline(before)
    lines = {p.name: p.shape for p in after.populations if isinstance(p.rule, DelayLine)}
    assert lines == {"d.a.2": (3,), "d.d.a": (4,)}
    same(before, after)


def test_integers_are_left_alone() -> None:
    program = network(
        {"a": neuron(0.25), "out": Relay()}, Projection("in", "a"), Projection("a", "out")
    )
    values: Array = stimulus(program)["in"]
    integers = for_loihi(program, values)
    assert inline(integers) is integers


@pytest.mark.parametrize("rule", [Relay(), delay(2)])
def test_ways_do_not_multiply_without_end(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two ways part and meet twelve times there are 4096; some relays or delays stay."""
    monkeypatch.setattr(inlining, "MOST", 16)
    half = (Linear(EYE / 2),)
    names = ["in", *(f"r{k}" for k in range(12)), "out"]
    pairs = [(before, behind) for before, behind in pairwise(names) for _ in range(2)]
    p = network(
        {**dict.fromkeys(names[1:-1], rule), "out": neuron(0.5)},
        *(Projection(before, behind, half) for before, behind in pairs),
    )
    after = inline(p)
    assert 4 <= len(after.populations) <= len(p.populations)
    assert len(after.projections) <= 4 * 32
    same(p, after, steps=30)


def test_ways_from_one_source_wait_in_one_line() -> None:
    """Two projections into a delay of values: the source is delayed once, by a name of its own."""
    half = (Linear(EYE / 2),)
    p = network(
        {"wait": delay(2), "out": neuron(0.5)},
        Projection("in", "wait", half),
        Projection("in", "wait", half),
        Projection("in", "wait", half, recurrent=True),
        Projection("wait", "out", half),
    )
    after = inline(p)
    assert kinds(after) == ["wait.in", "wait.in.2"]
    assert [q.recurrent for q in after.into("wait.in.2")] == [True]
    assert len(after.into("out")) == 3
    same(p, after)
