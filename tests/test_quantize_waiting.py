"""Loops, delays, first potentials and biases in currents, in Loihi's integers."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from late_programs import delay, network
from programs import CONVENTION, dyadic, neuron, stimulus
from small_nets import loihi, single

from sltdeploy.bounds import ALIGN, TOP, UNBOUNDED, arrives, bounds, sent
from sltdeploy.errors import InputError
from sltdeploy.inlining import inline
from sltdeploy.program import (
    Array,
    DelayLine,
    Input,
    Linear,
    LoihiNeuron,
    Neuron,
    Population,
    Program,
    Projection,
    Relay,
    Reshape,
    Rule,
)
from sltdeploy.quantize import for_loihi, losses
from sltdeploy.quantize.arriving import arriving
from sltdeploy.quantize.calibration import calibrate
from sltdeploy.quantize.folding import weight_of
from sltdeploy.quantize.measuring import measured, observe
from sltdeploy.quantize.scaling import candidates
from sltdeploy.quantize.wanted import wanted
from sltdeploy.reference import initial_state, run, step

EYE = np.eye(5, dtype=np.float32)
STEPS = 20


def fed(program: Program) -> Mapping[str, Array]:
    """Spikes and values k / 16."""
    return stimulus(program, steps=STEPS, batch=6)


def same(program: Program, integers: Program) -> None:
    """All that is known exactly on the grid is the same at every step."""
    a, b = run(program, fed(program)).records, run(integers, fed(program)).records
    for p in program.populations:
        rule = integers.population(p.name).rule
        if isinstance(rule, LoihiNeuron):
            got = b[p.name] if rule.spiking else b[p.name] / rule.unit
            np.testing.assert_array_equal(a[p.name], got, err_msg=p.name)


def tangle(seed: int) -> Program:
    """Neurons joined forward and back, over delays of spikes, inputs and weighted values."""
    rng = np.random.default_rng(seed)
    populations = [Population("in", (4,), Input("spikes")), Population("x", (3,), Input("graded"))]
    projections: list[Projection] = []

    def joined(a: Population, b: Population, *, recurrent: bool = False) -> Projection:
        weight = Linear(dyadic(rng, b.size, a.size), dyadic(rng, b.size, span=1))
        return Projection(a.name, b.name, (weight,), recurrent=recurrent)

    for k in range(4):
        rule = neuron(
            rng.integers(4, 20) / 16,
            decay=1.0,
            v_init=rng.integers(-4, 5) / 16,
            v_reset=rng.integers(-4, 1) / 16,
            ge=bool(rng.random() < 0.5),
        )
        here = Population(f"n{k}", (int(rng.integers(2, 6)),), rule)
        sources = [p for p in populations if not isinstance(p.rule, DelayLine)]
        for name in {p.name for p in rng.choice(np.array(sources, object), 2)}:
            source = next(p for p in sources if p.name == name)
            way = rng.integers(3)
            if way == 1:  # as it is, later
                steps = rng.integers(0, 4, source.shape).astype(np.int32)
                line = DelayLine(steps, source.spiking and bool(rng.random() < 0.5))
                waits = Population(f"{name} to {k}", source.shape, line)
                projections += [Projection(name, waits.name), joined(waits, here)]
                populations.append(waits)
            elif way == 2:  # weighted, later
                steps = rng.integers(0, 4, here.shape).astype(np.int32)
                waits = Population(f"{name} to {k}", here.shape, DelayLine(steps))
                bare = joined(source, waits)
                weight = Linear(weight_of(bare.ops).astype(np.float32))
                projections += [
                    replace(bare, ops=(weight,)),
                    Projection(waits.name, here.name, recurrent=bool(rng.random() < 0.3)),
                ]
                populations.append(waits)
            else:
                projections.append(joined(source, here))
        populations.append(here)
        if rng.random() < 0.6:
            projections.append(joined(here, here, recurrent=True))
    last = Population("out", (3,), neuron(None, decay=1.0))
    projections.append(joined(populations[-1], last))
    return Program(CONVENTION, (*populations, last), tuple(projections), ("out",))


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("moved", [False, True])
def test_what_a_grid_holds_is_the_same_in_integers(seed: int, moved: bool) -> None:
    """Without leak nothing is rounded: spikes of loops, delays, first potentials, >= and biases."""
    program = inline(tangle(seed)) if moved else tangle(seed)
    q = for_loihi(program, fed(program))
    report = losses(program, q, fed(program))
    assert all(loss.max_error == 0 for loss in report.projections)
    assert all(
        loss.differing == loss.start_error == loss.bias_error == 0 for loss in report.populations
    )
    same(program, q)


@pytest.mark.parametrize("seed", range(10))
def test_what_is_measured_arrives_when_it_does(seed: int) -> None:
    """A population that loses nothing is measured so: over loops and delays, each by itself."""
    program = tangle(seed)
    seen = observe(program, fed(program))
    assert seen is not None
    inputs, _ = calibrate(program, fed(program))
    for p in program.populations:
        if isinstance(p.rule, Neuron):
            brought = arriving(program, inputs, p)
            scaled = next(candidates(wanted(program, p), brought, STEPS))
            assert measured(program, seen, p, brought, scaled) == 0


def test_the_tangles_spike() -> None:
    share = [
        record.mean()
        for seed in range(40)
        for name, record in run(tangle(seed), fed(tangle(seed))).records.items()
        if name.startswith("n") and record.dtype == bool
    ]
    assert 0.1 < np.mean(share) < 0.9


@pytest.mark.parametrize("seed", range(10))
def test_states_stay_within_their_bounds(seed: int) -> None:
    program = tangle(seed)
    leaky = replace(
        program,
        populations=tuple(
            replace(
                p,
                rule=replace(p.rule, decay=single(0.9), decay_syn=single(0.7), comparison="gt"),
            )
            if isinstance(p.rule, Neuron)
            else p
            for p in program.populations
        ),
    )
    q = for_loihi(leaky, fed(leaky))
    limits = bounds(q)
    x = {name: np.asarray(run(q, fed(leaky)).records[name]) for name in ("in", "x")}
    state = initial_state(q, 6)
    for t in range(STEPS):
        arrived, state = step(q, state, {name: values[t] for name, values in x.items()})
        for name, bound in limits.items():
            u, v = state[name].j, state[name].v
            assert u is not None
            assert v is not None
            assert np.abs(u).max() <= bound.u < TOP
            assert bound.v_low <= v.min()
            assert v.max() <= bound.v_high
        for p in q.populations:
            values = sent(q, p)
            assert (values.low <= arrived[p.name]).all()
            assert (arrived[p.name] <= values.high).all()


def test_values_in_a_circle_have_no_bound() -> None:
    """Only programs written by hand have them: what is quantised sends spikes around."""
    program = network(
        {"sum": Relay(), "out": Relay()},
        Projection("in", "sum"),
        Projection("sum", "sum", recurrent=True),
        Projection("sum", "out", (Linear(EYE.astype(np.int16)),)),
    )
    spiking = replace(program.populations[0], rule=Input("spikes"))
    whole = replace(program, populations=(spiking, *program.populations[1:]), numbers="loihi")
    found = arrives(whole, whole.population("out"))
    assert (found.high >= UNBOUNDED).all()
    assert (found.low <= -UNBOUNDED).all()


@pytest.mark.parametrize("decay_syn", [0.8, 0.95])
def test_a_bias_into_a_current_comes_in_as_it_does_in_floats(decay_syn: float) -> None:
    """From the first step on: the current grows towards its limit, and so do the spikes."""
    bias = np.array([0.25, 0.125, -0.25, 0.0625, 0.5], np.float32)
    program = network(
        {"out": neuron(1.0, decay=0.9, decay_syn=decay_syn)},
        Projection("in", "out", (Linear(EYE / 4, bias),)),
    )
    x = {"in": np.zeros((60, 1, 5), np.float32)}
    q = for_loihi(program, stimulus(program))
    rule = loihi(q, "out")
    settled = bias / (1 - decay_syn)
    np.testing.assert_allclose(-rule.u_init / rule.unit, settled, rtol=1e-3)
    np.testing.assert_allclose(
        rule.bias_mantissa * 2.0**rule.bias_exponent / rule.unit, settled, rtol=1e-3
    )
    floats, whole = (run(p, x).output.sum(axis=0, dtype=int) for p in (program, q))
    assert (floats > 0).sum() == 4
    assert np.abs(floats - whole).max() <= 1
    at_once = replace(q.population("out"), rule=replace(rule, u_init=0 * rule.u_init))
    jumping = run(replace(q, populations=(q.populations[0], at_once)), x).output
    assert (jumping.sum(axis=0) - floats).max() >= 2


def test_a_bias_on_a_loop_into_a_current() -> None:
    """What a recurrent projection brings before anything spiked counts as well."""
    program = network(
        {"out": neuron(1.0, decay=0.9, decay_syn=0.5)},
        Projection("in", "out", (Linear(EYE / 2),)),
        Projection("out", "out", (Linear(EYE / 8, np.full(5, 0.125, np.float32)),), recurrent=True),
    )
    q = for_loihi(program, fed(program))
    a, b = (run(p, fed(program)).output for p in (program, q))
    assert 0.05 < a.mean() < 0.9
    assert (a != b).mean() < 0.02


def test_first_potentials_count() -> None:
    program = network(
        {"out": neuron(1.0, decay=0.75, bias=0.125, v_init=0.875, v_reset=-0.5)},
        Projection("in", "out", (Linear(EYE / 4),)),
    )
    q = for_loihi(program, fed(program))
    rule = loihi(q, "out")
    np.testing.assert_array_equal(rule.v_init, np.full(5, round(1.375 * rule.unit)))
    a, b = (run(p, fed(program)).output for p in (program, q))
    assert a[0].any()
    assert (a != b).mean() < 0.01
    readout = network(
        {"out": neuron(None, decay=0.5, v_init=3.0)}, Projection("in", "out", (Linear(EYE),))
    )
    x = stimulus(readout)
    a, b = run(readout, x).output, run(for_loihi(readout, x), x).output
    np.testing.assert_allclose(a, b, atol=0.02)


def test_at_least_compares_as_above_one_less() -> None:
    """Ties decide: two inputs of 1/2 reach the threshold of 1 exactly."""
    program = network(
        {"out": neuron(1.0, decay=1.0, ge=True, bias=0.1)},
        Projection("in", "out", (Linear(np.full((5, 5), 0.5, np.float32)),)),
    )
    silent = replace(
        program,
        populations=(
            program.populations[0],
            replace(program.populations[1], rule=neuron(1.0, decay=1.0, ge=True)),
        ),
    )
    x = np.zeros((4, 1, 5), np.float32)
    x[1:3, 0, 0] = 1
    q = for_loihi(silent, x)
    assert run(q, x).output[:, 0, 0].tolist() == [False, False, True, False]
    rule = loihi(q, "out")
    assert rule.vth is not None
    assert (rule.vth + 1) * ALIGN == rule.unit
    biased = loihi(for_loihi(program, x), "out")
    assert biased.bias_exponent >= 6  # whole multiples of 64, or the comparison is another one


def pieces(*lines: tuple[str, Rule]) -> Program:
    """In -> a -> lines in turn -> out, weights everywhere."""
    names = ["in", "a", *(name for name, _ in lines), "out"]
    projections = [Projection(s, t, (Linear(EYE / 2),)) for s, t in pairwise(names)]
    return network({"a": neuron(0.25), **dict(lines), "out": neuron(0.5)}, *projections)


UNEVEN = delay([1, 2, 1, 1, 3])
BIASED = (Linear(EYE, np.ones(5, np.float32)),)


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (pieces(("d", UNEVEN)), "'d' delays weighted values.*delay the spikes in front"),
        (
            network(
                {"a": neuron(0.25), "d": UNEVEN, "out": neuron(0.5), "b": neuron(0.5)},
                Projection("in", "a"),
                Projection("a", "d", (Linear(EYE),)),
                Projection("d", "b"),
                Projection("d", "out"),
            ),
            "'d' delays weighted values.*to several",
        ),
        (
            network(
                {"d": delay(2), "out": neuron(0.5)},
                Projection("in", "d", BIASED),
                Projection("d", "out"),
            ),
            "'in -> d' brings a bias into a delay.*behind the delay",
        ),
        (network({"out": delay(2)}, Projection("in", "out")), "output 'out' shows graded values"),
        (
            network({"out": delay(2)}, Projection("in", "out", (Linear(EYE),))),
            "output 'out' shows values on their way",
        ),
        (
            network(
                {"out": neuron(0.5, decay_syn=1.0)},
                Projection("in", "out", BIASED),
            ),
            "'out' sums a bias up in a synaptic current",
        ),
        (
            network(
                {"out": neuron(0.5, decay=1.0, ge=True, v_reset=0.5, v_init=0.5)},
                Projection("in", "out"),
            ),
            "compares with >= at v_reset",
        ),
        (
            network(
                {"out": neuron(0.5, decay=1.0, decay_syn=0.5, ge=True)}, Projection("in", "out")
            ),
            "compares with >=.*only where nothing leaks",
        ),
        (
            network(
                {"d": delay(1), "out": neuron(0.5)},
                Projection("in", "d"),
                Projection("d", "d"),
                Projection("d", "out"),
            ),
            "'d' delays weighted values",
        ),
    ],
)
def test_what_cannot_wait_on_loihi_is_refused_by_name(program: Program, why: str) -> None:
    with pytest.raises(InputError, match=why):
        for_loihi(program, stimulus(program))


def test_lines_that_pass_something_on_stay_as_they_are() -> None:
    program = network(
        {
            "raw": delay(2),
            "a": neuron(0.25),
            "spikes": delay([0, 1, 2, 3, 4], spiking=True),
            "weighted": delay([2, 0, 1, 1, 3]),
            "out": neuron(0.5),
        },
        Projection("in", "raw", (Reshape((5,)),)),
        Projection("raw", "a", (Linear(EYE / 2),)),
        Projection("a", "spikes"),
        Projection("spikes", "weighted", (Linear(EYE / 4),)),
        Projection("weighted", "out", (Reshape((5,)),)),
    )
    q = for_loihi(program, fed(program))
    for name in ("raw", "spikes", "weighted"):
        assert q.population(name).rule is program.population(name).rule
    assert [p.weight_exponent for p in q.projections if p.target in ("raw", "spikes")] == [0, 0]
    assert [loss.name for loss in losses(program, q).projections] == [
        "raw -> a",
        "spikes -> weighted",
    ]
    entry = q.population("in").rule
    assert isinstance(entry, Input)
    assert sent(q, q.population("raw")).high.max() == entry.high
