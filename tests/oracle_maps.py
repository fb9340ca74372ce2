"""NIR's connections as plain matrices, filled tap by tap; nothing of sltdeploy in it."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]


def connection(node: Any, shape: tuple[int, ...]) -> tuple[Array, Array, tuple[int, ...]] | None:
    """Matrix (out, in), bias (out,) and shape behind ``node``; None where it only passes on."""
    kind = type(node).__name__
    size = int(np.prod(shape))
    match kind:
        case "Linear" | "Affine":
            weight = np.asarray(node.weight, float)
            bias = np.asarray(node.bias, float) if kind == "Affine" else np.zeros(len(weight))
            return weight, bias, (len(weight),)
        case "Scale":
            factor = np.broadcast_to(np.asarray(node.scale, float), shape)
            return np.diag(factor.ravel()), np.zeros(size), shape
        case "Flatten":
            first, last = (int(d) % len(shape) for d in (node.start_dim, node.end_dim))
            middle = int(np.prod(shape[first : last + 1]))
            return np.eye(size), np.zeros(size), (*shape[:first], middle, *shape[last + 1 :])
        case "Conv1d":
            wide = (shape[0], 1, shape[1])
            weight = np.asarray(node.weight, float)[:, :, None]
            across = [(1, _at(getattr(node, k), 0)) for k in ("stride", "dilation")]
            before = (0, _before(node.padding, 0, weight.shape[3], across[1][1]))
            after = (0, _after(node.padding, 0, weight.shape[3], across[1][1]))
            made = _taps(weight, wide, across[0], across[1], before, after, int(node.groups))
            matrix, (out, _, length) = made
            return matrix, _conv_bias(node, out, length), (out, length)
        case "Conv2d":
            weight = np.asarray(node.weight, float)
            stride, dilation = (
                (_at(getattr(node, k), 0), _at(getattr(node, k), 1)) for k in ("stride", "dilation")
            )
            before, after = (
                tuple(
                    side(node.padding, axis, weight.shape[2 + axis], dilation[axis])
                    for axis in (0, 1)
                )
                for side in (_before, _after)
            )
            matrix, out = _taps(weight, shape, stride, dilation, before, after, int(node.groups))
            return matrix, _conv_bias(node, out[0], out[1] * out[2]), out
        case "SumPool2d" | "AvgPool2d":
            kernel, stride, pad = (
                (_at(value, 0), _at(value, 1))
                for value in (node.kernel_size, node.stride, node.padding)
            )
            ones = np.ones((shape[0], 1, *kernel))
            weight = ones if kind == "SumPool2d" else ones / (kernel[0] * kernel[1])
            matrix, out = _taps(weight, shape, stride, (1, 1), pad, pad, shape[0])
            return matrix, np.zeros(len(matrix)), out
        case _:
            return None


def _at(value: Any, axis: int) -> int:
    numbers = np.atleast_1d(value)
    return int(numbers[axis if len(numbers) > 1 else 0])


def _before(padding: Any, axis: int, kernel: int, dilation: int) -> int:
    if isinstance(padding, str):
        return dilation * (kernel - 1) // 2 if padding == "same" else 0
    return _at(padding, axis)


def _after(padding: Any, axis: int, kernel: int, dilation: int) -> int:
    if isinstance(padding, str) and padding == "same":
        return dilation * (kernel - 1) - _before(padding, axis, kernel, dilation)
    return _before(padding, axis, kernel, dilation)


def _conv_bias(node: Any, channels: int, places: int) -> Array:
    bias = np.zeros(channels) if node.bias is None else np.asarray(node.bias, float)
    return np.repeat(bias, places)


def _taps(
    weight: Array,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    before: tuple[int, ...],
    after: tuple[int, ...],
    groups: int,
) -> tuple[Array, tuple[int, int, int]]:
    """Fill the matrix of a 2-d cross-correlation with one entry a tap; zeros outside the image."""
    outs, per_group, kernel = len(weight), weight.shape[1], weight.shape[2:]
    count = [
        (shape[1 + a] + before[a] + after[a] - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1
        for a in (0, 1)
    ]
    matrix = np.zeros((outs, count[0], count[1], *shape))
    for o, c, i, j in np.ndindex(weight.shape):
        channel = o // (outs // groups) * per_group + c
        for y in range(count[0]):
            row = y * stride[0] + i * dilation[0] - before[0]
            for x in range(count[1]):
                column = x * stride[1] + j * dilation[1] - before[1]
                if 0 <= row < shape[1] and 0 <= column < shape[2]:
                    matrix[o, y, x, channel, row, column] += weight[o, c, i, j]
    return matrix.reshape(outs * count[0] * count[1], -1), (outs, count[0], count[1])
