"""Bounds by intervals: no input goes beyond them, and quantised programs stay within."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_programs import program as whole_program
from small_nets import chain, loihi, noise, single

from sltdeploy.arithmetic import apply_ops
from sltdeploy.bounds import ALIGN, TOP, VTH_TOP, Range, arrives, bounds, reach, sent, steps_until
from sltdeploy.program import (
    Array,
    Conv,
    Convention,
    DelayLine,
    Input,
    Linear,
    LoihiNeuron,
    Neuron,
    Op,
    Pool,
    Population,
    Program,
    Projection,
    Relay,
    Reshape,
    Scale,
)
from sltdeploy.quantize import for_loihi
from sltdeploy.quantize.folding import weight_of
from sltdeploy.reference import initial_state, run, step


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """One population of any rule behind two inputs, weights from tiny to huge."""
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    size = draw(st.sampled_from([1, 10, 300]))
    scale = 10.0 ** draw(st.integers(-3, 1))
    rule = Neuron(
        decay=single(draw(st.sampled_from([0, 0.25, 0.9, 0.999, 1]))),
        bias=single(draw(st.sampled_from([0, 0.3, -0.2])) * scale),
        v_init=single(0),
        decay_syn=draw(st.sampled_from([None, single(0.5), single(0.95)])),
        threshold=draw(st.sampled_from([None, single(scale), single(20 * scale)])),
        v_reset=single(0),
    )
    return Program(
        Convention(1e-3),
        (
            Population("a", (size,), Input("spikes")),
            Population("b", (3,), Input("graded")),
            Population("n", (4,), rule),
        ),
        (
            Projection("a", "n", (Linear(noise(rng, 4, size, scale=scale)),)),
            Projection("b", "n", (Linear(np.abs(noise(rng, 4, 3, scale=scale))),)),
        ),
        ("n",),
    )


@settings(max_examples=60)
@given(programs(), st.sampled_from([1, -1]), st.integers(0, 3))
def test_the_worst_input_never_overflows(p: Program, sign: int, neuron: int) -> None:
    b = np.array([0, 0.31, 1], np.float32) * np.ones((64, 1, 1), np.float32)
    q = for_loihi(p, {"a": np.zeros((64, 1, p.population("a").size)), "b": b})
    weight = weight_of(q.projections[0].ops)[neuron]
    drive = (weight * sign > 0).astype(np.float32)
    top = 1.0 if sign > 0 else 0.0
    x = {"a": np.tile(drive, (64, 1, 1)), "b": np.full((64, 1, 3), top, np.float32)}
    bound = bounds(q)["n"]
    assert bound.u < 2**23
    rule, activation = loihi(q, "n"), arrives(q, q.population("n"))
    entered = run(q, x)
    arrived = _activation(q, entered.records)
    assert (activation.low <= arrived).all()
    assert (arrived <= activation.high).all()
    # u as an unbounded integer, next to what wraps
    u = np.zeros(4, np.int64)
    for a in arrived[:, 0]:
        u = np.sign(u) * (np.abs(u) * (4095 - rule.du) >> 12) + (a.astype(np.int64) << 6)
        assert np.abs(u).max() <= bound.u
    if rule.vth is None:
        values = entered.records["n"]
        assert np.abs(values).max() <= VTH_TOP * ALIGN
        assert values.max() <= bound.v_high
        assert values.min() >= bound.v_low


def _activation(q: Program, records: Mapping[str, Array]) -> Array:
    total = np.zeros(())
    for projection in q.projections:
        brought = records[projection.source].astype(np.int64) @ weight_of(projection.ops).T.astype(
            np.int64
        )
        e = projection.weight_exponent
        total = total + (brought << e if e >= 0 else brought >> -e)
    return total


@pytest.mark.parametrize("vth", [None, 20000])
@pytest.mark.parametrize("sign", [1, -1])
def test_first_states_count(vth: int | None, sign: int) -> None:
    """A large first u or v decays: the bounds hold it, and little more."""
    rule = LoihiNeuron(
        du=99,
        dv=100,
        bias_mantissa=np.array([3, -3]),
        bias_exponent=2,
        unit=64.0,
        vth=vth,
        u_init=np.array([sign * 100_000, 0]),
        v_init=np.array([0, sign * 5_000_000]),
    )
    program = Program(
        Convention(1e-3),
        (Population("in", (2,), Input("graded", 1.0, -10, 10)), Population("n", (2,), rule)),
        (Projection("in", "n"),),
        ("n",),
        "loihi",
    )
    bound = bounds(program)["n"]
    rng = np.random.default_rng(0)
    state = initial_state(program, 50)
    us: list[Array] = []
    vs: list[Array] = []
    for _ in range(100):
        _, state = step(program, state, {"in": rng.choice([-10, 10], (50, 2))})
        u, v = state["n"].j, state["n"].v
        assert u is not None
        assert v is not None
        us.append(np.abs(u))
        vs.append(v)
    assert 0.9 * bound.u < np.max(us) <= bound.u
    assert bound.v_low <= np.min(vs)
    assert np.max(vs) <= bound.v_high
    assert bound.u == 100_000
    # u alone takes v to 4.1 million at most.
    assert (bound.v_high if sign > 0 else -bound.v_low) > 4_800_000


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99, 1.0])
def test_steps_until_are_counted_right(decay: float) -> None:
    top, drive = 1000.0, 13.0
    v, steps = 0.0, 0
    while v <= top and steps < 10_000:
        v, steps = decay * v + drive, steps + 1
    expected = None if v <= top else steps
    assert steps_until(top, drive, decay) == expected
    assert steps_until(top, 2000, decay) == 1
    assert steps_until(top, 0, decay) is None


def test_an_integrator_lasts_as_long_as_the_calibration() -> None:
    weight = np.ones((1, 64), np.float32)
    rule = Neuron(single(1), single(0), single(0))
    p = chain((rule, (1,), (Reshape((64,)), Linear(weight))), source=Input("spikes"))
    for steps in (10, 1000):
        q = for_loihi(p, np.zeros((steps, 1, 1, 8, 8)))
        clip = bounds(q)["p1"].steps_to_clip
        assert clip is not None
        assert steps < clip < 3 * steps
        record = run(q, np.ones((steps, 1, 1, 8, 8))).records["p1"]
        assert record.max() < TOP


def test_reach_through_every_op_holds_any_input() -> None:
    rng = np.random.default_rng(12)
    ops: tuple[Op, ...] = (
        Conv(noise(rng, 4, 2, 3, 3), noise(rng, 4), groups=1),
        Pool((2, 2), (2, 2), kind="average"),
        Scale(noise(rng, 4, 1, 1)),
        Reshape((16,)),
        Linear(noise(rng, 3, 16), noise(rng, 3)),
    )
    low, high = np.full((2, 6, 6), -1.0), np.full((2, 6, 6), 2.0)
    found = reach(ops, Range(low, high))
    y = apply_ops(ops, rng.uniform(-1, 2, (500, 2, 6, 6)))
    assert (found.low <= y.min(axis=0)).all()
    assert (y.max(axis=0) <= found.high).all()


def test_relays_that_part_and_meet_sixty_times() -> None:
    """Each is looked at once, not on each of the 2**60 ways through them."""
    same, opposite = (Linear(np.full((1, 1), sign)) for sign in (1, -1))
    names = ["in", *(f"r{k}" for k in range(60))]
    p = whole_program(
        {"in": ((1,), Input("spikes")), **{n: ((1,), Relay()) for n in names[1:]}},
        [
            Projection(before, behind, (op,))
            for before, behind in pairwise(names)
            for op in (same, opposite)
        ],
    )
    assert sent(p, p.population("r0")).high == 1
    assert sent(p, p.population("r59")).high == 2.0**59


def test_a_potential_that_resets_upwards_is_bounded() -> None:
    """With a threshold below 0 a neuron rises to 0 where it spikes."""
    rule = LoihiNeuron(4095, 0, np.asarray(-1), 0, 64.0, vth=-3, v_init=np.asarray(-6400))
    p = whole_program(
        {"in": ((1,), Input("spikes")), "n": ((1,), rule)},
        [Projection("in", "n", (Linear(np.full((1, 1), 1)),))],
    )
    assert bounds(p)["n"].v_high >= 64 - 1


def test_a_delay_of_values_first_sends_0() -> None:
    """Also where all that ever arrives is more than that."""
    seven = Linear(np.full((1, 1), 1), np.full(1, 7))
    p = whole_program(
        {"in": ((1,), Input("spikes")), "late": ((1,), DelayLine(np.array([2])))},
        [Projection("in", "late", (seven,))],
    )
    found = sent(p, p.population("late"))
    assert (found.low, found.high) == (0, 8)
    after = replace(
        p,
        populations=(*p.populations, Population("r", (1,), Relay())),
        projections=(*p.projections, Projection("late", "r", (seven,))),
    )
    assert arrives(after, after.population("r")).low == 7
