"""The reference's arithmetic against plain loops."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from sltdeploy.arithmetic import apply_op
from sltdeploy.errors import InputError
from sltdeploy.program import (
    Array,
    Conv,
    Convention,
    DelayLine,
    Input,
    Linear,
    LoihiNeuron,
    Neuron,
    Pool,
    Population,
    Program,
    Projection,
    Relay,
)
from sltdeploy.reference import initial_state, run, step


def naive_conv(op: Conv, x: Array) -> Array:
    """Every output, every tap, one multiplication at a time."""
    c_out, h_out, w_out = op.out_shape(x.shape)
    y = np.zeros((c_out, h_out, w_out))
    share = op.weight.shape[1]
    for o, r, c in product(range(c_out), range(h_out), range(w_out)):
        first = o // (c_out // op.groups) * share
        for i, a, b in product(range(share), *map(range, op.weight.shape[2:])):
            row = r * op.stride[0] + a * op.dilation[0] - op.padding[0]
            col = c * op.stride[1] + b * op.dilation[1] - op.padding[1]
            if 0 <= row < x.shape[1] and 0 <= col < x.shape[2]:
                y[o, r, c] += op.weight[o, i, a, b] * x[first + i, row, col]
        y[o, r, c] += 0 if op.bias is None else op.bias[o]
    return y


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (3, 5, 4)),
        ({"padding": (1, 1, 1, 1)}, (3, 5, 4)),
        ({"padding": (1, 0, 2, 1), "stride": (2, 1)}, (3, 6, 5)),
        ({"dilation": (2, 1), "stride": (1, 2)}, (3, 7, 6)),
    ],
)
@pytest.mark.parametrize("groups", [1, 3])
def test_convolution(options: dict[str, Any], shape: tuple[int, ...], groups: int) -> None:
    """Equal to the loops, for odd kernels, paddings, strides, dilations and groups."""
    rng = np.random.default_rng(2)
    weight = rng.integers(-8, 8, (6, shape[0] // groups, 3, 2)).astype(np.float32)
    op = Conv(weight, rng.integers(-3, 3, 6).astype(np.float32), groups=groups, **options)
    x = rng.integers(-4, 4, shape).astype(float)
    assert np.array_equal(apply_op(op, x[None])[0], naive_conv(op, x))


@pytest.mark.parametrize("kind", ["sum", "average"])
def test_pooling(kind: Any) -> None:
    """Equal to the loops; padding counts as input; windows may overlap."""
    rng = np.random.default_rng(4)
    op = Pool((3, 2), (2, 1), (1, 0, 0, 1), kind)
    x = rng.integers(0, 9, (2, 6, 5)).astype(float)
    padded = np.zeros((2, 7, 6))
    padded[:, 1:, :5] = x
    _, rows, cols = op.out_shape(x.shape)
    for c, i, j in product(range(2), range(rows), range(cols)):
        total = sum(padded[c, 2 * i + a, j + b] for a, b in product(range(3), range(2)))
        expected = total if kind == "sum" else total / 6
        assert apply_op(op, x[None])[0, c, i, j] == expected


def loihi_program(rule: LoihiNeuron, weight: int, exponent: int) -> Program:
    """One graded input and one neuron."""
    return Program(
        Convention(1e-3),
        (Population("x", (1,), Input("graded", 1.0, -255, 255)), Population("n", (1,), rule)),
        (Projection("x", "n", (Linear(np.array([[weight]], np.int32)),), exponent),),
        ("n",),
        numbers="loihi",
    )


def shrunk(value: int, factor: int) -> int:
    """Loihi's decay: towards zero, by 12 bits."""
    kept = abs(value) * factor // 4096
    return kept if value >= 0 else -kept


@pytest.mark.parametrize("vth", [None, 900])
@pytest.mark.parametrize("exponent", [-1, 0, 2])
def test_loihi_neuron(vth: int | None, exponent: int) -> None:
    """Equal to a scalar loop in Python's integers, negative states included."""
    mantissa, bias_exponent, du, dv, weight = -37, 3, 2047, 1023, 54
    rule = LoihiNeuron(du, dv, np.array([mantissa]), bias_exponent, 1.0, vth)
    rng = np.random.default_rng(11)
    x = rng.integers(-60, 100, (60, 1, 1))
    got = run(loihi_program(rule, weight, exponent), x).records["n"][:, 0, 0]
    u = v = 0
    expected: list[int] = []
    for value in x[:, 0, 0].tolist():
        arrives = value * weight
        arrives = arrives << exponent if exponent >= 0 else arrives >> -exponent
        u = shrunk(u, 4096 - du - 1) + (arrives << 6)
        v = shrunk(v, 4096 - dv) + u + (mantissa << bias_exponent)
        if vth is None:
            expected.append(v)
        else:
            z = v > vth << 6
            v = 0 if z else v
            expected.append(int(z))
    assert got.tolist() == expected
    assert len(set(expected)) > 1


