"""How the synapses of a path lie in a core's memory: a matrix, its non-zeros, or a kernel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, TypeAlias

import numpy as np

from sltdeploy.lava_package.routes import Route
from sltdeploy.lava_package.synapses import PRUNED, is_huge
from sltdeploy.machine import Target
from sltdeploy.ops import Array, Conv, Linear, Reshape, Shape
from sltdeploy.synapse import as_conv, as_matrix

Form: TypeAlias = Literal["dense", "sparse", "conv"]


@dataclass(frozen=True, eq=False)
class Part:
    """The synapses from ``source`` into a layer of ``post`` neurons, both flattened.

    A dense part has a synapse for each pair; a sparse one those in ``rows`` and ``columns``; of
    a convolution the kernel is stored, zeros included. ``weight_bits`` and ``delay_bits`` are
    those of one synapse.
    """

    source: str
    shape: Shape  # of the source
    post: int
    form: Form
    weight_bits: int
    delay_bits: int
    rows: Array
    columns: Array
    conv: Conv | None = None

    @property
    def pre(self) -> int:
        """Number of source neurons."""
        return prod(self.shape)

    @property
    def stored(self) -> int:
        """Number of synapses in memory if it all lay on one core."""
        if self.conv is not None:
            return self.conv.weight.size
        return self.pre * self.post if self.form == "dense" else self.rows.size


@dataclass(frozen=True)
class Limits:
    """What a core holds; a large number where a target states no limit."""

    neurons: int
    words: int
    axons_in: int
    axons_out: int
    weight_bits: int
    index_bits: int
    delay_steps: int


NONE = 2**62
KEYS = {
    "neurons": "neurons_per_core",
    "synapse_words": "synapse_words_per_core",
    "axons_in": "axons_in_per_core",
    "axons_out": "axons_out_per_core",
}


def limits(target: Target) -> Limits:
    """The limits of ``target`` on one core."""
    neurons, words, axons_in, axons_out = (target.limit(key) or NONE for key in KEYS.values())
    return Limits(
        neurons,
        words,
        axons_in,
        axons_out,
        target.limit("weight_bits") or 0,
        target.limit("index_bits") or 0,
        target.limit("delay_steps") or 0,
    )


Timed = tuple[Route, Shape, tuple[int, ...]]  # with the source's shape, and steps by way


def as_parts(
    into: Sequence[Timed], shape: Shape, held: Limits, declared: Mapping[str, int]
) -> list[Part]:
    """How the routes into a layer of ``shape`` are stored.

    They are kernels only where all of them are and none has to wait, else matrices.
    """
    convs = [_conv(*timed) for timed in into]
    kernels = len(shape) == 3 and all(c is not None for c in convs)
    found: list[Part] = []
    for (route, source, taken), conv in zip(into, convs, strict=True):
        bits = declared.get(route.name, held.weight_bits)
        waits = held.delay_steps.bit_length() if max(taken) > 1 else 0
        rows, columns = np.zeros(0, np.int64), np.zeros(0, np.int64)
        form: Form = "conv"
        if not kernels:
            form, rows, columns = _matrix(route, source, prod(shape))
        kernel = conv if kernels else None
        found.append(
            Part(route.source, source, prod(shape), form, bits, waits, rows, columns, kernel)
        )
    return found


def _conv(route: Route, shape: Shape, taken: tuple[int, ...]) -> Conv | None:
    ops = route.ways[0].ops
    if len(route.ways) > 1 or (taken[0] > 1 and not is_huge(ops, shape)):
        return None
    return as_conv(ops, shape)


def _matrix(route: Route, shape: Shape, post: int) -> tuple[Form, Array, Array]:
    """Form, rows and columns of the synapses; those of several delays one after another."""
    none, pre = np.zeros(0, np.int64), prod(shape)
    ops = [op for op in route.ways[0].ops if not isinstance(op, Reshape)]
    if len(route.ways) == 1 and len(ops) == 1 and isinstance(ops[0], Linear):
        kept = ops[0].weight != 0
        if np.count_nonzero(kept) >= PRUNED * kept.size:
            return "dense", none, none
        rows, columns = np.nonzero(kept)
    else:
        each = [as_matrix(way.ops, shape) for way in route.ways]
        counts = [np.repeat(np.arange(m.shape[0]), np.diff(m.indptr)) for m in each]
        rows = np.concatenate(counts)
        columns = np.concatenate([m.indices.astype(np.int64) for m in each])
    if rows.size >= PRUNED * pre * post:
        return "dense", none, none
    return "sparse", rows, columns


def axis_pairs(conv: Conv, shape: Shape, axis: int) -> tuple[Array, Array, Array]:
    """Along one axis (0 rows, 1 columns): input, output and tap of every pair that meets."""
    outputs = conv.out_shape(shape)[1 + axis]
    taps = conv.weight.shape[2 + axis]
    o, k = (a.ravel() for a in np.mgrid[0:outputs, 0:taps])
    at = conv.stride[axis] * o + conv.dilation[axis] * k - conv.padding[axis]
    inside = (at >= 0) & (at < shape[1 + axis])
    return at[inside], o[inside], k[inside]


def pairs(part: Part, core: Array, cores: int) -> tuple[Array, Array]:
    """Which source neuron has a stored synapse on which core, each pair once, sorted.

    ``core`` is the core of each neuron of the layer, flattened.
    """
    if part.form == "dense":
        source, at = (a.ravel() for a in np.mgrid[0 : part.pre, 0:cores])
        return source, at
    if part.conv is None:
        found = np.unique(part.columns * cores + core[part.rows])
        return found // cores, found % cores
    conv, channels = part.conv, part.shape[0]
    per_group, pixels = channels // conv.groups, prod(part.shape[1:])
    of_group, pixel, at = pixel_pairs(part, core, cores)
    first = of_group * per_group
    source = (first[:, None] + np.arange(per_group)) * pixels + pixel[:, None]
    found = np.unique(source * cores + at[:, None])
    return found // cores, found % cores


def entries(conv: Conv, shape: Shape) -> tuple[Array, Array, Array]:
    """Input pixel, output pixel and tap of every pair of pixels that a kernel joins."""
    (y_in, y_out, y_tap), (x_in, x_out, x_tap) = (axis_pairs(conv, shape, a) for a in (0, 1))
    width, out_width, taps = shape[2], conv.out_shape(shape)[2], conv.weight.shape[3]
    return (
        (y_in[:, None] * width + x_in).ravel(),
        (y_out[:, None] * out_width + x_out).ravel(),
        (y_tap[:, None] * taps + x_tap).ravel(),
    )


def pixel_pairs(part: Part, core: Array, cores: int) -> tuple[Array, Array, Array]:
    """Which group and pixel of the source meets which core, each once: group, pixel, core."""
    assert part.conv is not None
    conv = part.conv
    pixel, out, _ = entries(conv, part.shape)
    pixels, outs = prod(part.shape[1:]), part.post // conv.weight.shape[0]
    per_group = conv.weight.shape[0] // conv.groups
    found: list[Array] = []
    for group in range(conv.groups):
        own = core.reshape(-1, outs)[group * per_group : (group + 1) * per_group]
        met = np.zeros((pixels, cores), bool)
        for some in np.unique(own, axis=0):
            met[pixel, some[out]] = True
        found.append(np.flatnonzero(met) + group * pixels * cores)
    codes = np.concatenate(found)
    return codes // cores // pixels, codes // cores % pixels, codes % cores
