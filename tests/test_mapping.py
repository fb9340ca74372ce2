"""Predicted cores, against published compile logs and arithmetic by hand."""

import json
from collections.abc import Mapping
from dataclasses import replace
from math import prod

import numpy as np
import pytest

from sltdeploy.machine import Target
from sltdeploy.mapping import fit
from sltdeploy.program import (
    Conv,
    Convention,
    Input,
    Linear,
    Neuron,
    Op,
    Pool,
    Population,
    Program,
    Projection,
    Reshape,
    Shape,
)
from sltdeploy.target import load

ZERO = np.zeros((), np.float32)
LIF = Neuron(ZERO, ZERO, ZERO, threshold=ZERO + 1, v_reset=ZERO)


def network(shape: Shape, *layers: tuple[Op, ...]) -> Program:
    """``input -> 0 -> 1 ...``, each layer of LIF neurons."""
    populations, projections = [Population("input", shape, Input("spikes"))], list[Projection]()
    for number, ops in enumerate(layers):
        for op in ops:
            shape = op.out_shape(shape)
        projections.append(Projection(populations[-1].name, str(number), ops))
        populations.append(Population(str(number), shape, LIF))
    last = populations[-1].name
    return Program(Convention(1e-3), tuple(populations), tuple(projections), (last,))


def dense(post: int, pre: int) -> Linear:
    """A linear layer without zeros."""
    return Linear(np.ones((post, pre), np.float32))


def kernel(out: int, into: int) -> Conv:
    """A 3 x 3 convolution without zeros."""
    return Conv(np.ones((out, into, 3, 3), np.float32))


def limited(target: Target, values: Mapping[str, int]) -> Target:
    """The same target with other limits."""
    changed = {n: replace(target.limits[n], value=v) for n, v in values.items()}
    return replace(target, limits={**target.limits, **changed})


def pilotnet() -> Program:
    """Intel's PilotNet as (C, H, W), behind its first layer's input of 200 x 66."""
    wide = replace(kernel(48, 36), stride=(2, 2))
    return network(
        (3, 66, 200),
        (replace(kernel(24, 3), stride=(2, 2)),),
        (replace(kernel(36, 24), stride=(2, 2)),),
        (wide,),
        (replace(kernel(64, 48), stride=(2, 1), padding=(1, 0, 1, 0)),),
        (kernel(64, 64),),
        (Reshape((2560,)), dense(100, 2560)),
        (dense(50, 100),),
        (dense(10, 50),),
        (dense(1, 10),),
    )


@pytest.mark.parametrize("bits", [15, 16])
def test_pilotnet_as_intel_compiled_it(bits: int) -> None:
    """Cores by layer of lava-dl's logs; synapses took 15 bits in one network, 16 in the other."""
    older = {"synapse_words_per_core": 12000, "weight_bits": 8, "index_bits": bits - 8}
    program = pilotnet()
    assert sum(p.size for p in program.populations) == 158509
    found = fit(program, limited(load("loihi2"), older))
    assert list(found.cores.values()) == [25, 13, 3, 3, 2, 12, 1, 1, 1]
    assert sum(found.cores.values()) == 61
    assert [layer.neurons_per_core for layer in found.layers[:5]] == [3072, 2160, 2688, 2048, 2048]
    assert found.fits
    assert found.worst is not None


def test_the_input_of_pilotnet_as_neurons() -> None:
    """74 cores with the input layer on the chip: 13 more."""
    program = network((3, 66, 200), (Conv(np.ones((3, 1, 1, 1), np.float32), groups=3),))
    (layer,) = fit(program, load("loihi2")).layers
    assert (layer.cores, layer.neurons_per_core) == (13, 3168)


def test_tall_and_deep_layers_are_cut_too() -> None:
    """Where one column is too much, its height is cut, then its channels."""
    tall = network((1, 300, 2), (Conv(np.ones((64, 1, 1, 1), np.float32)),))
    deep = network((1, 2, 2), (Conv(np.ones((5000, 1, 1, 1), np.float32)),))
    found = [fit(program, load("loihi2")).layers[0] for program in (tall, deep)]
    assert [layer.cores for layer in found] == [10 * 2, 2 * 2 * 2]
    assert [layer.cut for layer in found] == ["tiles of 64 x 32 x 1", "tiles of 4095 x 1 x 1"]


def test_words_of_a_dense_layer() -> None:
    """Each axon takes whole words of 64 bits: 20 bits a synapse and 10 before them."""
    found = fit(network((100,), (dense(50, 100),)), load("loihi2"))
    (layer,) = found.layers
    assert layer.synapse_bits_per_core == 100 * 16 * 64  # ceil((50 * 20 + 10) / 64) = 16


