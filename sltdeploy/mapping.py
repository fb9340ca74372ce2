"""Predict what a program needs of a target: cores by layer, memory, and the worst of it.

Published rules. Loihi 2: neurons and synapse memory of a core from lava-dl's compile logs; a
layer starts on one core and is cut until nothing is exceeded; a convolution is cut into tiles of
a power-of-two width and keeps its kernel on each core. Loihi 1: nengo-loihi's equal chunks.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, prod

import numpy as np

from sltdeploy.anatomy import fan_in
from sltdeploy.machine import LIMITS, Target
from sltdeploy.ops import Array, Conv, Linear, Op, Reshape, Shape
from sltdeploy.program import Population, Program
from sltdeploy.resources import Fit as Fit
from sltdeploy.resources import Kind
from sltdeploy.resources import LayerFit as LayerFit
from sltdeploy.resources import Resource as Resource
from sltdeploy.rules import DelayLine, Input, LoihiNeuron, Neuron
from sltdeploy.synapse import as_conv, as_matrix

WORD = 64
HEADER_BITS = 10  # before the synapses of an axon
BLOCK = 64  # synapses that share a header on Loihi 1
FLOAT_BYTES = 4
NETWORK = "network"

LOIHI1 = "nengo-loihi's rule of equal chunks; not a compiler's answer"
LOIHI2 = (
    "rules that reproduce 61 of 61 and 74 of 74 cores in lava-dl's PilotNet logs, from which they "
    "were read off; sparse storage is extrapolated; not a compiler's answer for your board"
)
PROCESSOR = "sizes of weights and states in float32, zeros stored; a lower bound"
UNCHECKED_CORES = (
    "input axons of convolutions",
    "output axons and routing tables",
    "cores that encode input or read output",
    "time per step",
)
UNCHECKED_PROCESSOR = ("code, buffers and arena of the runtime", "time per step")


@dataclass(frozen=True, eq=False)
class _Sparse:
    """Places of the non-zero synapses of one projection, source and target flattened."""

    rows: Array
    columns: Array
    pre: int


def fit(program: Program, target: Target) -> Fit:
    """Predict cores and memory of ``program`` on ``target``.

    Nothing is raised where it does not fit: `Fit.exceeded` has what is too much. Weights that
    are 0 take no memory in linear layers (Lava's Sparse) and all of theirs in convolutions,
    whose kernel every core of the layer holds.
    """
    if "cores" in target.limits:
        layers = tuple(_layers(program, target))
        budgets = tuple(_core_budgets(layers, target))
        unchecked, basis = UNCHECKED_CORES, LOIHI2 if _tiled(target) else LOIHI1
    else:
        layers, budgets = (), tuple(_memories(program, target))
        unchecked, basis = UNCHECKED_PROCESSOR, PROCESSOR
        if not budgets:
            unchecked = (f"everything: {target.name} states no limit", *unchecked)
    return Fit(
        target=target.name,
        title=target.title,
        layers=layers,
        resources=(*_walls(program, target), *budgets),
        unchecked=unchecked,
        basis=basis,
    )


def _resource(target: Target, name: str, limit: str, kind: Kind, used: int, where: str) -> Resource:
    found = target.limits[limit]
    return Resource(name, kind, used, found.value, LIMITS[limit], where, found.source, found.read)


def _walls(program: Program, target: Target) -> Iterator[Resource]:
    reached = {
        p.name: max((int(n.max()) for n in _reaching(program, p)), default=0)
        for p in program.populations
    }
    most = max(reached, key=lambda name: reached[name])
    for limit in ("fan_in", "axons_in_per_core"):
        if limit in target.limits:
            yield _resource(target, "inputs of one neuron", limit, "wall", reached[most], most)


def _reaching(program: Program, population: Population) -> Iterator[Array]:
    """Inputs of each neuron, over all projections; nothing for inputs."""
    found = [
        fan_in(p.ops, program.population(p.source).shape) for p in program.into(population.name)
    ]
    if found:
        yield np.sum(found, axis=0)


def _core_budgets(layers: tuple[LayerFit, ...], target: Target) -> Iterator[Resource]:
    cores = target.limits["cores"]
    used = sum(layer.cores for layer in layers)
    yield _resource(target, "cores", "cores", "budget", used, NETWORK)
    if "neurons_per_core" in target.limits:
        whole = _resource(target, "neurons", "neurons_per_core", "budget", 0, NETWORK)
        used = sum(layer.neurons for layer in layers)
        yield replace(whole, used=used, limit=whole.limit * cores.value)
    for name in ("synapse_words_per_core", "synapse_bits_per_core"):
        if name in target.limits:
            whole = _resource(target, "synapse memory", name, "budget", 0, NETWORK)
            used = sum(layer.cores * layer.synapse_bits_per_core for layer in layers)
            limit = _memory(target) * cores.value
            yield replace(whole, used=used, limit=limit, unit="bits")


def _layers(program: Program, target: Target) -> Iterator[LayerFit]:
    for population in program.populations:
        if isinstance(population.rule, Input):
            continue
        sources = [
            (p.ops, program.population(p.source).shape) for p in program.into(population.name)
        ]
        kernels = [as_conv(ops, shape) for ops, shape in sources]
        convs = [k for k in kernels if k is not None]
        if len(population.shape) == 3 and len(convs) == len(kernels):
            yield _convolution(population, convs, target)
        else:
            yield _matrix(population, [_sparse(*source) for source in sources], target)


def _convolution(population: Population, convs: list[Conv], target: Target) -> LayerFit:
    limit = _limit(target, "neurons_per_core", population.size)
    bits = target.limit("weight_bits") or 0
    kernel = sum(WORD * ceil(c.weight.size * bits / WORD) for c in convs)
    if _tiled(target):
        tile = _tile(population.shape, limit)
        cores = prod(ceil(n / t) for n, t in zip(population.shape, tile, strict=True))
        cut = f"tiles of {' x '.join(map(str, tile))}"
        neurons = prod(tile)
    else:
        cores = ceil(population.size / limit)
        neurons, cut = ceil(population.size / cores), "equal chunks"
    channels = max(1, ceil(kernel / _memory(target)))
    if channels > 1:
        cores, cut = cores * channels, f"{cut}, channels in {channels} parts"
    share = ceil(kernel / channels)
    return LayerFit(population.name, population.size, cores, neurons, share, cut)


def _tile(shape: Shape, limit: int) -> Shape:
    """Largest (C, H', W') with powers of two for H' and W' and at most ``limit`` neurons."""
    channels, height, width = shape
    channels = min(channels, limit)
    if channels * height <= limit:
        return channels, height, min(width, _power(limit // (channels * height)))
    return channels, min(height, _power(limit // channels)), 1


def _power(n: int) -> int:
    return 1 << (n.bit_length() - 1)


def _matrix(population: Population, parts: list[_Sparse], target: Target) -> LayerFit:
    neurons, memory = population.size, _memory(target)
    cores = 1
    while True:
        chunk = ceil(neurons / cores)
        bits = _fullest(parts, chunk, ceil(neurons / chunk), target)
        ratio = max(ceil(chunk / _limit(target, "neurons_per_core", neurons)), ceil(bits / memory))
        if ratio <= 1 or cores >= neurons:
            break
        cores = min(neurons, cores * ratio)
    return LayerFit(population.name, neurons, cores, chunk, bits, "equal chunks")


def _fullest(parts: list[_Sparse], chunk: int, chunks: int, target: Target) -> int:
    """Synapse memory in bits of the fullest of ``chunks`` cores of ``chunk`` neurons."""
    total = np.zeros(chunks, np.int64)
    each = (target.limit("weight_bits") or 0) + (target.limit("index_bits") or 0)
    for part in parts:
        # Synapses by core and axon, of those axons that have any; the others take no memory.
        at, synapses = np.unique(part.rows // chunk * part.pre + part.columns, return_counts=True)
        if _tiled(target):
            bits = _padded(synapses * each + HEADER_BITS)
        else:
            whole, rest = np.divmod(synapses, BLOCK)
            last = np.where(rest > 0, _padded(rest * each + HEADER_BITS), 0)
            bits = whole * (-(-(BLOCK * each + HEADER_BITS) // WORD) * WORD) + last
        np.add.at(total, at // part.pre, bits)
    return int(total.max())


def _padded(bits: Array) -> Array:
    return -(-bits // WORD) * WORD


def _sparse(ops: tuple[Op, ...], shape: Shape) -> _Sparse:
    weighted = [op for op in ops if not isinstance(op, Reshape)]
    if len(weighted) == 1 and isinstance(weighted[0], Linear):
        rows, columns = np.nonzero(weighted[0].weight)
        return _Sparse(rows, columns, prod(shape))
    matrix = as_matrix(ops, shape)
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return _Sparse(rows, matrix.indices.astype(np.int64), matrix.shape[1])


def _tiled(target: Target) -> bool:
    return "synapse_words_per_core" in target.limits


def _limit(target: Target, name: str, default: int) -> int:
    return target.limit(name) or default


def _memory(target: Target) -> int:
    """Synapse memory of a core in bits; without a limit more than anything needs."""
    words = target.limit("synapse_words_per_core")
    if words is not None:
        return words * WORD
    return _limit(target, "synapse_bits_per_core", 2**62)


def _memories(program: Program, target: Target) -> Iterator[Resource]:
    weighted = [op for p in program.projections for op in p.ops if isinstance(op, Linear | Conv)]
    values = sum(op.weight.size + (0 if op.bias is None else op.bias.size) for op in weighted)
    if "flash_bytes" in target.limits:
        used = FLOAT_BYTES * values
        yield _resource(target, "weights", "flash_bytes", "budget", used, NETWORK)
    if "ram_bytes" in target.limits:
        # A step reads the old state and writes the new one.
        late = {p.source for p in program.projections if p.recurrent}
        kept = sum(p.size * (_states(p) + (p.name in late)) for p in program.populations)
        state = 2 * FLOAT_BYTES * kept
        sent = FLOAT_BYTES * sum(p.size for p in program.populations)
        yield _resource(target, "states and values", "ram_bytes", "budget", state + sent, NETWORK)


def _states(population: Population) -> int:
    match population.rule:
        case Neuron():
            return 1 if population.rule.decay_syn is None else 2
        case LoihiNeuron():
            return 2
        case DelayLine():
            return population.rule.depth
        case _:
            return 0
