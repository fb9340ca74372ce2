"""Loihi 1 as nengo-loihi cuts and stores: its published rules, in its own numbers.

A layer is cut in order into ``max`` of its neurons, axons in, axons out and synapse bits over
what a core holds, equal chunks. Each axon stores its synapses in blocks of 64, each block with 10
bits before it and rounded up to 64 bits. A dense axon needs no indices; where synapses are
missing each has one. A convolution is stored once for each pattern of taps and neurons that
pixels of its source see ("population axons": the channel is an atom of the spike); such an axon
takes two slots of the sender (pop32).

Beyond the published rule, which cuts once: where a core still holds too much, the layer is cut
finer by the excess or a quarter, as a user of nengo-loihi would by a block shape.

Source: nengo-loihi, block.py and builder/split_blocks.py.
"""

from collections.abc import Mapping
from math import ceil, prod

import numpy as np

from sltdeploy.mapping.cuts import (
    HEADER_BITS,
    Cut,
    chunks,
    cut_by,
    synapses_by_axon,
    told,
    words_of,
)
from sltdeploy.mapping.parts import Limits, Part, entries, pairs, pixel_pairs
from sltdeploy.ops import Array, Shape

BLOCK = 64  # synapses that share a header
INDEX_BITS = (0, *range(6, 13))
POP32_SLOTS = 2
FINER = 1.25  # at least so many times more chunks, where those that were tried hold too much


def cut(shape: Shape, parts: list[Part], limits: Limits, slots_out: int) -> Cut:
    """Cores of a layer whose neurons take ``slots_out`` slots before anything is cut."""
    neurons = prod(shape)
    whole = split_into(1, shape, parts)
    split = max(
        ceil(neurons / limits.neurons),
        ceil(int(whole.axons_in[0]) / limits.axons_in),
        ceil(slots_out / limits.axons_out),
        ceil(int(whole.words[0]) / limits.words),
    )
    while True:
        found = split_into(split, shape, parts)
        excess = found.words.max() / limits.words
        if any(p.form != "dense" for p in parts):  # else no cut takes axons away
            excess = max(excess, found.axons_in.max() / limits.axons_in)
        if excess <= 1 or found.cores >= neurons:
            return found
        split = max(ceil(found.cores * max(excess, FINER)), finer(found))


def finer(found: Cut) -> int:
    """Fewest chunks to cut a layer into that are smaller than those of ``found``."""
    return ceil(int(found.neurons.sum()) / (int(found.neurons.max()) - 1))


def split_into(split: int, shape: Shape, parts: list[Part]) -> Cut:
    """The layer in ``split`` equal chunks, fewer where they are not so many neurons."""
    neurons = prod(shape)
    chunk = ceil(neurons / min(split, neurons))
    text = told(neurons, chunk)
    core = chunks(neurons, chunk)
    if len(shape) == 3:  # in nengo's order, channels last
        channels, rows, columns = shape
        core = core.reshape(rows, columns, channels).transpose(2, 0, 1).ravel()
    return cut_by(core, parts, _measure, text)


