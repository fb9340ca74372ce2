"""A projection's chain of ops as one synapse: a single convolution where exact, or a matrix.

Machines with one synapse between two layers of neurons cannot pool, scale and convolve in turn.
The chain is linear but for its biases, so it equals one linear map plus a constant.
"""

from dataclasses import dataclass, replace
from math import gcd, prod

import numpy as np

from sltdeploy.arithmetic import apply_ops
from sltdeploy.program import Array, Conv, Linear, Op, Pair, Pool, Reshape, Scale, Shape

# Values held at once while the matrix is read off, to bound memory.
CHUNK = 2_000_000


@dataclass(frozen=True, eq=False)
class Matrix:
    """Weights (post, pre) in compressed rows, float64, without zeros; columns ascend in a row."""

    data: Array
    indices: Array
    indptr: Array
    shape: Pair

    @property
    def density(self) -> float:
        """Share of the entries that are not zero."""
        return self.data.size / prod(self.shape)

    def dense(self) -> Array:
        """The same matrix with its zeros."""
        full = np.zeros(self.shape)
        rows = np.repeat(np.arange(self.shape[0]), np.diff(self.indptr))
        full[rows, self.indices] = self.data
        return full


def without_bias(ops: tuple[Op, ...]) -> tuple[Op, ...]:
    """The linear part of ``ops``."""
    return tuple(replace(op, bias=None) if isinstance(op, Linear | Conv) else op for op in ops)


def constant(ops: tuple[Op, ...], shape: Shape) -> Array:
    """What ``ops`` bring when nothing arrives: the sum of their biases, float64."""
    return apply_ops(ops, np.zeros((1, *shape)))[0]


def as_matrix(ops: tuple[Op, ...], shape: Shape) -> Matrix:
    """Read off the linear part of ``ops`` for a source of ``shape``; C order on both sides."""
    pre = prod(shape)
    ops = without_bias(ops)
    if all(isinstance(op, Scale | Reshape) for op in ops):
        return _diagonal(ops, shape)
    widest = max([pre, *(prod(s) * _reach(op) for op, s in _with_shapes(ops, shape))])
    rows: list[Array] = []
    columns: list[Array] = []
    values: list[Array] = []
    post = 0
    for start in range(0, pre, chunk := max(1, CHUNK // widest)):
        stop = min(start + chunk, pre)
        unit = np.zeros((stop - start, pre))
        unit[np.arange(stop - start), np.arange(start, stop)] = 1
        y = apply_ops(ops, unit.reshape(-1, *shape)).reshape(stop - start, -1)
        post = y.shape[1]
        row, column = np.nonzero(y.T)
        rows.append(row)
        columns.append(column + start)
        values.append(y.T[row, column])
    row, column, value = (np.concatenate(parts) for parts in (rows, columns, values))
    order = np.lexsort((column, row))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=post))])
    return Matrix(
        value[order], column[order].astype(np.int32), indptr.astype(np.int32), (post, pre)
    )


def _diagonal(ops: tuple[Op, ...], shape: Shape) -> Matrix:
    """Neurons joined one to one; a factor of 0 is no synapse."""
    factors = apply_ops(ops, np.ones((1, *shape))).reshape(-1)
    kept = np.flatnonzero(factors)
    indptr = np.concatenate([[0], np.cumsum(factors != 0)])
    return Matrix(
        factors[kept], kept.astype(np.int32), indptr.astype(np.int32), (factors.size, factors.size)
    )


def as_conv(ops: tuple[Op, ...], shape: Shape) -> Conv | None:
    """The linear part of ``ops`` as one convolution over the source, or None where none is exact.

    Pools, scales by channel and convolutions merge. Where a later op pads, what it pads with must
    be what the earlier op gives outside its input, zero; else there is no such convolution.
    """
    if len(shape) != 3:
        return None
    merged = _depthwise(np.ones((shape[0], 1, 1, 1)))
    between = shape
    for op in without_bias(ops):
        if isinstance(op, Reshape) and op.shape == between:
            continue
        following = _to_conv(op, between)
        if following is None:
            return None
        step = _merge(merged, following, shape, between)
        if step is None:
            return None
        merged, between = step, op.out_shape(between)
    return merged


def _with_shapes(ops: tuple[Op, ...], shape: Shape) -> list[tuple[Op, Shape]]:
    found: list[tuple[Op, Shape]] = []
    for op in ops:
        shape = op.out_shape(shape)
        found.append((op, shape))
    return found


