"""What each projection op computes, in numpy, on a batch.

Sums are taken in float64 (or int64) and the caller rounds once, so that the result does not
depend on the order in which a BLAS adds, as far as 53 bits can tell.
"""

from functools import reduce

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from sltdeploy.program import (
    Array,
    Conv,
    Linear,
    Numbers,
    Op,
    Pair,
    Pool,
    Projection,
    Reshape,
    Scale,
)


def apply_ops(ops: tuple[Op, ...], x: Array) -> Array:
    """Send ``x`` (N, *shape), float64 or int64, through ``ops`` in turn; same dtype out."""
    return reduce(lambda value, op: apply_op(op, value), ops, x)


def apply_op(op: Op, x: Array) -> Array:
    """Send ``x`` (N, *shape), float64 or int64, through one op; same dtype out."""
    match op:
        case Linear():
            return _plus(x @ op.weight.astype(x.dtype).T, op.bias)
        case Conv():
            return _plus(_convolve(op, x), None if op.bias is None else op.bias[:, None, None])
        case Pool():
            total = _windows(x, op.kernel, op.stride, op.padding, (1, 1)).sum(axis=(-2, -1))
            return total if op.kind == "sum" else total / (op.kernel[0] * op.kernel[1])
        case Scale():
            return x * op.factor.astype(x.dtype)
        case Reshape():
            return x.reshape(len(x), *op.shape)


def brought(projection: Projection, x: Array, numbers: Numbers) -> Array:
    """What ``projection`` brings for x (B, *shape): float64, in a "loihi" program int64."""
    if numbers != "loihi":
        return apply_ops(projection.ops, x.astype(np.float64))
    y, exponent = apply_ops(projection.ops, x.astype(np.int64)), projection.weight_exponent
    return y << exponent if exponent >= 0 else y >> -exponent


def _plus(y: Array, bias: Array | None) -> Array:
    return y if bias is None else y + bias.astype(y.dtype)


def _windows(
    x: Array, kernel: Pair, stride: Pair, padding: tuple[int, int, int, int], dilation: Pair
) -> Array:
    """View of the zero-padded ``x`` (N, C, H, W) as (N, C, H', W', kH, kW)."""
    top, left, bottom, right = padding
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    windows = sliding_window_view(x, reach, axis=(2, 3))
    return windows[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def _convolve(op: Conv, x: Array) -> Array:
    weight = op.weight.astype(x.dtype)
    kernel = (weight.shape[2], weight.shape[3])
    windows = _windows(x, kernel, op.stride, op.padding, op.dilation)
    inputs = np.split(windows, op.groups, axis=1)
    weights = np.split(weight, op.groups, axis=0)
    parts = [
        np.tensordot(i, w, axes=((1, 4, 5), (1, 2, 3)))
        for i, w in zip(inputs, weights, strict=True)
    ]
    return np.moveaxis(np.concatenate(parts, axis=-1), -1, 1)
