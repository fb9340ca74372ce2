"""Loihi 2 as Intel's Lava compiler cuts and stores, read off the logs that lava-dl publishes.

Words of 64 bits. Each axon of a matrix takes ``ceil((n (w + i) + 10) / 64)`` words on a core on
which it has n synapses of w bits and their index of i bits. A convolution is stored once on each
of its cores, without indices: each tap of each input channel is such an axon, its n synapses
lead to the channels that the core holds.

A matrix layer begins with 4095 neurons on a core, and while a core holds too much that number is
divided by the excess, ``n // ceil(used / limit)``: so 4095, 2047, 1023 ... and not the layer's
size. A convolution is cut into tiles whose width is the largest power of two that fits. Until
2023 tiles had all rows and channels; in logs of 2024 the rows are halved as long as a tile stays
no wider than high, and channels are halved while the kernel is too big.
"""

from collections.abc import Mapping
from math import ceil, prod

import numpy as np

from sltdeploy.mapping.cuts import (
    HEADER_BITS,
    WORD,
    Cut,
    Measure,
    chunks,
    cut_by,
    synapses_by_axon,
    told,
    words_of,
)
from sltdeploy.mapping.parts import Limits, Part, axis_pairs
from sltdeploy.ops import Array, Shape

ROWS_CUT: Mapping[str, bool] = {"lava-2022": False, "lava-2024": True}  # by Target.placement


def cut(shape: Shape, parts: list[Part], limits: Limits, placement: str) -> Cut:
    """Cores of a layer of ``shape``."""
    if parts and all(p.form == "conv" for p in parts):
        tile = _tile(shape, parts, limits, rows_cut=ROWS_CUT[placement])
        text = f"tiles of {' x '.join(map(str, tile))}"
        return cut_by(_tiles(shape, tile), parts, _tiled(shape, tile), text)
    return _halved(prod(shape), parts, limits)


def _halved(neurons: int, parts: list[Part], limits: Limits) -> Cut:
    measure = _matrices(limits.index_bits)
    chunk = min(limits.neurons, 2**31)
    while True:
        text = told(neurons, chunk)
        found = cut_by(chunks(neurons, chunk), parts, measure, text)
        excess = ceil(int(found.words.max()) / limits.words)
        # Where one neuron alone has too many axons no cut helps, which is told as a wall.
        if found.axons_in.max() > limits.axons_in and any(p.form == "sparse" for p in parts):
            excess = max(excess, ceil(int(found.axons_in.max()) / limits.axons_in))
        if excess <= 1 or chunk == 1:
            return found
        chunk = max(1, chunk // excess)


def _matrices(index_bits: int) -> Measure:
    def measure(parts: list[Part], core: Array, cores: int) -> tuple[Array, Array]:
        words, axons_in = np.zeros(cores, np.int64), np.zeros(cores, np.int64)
        for part in parts:
            each = part.weight_bits + part.delay_bits + index_bits
            if part.form == "dense":
                words += part.pre * words_of(np.bincount(core) * each + HEADER_BITS)
                axons_in += part.pre
            else:
                at, synapses = synapses_by_axon(part, core)
                np.add.at(words, at, words_of(synapses * each + HEADER_BITS))
                np.add.at(axons_in, at, 1)
        return words, axons_in

    return measure


def _tile(shape: Shape, parts: list[Part], limits: Limits, *, rows_cut: bool) -> Shape:
    channels, rows, columns = shape

    def wide(c: int, h: int) -> int:
        """Largest power of two of columns that fits, at most all of them; 0 where none does."""
        most = limits.neurons // (c * h)
        return min(columns, 1 << (most.bit_length() - 1)) if most else 0

    def too_narrow(c: int, h: int) -> bool:
        return rows_cut and h % 2 == 0 and wide(c, h) < columns and wide(c, h // 2) <= h // 2

    c, h = channels, rows
    while h > 1 and (not wide(c, h) or too_narrow(c, h)):
        h = ceil(h / 2)
    while c > 1 and (not wide(c, h) or sum(_kernel(p, 0, c) for p in parts) > limits.words):
        c = ceil(c / 2)
    return c, h, wide(c, h)


def _kernel(part: Part, start: int, stop: int) -> int:
    """Words of the kernel for channels ``start`` to ``stop`` of the layer."""
    assert part.conv is not None
    out, into, *taps = part.conv.weight.shape
    per_group, each, words = out // part.conv.groups, part.weight_bits + part.delay_bits, 0
    for group in range(start // per_group, ceil(stop / per_group)):
        synapses = min(stop, (group + 1) * per_group) - max(start, group * per_group)
        words += prod(taps) * into * ceil((synapses * each + HEADER_BITS) / WORD)
    return words


def _grid(shape: Shape, tile: Shape) -> tuple[int, int, int]:
    channels, rows, columns = (ceil(n / t) for n, t in zip(shape, tile, strict=True))
    return channels, rows, columns


def _tiles(shape: Shape, tile: Shape) -> Array:
    """Core of each neuron, flattened: tile by tile, columns first."""
    _, rows, columns = _grid(shape, tile)
    c, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    return (((c // tile[0]) * rows + y // tile[1]) * columns + x // tile[2]).ravel()


def _tiled(shape: Shape, tile: Shape) -> Measure:
    channels, rows, columns = _grid(shape, tile)

    def measure(parts: list[Part], core: Array, cores: int) -> tuple[Array, Array]:
        starts = [k * tile[0] for k in range(channels)]
        stops = [min(shape[0], start + tile[0]) for start in starts]
        words = [
            sum(_kernel(p, start, stop) for p in parts)
            for start, stop in zip(starts, stops, strict=True)
        ]
        # One axon for each phase of the stride along a row; all sources share it.
        axons_in = sum(p.conv.stride[1] for p in parts if p.conv is not None)
        return np.repeat(words, rows * columns), np.full(core.max() + 1, axons_in)

    return measure


def reach(part: Part, cut: Cut, shape: Shape) -> Array:
    """Number of cores of a layer of ``shape`` that a spike of each source neuron is sent to."""
    if part.form == "dense":
        return np.full(part.shape, cut.cores, np.int64)
    if part.conv is None:
        found = np.unique(part.columns * cut.cores + cut.core[part.rows])
        return np.bincount(found // cut.cores, minlength=part.pre).reshape(part.shape)
    # Tiles are a grid: what a spike meets is the product of what it meets along each axis.
    grid = cut.core.reshape(shape)
    per_group, groups = part.shape[0] // part.conv.groups, part.conv.groups
    channels = [np.unique(some).size for some in np.split(grid[:, 0, 0], groups)]
    met: list[Array] = []
    for axis, line in enumerate((grid[0, :, 0], grid[0, 0, :])):
        at, out, _ = axis_pairs(part.conv, part.shape, axis)
        both = np.unique(np.stack([at, line[out]]), axis=1)
        met.append(np.bincount(both[0], minlength=part.shape[1 + axis]))
    return np.repeat(channels, per_group)[:, None, None] * met[0][:, None] * met[1]
