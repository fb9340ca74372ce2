"""Which Lava process a projection becomes: Conv, Dense or Sparse.

Lava has no pooling and one step a process, so a projection's chain of ops becomes one process:

- Conv, the kernel stored once as on the chip, where the ops are one convolution with symmetric
  padding, at least half of the kernel is left, and either few pairs of channels are convolved (the
  simulation convolves each pair by itself, about 20 us a step) or a matrix would be huge. Lava's
  fixed-point Conv ignores the weight exponent, so that must be 0.
- Dense where at least half of the matrix is not 0: an unpruned linear layer.
- Sparse otherwise: pruned layers, each synapse stored, zeros nowhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from sltdeploy.program import Array, Conv, Projection, Shape
from sltdeploy.synapse import Matrix, as_conv, as_matrix

PRUNED = 0.5  # less than this share of weights left counts as pruned
CONV_PAIRS = 64  # more pairs of channels than this are too slow as Conv in the simulation
MATRIX_TOP = 4_000_000  # more synapses than this are too many to store one by one


@dataclass(frozen=True, eq=False)
class Synapse:
    """A process class, its arguments as source with @ for its name, and its arrays."""

    cls: str
    arguments: Mapping[str, str]
    arrays: Mapping[str, Array]
    note: str


def as_synapse(projection: Projection, shape: Shape, *, integers: bool) -> Synapse:
    """Choose a process for a projection from a source of ``shape``, by the rule above."""
    conv = as_conv(projection.ops, shape)
    if conv is not None and projection.weight_exponent == 0:
        conv = _symmetric(conv, shape)
        if conv is not None and _is_better(conv, shape):
            return _conv(conv, shape, integers=integers)
    matrix = as_matrix(projection.ops, shape)
    return _matrix(matrix, projection.weight_exponent, integers=integers)


def _symmetric(conv: Conv, shape: Shape) -> Conv | None:
    """The same convolution with as much padding behind as before, or None."""
    top, left, _, _ = conv.padding
    widened = replace(conv, padding=(top, left, top, left))
    fits = min(widened.out_shape(shape)) > 0
    return widened if fits and widened.out_shape(shape) == conv.out_shape(shape) else None


def _is_better(conv: Conv, shape: Shape) -> bool:
    left = int(np.count_nonzero(conv.weight))
    if left * prod(conv.out_shape(shape)[1:]) > MATRIX_TOP:
        return True
    pairs = conv.weight.shape[0] * conv.weight.shape[1]
    return left >= PRUNED * conv.weight.size and pairs <= CONV_PAIRS


def _conv(conv: Conv, shape: Shape, *, integers: bool) -> Synapse:
    channels, height, width = shape
    # Lava convolves, which flips the kernel that ops correlate with, and puts channels last.
    kernel = conv.weight[:, :, ::-1, ::-1].transpose(0, 2, 3, 1)
    out, per_group, rows, columns = conv.weight.shape
    left = int(np.count_nonzero(kernel))
    return Synapse(
        "Conv",
        {
            "weight": 'weights["@.weight"]',
            "input_shape": repr((height, width, channels)),
            "padding": repr(conv.padding[:2]),
            "stride": repr(conv.stride),
            "dilation": repr(conv.dilation),
            "groups": repr(conv.groups),
        },
        {"weight": _stored(kernel, integers=integers)},
        f"kernel {rows}x{columns}, {per_group * conv.groups} -> {out} channels, {left} weights",
    )


def _matrix(matrix: Matrix, exponent: int, *, integers: bool) -> Synapse:
    post, pre = matrix.shape
    arguments = {} if exponent == 0 else {"weight_exp": repr(exponent)}
    share = f"{matrix.data.size} of {pre} x {post} synapses"
    if matrix.density >= PRUNED:
        dense = _stored(matrix.dense(), integers=integers)
        arguments = {"weights": 'weights["@.weights"]', **arguments}
        return Synapse("Dense", arguments, {"weights": dense}, share)
    arrays = {
        "data": _stored(matrix.data, integers=integers),
        "indices": matrix.indices,
        "indptr": matrix.indptr,
        "shape": np.asarray(matrix.shape, np.int32),
    }
    return Synapse("Sparse", {"weights": 'sparse("@")', **arguments}, arrays, share)


def _stored(values: Array, *, integers: bool) -> Array:
    """Lava's own types: int32 or float64."""
    return np.ascontiguousarray(values.astype(np.int32 if integers else np.float64))
