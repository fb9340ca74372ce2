"""The fast simulation of Loihi's integers against the reference: the same bits, always."""

import sys
from collections.abc import Mapping
from dataclasses import replace

import lava_nets
import numpy as np
import programs
import pytest
import small_nets
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_programs import (
    TOP,
    into,
    loops,
    neuron,
    program,
    random_programs,
    stimulus,
    whole,
)

from sltdeploy import reference
from sltdeploy.errors import InputError
from sltdeploy.feeding import conform
from sltdeploy.integer_simulation import Simulation, run, synapses
from sltdeploy.integer_simulation.planning import plan
from sltdeploy.program import (
    Array,
    Conv,
    Input,
    Linear,
    LoihiNeuron,
    Op,
    Pool,
    Program,
    Projection,
    Relay,
    Reshape,
    Scale,
    Shape,
)
from sltdeploy.quantize import for_loihi


def stepped(p: Program, fed: Mapping[str, Array]) -> dict[str, Array]:
    """What the reference records for ``fed``, which has been conformed, and v after each step."""
    steps, batch = next(iter(fed.values())).shape[:2]
    state = reference.initial_state(p, batch)
    rows: dict[str, list[Array]] = {}
    for t in range(steps):
        sent, state = reference.step(p, state, {n: x[t] for n, x in fed.items()})
        for name, values in sent.items():
            rows.setdefault(name, []).append(values)
        for q in p.populations:
            v = state[q.name].v if isinstance(q.rule, LoihiNeuron) else None
            if v is not None:
                rows.setdefault(f"{q.name}.v", []).append(v)
    return {name: np.stack(values) for name, values in rows.items()}


def assert_same(p: Program, x: Mapping[str, Array], chunk: int | None = None) -> dict[str, Array]:
    """Compare everything that leaves and every membrane; gives them."""
    fed = conform(p.inputs, x, ("T", "B"))
    steps, batch = next(iter(fed.values())).shape[:2]
    expected = stepped(p, fed)
    simulation = Simulation(p)
    simulation.begin(batch)
    got: dict[str, list[Array]] = {}
    for start in range(0, steps, chunk or steps):
        now = {n: values[start : start + (chunk or steps)] for n, values in fed.items()}
        for name, values in simulation.advance(now, record=True, potentials=True).items():
            got.setdefault(name, []).append(values)
    assert set(got) == set(expected)
    for name, values in got.items():
        np.testing.assert_array_equal(np.concatenate(values), expected[name], err_msg=name)
        if not name.endswith(".v"):
            assert values[0].dtype == expected[name].dtype, name
    return expected


RNG = np.random.default_rng(5)
FLAT = Reshape((84,))
OPS: Mapping[str, tuple[Op, ...]] = {
    "none": (),
    "reshape": (FLAT,),
    "scale": (Scale(np.arange(-3, 4)[None, :, None]),),
    "dense": (FLAT, Linear(whole(RNG, 9, 84), whole(RNG, 9))),
    "sparse": (FLAT, Linear(whole(RNG, 30, 84, kept=0.05), whole(RNG, 30))),
    "narrow sparse": (FLAT, Linear(whole(RNG, 30, 84, span=4, kept=0.05))),
    "empty": (FLAT, Linear(np.zeros((5, 84), np.int64), whole(RNG, 5))),
    "conv": (Conv(whole(RNG, 3, 2, 3, 3), whole(RNG, 3)),),
    "many channels": (Conv(whole(RNG, 40, 2, 3, 3), whole(RNG, 40), padding=(1, 1, 1, 1)),),
    "sparse conv": (Conv(whole(RNG, 5, 2, 3, 2, kept=0.2), whole(RNG, 5), (2, 1), (1, 0, 2, 1)),),
    "wide stride": (Conv(whole(RNG, 40, 2, 2, 2), None, (3, 4), (0, 1, 0, 0)),),
    "dilation": (Conv(whole(RNG, 40, 2, 3, 2), None, padding=(0, 3, 2, 1), dilation=(2, 3)),),
    "groups": (Conv(whole(RNG, 60, 1, 3, 3), whole(RNG, 60), (1, 2), groups=2),),
    "sparse groups": (Conv(whole(RNG, 4, 1, 3, 3, kept=0.3), padding=(1, 1, 1, 1), groups=2),),
    "sparse dilation": (Conv(whole(RNG, 4, 2, 2, 2, kept=0.3), dilation=(3, 1)),),
    "fractions": (FLAT, Linear(RNG.normal(scale=9, size=(9, 84)), RNG.normal(scale=9, size=9))),
    "pool": (Pool((2, 3), (2, 2), (1, 0, 0, 1)),),
    "chain": (
        Conv(whole(RNG, 4, 2, 3, 3, span=9)),
        Pool((2, 2), (1, 2)),
        Scale(np.array([3])),
        Reshape((32,)),
        Linear(whole(RNG, 6, 32, span=9, kept=0.3), whole(RNG, 6)),
    ),
}