def axons_out(part: Part, goal: Cut, core: Array, cores: int) -> Array:
    """Slots for axons on each core of the sender, whose neurons lie on ``core``."""
    if part.conv is None:
        source, _ = pairs(part, goal.core, goal.cores)
        return np.bincount(core[source], minlength=cores)
    # Channels of one pixel on one core share its axon to a core.
    met = _cores_by_pixel(part, goal).ravel()
    pixels, groups = prod(part.shape[1:]), part.conv.groups
    place = np.arange(groups)[:, None, None] * pixels + np.arange(pixels)
    sender = core.reshape(groups, -1, pixels)
    found = np.unique(place * cores + sender)
    slots = np.bincount(found % cores, weights=met[found // cores], minlength=cores)
    return POP32_SLOTS * slots.astype(np.int64)


def reach(part: Part, cut: Cut) -> Array:
    """Number of cores that a spike of each source neuron is sent to."""
    if part.form == "dense":
        return np.full(part.shape, cut.cores, np.int64)
    if part.conv is not None:
        per_group = part.shape[0] // part.conv.groups
        return np.repeat(_cores_by_pixel(part, cut), per_group, axis=0).reshape(part.shape)
    source, _ = pairs(part, cut.core, cut.cores)
    return np.bincount(source, minlength=part.pre).reshape(part.shape)


def _cores_by_pixel(part: Part, cut: Cut) -> Array:
    """Number of cores that each pixel's axons lead to, (groups, pixels)."""
    assert part.conv is not None
    of_group, pixel, _ = pixel_pairs(part, cut.core, cut.cores)
    pixels, groups = prod(part.shape[1:]), part.conv.groups
    return np.bincount(of_group * pixels + pixel, minlength=groups * pixels).reshape(groups, pixels)


def _measure(parts: list[Part], core: Array, cores: int) -> tuple[Array, Array]:
    words, axons_in = np.zeros(cores, np.int64), np.zeros(cores, np.int64)
    neurons = np.bincount(core, minlength=cores)
    indices = np.array([_index_bits(int(n)) for n in neurons])
    for part in parts:
        each = part.weight_bits + part.delay_bits
        if part.form == "dense":
            words += part.pre * _blocks(neurons, each)
            axons_in += part.pre
        elif part.form == "sparse":
            at, synapses = synapses_by_axon(part, core)
            np.add.at(words, at, _blocks(synapses, each + indices[at]))
            np.add.at(axons_in, at, 1)
        else:
            at, synapses, met = _patterns(part, core)
            np.add.at(words, at, _blocks(synapses, each + indices[at]))
            axons_in += np.bincount(met, minlength=cores)
    return words, axons_in


def _blocks(synapses: Array, each: Array | int) -> Array:
    """Words of an axon with so many synapses of ``each`` bits."""
    whole, rest = np.divmod(synapses, BLOCK)
    last = np.where(rest > 0, words_of(rest * each + HEADER_BITS), 0)
    return whole * words_of(np.asarray(BLOCK * each + HEADER_BITS)) + last


def _index_bits(neurons: int) -> int:
    needed = (neurons - 1).bit_length()
    return next((bits for bits in INDEX_BITS if bits >= needed), INDEX_BITS[-1])


def _patterns(part: Part, core: Array) -> tuple[Array, Array, Array]:
    """Each distinct set of weights that some pixel sees on a core: core and its synapses.

    Third, the core of each pixel's axon.
    """
    assert part.conv is not None
    conv = part.conv
    channels, into = conv.weight.shape[:2]
    pixel, out, tap = entries(conv, part.shape)
    outs, pixels, taps = part.post // channels, prod(part.shape[1:]), prod(conv.weight.shape[2:])
    channel = np.repeat(np.arange(channels), pixel.size)
    neuron = channel * outs + np.tile(out, channels)
    place = np.tile(out, channels) * channels + channel  # in nengo's order
    group = channel // (channels // conv.groups)
    seen = (core[neuron] * conv.groups + group) * pixels + np.tile(pixel, channels)
    order = np.lexsort((place, seen))
    seen, place = seen[order], place[order]
    first = np.flatnonzero(np.diff(seen, prepend=-1))
    size = np.diff(first, append=seen.size)
    # Relative to the first neuron, as the axon's base says where the weights begin.
    relative = place - np.repeat(place[first], size)
    weight = channel[order] * taps + np.tile(tap, channels)[order]
    rng = np.random.default_rng(0)
    marks = rng.integers(
        0, 2**63, max(int(relative.max(initial=0)), int(weight.max(initial=0))) + 1
    )
    signature = np.add.reduceat(marks[relative] * (2 * marks[weight] + 1), first)
    # Equal on one core: the same sum of marks; on several cores each keeps its own.
    at = seen[first] // pixels // conv.groups
    _, kept = np.unique(
        signature + rng.integers(0, 2**63, int(at.max()) + 1)[at], return_index=True
    )
    return at[kept], size[kept] * into, at


SLOTS: Mapping[str, int] = {"dense": 1, "sparse": 1, "conv": POP32_SLOTS}


def slots_before(part: Part) -> int:
    """Slots of a sender for a part before anything is cut: one for each axon of the target."""
    pixels = prod(part.shape[1:]) if part.conv is not None else part.pre
    return SLOTS[part.form] * pixels
