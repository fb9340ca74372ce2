"""Each op of a projection as what a kernel reads: tables of weights, and where they lead.

Shapes are flat on both sides, in C order. What a kernel adds up has to be multiplied by
``2**-bits``: weights are whole numbers wherever int8 or int16 holds them.
"""

from dataclasses import dataclass
from math import log2, prod
from typing import TypeAlias

import numpy as np

from sltdeploy.c_source import costs
from sltdeploy.c_source.exactness import fraction_bits
from sltdeploy.c_source.text import smallest_unsigned
from sltdeploy.program import Array, Conv, Linear, Op, Pair, Pool, Reshape, Scale, Shape


@dataclass(frozen=True, eq=False)
class Columns:
    """Compressed sparse columns: source i adds weight[k] to[k] for first[i] <= k < first[i+1]."""

    first: Array
    to: Array
    weight: Array
    bits: int
    sources: int
    size: int


@dataclass(frozen=True, eq=False)
class Rows:
    """A row of ``size`` weights for each source, one behind the other."""

    weight: Array
    bits: int
    sources: int
    size: int


@dataclass(frozen=True, eq=False)
class Window:
    """How a sliding window lies: images before and after, kernel, stride, padding, dilation."""

    before: Shape
    after: Shape
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair


@dataclass(frozen=True, eq=False)
class ConvEvents:
    """A spike at (c, h, w) adds, for each tap t of the kernel that it reaches, columns c, t.

    ``to`` is where the output channel begins; the place within comes from the tap.
    """

    window: Window
    first: Array
    to: Array
    weight: Array
    bits: int

    @property
    def size(self) -> int:
        """Number of outputs."""
        return prod(self.window.after)


@dataclass(frozen=True, eq=False)
class ConvRows:
    """Each weight that is not 0 multiplies whole rows of an image and adds them to another.

    ``to`` and ``source`` are where the channels begin, ``tap`` is row * width + column of the
    kernel. Pruned weights and channels have no entry.
    """

    window: Window
    to: Array
    source: Array
    tap: Array
    weight: Array
    bits: int

    @property
    def size(self) -> int:
        """Number of outputs."""
        return prod(self.window.after)


@dataclass(frozen=True, eq=False)
class PoolEvents:
    """Whatever is not 0 is added to each window that covers it."""

    window: Window
    bits: int = 0

    @property
    def size(self) -> int:
        """Number of outputs."""
        return prod(self.window.after)


@dataclass(frozen=True, eq=False)
class OneToOne:
    """Element by element times ``weight``: one number, an array of all, or None for 1."""

    weight: Array | None
    bits: int
    size: int


@dataclass(frozen=True, eq=False)
class Divide:
    """Element by element divided by ``by``: an average whose window is no power of two."""

    by: int
    size: int
    bits: int = 0


Stage: TypeAlias = Columns | Rows | ConvEvents | ConvRows | PoolEvents | OneToOne | Divide


def stages(ops: tuple[Op, ...], shape: Shape, rate: float, *, whole: bool) -> tuple[Stage, ...]:
    """Turn ``ops`` behind a source of ``shape`` into kernels; ``rate`` is the share not 0.

    ``whole`` says that all sums are taken in integers. Biases are no part of it.
    """
    found: list[Stage] = []
    pair = 4 if whole else 8  # bytes of an accumulator
    for op in ops:
        match op:
            case Reshape():
                pass
            case Linear():
                found.append(_linear(op, rate, pair, whole=whole))
                rate = costs.VALUE_RATE
            case Conv():
                found.append(_conv(op, shape, rate, pair, whole=whole))
                rate = costs.VALUE_RATE
            case Pool():
                found += _pool(op, shape)
                rate = costs.rate_behind_pool(op, rate)
            case Scale():
                found.append(_scale(op, shape, whole=whole))
        shape = op.out_shape(shape)
    return tuple(found) or (OneToOne(None, 0, prod(shape)),)


def compact(weight: Array, *, whole: bool) -> tuple[Array, int]:
    """Give ``weight`` as k and n of ``k 2**-n``: int8 or int16, else int32 or float as it was."""
    bits = fraction_bits(weight)
    if bits is not None:
        k = np.rint(weight.astype(np.float64) * 2.0**bits)
        peak = float(np.abs(k).max(initial=0))
        for kind in (np.int8, np.int16, np.int32)[: 3 if whole else 2]:
            if peak <= np.iinfo(kind).max:
                return k.astype(kind), bits
    single = weight.astype(np.float32)
    return (single if (single == weight).all() else weight.astype(np.float64)), 0


def _linear(op: Linear, rate: float, pair: int, *, whole: bool) -> Columns | Rows:
    weight, bits = compact(op.weight, whole=whole)
    post, pre = weight.shape
    if not costs.linear_by_columns(op, rate, pair + weight.itemsize):
        return Rows(np.ascontiguousarray(weight.T), bits, pre, post)
    source, to = np.nonzero(weight.T)
    first = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=pre))])
    return Columns(
        first.astype(smallest_unsigned(len(to))),
        to.astype(smallest_unsigned(post)),
        weight[to, source],
        bits,
        pre,
        post,
    )


def _window(op: Conv | Pool, shape: Shape) -> Window:
    conv = isinstance(op, Conv)
    kernel = (op.weight.shape[2], op.weight.shape[3]) if conv else op.kernel
    return Window(
        shape,
        op.out_shape(shape),
        kernel,
        op.stride,
        (op.padding[0], op.padding[1]),
        op.dilation if conv else (1, 1),
    )


def _conv(op: Conv, shape: Shape, rate: float, pair: int, *, whole: bool) -> ConvEvents | ConvRows:
    window = _window(op, shape)
    weight, bits = compact(op.weight, whole=whole)
    post, per_in = weight.shape[:2]
    o, c, i, j = np.nonzero(weight)
    values = weight[o, c, i, j]
    channel = c + o // (post // op.groups) * per_in
    tap = i * window.kernel[1] + j
    begins = o * prod(window.after[1:])
    offset = smallest_unsigned(prod(window.after))
    if not costs.conv_by_events(op, shape, rate, pair + weight.itemsize):
        return ConvRows(
            window,
            begins.astype(offset),
            (channel * prod(shape[1:])).astype(smallest_unsigned(prod(shape))),
            tap.astype(smallest_unsigned(prod(window.kernel))),
            values,
            bits,
        )
    column = channel * prod(window.kernel) + tap
    order = np.lexsort((o, column))
    columns = shape[0] * prod(window.kernel)
    first = np.concatenate([[0], np.cumsum(np.bincount(column, minlength=columns))])
    return ConvEvents(
        window,
        first.astype(smallest_unsigned(len(o))),
        begins[order].astype(offset),
        values[order],
        bits,
    )


def _pool(op: Pool, shape: Shape) -> tuple[Stage, ...]:
    window, size = _window(op, shape), prod(op.kernel)
    if op.kind == "sum":
        return (PoolEvents(window),)
    if size & (size - 1) == 0:
        return (PoolEvents(window, int(log2(size))),)
    return PoolEvents(window), Divide(size, prod(window.after))


def _scale(op: Scale, shape: Shape, *, whole: bool) -> OneToOne:
    size = prod(shape)
    weight, bits = compact(op.factor, whole=whole)
    first = weight.reshape(-1)[0]
    if (weight == first).all():
        return OneToOne(None if first == 1 else np.asarray(first), bits, size)
    return OneToOne(np.broadcast_to(weight, shape).reshape(-1).copy(), bits, size)
