"""Which Lava process a projection becomes: Conv, Dense or Sparse.

Lava has no pooling and one step a process, so a projection's chain of ops becomes one process:

- Conv, the kernel stored once as on the chip, where the ops are one convolution with symmetric
  padding, at least half of the kernel is left, and either few pairs of channels are convolved (the
  simulation convolves each pair by itself, about 20 us a step) or a matrix would be huge. Lava's
  fixed-point Conv ignores the weight exponent, so that must be 0.
- Dense where at least half of the matrix is not 0: an unpruned linear layer.
- Sparse otherwise: pruned layers, each synapse stored, zeros nowhere.

Synapses that take more than one step become DelayDense or DelaySparse, which hold one delay for
each pair of neurons; what joins a pair after several delays becomes several processes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from sltdeploy.program import Array, Conv, Op, Shape
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


@dataclass(frozen=True)
class Timed:
    """A chain of ops without biases, and the steps that its synapses take: 1 or more."""

    steps: int
    ops: tuple[Op, ...]


def as_synapses(
    ways: Sequence[Timed], shape: Shape, exponent: int, *, integers: bool
) -> list[Synapse]:
    """Choose processes for synapses from a source of ``shape``, by the rules above."""
    if len(ways) == 1 and ways[0].steps == 1:
        return [_as_synapse(ways[0].ops, shape, exponent, integers=integers)]
    layers = _layers(ways, shape)
    return [_matrix(*layer, exponent, integers=integers) for layer in layers]


def identity(size: int, steps: int, *, integers: bool) -> Synapse:
    """Neurons joined one to one by synapses of weight 1 that take ``steps`` steps."""
    one = Matrix(
        np.ones(size),
        np.arange(size, dtype=np.int32),
        np.arange(size + 1, dtype=np.int32),
        (size, size),
    )
    return _matrix(one, np.full(size, steps - 1, np.int64), 0, integers=integers)


def is_huge(ops: tuple[Op, ...], shape: Shape) -> bool:
    """Whether ``ops`` are a convolution with too many synapses to store one by one."""
    conv = as_conv(ops, shape)
    return conv is not None and _synapses(conv, shape) > MATRIX_TOP


def stays_conv(ops: tuple[Op, ...], shape: Shape, exponent: int) -> Conv | None:
    """The convolution that Lava gets for ``ops`` without delay; None: it gets a matrix."""
    conv = as_conv(ops, shape)
    if conv is None or exponent != 0:
        return None
    conv = _symmetric(conv, shape)
    return conv if conv is not None and _is_better(conv, shape) else None


def held(synapse: Synapse) -> str:
    """Why Loihi's 8 bits do not hold the integers of ``synapse``; empty where they do."""
    weights = synapse.arrays.get("weight", synapse.arrays.get("weights"))
    weights = synapse.arrays["data"] if weights is None else weights
    low, high = int(weights.min(initial=0)), int(weights.max(initial=0))
    mixed = low < 0 < high
    least, most = (-256, 254) if mixed else (-255, 255)
    if low < least or high > most:
        return f"weights reach from {low} to {high}, Loihi holds {least} to {most}"
    if mixed and (weights % 2 != 0).any():
        return "weights of both signs must be even on Loihi, some are odd"
    return ""


def _as_synapse(ops: tuple[Op, ...], shape: Shape, exponent: int, *, integers: bool) -> Synapse:
    if (conv := stays_conv(ops, shape, exponent)) is not None:
        return _conv(conv, shape, integers=integers)
    matrix = as_matrix(ops, shape)
    return _matrix(matrix, np.zeros(matrix.data.size, np.int64), exponent, integers=integers)


def _layers(ways: Sequence[Timed], shape: Shape) -> Iterator[tuple[Matrix, Array]]:
    """Matrices with the delay of each entry; a pair of neurons is once in each of them."""
    left = [(as_matrix(way.ops, shape), way.steps - 1) for way in ways]
    while left:
        chosen, after = [left[0]], list[tuple[Matrix, int]]()
        taken = _keys(left[0][0])
        for matrix, delay in left[1:]:
            keys = _keys(matrix)
            if np.isin(keys, taken).any():
                after.append((matrix, delay))
            else:
                chosen.append((matrix, delay))
                taken = np.concatenate([taken, keys])
        yield _joined(chosen, taken)
        left = after


def _keys(matrix: Matrix) -> Array:
    """A number for each pair of neurons that is joined, rising in C order."""
    rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    return rows * matrix.shape[1] + matrix.indices


def _joined(chosen: Sequence[tuple[Matrix, int]], keys: Array) -> tuple[Matrix, Array]:
    """One matrix of several that have no pair of neurons in common; ``keys`` are theirs."""
    post, pre = chosen[0][0].shape
    order = np.argsort(keys)
    rows, columns = np.divmod(keys[order], pre)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=post))])
    data = np.concatenate([matrix.data for matrix, _ in chosen])
    delays = np.concatenate([np.full(m.data.size, delay, np.int64) for m, delay in chosen])
    joined = Matrix(data[order], columns.astype(np.int32), indptr.astype(np.int32), (post, pre))
    return joined, delays[order]


def _symmetric(conv: Conv, shape: Shape) -> Conv | None:
    """The same convolution with as much padding behind as before, or None."""
    top, left, _, _ = conv.padding
    widened = replace(conv, padding=(top, left, top, left))
    fits = min(widened.out_shape(shape)) > 0
    return widened if fits and widened.out_shape(shape) == conv.out_shape(shape) else None


def _is_better(conv: Conv, shape: Shape) -> bool:
    left = int(np.count_nonzero(conv.weight))
    if _synapses(conv, shape) > MATRIX_TOP:
        return True
    pairs = conv.weight.shape[0] * conv.weight.shape[1]
    return left >= PRUNED * conv.weight.size and pairs <= CONV_PAIRS


def _synapses(conv: Conv, shape: Shape) -> int:
    return int(np.count_nonzero(conv.weight)) * prod(conv.out_shape(shape)[1:])


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


def _matrix(matrix: Matrix, delays: Array, exponent: int, *, integers: bool) -> Synapse:
    """Dense or sparse, with delays where there are any."""
    post, pre = matrix.shape
    exponents = {} if exponent == 0 else {"weight_exp": repr(exponent)}
    late = bool(delays.any())
    prefix = "Delay" if late else ""
    note = f"{matrix.data.size} of {pre} x {post} synapses"
    if late:
        least, most = int(delays.min()), int(delays.max())
        note += f", delayed by {least}" + (f" to {most}" if most > least else "")
    if matrix.density >= PRUNED:
        arguments = {"weights": 'weights["@.weights"]'}
        arrays = {"weights": _stored(matrix.dense(), integers=integers)}
        if late:
            arguments["delays"] = 'weights["@.delays"]'
            arrays["delays"] = replace(matrix, data=delays).dense().astype(np.int64)
        return Synapse(f"{prefix}Dense", {**arguments, **exponents}, arrays, note)
    arguments = {"weights": 'sparse("@")'}
    arrays = {
        "data": _stored(matrix.data, integers=integers),
        "indices": matrix.indices,
        "indptr": matrix.indptr,
        "shape": np.asarray(matrix.shape, np.int32),
    }
    if late:
        arguments["delays"] = 'sparse("@", "delays")'
        arrays["delays"] = delays
    return Synapse(f"{prefix}Sparse", {**arguments, **exponents}, arrays, note)


def _stored(values: Array, *, integers: bool) -> Array:
    """Lava's own types: int32 or float64."""
    return np.ascontiguousarray(values.astype(np.int32 if integers else np.float64))
