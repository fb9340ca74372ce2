"""A program states everything or is refused; its file and its digest keep all of it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sltdeploy.errors import InputError
from sltdeploy.program import (
    Conv,
    Convention,
    Input,
    Linear,
    Neuron,
    Pool,
    Population,
    Program,
    Projection,
    Relay,
    Reshape,
    Scale,
)
from sltdeploy.program_file import from_bytes, to_bytes


def small() -> Program:
    """One of each op and a neuron with every field."""
    half = np.array(0.5, np.float32)
    rule = Neuron(half, half, half, half, half, half, "zero", "ge")
    ops = (
        Conv(np.ones((2, 1, 3, 3), np.float32), np.ones(2, np.float32), padding=(1, 1, 1, 1)),
        Pool((2, 2), (2, 2), kind="average"),
        Scale(np.full((2, 2, 2), 2, np.float32)),
        Reshape((8,)),
        Linear(np.ones((3, 8), np.float32)),
    )
    return Program(
        Convention(1e-3, "zero", "ge"),
        (
            Population("x", (1, 4, 4), Input("graded")),
            Population("n", (3,), rule),
            Population("y", (3,), Relay()),
        ),
        (Projection("x", "n", ops), Projection("n", "y")),
        ("n", "y"),
    )


def test_file_keeps_everything() -> None:
    """Same digest after the file, same bytes again, shapes of scalars included."""
    program = small()
    data = to_bytes(program)
    again = from_bytes(data)
    assert again.digest() == program.digest()
    assert to_bytes(again) == data
    rule = again.population("n").rule
    assert isinstance(rule, Neuron)
    assert rule.decay.shape == ()
    assert rule.decay.dtype == np.float32


def test_numpy_scalars_are_arrays() -> None:
    """The digest and the file do not depend on how a number was held."""
    half = np.float32(0.5)
    scalars: Any = [half, half, half]
    arrays: Any = [np.array(half)] * 3
    held = [
        replace(
            small(), populations=(*small().populations[:1], population, *small().populations[2:])
        )
        for population in (
            replace(small().populations[1], rule=Neuron(*scalars)),
            replace(small().populations[1], rule=Neuron(*arrays)),
        )
    ]
    assert held[0].digest() == held[1].digest()
    assert to_bytes(held[0]) == to_bytes(held[1])


@pytest.mark.parametrize("data", [b"", b"garbage", to_bytes(small())[:-5]])
def test_damaged_files_are_refused(data: bytes) -> None:
    """No other exception leaves the reader."""
    with pytest.raises(InputError, match="not a program file"):
        from_bytes(data)


def test_digest_sees_each_change() -> None:
    """A weight, a rule, a name and the time step all count."""
    program = small()
    weight = np.ones((3, 8), np.float32)
    weight[2, 7] = 0
    first = program.projections[0]
    changed = [
        replace(program, convention=Convention(2e-3, "zero", "ge")),
        replace(program, outputs=("n",)),
        replace(program, outputs=("y", "n")),
        replace(
            program,
            projections=(
                replace(first, ops=(*first.ops[:-1], Linear(weight))),
                program.projections[1],
            ),
        ),
    ]
    assert len({p.digest() for p in [program, *changed]}) == 5
    assert small().digest() == program.digest()


def test_arrays_are_read_only() -> None:
    """A program cannot change under the machine that steps it."""
    op: Any = small().projections[0].ops[0]
    with pytest.raises(ValueError, match="read-only"):
        op.weight[0] = 0


def test_every_violation_is_named() -> None:
    """Names, shapes, finiteness, order and the time step, all in one error."""
    nan = np.array(np.nan, np.float32)
    one = np.ones((), np.float32)
    with pytest.raises(InputError) as caught:
        Program(
            Convention(0.0),
            (
                Population("x", (2,), Input("spikes")),
                Population("n", (3,), Neuron(nan, one, one, threshold=one)),
                Population("n", (3,), Relay()),
                Population("lone", (1,), Relay()),
            ),
            (
                Projection("x", "n", (Linear(np.ones((3, 3), np.float32)),)),
                Projection("x", "gone"),
                Projection("n", "x"),
            ),
            ("nobody",),
        )
    text = str(caught.value)
    for said in (
        "time step is 0.0 s",
        "'n' appears 2 times",
        "'nobody' names no population",
        "weight (3, 3) needs input (3,), gets (2,)",
        "population gone is missing",
        "n -> x: leads backwards",
        "decay holds NaN",
        "needs v_reset",
        "lone: nothing leads here",
        "an input cannot be the target",
    ):
        assert said in text, said


@pytest.mark.parametrize(
    ("op", "shape", "said"),
    [
        (Conv(np.ones((2, 1, 3, 3)), groups=2), (3, 8, 8), "needs 2 input channels, gets 3"),
        (Conv(np.ones((3, 1, 3, 3)), groups=2), (2, 8, 8), "do not divide by groups"),
        (Conv(np.ones((2, 2, 9, 9))), (2, 8, 8), "does not fit into the padded input"),
        (Conv(np.ones((2, 2, 3, 3)), stride=(0, 1)), (2, 8, 8), "at least 1"),
        (Conv(np.ones((2, 2, 3, 3)), np.ones(3)), (2, 8, 8), "bias has shape (3,)"),
        (Pool((9, 1), (1, 1)), (2, 8, 8), "does not fit into the padded input"),
        (Pool((2, 2), (2, 2)), (8,), "pooling needs input (C, H, W)"),
        (Scale(np.ones((2, 8))), (8,), "does not broadcast"),
        (Reshape((7,)), (8,), "cannot reshape"),
        (Linear(np.ones((2, 8)), np.ones(8)), (8,), "bias has shape (8,), must be (2,)"),
    ],
)
def test_ops_know_what_fits(op: Any, shape: tuple[int, ...], said: str) -> None:
    """Each op names the number and the limit."""
    assert any(said in problem for problem in op.problems(shape))