def _reach(op: Op) -> int:
    """Input values that one output of a sliding window reads; they are copied."""
    match op:
        case Conv():
            return prod(op.weight.shape[1:]) * op.groups // op.weight.shape[0] + 1
        case Pool():
            return prod(op.kernel)
        case _:
            return 1


def _depthwise(weight: Array) -> Conv:
    return Conv(weight, groups=len(weight))


def _to_conv(op: Op, shape: Shape) -> Conv | None:
    channels = shape[0]
    match op:
        case Conv():
            return replace(op, weight=op.weight.astype(np.float64))
        case Pool():
            share = 1 / prod(op.kernel) if op.kind == "average" else 1.0
            ones = np.full((channels, 1, *op.kernel), share)
            return Conv(ones, stride=op.stride, padding=op.padding, groups=channels)
        case Scale():
            factor = np.broadcast_to(op.factor.astype(np.float64), shape)
            if (factor != factor[:, :1, :1]).any():
                return None
            return _depthwise(factor[:, :1, :1, None].transpose(0, 3, 1, 2).copy())
        case _:
            return None


def _merge(first: Conv, second: Conv, shape: Shape, between: Shape) -> Conv | None:
    """``second`` after ``first``: ``y[p] = sum_j B[j] sum_i A[i] x[a (b p + e j - q) + d i - p0]``.

    So offsets are ``a e j + d i``, the stride is ``a b`` and the padding before ``a q + p0``.
    """
    out = second.out_shape(between)
    kernels: list[tuple[int, int, int]] = []  # dilation, step of A, step of B, an axis
    padding: list[tuple[int, int]] = []
    sizes: list[int] = []
    for axis in (0, 1):
        a, b = first.stride[axis], second.stride[axis]
        n_a, n_b = first.weight.shape[2 + axis], second.weight.shape[2 + axis]
        d, e = first.dilation[axis], second.dilation[axis]
        before, q, q_after = first.padding[axis], second.padding[axis], second.padding[axis + 2]
        length, middle = shape[1 + axis], between[1 + axis]
        if q and d * (n_a - 1) >= a + before:
            return None  # just before its input, `first` would see the first row
        if q_after and a * middle - before < length:
            return None  # just behind its last output, `first` would see the last rows
        step = gcd(d if n_a > 1 else 0, a * e if n_b > 1 else 0) or 1
        span = a * e * (n_b - 1) + d * (n_a - 1)
        kernels.append((step, d // step, a * e // step))
        sizes.append(span // step + 1)
        top = a * q + before
        padding.append((top, max(0, a * b * (out[1 + axis] - 1) + span + 1 - length - top)))
    weight, groups = _product(first, second, kernels, sizes)
    merged = Conv(
        weight,
        stride=(first.stride[0] * second.stride[0], first.stride[1] * second.stride[1]),
        padding=(padding[0][0], padding[1][0], padding[0][1], padding[1][1]),
        dilation=(kernels[0][0], kernels[1][0]),
        groups=groups,
    )
    return merged if merged.out_shape(shape) == out else None


def _product(
    first: Conv, second: Conv, kernels: list[tuple[int, int, int]], sizes: list[int]
) -> tuple[Array, int]:
    a, b = _ungrouped(first), _ungrouped(second)
    weight = np.zeros((len(b), a.shape[1], *sizes))
    (_, a_rows, b_rows), (_, a_columns, b_columns) = kernels
    for i, j in np.ndindex(b.shape[2:]):
        for k, m in np.ndindex(a.shape[2:]):
            at = (i * b_rows + k * a_rows, j * b_columns + m * a_columns)
            weight[:, :, at[0], at[1]] += b[:, :, i, j] @ a[:, :, k, m]
    groups = _common_groups(first, second)
    per_out, per_in = len(b) // groups, a.shape[1] // groups
    blocks = [
        weight[g * per_out : (g + 1) * per_out, g * per_in : (g + 1) * per_in]
        for g in range(groups)
    ]
    return np.concatenate(blocks), groups


def _common_groups(first: Conv, second: Conv) -> int:
    for one, other in ((first, second), (second, first)):
        if one.weight.shape[:2] == (one.groups, 1):  # each channel on its own
            return other.groups
    return first.groups if first.groups == second.groups else 1


def _ungrouped(op: Conv) -> Array:
    """Weight (C_out, C_in, kH, kW) with zeros between the groups."""
    out, per_in = op.weight.shape[:2]
    full = np.zeros((out, per_in * op.groups, *op.weight.shape[2:]))
    per_out = out // op.groups
    for g in range(op.groups):
        rows = slice(g * per_out, (g + 1) * per_out)
        full[rows, g * per_in : (g + 1) * per_in] = op.weight[rows]
    return full
