"""The weights of one op as entries of a matrix (post, pre), neurons in C order."""

from dataclasses import dataclass
from math import prod

import numpy as np

from sltdeploy.program import Array, Conv, Linear, Pair, Shape


@dataclass(frozen=True, eq=False)
class Entries:
    """What is not zero, in no order."""

    row: Array
    column: Array
    value: Array
    shape: Pair


def of_linear(op: Linear) -> Entries:
    """Weights of ``op`` without its bias."""
    row, column = np.nonzero(op.weight)
    post, pre = op.weight.shape
    return Entries(row, column, op.weight[row, column], (post, pre))


def of_conv(op: Conv, shape: Shape) -> Entries:
    """Weights of ``op`` over a source of ``shape``, without its bias."""
    out, kernel = op.out_shape(shape), op.weight.shape[2:]
    places = np.arange(prod(out)).reshape(out)
    pixels = np.arange(prod(shape)).reshape(shape)
    rows: list[Array] = []
    columns: list[Array] = []
    values: list[Array] = []
    for i, j in np.ndindex(*kernel):
        y, from_y = _pairs(op, shape, out, 0, i)
        x, from_x = _pairs(op, shape, out, 1, j)
        to, c = np.nonzero(op.weight[:, :, i, j])
        channel = to // (out[0] // op.groups) * op.weight.shape[1] + c
        row = places[to][:, y[:, None], x]
        rows.append(row.reshape(-1))
        columns.append(pixels[channel][:, from_y[:, None], from_x].reshape(-1))
        values.append(np.repeat(op.weight[to, c, i, j], prod(row.shape[1:])))
    shaped = (prod(out), prod(shape))
    return Entries(np.concatenate(rows), np.concatenate(columns), np.concatenate(values), shaped)


def _pairs(op: Conv, shape: Shape, out: Shape, axis: int, at: int) -> tuple[Array, Array]:
    """Outputs along an axis that entry ``at`` of the kernel serves, and the pixels it reads."""
    y = np.arange(out[1 + axis])
    pixel = y * op.stride[axis] + at * op.dilation[axis] - op.padding[axis]
    inside = (pixel >= 0) & (pixel < shape[1 + axis])
    return y[inside], pixel[inside]
