"""What a target cannot run: each rule alone, and all of them at once."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sltdeploy.check import too_big, unsupported, violations
from sltdeploy.program import (
    Convention,
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
    assert violations(program, load(target)) == []


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
            "loihi2",
            network((Linear(np.ones((1, 20000))),), LOIHI, shape=(20000,)),
            "out: inputs of one neuron: needs 20000 axons, loihi2 has 16000",
        ),
    ],
)
def test_what_does_not_run(target: str, program: Program, words: str) -> None:
    """One line, with where, the value and the limit."""
    (line,) = violations(program, load(target))
    assert words in line


def test_float_rules_on_integers_only_chips() -> None:
    """A float program is told all at once, not only to quantise."""
    rule = replace(LIF, reset="subtract", comparison="ge", v_reset=None)
    chip = replace(load("loihi1"), simulated=())
    lines = violations(network((EVEN,), rule, kind="graded"), chip)
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
    assert lines == violations(many, small)
    assert "network: cores: needs 3 cores, loihi2 has 1" in lines[0]
    assert "more chips" in lines[0]


def test_loops_are_for_targets_whose_exporter_writes_them() -> None:
    """Each recurrent projection is named."""
    plain = network((EVEN,), LIF)
    again = Projection("out", "out", (Linear(np.eye(2, dtype=np.float32)),), recurrent=True)
    looped = replace(plain, projections=(*plain.projections, again))
    (line,) = violations(looped, load("loihi2"))
    assert line.startswith("out -> out: is recurrent, what is written for loihi2 is feed-forward")
    assert violations(looped, load("raspberry-pi-4")) == []