def test_loihi_overflow() -> None:
    """The current wraps at 24 bits, the membrane saturates one below."""
    rule = LoihiNeuron(0, 0, np.array([0]), 0, 1.0)
    program = loihi_program(rule, 254, 7)
    _, state = step(program, initial_state(program, 1), {"x": np.array([[255]])})
    arrives = 255 * 254 * 2**7 * 2**6
    assert arrives > 2**23
    j = state["n"].j
    assert j is not None
    assert j[0, 0] == arrives - 2**24
    sent: dict[str, Array] = {}
    for _ in range(60):
        sent, state = step(program, state, {"x": np.array([[0]])})
    assert sent["n"][0, 0] == -(2**23) + 1


@pytest.mark.parametrize("exponent", [-2, 0])
def test_loihi_first_states_and_delays(exponent: int) -> None:
    """The first u and v are what the rule says; delays, relays and late spikes hold integers."""
    rule = LoihiNeuron(
        2047,
        1023,
        np.array([-5]),
        2,
        1.0,
        40,
        u_init=np.array([-70_000]),
        v_init=np.array([90_000]),
    )
    program = Program(
        Convention(1e-3),
        (
            Population("x", (1,), Input("graded", 1.0, -255, 255)),
            Population("late", (1,), DelayLine(np.array([2]))),
            Population("sum", (1,), Relay()),
            Population("n", (1,), rule),
        ),
        (
            Projection("x", "late", (Linear(np.array([[54]], np.int32)),), exponent),
            Projection("late", "sum"),
            Projection("sum", "n"),
            Projection("n", "n", (Linear(np.array([[-31]], np.int32)),), 3, recurrent=True),
        ),
        ("n",),
        numbers="loihi",
    )
    x = np.random.default_rng(11).integers(-60, 255, (60, 1, 1))
    got = run(program, x).records
    u, v, late, expected = -70_000, 90_000, [0, 0], list[int]()
    for value in x[:, 0, 0].tolist():
        late.append(value * 54 << exponent if exponent >= 0 else value * 54 >> -exponent)
        arrives = late.pop(0) + ((expected[-1] if expected else 0) * -31 << 3)
        u = shrunk(u, 4096 - 2048) + (arrives << 6)
        v = shrunk(v, 4096 - 1023) + u + (-5 << 2)
        z = v > 40 << 6
        v = 0 if z else v
        expected.append(int(z))
    assert got["n"][:, 0, 0].tolist() == expected
    assert got["late"].dtype == np.int64
    assert 0 < sum(expected) < 60


@pytest.mark.parametrize("name", ["u_init", "v_init"])
def test_loihi_first_states_fit_24_bits(name: str) -> None:
    """Integers below 2**23 in magnitude."""
    rule = LoihiNeuron(0, 0, np.array([0]), 0, 1.0)
    for value in (np.array([2**23]), np.array([0.5])):
        with pytest.raises(InputError, match=f"n: {name} must be integers of 24 bits"):
            loihi_program(replace(rule, **{name: value}), 1, 0)
    loihi_program(replace(rule, **{name: np.array([1 - 2**23])}), 1, 0)


def test_graded_inputs_become_integers() -> None:
    """Scaled, rounded half to even, clipped."""
    rule = LoihiNeuron(4095, 4095, np.array([0]), 0, 1.0)
    program = loihi_program(rule, 1, 0)
    entry = replace(program.populations[0], rule=Input("graded", 2.0, 0, 3))
    program = replace(program, populations=(entry, program.populations[1]))
    x = np.array([-1.0, 0.25, 0.75, 1.25, 9.0]).reshape(-1, 1, 1)
    assert run(program, x).records["x"].ravel().tolist() == [0, 0, 2, 2, 3]


def spiking_program() -> Program:
    """Two spiking inputs into one neuron."""
    one = np.float32(1) * np.ones(())
    rule = Neuron(one * 0, one * 0, one * 0, threshold=one, v_reset=one * 0)
    return Program(
        Convention(1e-3),
        (Population("x", (2,), Input("spikes")), Population("n", (1,), rule)),
        (Projection("x", "n", (Linear(np.ones((1, 2), np.float32)),)),),
        ("n",),
    )


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.zeros((3, 2)), "has shape (3, 2), must be (T, B, 2)"),
        (np.full((3, 1, 2), 0.5), "takes spikes (0 or 1), holds 0.5 at (0, 0, 0)"),
        (np.full((3, 1, 2), np.nan), "holds nan at (0, 0, 0), must be finite"),
        (np.full((3, 1, 2), "a"), "must be real numbers"),
        ({"y": np.zeros((3, 1, 2))}, "input 'x' is missing"),
    ],
)
def test_wrong_input_is_named(x: Any, said: str) -> None:
    """Shape, range, finiteness, dtype, name."""
    with pytest.raises(InputError) as caught:
        run(spiking_program(), x)
    assert said in str(caught.value)


def test_samples_do_not_mix() -> None:
    """A batch gives what each sample gives alone."""
    rng = np.random.default_rng(8)
    x = rng.integers(0, 2, (7, 5, 2))
    program = spiking_program()
    together = run(program, x).output
    alone = [run(program, x[:, [b]]).output[:, 0] for b in range(5)]
    assert np.array_equal(together, np.stack(alone, axis=1))
    assert together.any()
