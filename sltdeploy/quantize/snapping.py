"""int8 for robots: weights k * 2**-n in a float32 program, so that sums are exact in any order."""

from collections.abc import Iterator
from dataclasses import replace
from math import ceil, floor, log2, prod

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

FLOAT32_BITS = 24  # significand, with the implicit bit
EXTRA_BITS = 8  # biases, thresholds and potentials lie on a grid finer by up to this much
BITS_RANGE = (2, 16)


def snap(program: Program, bits: int = 8) -> Program:
    """Round each projection's weights to ``k 2**-n`` with ``|k| <= 2**(bits - 1) - 1``.

    n is chosen for each weight array from its largest magnitude. Biases, thresholds, v_reset and
    v_init go to the same grid or one finer by at most 2**-8; decays stay. An average over a
    window whose size is no power of two becomes a sum, its divisor goes into the weights behind.

    With spikes (or values on a grid) as input, one weighted op a projection and fewer than
    2**24 / 127 synapses a neuron, every sum of what arrives is exact in float32, whatever the
    order, so that all engines agree to the last bit. The result is still a "float32" program.

    Raises `InputError` for a program that is not in float32, or bits outside 2..16.
    """
    low, high = BITS_RANGE
    if not low <= bits <= high:
        raise InputError(f"bits is {bits}, must be {low}..{high}")
    if program.numbers != "float32":
        raise InputError(f"the program holds {program.numbers} integers: quantise the float one")
    snapped = [_projection(p, bits) for p in program.projections]
    grids: dict[str, int] = {}
    for p, n in snapped:
        grids[p.target] = max(grids.get(p.target, n), n)
    return replace(
        program,
        populations=tuple(_population(p, grids.get(p.name, 0)) for p in program.populations),
        projections=tuple(p for p, _ in snapped),
    )


def _projection(projection: Projection, bits: int) -> tuple[Projection, int]:
    """The snapped projection, and the fraction bits of its finest weights."""
    grids = [0]
    ops: list[Op] = []
    for op in _summing(projection.ops):
        match op:
            case Linear() | Conv():
                n = _fraction_bits(op.weight, bits)
                grids.append(n)
                weight = _round(op.weight, n)
                bias = None if op.bias is None else _round(op.bias, _bias_bits(weight, op.bias, n))
                ops.append(replace(op, weight=weight, bias=bias))
            case Scale():
                n = _fraction_bits(op.factor, bits)
                grids.append(n)
                ops.append(Scale(_round(op.factor, n)))
            case _:
                ops.append(op)
    return replace(projection, ops=tuple(ops)), max(grids)


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


def _fraction_bits(weight: Array, bits: int) -> int:
    """Largest n with ``max |weight| <= (2**(bits - 1) - 1) * 2**-n``; 0 without weights."""
    largest = float(np.abs(weight).max(initial=0))
    return 0 if largest == 0 else floor(log2((2 ** (bits - 1) - 1) / largest))


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
