"""What a target cannot run: each rule alone, and all of them at once."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import sltdeploy as slt
from sltdeploy.checking import FEATURES, SIZES, check, too_big, unsupported
from sltdeploy.errors import InputError
from sltdeploy.program import (
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
    Rule,
    Scale,
    Shape,
)
from sltdeploy.target import load

ZERO = np.zeros((), np.float32)
LIF = Neuron(ZERO + 0.5, ZERO, ZERO, threshold=ZERO + 1, v_reset=ZERO)
LOIHI = LoihiNeuron(4095, 1024, np.zeros((), np.int32), 0, 64.0, vth=100)


def network(
    ops: tuple[Op, ...], rule: Rule, *, shape: Shape = (2,), exponent: int = 0, kind: Any = "spikes"
) -> Program:
    """``in -> out``; integers where the rule is Loihi's."""
    end = shape
    for op in ops:
        end = op.out_shape(end)
    return Program(
        Convention(1e-3),
        (Population("in", shape, Input(kind)), Population("out", end, rule)),
        (Projection("in", "out", ops, exponent),),
        ("out",),
        "loihi" if isinstance(rule, LoihiNeuron) else "float32",
    )


def linear(*rows: tuple[float, ...]) -> Linear:
    """A linear layer of these rows."""
    return Linear(np.array(rows, np.float64))


EVEN = linear((2, -4), (-256, 254))


@pytest.mark.parametrize(
    ("target", "program"),
    [
        ("loihi1", network((EVEN,), LOIHI, exponent=-7)),
        ("loihi1", network((linear((0, 255), (3, 7)),), LOIHI)),  # one sign: odd weights are fine
        ("loihi2", network((linear((0, -255), (-3, -7)),), LOIHI, kind="graded")),
        ("loihi2", network((Scale(np.array(2)), EVEN), replace(LOIHI, vth=None))),
        ("loihi2", network((EVEN,), replace(LOIHI, vth=2**17 - 1, bias_exponent=7, dv=0))),
        ("loihi2", network((EVEN,), replace(LOIHI, bias_mantissa=np.array([-4096, 4095])))),
        ("raspberry-pi-4", network((linear((0.3, 1)),), replace(LIF, reset="subtract"))),
        ("cortex-m7", network((linear((0.3, 1)),), Relay(), kind="graded")),
        ("cmos-45nm", network((EVEN,), LOIHI)),
        ("cmos-45nm", network((EVEN,), LIF)),
        ("loihi2", network((EVEN,), LIF)),  # in Lava's floating-point simulation
    ],
)
def test_what_runs(target: str, program: Program) -> None:
    """Nothing to say, up to the limit itself."""
    assert check(program, load(target)) == []


@pytest.mark.parametrize(
    ("target", "program", "words"),
    [
        ("raspberry-pi-4", network((EVEN,), LOIHI), "holds loihi numbers, raspberry-pi-4 takes"),
        ("loihi1", network((EVEN,), LOIHI, kind="graded"), "in: is a graded input, loihi1 takes"),
        ("loihi2", network((linear((2.5, 4)),), LOIHI), "in -> out: weights are no integers"),
        ("loihi2", network((linear((1, -4)),), LOIHI), "1 weights are odd, where signs are mixed"),
        ("loihi2", network((linear((256, 4)),), LOIHI), "from 0 to 256, loihi2 holds -255 to 255"),
        ("loihi2", network((linear((-258, 4)),), LOIHI), "loihi2 holds -256 to 254 (8 bits)"),
        ("loihi2", network((linear((256, -4)),), LOIHI), "loihi2 holds -256 to 254 (8 bits)"),
        ("loihi1", network((EVEN,), LOIHI, exponent=8), "exponent is 8, loihi1 holds -7 to 7"),
        ("loihi1", network((EVEN,), LOIHI, exponent=-8), "exponent is -8, loihi1 holds -7 to 7"),
        ("loihi2", network((EVEN,), replace(LOIHI, du=4096)), "du is 4096, loihi2 holds 0 to 4095"),
        ("loihi2", network((EVEN,), replace(LOIHI, dv=-1)), "dv is -1, loihi2 holds 0 to 4095"),
        (
            "loihi2",
            network((EVEN,), replace(LOIHI, vth=2**17)),
            "threshold is 131072, loihi2 holds",
        ),
        (
            "loihi1",
            network((EVEN,), replace(LOIHI, bias_exponent=8)),
            "bias exponent is 8, loihi1 holds 0 to 7",
        ),
        (
            "loihi2",
            network((EVEN,), replace(LOIHI, bias_mantissa=np.array([0, 4096]))),
            "bias mantissa is 0 to 4096, loihi2 holds -4096 to 4095",
        ),
        ("loihi2", network((Scale(np.array(0.5)), EVEN), LOIHI), "scales integers by fractions"),
        (
            "loihi2",
            network((Pool((2, 2), (2, 2), kind="average"),), LOIHI, shape=(1, 2, 2)),
            "average pooling divides integers",
        ),
        (
            "loihi1",
            network((Linear(np.ones((1, 5000))),), LOIHI, shape=(5000,)),
            "out: axons into one core: needs 5000 axons, loihi1 has 4096: prune or narrow",
        ),
    ],
)
def test_what_does_not_run(target: str, program: Program, words: str) -> None:
    """One line, with where, the value and the limit."""
    (line,) = check(program, load(target))
    assert words in line


