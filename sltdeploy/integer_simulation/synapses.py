"""What a projection brings, on arrays (neurons, columns); a column is one sample in one step.

Each op works in the narrowest type in which its sums are exact: 16-bit integers or float32 where
the bounds allow, else float64, else 64-bit integers.
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from sltdeploy.integer_simulation.matrices import Entries, of_conv, of_linear
from sltdeploy.integer_simulation.reaching import Reach, Stage
from sltdeploy.program import Array, Conv, Linear, Pool, Reshape, Scale, Shape

Apply: TypeAlias = Callable[[Array], Array]
Kind: TypeAlias = Any  # a numpy scalar type

# Largest magnitude up to which a type holds every integer; narrow types first.
EXACT: tuple[tuple[Kind, float], ...] = (
    (np.int16, 2.0**15 - 1),
    (np.float32, 2.0**24),
    (np.float64, 2.0**53),
    (np.int64, np.inf),
)
# Nanoseconds a weight and column on one thread of an AMD EPYC; a dense float32 product runs in
# BLAS, a sparse one of 16-bit integers in scipy.
SPARSE_NS: dict[Kind, float] = {np.int16: 0.05, np.float32: 0.085, np.float64: 0.17, np.int64: 0.3}
DENSE_NS: dict[Kind, float] = {np.float32: 0.016, np.float64: 0.032, np.int64: 1.0}
COPY_NS = 0.4  # an input value copied into a window
MOST_ENTRIES = 2 * 10**7  # of a sparse matrix made from a convolution, to bound memory
WINDOW_VALUES = 2**17  # copied at once, to stay in the cache


def synapse(reach: Reach) -> Apply:
    """What left the source, (pre, columns), to what arrives, but for a shift to the left."""
    steps = [_stage(s) for s in reach.stages]
    if reach.projection.weight_exponent < 0:
        steps.append(partial(_shifted_right, min(-reach.projection.weight_exponent, 63)))
    return partial(_in_turn, steps)


def _in_turn(steps: Sequence[Apply], x: Array) -> Array:
    return reduce(lambda value, step: step(value), steps, x)


def _shifted_right(by: int, y: Array) -> Array:
    """``y >> by`` of integers in any type; a float has the bits to be exact."""
    if y.dtype.kind == "f":
        return np.floor(y * y.dtype.type(2.0**-by))
    return y >> by


def _exact(peak: float, *, dense: bool) -> Kind:
    """Narrowest type for sums up to ``peak``; BLAS has floats only."""
    return next(kind for kind, top in EXACT if peak <= top and not (dense and kind is np.int16))


def _stage(stage: Stage) -> Apply:
    match stage.op:
        case Linear():
            return _linear(stage.op, stage.peak)
        case Conv():
            return _conv(stage.op, stage.before, stage.peak)
        case Pool():
            channels = stage.before[0]
            ones = np.ones((channels, 1, *stage.op.kernel))
            same = Conv(ones, None, stage.op.stride, stage.op.padding, groups=channels)
            return _conv(same, stage.before, stage.peak)
        case Scale():
            kind = _exact(stage.peak, dense=False)
            factor = np.broadcast_to(stage.op.factor, stage.before).reshape(-1, 1).astype(kind)
            return partial(_scaled, factor)
        case Reshape():
            return _same  # the neurons of a population lie in C order already


def _same(x: Array) -> Array:
    return x


def _scaled(factor: Array, x: Array) -> Array:
    return x.astype(factor.dtype) * factor


def _linear(op: Linear, peak: float) -> Apply:
    narrow, dense = _exact(peak, dense=False), _exact(peak, dense=True)
    sparse_ns = np.count_nonzero(op.weight) * SPARSE_NS[narrow]
    if sparse_ns < op.weight.size * DENSE_NS[dense] and _has_scipy():
        return _sparse(of_linear(op), narrow, op.bias)
    return partial(_multiplied, op.weight.astype(dense), _column(op.bias, dense))


def _conv(op: Conv, shape: Shape, peak: float) -> Apply:
    narrow, dense = _exact(peak, dense=False), _exact(peak, dense=True)
    out = op.out_shape(shape)
    places = prod(out[1:])
    copied = shape[0] * prod(op.weight.shape[2:]) * places
    entries = np.count_nonzero(op.weight) * places
    dense_ns = op.weight.size * places * DENSE_NS[dense] + copied * COPY_NS
    bias = None if op.bias is None else np.repeat(op.bias, places)
    if entries * SPARSE_NS[narrow] < dense_ns and entries <= MOST_ENTRIES and _has_scipy():
        return _sparse(of_conv(op, shape), narrow, bias)
    return partial(_slid, op, shape, op.weight.astype(dense), _column(bias, dense))


def _has_scipy() -> bool:
    try:
        import scipy.sparse as _  # noqa: F401
    except ImportError:
        return False
    return True


def _column(bias: Array | None, kind: Kind) -> Array | None:
    return None if bias is None else bias.astype(kind)[:, None]


def _sparse(entries: Entries, kind: Kind, bias: Array | None) -> Apply:
    from scipy.sparse import csr_array

    at = entries.row.astype(np.int32), entries.column.astype(np.int32)  # half the memory to read
    matrix = csr_array((entries.value.astype(kind), at), shape=entries.shape)
    matrix.sort_indices()
    return partial(_multiplied, matrix, _column(bias, kind))


def _multiplied(weight: Any, bias: Array | None, x: Array) -> Array:
    y = weight @ x.astype(weight.dtype)
    if bias is not None:
        y += bias
    return y


def _slid(op: Conv, shape: Shape, weight: Array, bias: Array | None, x: Array) -> Array:
    """Convolve by copying windows, a few rows of the output at a time, and multiplying matrices."""
    out, (per_out, per_in, *kernel) = op.out_shape(shape), weight.shape
    per_out //= op.groups
    windows = _windows(op, shape, x.astype(weight.dtype))
    y = np.empty((out[0], prod(out[1:]) * x.shape[1]), weight.dtype)
    row = out[2] * x.shape[1]  # values of one row of the output
    height = max(1, WINDOW_VALUES // (per_in * prod(kernel) * row))
    for start in range(0, out[1], height):
        stop = min(start + height, out[1])
        for g in range(op.groups):
            to = slice(g * per_out, (g + 1) * per_out)
            seen = windows[g * per_in : (g + 1) * per_in, :, :, start:stop]
            matrix = seen.reshape(per_in * prod(kernel), -1)  # copies
            into = y[to, start * row : stop * row]
            np.matmul(weight[to].reshape(per_out, -1), matrix, out=into)
    y = y.reshape(-1, x.shape[1])
    if bias is not None:
        y += bias
    return y


def _windows(op: Conv, shape: Shape, x: Array) -> Array:
    """View of ``x`` (C H W, columns), padded, as (C, kH, kW, H', W', columns)."""
    top, left, bottom, right = op.padding
    padded = np.pad(x.reshape(*shape, x.shape[1]), ((0, 0), (top, bottom), (left, right), (0, 0)))
    kernel = op.weight.shape[2:]
    reach = tuple(d * (k - 1) + 1 for d, k in zip(op.dilation, kernel, strict=True))
    every = sliding_window_view(padded, reach, axis=(1, 2))
    every = every[:, :: op.stride[0], :: op.stride[1], :, :: op.dilation[0], :: op.dilation[1]]
    return every.transpose(0, 4, 5, 1, 2, 3)