def test_pruning_frees_linear_layers_and_no_convolution() -> None:
    """Sparse storage drops zeros; a kernel is kept whole on every core."""
    weight = np.ones((50, 100), np.float32)
    weight[1:, :] = 0
    weight[:, 60:] = 0
    (layer,) = fit(network((100,), (Linear(weight),)), load("loihi2")).layers
    assert layer.synapse_bits_per_core == 60 * 64
    full = kernel(8, 4)
    half = replace(full, weight=full.weight * (np.arange(3) > 0))
    whole, pruned = (fit(network((4, 9, 9), (op,)), load("loihi2")) for op in (full, half))
    assert pruned.layers == whole.layers
    assert whole.layers[0].synapse_bits_per_core == 8 * 4 * 9 * 8


def test_a_kernel_too_big_for_a_core_is_cut_by_channels() -> None:
    """500 x 300 x 9 weights of 8 bits are 10.8 Mbit, a core holds 1.024."""
    (layer,) = fit(network((300, 3, 3), (kernel(500, 300),)), load("loihi2")).layers
    assert layer.cores == 11
    assert layer.synapse_bits_per_core <= 16000 * 64


def test_loihi_1_cuts_into_equal_chunks() -> None:
    """nengo-loihi: by compartments, or by synapse bits in blocks of 64."""
    found = fit(network((30,), (dense(3000, 30),), (dense(200, 3000),)), load("loihi1"))
    first, second = found.layers
    assert (first.cores, first.neurons_per_core) == (3, 1000)
    # 1000 = 15 blocks of 64 and 40: ceil64(64 * 20 + 10) = 1344, ceil64(40 * 20 + 10) = 832
    assert first.synapse_bits_per_core == 30 * (15 * 1344 + 832)
    # One core would hold 3000 * (3 * 1344 + 192) bits, 13 times its 2**20; but 13 chunks of 16
    # neurons take whole words, 3000 * 384 bits, and are still too big: cut in two again.
    assert (second.cores, second.neurons_per_core) == (26, 8)
    assert second.synapse_bits_per_core == 3000 * 192


def test_chains_count_as_the_synapses_they_become() -> None:
    """A sum pool before a linear layer: every pixel of a window has its synapse."""
    ops = (Pool((2, 2), (2, 2)), Reshape((4,)), dense(3, 4))
    (layer,) = fit(network((1, 4, 4), ops), load("loihi2")).layers
    assert layer.synapse_bits_per_core == 16 * 128  # 16 axons, ceil((3 * 20 + 10) / 64) = 2 words
    (wall, *_) = fit(network((1, 4, 4), ops), load("loihi2")).resources
    assert (wall.used, wall.where, wall.kind) == (16, "0", "wall")


def test_what_is_exceeded() -> None:
    """A fan-in that no chip has, and more cores than there are."""
    program = network((5000,), (dense(2, 5000),), (dense(10, 2),))
    found = fit(program, load("loihi1"))
    assert not found.fits
    (wall,) = found.exceeded
    assert (wall.name, wall.where, wall.used, wall.limit) == (
        "inputs of one neuron",
        "0",
        5000,
        4096,
    )
    assert found.worst == wall
    few = fit(
        network((4,), (dense(50, 4),)), limited(load("loihi2"), {"neurons_per_core": 5, "cores": 7})
    )
    assert [(r.name, r.kind, r.used, r.limit) for r in few.exceeded] == [
        ("cores", "budget", 10, 7),
        ("neurons", "budget", 50, 35),
    ]


def test_a_microcontroller_needs_memory() -> None:
    """Weights with their zeros in flash; two copies of the states and all values in RAM."""
    op = Linear(np.eye(3, 4, dtype=np.float32), np.zeros(3, np.float32))
    found = fit(network((4,), (op,)), load("cortex-m7"))
    assert [(r.name, r.used, r.kind) for r in found.resources] == [
        ("weights", 4 * 15, "budget"),
        ("states and values", 4 * (2 * 3 + 7), "budget"),
    ]
    assert found.layers == ()


def test_nothing_to_check() -> None:
    """A target without limits is said to be unchecked, not to fit."""
    found = fit(network((4,), (dense(3, 4),)), load("raspberry-pi-5"))
    assert found.resources == ()
    assert found.worst is None
    assert found.unchecked[0] == "everything: raspberry-pi-5 states no limit"


def test_json() -> None:
    """Plain types with shares and the worst."""
    found = fit(network((4,), (dense(3, 4),)), load("loihi2"))
    plain = json.loads(json.dumps(found.to_json()))
    assert plain["cores"] == 1
    assert plain["fits"] is True
    assert plain["resources"][0]["share"] == 4 / 16000
    assert prod(len(r["source"]) for r in plain["resources"]) > 0