def test_float_rules_on_integers_only_chips() -> None:
    """A float program is told all at once, not only to quantise."""
    rule = replace(LIF, reset="subtract", comparison="ge", v_reset=None)
    chip = replace(load("loihi1"), simulated=())
    lines = check(network((EVEN,), rule, kind="graded"), chip)
    assert len(lines) == 4
    for words in ("float32 numbers", "graded input", "resets by subtract", "compares with ge"):
        assert sum(words in line for line in lines) == 1


def test_operations_and_neurons_that_are_missing() -> None:
    """Named once a projection, with what there is."""
    target = replace(load("cmos-45nm"), ops=("Conv",), neurons=("IF",))
    program = network((Reshape((2,)), EVEN, EVEN), LIF)
    assert unsupported(program, target) == [
        "in -> out: cmos-45nm has no Reshape, it has Conv",
        "in -> out: cmos-45nm has no Linear, it has Conv",
        "out: cmos-45nm has no LIF, it has IF",
    ]
    (line,) = unsupported(network((EVEN,), Relay()), replace(load("cmos-45nm"), neurons=("LIF",)))
    assert "no relay" in line


def test_too_big_is_told_apart_from_unsupported() -> None:
    """The first is an answer about this network, the second about the kind of network."""
    target = load("loihi2")
    few = {**target.limits, "cores": replace(target.limits["cores"], value=1)}
    many = network((Linear(np.full((9000, 2), 2.0)),), LOIHI)
    small = replace(target, limits=few)
    assert unsupported(many, small) == []
    lines = too_big(many, small)
    assert lines == check(many, small)
    assert "network: cores: needs 3 cores, loihi2 has 1" in lines[0]
    assert lines[0].endswith("prune or shrink the network, or take 3 chips (chips in [limits])")


def wired(*populations: Population, ways: tuple[Projection, ...]) -> Program:
    """Neurons of 2, joined by ``ways``; the last one is the output."""
    return Program(Convention(1e-3), populations, ways, (populations[-1].name,))


def test_loops_need_a_step_of_delay_for_each_projection() -> None:
    """A neuron onto itself has it; two layers with one late projection lack one step."""
    plain = network((EVEN,), LIF)
    again = Projection("out", "out", (Linear(np.eye(2, dtype=np.float32)),), recurrent=True)
    looped = replace(plain, projections=(*plain.projections, again))
    assert check(looped, "loihi2") == []
    given, a, b = (Population(n, (2,), r) for n, r in (("in", Input("spikes")), *PAIR))
    ways = (
        Projection("in", "a"),
        Projection("a", "b"),
        Projection("b", "a", (), recurrent=True),
    )
    (line,) = check(wired(given, a, b, ways=ways), "loihi1")
    assert "spikes take 2 steps around it on Loihi" in line
    assert "put delays of 1 more step into the loop" in line
    assert check(wired(given, a, b, ways=ways), "raspberry-pi-4") == []
    late = Population("late", (2,), DelayLine(np.array([1, 1]), spiking=True))
    slow = (ways[0], ways[1], Projection("b", "late"), Projection("late", "a", (), recurrent=True))
    assert check(wired(given, late, a, b, ways=slow), "loihi1") == []


PAIR = (("a", LIF), ("b", LIF))


