"""What the tests of simplification share: a comparison, and a small program to fill in."""

import numpy as np
from programs import CONVENTION, neuron, stimulus

from sltdeploy.program import (
    Array,
    Input,
    Linear,
    Op,
    Population,
    Program,
    Projection,
    Rule,
)
from sltdeploy.reference import run
from sltdeploy.simplification import Simplified


def f32(values: object) -> Array:
    return np.asarray(values, np.float32)


def same(program: Program, small: Simplified, seed: int = 0, steps: int = 16) -> None:
    """Everything that is kept sends what it sent, bit for bit."""
    x = stimulus(program, seed, steps)
    expected = small.of(run(program, x).records)
    found = run(small.program, x).records
    for name in expected:
        assert np.array_equal(found[name], expected[name]), name
    assert [p.shape for p in small.program.inputs] == [p.shape for p in program.inputs]
    assert small.program.outputs == program.outputs


def two(
    rule: Rule,
    ops: tuple[Op, ...],
    behind: tuple[Op, ...],
    *,
    kind: str = "spikes",
    size: int = 2,
    recurrent: bool = False,
) -> Program:
    """Input -> ops -> "hidden" -> behind -> "out", a readout; recurrent: the last a step late."""
    shape = (size,)
    for op in ops:
        shape = op.out_shape(shape)
    end = shape
    for op in behind:
        end = op.out_shape(end)
    return Program(
        CONVENTION,
        (
            Population("in", (size,), Input("spikes" if kind == "spikes" else "graded")),
            Population("hidden", shape, rule),
            Population("out", end, neuron(None, decay=0.5)),
        ),
        (
            Projection("in", "hidden", ops),
            Projection("hidden", "out", behind, recurrent=recurrent),
            Projection("in", "out", (Linear(np.ones((end[0], size), np.float32)),)),
        ),
        ("out",),
    )
