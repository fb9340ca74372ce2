"""Neighbouring ops as one, where the products of their weights are exact in float32."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sltdeploy.program import Array, Conv, Linear, Op, Program, Projection, Scale, Shape
from sltdeploy.simplification.result import Simplified, unchanged

CHUNK = 1 << 16  # products checked at once, to bound memory
MANTISSA = 53  # bits of a float64


def merge_affine(program: Program) -> Simplified:
    """Merge scales, linear layers and convolutions that follow each other in a projection.

    ``Linear Scale -> Linear``, ``Scale Linear -> Linear``, ``Conv Scale -> Conv`` and ``Scale
    Conv -> Conv`` where the factor is one by channel, ``Scale Scale -> Scale``, and ``Linear
    Linear -> Linear`` where that makes no more synapses. Only where every merged weight and bias
    is exact in float32, as with powers of two or weights of few bits: rounded weights would be
    another network. Integer programs are left alone.
    """
    if program.numbers != "float32":
        return unchanged(program)
    merged = [_merged(program, p) for p in program.projections]
    if all(a is b for a, b in zip(merged, program.projections, strict=True)):
        return unchanged(program)
    return unchanged(replace(program, projections=tuple(merged)))


def _merged(program: Program, projection: Projection) -> Projection:
    done: list[Op] = []
    shapes = [program.population(projection.source).shape]  # before each op of done, and after
    for op in projection.ops:
        following = op
        while done:
            pair = _pair(done[-1], following, shapes[-2])
            if pair is None:
                break
            done.pop()
            shapes.pop()
            following = pair
        done.append(following)
        shapes.append(following.out_shape(shapes[-1]))
    if len(done) == len(projection.ops):
        return projection
    return replace(projection, ops=tuple(done))


def _pair(first: Op, second: Op, shape: Shape) -> Op | None:
    """``second`` after ``first``, for an input of ``shape``, as one op; None where not exact."""
    match first, second:
        case Scale(), Scale():
            factor = _product(first.factor, second.factor)
            return None if factor is None else Scale(factor)
        case Linear() | Conv(), Scale():
            return _scaled(first, second.factor, first.out_shape(shape))
        case Scale(), Linear():
            weight = _product(second.weight, np.broadcast_to(first.factor, shape)[None])
            return None if weight is None else replace(second, weight=weight)
        case Scale(), Conv():
            by_channel = _by_channel(first.factor, shape)
            if by_channel is None or (second.groups > 1 and len({*by_channel.tolist()}) > 1):
                return None
            share = by_channel[: second.weight.shape[1]]
            weight = _product(second.weight, share[None, :, None, None])
            return None if weight is None else replace(second, weight=weight)
        case Linear(), Linear():
            return _chained(first, second)
        case _:
            return None


def _scaled(op: Linear | Conv, factor: Array, shape: Shape) -> Op | None:
    by_output = _by_channel(factor, shape)
    if by_output is None:
        return None
    weight = _product(op.weight, by_output.reshape(-1, *[1] * (op.weight.ndim - 1)))
    bias = None if op.bias is None else _product(op.bias, by_output)
    if weight is None or (bias is None and op.bias is not None):
        return None
    return replace(op, weight=weight, bias=bias)


def _by_channel(factor: Array, shape: Shape) -> Array | None:
    """One factor for each entry of the leading axis, or None where they differ within one."""
    full = np.broadcast_to(factor, shape).reshape(shape[0], -1)
    return full[:, 0] if (full == full[:, :1]).all() else None


def _product(a: Array, b: Array) -> Array | None:
    """``a * b`` in float32 where every product is exact, else None; float64 holds each one."""
    with np.errstate(over="ignore", under="ignore"):
        product = a.astype(np.float32, copy=False) * b.astype(np.float32, copy=False)
    for rows in _chunks(product):
        exact = np.broadcast_to(a, product.shape)[rows].astype(np.float64)
        exact *= np.broadcast_to(b, product.shape)[rows]
        if (product[rows] != exact).any():
            return None
    return product


def _chunks(array: Array) -> Sequence[slice | tuple[()]]:
    if array.ndim == 0:
        return [()]
    size = max(1, CHUNK * len(array) // max(1, array.size))
    return [slice(k, k + size) for k in range(0, len(array), size)]


def _chained(first: Linear, second: Linear) -> Linear | None:
    """``B (A x + a) + b = (B A) x + (B a + b)``, exact on a grid that float64 holds."""
    bits = sum(_bits(np.abs(op.weight)) for op in (first, second))
    width = first.weight.shape[0].bit_length()
    if bits + width > MANTISSA:
        return None
    weight = second.weight.astype(np.float64) @ first.weight.astype(np.float64)
    synapses = np.count_nonzero(first.weight) + np.count_nonzero(second.weight)
    if np.count_nonzero(weight) > synapses or (weight != weight.astype(np.float32)).any():
        return None
    bias = second.bias
    if first.bias is not None:
        if _bits(np.abs(second.weight)) + _bits(np.abs(first.bias)) + width > MANTISSA - 1:
            return None
        brought = second.weight.astype(np.float64) @ first.bias.astype(np.float64)
        total = brought if bias is None else brought + bias
        # Subtracting again shows whether the sum lost anything.
        if bias is not None and ((total - bias != brought) | (total - brought != bias)).any():
            return None
        bias = total.astype(np.float32)
        if (bias != total).any():
            return None
    return Linear(weight.astype(np.float32), bias)


def _bits(magnitudes: Array) -> int:
    """Bits from the largest magnitude down to the last bit that any value uses."""
    used = magnitudes[magnitudes > 0].astype(np.float64)
    if not used.size:
        return 0
    mantissa, exponent = np.frexp(used)
    whole = (mantissa * 2.0**24).astype(np.int64)  # exact: float32 has 24 bits
    lowest = exponent - 24 + np.log2(whole & -whole).astype(np.int64)
    return int(exponent.max() - lowest.min())