@pytest.mark.parametrize("scipy", [True, False])
@pytest.mark.parametrize("exponent", [-3, 0, 2])
@pytest.mark.parametrize("name", OPS)
def test_each_op_with_and_without_scipy(
    name: str, exponent: int, scipy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not scipy:
        monkeypatch.setitem(sys.modules, "scipy.sparse", None)
        monkeypatch.setattr(synapses, "WINDOW_VALUES", 1)  # a convolution goes row by row
    for rule in (neuron(None, du=2000), Relay()):
        p = into(rule, *OPS[name], exponent=exponent)
        seen = assert_same(p, stimulus(p, steps=5))
        assert len(np.unique(seen["out"])) > 1


@pytest.mark.parametrize("span", [127, 2**22])
@pytest.mark.parametrize("high", [1, 250, 70_000, 2**31 - 1])
def test_sums_too_large_for_a_type_take_a_wider_one(high: int, span: int) -> None:
    """The largest leave float64."""
    rng = np.random.default_rng(6)
    for ops in (
        (FLAT, Linear(whole(rng, 9, 84, span=span) + 1)),
        (FLAT, Linear(whole(rng, 9, 84, span=span, kept=0.05))),
        (Conv(whole(rng, 40, 2, 3, 3, span=span) + 1),),
        (Conv(whole(rng, 4, 2, 3, 3, span=span, kept=0.3)),),
        (Scale(whole(rng, 6, span=span) + 1),),
    ):
        p = into(Relay(), *ops, low=-high, high=high)
        x = rng.integers(-high, high + 1, (3, 2, 2, 7, 6))
        x[1] = np.where(x[1] > 0, high, -high)
        assert_same(p, {"in": x})


def test_a_graded_input_without_limits_is_cut_to_integers() -> None:
    four: Shape = (4,)
    p = program(
        {
            "in": (four, Input("graded")),
            "out": ((3,), neuron()),
            "sum": (four, Relay()),
            "same": (four, neuron(None)),
        },
        [
            Projection("in", "out", (Linear(whole(RNG, 3, 4)),)),
            Projection("in", "sum"),
            Projection("in", "same", (), -1),
        ],
    )
    seen = assert_same(p, stimulus(p))
    assert seen["out"].any()
    assert len(np.unique(seen["same"])) > 5


RULES: Mapping[str, LoihiNeuron] = {
    "lif": neuron(50),
    "cuba": neuron(300, du=1500),
    "negative bias": neuron(50, bias=-900, exponent=2),
    "bias by neuron": replace(neuron(50), bias_mantissa=np.arange(-3, 3) * 700),
    "no leak": neuron(900, dv=0),
    "all leaks": neuron(5, dv=4095),
    "slow": neuron(4000, du=3, dv=1),
    "held current": neuron(4000, du=0, dv=100),
    "readout": neuron(None, du=700),
    "starts high": replace(neuron(50), v_init=np.asarray(TOP), u_init=np.asarray(TOP)),
    "starts low": replace(neuron(None, du=9, dv=9), v_init=-np.arange(6), u_init=-np.arange(6)),
    "starts at the ends": replace(
        neuron(None, du=9, dv=9), v_init=np.asarray(-TOP), u_init=np.asarray(TOP)
    ),
    "saturates": neuron(None, dv=0, bias=4095, exponent=9),
    "saturates below": neuron(9, dv=0, bias=-4096, exponent=9),
    "highest threshold": neuron(2**17 - 1, dv=0),
}


@pytest.mark.parametrize("chunk", [1, 3, None])
@pytest.mark.parametrize("exponent", [0, 6, 11])
@pytest.mark.parametrize("name", RULES)
def test_each_rule_in_chunks(name: str, exponent: int, chunk: int | None) -> None:
    """At exponent 11 currents wrap around, membranes stop at the ends."""
    rng = np.random.default_rng(7)
    weight = Linear(whole(rng, 6, 8), whole(rng, 6))
    p = program(
        {"in": ((8,), Input("spikes")), "out": ((6,), RULES[name])},
        [Projection("in", "out", (weight,), exponent)],
    )
    seen = assert_same(p, stimulus(p, steps=25), chunk)
    if exponent == 11 and name == "readout":
        assert np.abs(seen["out"]).max() == TOP


def test_what_wraps_far_beyond_the_range_runs_in_wider_integers() -> None:
    p = program(
        {"in": ((3,), Input("graded", 1.0, -(2**31), 2**31 - 1)), "out": ((4,), neuron(9, du=1))},
        [Projection("in", "out", (Linear(whole(RNG, 4, 3)),), 5)],
    )
    assert not plan(p).layers["out"].in_floats
    x = RNG.integers(-(2**31), 2**31, (9, 2, 3))
    assert assert_same(p, {"in": x})["out"].any()


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_current_at_the_very_end_wraps_at_the_lower_one_only(sign: int) -> None:
    """128 << 10 << 6 is 2**23; one less or more than that is on either side."""
    for more, rule in ((0, neuron(None, dv=4095)), (1, neuron(None, du=0, dv=4095))):
        p = program(
            {"in": ((1,), Input("spikes")), "out": ((1,), rule)},
            [
                Projection("in", "out", (Linear(np.array([[128 * sign]])),), 10),
                Projection("in", "out", (Linear(np.array([[more]])),)),
            ],
        )
        assert_same(p, {"in": np.array([1, 0, 1, 1, 1, 0]).reshape(6, 1, 1)})


def test_an_input_rests_at_0_outside_its_limits() -> None:
    """In the first step nothing pulls the current down, and it wraps."""
    one: Shape = (1,)
    p = program(
        {
            "spikes": (one, Input("spikes")),
            "low": (one, Input("graded", 1.0, 5, 6)),
            "out": (one, neuron(None)),
        },
        [
            Projection("spikes", "out", (Linear(np.array([[128]])),), 10),
            Projection("spikes", "out", (Linear(np.array([[60]])),)),
            Projection("low", "out", (Linear(np.array([[-14]])),), 0, True),
        ],
    )
    x = {"spikes": np.ones((3, 1, 1), bool), "low": np.full((3, 1, 1), 5)}
    seen = assert_same(p, x)["out"]
    assert (seen[0] < 0).all()
    assert (seen[1] > 0).all()


@pytest.mark.parametrize("exponent", [-3, 0, 2])
@pytest.mark.parametrize("bias", [100, 2**40])
def test_what_a_relay_sent_before_the_first_step_was_shifted_as_later(
    bias: int, exponent: int
) -> None:
    """With no input a relay of biases sends the same in every step, the one before included."""
    one: Shape = (1,)
    p = program(
        {"in": (one, Input("spikes")), "r": (one, Relay()), "out": (one, Relay())},
        [
            Projection("in", "r", (Linear(np.array([[7]]), np.array([bias])),), exponent),
            Projection("r", "out", recurrent=True),
        ],
    )
    seen = assert_same(p, {"in": np.zeros((3, 1, 1), bool)})["out"]
    assert (seen == int(bias * 2.0**exponent)).all()


def test_bounds_spare_wrapping_and_clipping_only_where_neither_can_happen() -> None:
    def of(vth: int | None, exponent: int, **changes: int) -> tuple[bool, bool]:
        p = program(
            {"in": ((1,), Input("spikes")), "out": ((1,), neuron(vth, **changes))},
            [Projection("in", "out", (Linear(np.array([[128]])),), exponent)],
        )
        found = plan(p).layers["out"]
        return found.wraps, found.clips

    assert of(20, 0) == (False, False)
    assert of(None, 0, dv=0) == (False, True)
    assert of(20, 0, dv=0) == (False, False)
    assert of(20, 0, dv=0, bias=-1) == (False, True)
    assert of(20, 9) == (False, False)  # 2**22 a step at most
    assert of(2**17 - 1, 9) == (False, True)
    assert of(20, 10) == (True, True)
    assert of(20, 9, du=2047) == (True, True)


def test_quantised_networks() -> None:
    rng = np.random.default_rng(0)
    for source in (Input("graded"), Input("spikes")):
        x = small_nets.images(rng)
        x = x > 0.5 if source.kind == "spikes" else x
        p = for_loihi(small_nets.digits(rng, source), x)
        seen = assert_same(p, {"p0": x}, 4)
        assert seen["p1"].any()
        assert seen["p2"].any()
    x = {
        "in": rng.random((9, 3, 1, 8, 8)).astype(np.float32),
        "events": rng.random((9, 3, 3)) < 0.4,
    }
    p = for_loihi(lava_nets.integers(), x)
    shifted = tuple(
        replace(q, weight_exponent=-2) if q.target in ("b", "relay") else q for q in p.projections
    )
    p = replace(p, projections=shifted, populations=tuple(map(lava_nets.saturating, p.populations)))
    assert assert_same(p, x)["sum"].max() == TOP


@pytest.mark.parametrize("chunk", [1, 3, None])
@pytest.mark.parametrize("name", loops())
def test_what_arrives_later(name: str, chunk: int | None) -> None:
    p = loops()[name]
    seen = assert_same(p, stimulus(p, steps=17), chunk)
    assert any(values.any() for n, values in seen.items() if n in p.outputs)


def test_only_loops_go_step_by_step() -> None:
    names = {n: [[p.name for p in g.members] for g in plan(q).groups] for n, q in loops().items()}
    assert names["two"] == [["a", "b"], ["c"]]
    assert names["an input amid a loop"] == [["a", "b"]]
    assert names["delays in a chain"] == [["d"], ["a"], ["e"], ["b"]]
    stepped = {n: [g.loops for g in plan(q).groups] for n, q in loops().items()}
    assert stepped["two"] == [True, False]
    assert stepped["an input late"] == [False]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(random_programs(), st.integers(1, 9))
def test_random_programs(p: Program, chunk: int) -> None:
    # Relays on a loop overflow 64 bits on either side alike.
    assert_same(p, stimulus(p, steps=9), chunk)


def test_chunks_and_samples_beyond_one_part() -> None:
    p = loops()["two"]
    fed = conform(p.inputs, stimulus(p, steps=11, batch=300), ("T", "B"))
    seen = reference.run(p, fed)
    got = run(p, fed)
    assert seen.records["c"].any()
    for name, values in seen.records.items():
        np.testing.assert_array_equal(got[name], values, err_msg=name)


def test_no_sample_and_no_step() -> None:
    p = loops()["two"]
    for steps, batch in ((0, 3), (4, 0), (0, 0)):
        got = run(p, {"in": np.zeros((steps, batch, 5), bool)})
        assert {n: v.shape for n, v in got.items() if n != "in"} == dict.fromkeys(
            "abc", (steps, batch, 4)
        )


def test_outputs_only_unless_asked_and_begin_starts_afresh() -> None:
    p = loops()["values around a loop"]
    fed = conform(p.inputs, stimulus(p), ("T", "B"))
    simulation = Simulation(p)
    simulation.begin(3)
    first = simulation.advance(fed)
    assert set(first) == {"l"}
    again = simulation.advance(fed)
    assert (again["l"] != first["l"]).any()
    simulation.begin(3)
    np.testing.assert_array_equal(simulation.advance(fed)["l"], first["l"])


def test_what_it_refuses() -> None:
    with pytest.raises(InputError, match="the program is in float32, this simulation is for"):
        Simulation(programs.branches())
    average = into(neuron(), Pool((2, 2), (2, 2), kind="average"))
    with pytest.raises(InputError, match="in -> out: an average pool divides, integers do not"):
        Simulation(average)
    simulation = Simulation(loops()["two"])
    simulation.begin(2)
    with pytest.raises(InputError, match="the input has 3 samples, the state 2: call begin"):
        simulation.advance({"in": np.zeros((1, 3, 5), bool)})
    with pytest.raises(InputError, match="batch size is -1"):
        simulation.begin(-1)
    clash = program(
        {"in": ((4,), Input("spikes")), "a": ((4,), neuron()), "a.v": ((4,), neuron())},
        [Projection("in", "a"), Projection("a", "a.v")],
    )
    simulation = Simulation(clash)
    simulation.begin(1)
    fed = {"in": np.ones((1, 1, 4), bool)}
    with pytest.raises(InputError, match=r"'a\.v' has the name that the membrane of 'a' would get"):
        simulation.advance(fed, potentials=True)
    assert set(simulation.advance(fed)) == {"a.v"}
