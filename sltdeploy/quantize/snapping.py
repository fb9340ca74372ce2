"""int8 for robots: weights k * 2**-n in a float32 program, so that sums are exact in any order."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import ceil, log2, prod

import numpy as np

from sltdeploy.errors import InputError
from sltdeploy.program import (
    Array,
    Conv,
    Linear,
    Neuron,
    Op,
    Pool,
    Population,
    Program,
    Projection,
    Scale,
)
from sltdeploy.quantize.searching import activity, grids, snapped

FLOAT32_BITS = 24  # significand, with the implicit bit
EXTRA_BITS = 8  # biases, thresholds and potentials lie on a grid finer by up to this much
BITS_RANGE = (2, 16)


def snap(
    program: Program, bits: int = 8, calibration: Array | Mapping[str, Array] | None = None
) -> Program:
    """Round each projection's weights to ``k 2**-n`` with ``|k| <= 2**(bits - 1) - 1``.

    n is chosen for each weight array: with ``calibration``, typical input (T, B, *shape) or one
    such array for each input by name, such that what arrives at the neurons changes least, else
    from the largest magnitude (`sltdeploy.quantize.searching`). Biases, thresholds, v_reset and
    v_init go to the same grid or one finer by at most 2**-8; decays stay. An average over a
    window whose size is no power of two becomes a sum, its divisor goes into the weights behind.

    With spikes (or values on a grid) as input, one weighted op a projection and fewer than
    2**24 / 127 synapses a neuron, every sum of what arrives is exact in float32, whatever the
    order, so that all engines agree to the last bit. The result is still a "float32" program.

    Raises `InputError` for a program that is not in float32, bits outside 2..16, or calibration
    that does not fit.
    """
    low, high = BITS_RANGE
    if not low <= bits <= high:
        raise InputError(f"bits is {bits}, must be {low}..{high}")
    if program.numbers != "float32":
        raise InputError(f"the program holds {program.numbers} integers: quantise the float one")
    active = activity(program, calibration)
    rounded = [_projection(p, bits, active) for p in program.projections]
    finest: dict[str, int] = {}
    for p, n in rounded:
        finest[p.target] = max(finest.get(p.target, n), n)
    return replace(
        program,
        populations=tuple(_population(p, finest.get(p.name, 0)) for p in program.populations),
        projections=tuple(p for p, _ in rounded),
    )


def _projection(
    projection: Projection, bits: int, active: Mapping[str, Array]
) -> tuple[Projection, int]:
    """The snapped projection, and the fraction bits of its finest weights."""
    ops = list(_summing(projection.ops))
    found = grids(projection, tuple(ops), bits, active)
    for k, n in found.items():
        op = ops[k]
        assert isinstance(op, Linear | Conv | Scale)
        ops[k] = on_grid = snapped(op, n, bits)
        if isinstance(on_grid, Linear | Conv) and on_grid.bias is not None:
            fraction = _bias_bits(on_grid.weight, on_grid.bias, n)
            ops[k] = replace(on_grid, bias=_round(on_grid.bias, fraction))
    return replace(projection, ops=tuple(ops)), max(0, *found.values()) if found else 0


def _summing(ops: tuple[Op, ...]) -> Iterator[Op]:
    """``ops`` with averages that no power of two divides as sums, divided by later weights."""
    divisor = 1
    for op in ops:
        match op:
            case Pool(kind="average") if prod(op.kernel) & (prod(op.kernel) - 1):
                divisor *= prod(op.kernel)
                yield replace(op, kind="sum")
            case Linear() | Conv() if divisor > 1:
                yield replace(op, weight=op.weight / divisor)
                divisor = 1
            case _:
                yield op
    if divisor > 1:
        yield Scale(np.asarray(1 / divisor, np.float32))


def _population(p: Population, grid: int) -> Population:
    if not isinstance(p.rule, Neuron):
        return p
    rule = p.rule
    present = [a for a in (rule.bias, rule.v_init, rule.threshold, rule.v_reset) if a is not None]
    largest = max(float(np.abs(a).max()) for a in present)
    n = grid + EXTRA_BITS
    if largest > 0:
        n = min(n, FLOAT32_BITS - 1 - ceil(log2(largest)))
    return replace(
        p,
        rule=replace(
            rule,
            bias=_round(rule.bias, n),
            v_init=_round(rule.v_init, n),
            threshold=None if rule.threshold is None else _round(rule.threshold, n),
            v_reset=None if rule.v_reset is None else _round(rule.v_reset, n),
        ),
    )


def _bias_bits(weight: Array, bias: Array, n: int) -> int:
    """Finest grid for the bias on which sums of weights of grid n still fit float32."""
    worst = float((np.abs(weight).reshape(len(weight), -1).sum(axis=1) + np.abs(bias)).max())
    if worst == 0:
        return n
    return max(n, min(n + EXTRA_BITS, FLOAT32_BITS - ceil(log2(worst))))


def _round(values: Array, n: int) -> Array:
    """Nearest multiple of 2**-n, halves to even, never -0."""
    # asarray: numpy turns what it computes from an array of shape () into a bare number.
    return np.asarray(np.rint(values.astype(np.float64) * 2.0**n) / 2.0**n + 0.0, np.float32)
