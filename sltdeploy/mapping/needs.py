"""What a placement needs beside what there is: walls and budgets."""

from collections.abc import Iterator

import numpy as np

from sltdeploy.anatomy import fan_in
from sltdeploy.machine import LIMITS, Target
from sltdeploy.mapping.cuts import WORD
from sltdeploy.mapping.placing import Placement
from sltdeploy.program import Program
from sltdeploy.resources import Kind as Kind
from sltdeploy.resources import LayerFit, Resource

NETWORK = "network"


def resource(
    target: Target, name: str, limit: str, kind: Kind, used: int, where: str, times: int = 1
) -> Resource:
    """``used`` of ``times`` the limit called ``limit``."""
    found = target.limits[limit]
    most, unit = found.value * times, LIMITS[limit]
    return Resource(name, kind, used, most, unit, where, found.source, found.read)


def fan_in_wall(program: Program, target: Target) -> Iterator[Resource]:
    """Synapses of the neuron that has most, where a target limits them."""
    if "fan_in" not in target.limits:
        return
    reached = {
        p.name: int(np.sum(found, axis=0).max())
        for p in program.populations
        if (
            found := [
                fan_in(q.ops, program.population(q.source).shape) for q in program.into(p.name)
            ]
        )
    }
    if reached:
        most = max(reached, key=lambda name: reached[name])
        yield resource(target, "inputs of one neuron", "fan_in", "wall", reached[most], most)


def walls(layers: tuple[LayerFit, ...], target: Target) -> Iterator[Resource]:
    """What stands in one core's way, however finely the layer is cut."""
    if not layers:
        return
    for name, field, limit in (
        ("axons into one core", "axons_in", "axons_in_per_core"),
        ("axons out of one core", "axons_out", "axons_out_per_core"),
    ):
        if limit in target.limits:
            most = max(layers, key=lambda layer: getattr(layer.fullest, field))
            used = getattr(most.fullest, field)
            yield resource(target, name, limit, "wall", used, most.name)
    heavy = max(layers, key=lambda layer: layer.fullest.synapse_words)
    words, key = heavy.fullest.synapse_words, "synapse_words_per_core"
    if key in target.limits and words > target.limits[key].value:  # no cut made it fit
        yield resource(target, "synapses of one neuron", key, "wall", words, heavy.name)


def budgets(layers: tuple[LayerFit, ...], target: Target) -> Iterator[Resource]:
    """Cores, neurons and memory of the network over those of all chips."""
    chips = target.limit("chips") or 1
    cores = target.limits["cores"].value * chips
    used = sum(layer.cores for layer in layers)
    yield resource(target, "cores", "cores", "budget", used, NETWORK, chips)
    sums = {
        "neurons": ("neurons_per_core", sum(layer.neurons for layer in layers)),
        "synapse memory": (
            "synapse_words_per_core",
            sum(use.synapse_words for layer in layers for use in layer.used),
        ),
    }
    for name, (limit, used) in sums.items():
        if limit in target.limits:
            yield resource(target, name, limit, "budget", used, NETWORK, cores)


def fewest_cores(placement: Placement) -> int:
    """Cores below which no cut can come: neurons, and synapses without any rounding."""
    held = placement.limits
    neurons = sum(int(cut.neurons.sum()) for cut in placement.cuts.values())
    bits = sum(
        part.stored * (part.weight_bits + part.delay_bits)
        for parts in placement.parts.values()
        for part in parts
    )
    return max(int(neurons > 0), -(-neurons // held.neurons), -(-bits // (WORD * held.words)))