def test_delays_that_synapses_have_and_do_not_have() -> None:
    """62 steps lie in a synapse; nothing relays a graded input that waits longer."""

    def delayed(steps: int) -> Program:
        line = Population("late", (2,), DelayLine(np.full(2, steps)))
        given, out = Population("in", (2,), Input("graded")), Population("out", (2,), LIF)
        ways = (Projection("in", "late"), Projection("late", "out"))
        return wired(given, line, out, ways=ways)

    assert check(delayed(60), "loihi2") == []
    (line,) = check(delayed(90), "loihi2")
    assert "62 is the most on Loihi" in line
    assert check(delayed(90), "raspberry-pi-4") == []


def test_values_that_are_sent_on() -> None:
    """A readout may be an output, not the source of other neurons."""
    readout = replace(LIF, threshold=None, v_reset=None)
    given, out = Population("in", (2,), Input("spikes")), Population("out", (2,), LIF)
    middle = Population("middle", (2,), readout)
    ways = (Projection("in", "middle"), Projection("middle", "out"))
    (line,) = check(wired(given, middle, out, ways=ways), "loihi1")
    assert line.startswith("middle: sends values, not spikes, to other neurons, loihi1's send")
    assert check(wired(given, middle, out, ways=ways), "raspberry-pi-4") == []
    assert check(wired(given, middle, ways=ways[:1]), "loihi1") == []


def test_relays_in_a_circle_without_a_neuron() -> None:
    """What no chip of neurons does is told once, by name."""
    given, out = Population("in", (2,), Input("spikes")), Population("out", (2,), LIF)
    circle = Population("circle", (2,), Relay())
    ways = (
        Projection("in", "circle"),
        Projection("circle", "circle", (), recurrent=True),
        Projection("circle", "out"),
    )
    (line,) = check(wired(given, circle, out, ways=ways), "loihi2")
    assert "circle lie on a loop in which no neuron stands" in line


def test_walls_and_budgets_all_at_once() -> None:
    """What more chips do not help stands before what they do."""
    target = load("loihi2")
    held = {"cores": 1, "neurons_per_core": 5, "axons_in_per_core": 10, "synapse_words_per_core": 9}
    few = {name: replace(target.limits[name], value=value) for name, value in held.items()}
    program = network((Linear(np.full((12, 20), 2.0)),), LOIHI, shape=(20,))
    assert check(program, replace(target, limits={**target.limits, **few})) == [
        f"{line}: {fix}"
        for fix, lines in {
            "prune or narrow the layer, more chips do not help": (
                "out: axons into one core: needs 20 axons, loihi2 has 10",
                "out: synapses of one neuron: needs 20 64-bit words, loihi2 has 9",
            ),
            "prune or shrink the network, or take 12 chips (chips in [limits])": (
                "network: cores: needs 12 cores, loihi2 has 1",
                "network: neurons: needs 12 neurons, loihi2 has 5",
                "network: synapse memory: needs 240 64-bit words, loihi2 has 9",
            ),
        }.items()
        for line in lines
    ]


def test_check_is_public_and_takes_a_name_or_a_target() -> None:
    """As in the issue: check(program, target)."""
    program = network((EVEN,), LIF)
    assert slt.check(program, "loihi2") == slt.check(program, load("loihi2")) == []
    with pytest.raises(InputError, match="unknown target 'loihi3'"):
        slt.check(program, "loihi3")


def test_rules_are_small_named_functions_with_a_docstring_of_their_own() -> None:
    """Each can be read, and called, on its own."""
    names = [rule.__name__ for rule in (*FEATURES, *SIZES)]
    assert len(set(names)) == len(names) >= 15
    for rule in FEATURES:
        assert list(rule(network((EVEN,), LIF), load("loihi2"))) == []


def test_ways_through_relays_that_part_and_meet_are_not_followed_without_end() -> None:
    """Thirty times: 2**30 ways, of which none is tried once there are too many."""
    same = Linear(np.eye(2, dtype=np.float32))
    names = ["in", *(f"r{k}" for k in range(30)), "out"]
    program = Program(
        Convention(1e-3),
        (
            Population("in", (2,), Input("spikes")),
            *(Population(n, (2,), Relay()) for n in names[1:-1]),
            Population("out", (2,), LIF),
        ),
        tuple(Projection(a, b, (same,)) for a, b in pairwise(names) for _ in range(2)),
        ("out",),
    )
    line = next(iter(check(program, load("loihi2"))))
    assert line.startswith("population 'r12' is reached on more than 4096 ways")
