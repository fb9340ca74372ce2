"""Predicted cores against arithmetic by hand, by the rules of each chip."""

import json
from dataclasses import replace
from math import ceil, prod

import numpy as np
import pytest
from cores import LIF, dense, kernel, limited, network

from sltdeploy.mapping import fit
from sltdeploy.program import (
    Conv,
    Convention,
    DelayLine,
    Input,
    Linear,
    Pool,
    Population,
    Program,
    Projection,
    Relay,
    Reshape,
)
from sltdeploy.resources import CoreUse
from sltdeploy.target import load

CHIP1, CHIP2 = load("loihi1"), load("loihi2")


# --------------------------------------------------------------------------------------- Loihi 2


def test_words_of_a_dense_layer() -> None:
    """Each axon takes whole words of 64 bits: 20 bits a synapse and 10 before them."""
    (layer,) = fit(network((100,), (dense(50, 100),)), CHIP2).layers
    assert layer.used == (CoreUse(50, 100 * 16, 100, 50),)  # ceil((50 * 20 + 10) / 64) = 16
    assert layer.cut == "one core"


def test_a_dense_layer_is_halved_from_4095_on() -> None:
    """300 axons: 4095, 2047, 1023 ... 127 neurons hold 300 * 40 words, 255 hold 300 * 80."""
    (layer,) = fit(network((300,), (dense(256, 300),)), CHIP2).layers
    assert [use.neurons for use in layer.used] == [127, 127, 2]
    assert [use.synapse_words for use in layer.used] == [12000, 12000, 300]
    assert layer.cut == "127 neurons a core"


def test_pruning_frees_linear_layers_and_no_convolution() -> None:
    """Sparse storage drops zeros where less than half is left; a kernel is kept whole."""
    weight = np.ones((50, 100), np.float32)
    weight[1:, :] = 0
    weight[:, 60:] = 0
    (layer,) = fit(network((100,), (Linear(weight),)), CHIP2).layers
    assert layer.used == (CoreUse(50, 60, 60, 50),)
    half = (np.arange(5000).reshape(50, 100) % 2).astype(np.float32)
    (layer,) = fit(network((100,), (Linear(half),)), CHIP2).layers
    assert layer.fullest.synapse_words == 100 * 16  # half is left: Dense, with its zeros
    half = half * (np.arange(100) != 1)
    (layer,) = fit(network((100,), (Linear(half),)), CHIP2).layers
    assert layer.fullest.synapse_words == 49 * 16
    assert layer.fullest.axons_in == 49
    full = kernel(8, 4)
    few = replace(full, weight=full.weight * (np.arange(3) > 1))
    whole, pruned = (fit(network((4, 9, 9), (op,)), CHIP2) for op in (full, few))
    assert pruned.layers == whole.layers
    assert whole.layers[0].fullest.synapse_words == 9 * 4 * ceil((8 * 8 + 10) / 64)


def test_a_sparse_layer_with_too_many_axons_is_cut_too() -> None:
    """Each neuron has its own axon: 16001 of them, one word each, and 16000 are allowed."""
    diagonal = Linear(np.eye(20, dtype=np.float32))
    small = limited(CHIP2, {"axons_in_per_core": 15})
    (layer,) = fit(network((20,), (diagonal,)), small).layers
    assert layer.fullest.axons_in <= 15
    one = limited(CHIP2, {"neurons_per_core": 1})
    assert fit(network((4,), (dense(3, 4),)), one).layers[0].cut == "1 neuron a core"
    assert layer.cores == 2


def test_tall_and_deep_layers_are_cut_too() -> None:
    """Rows are halved while nothing fits or a tile is no wider than high, channels last."""
    tall = network((1, 300, 2), (kernel(64, 1, 1),))
    deep = network((1, 2, 2), (kernel(5000, 1, 1),))
    found = [fit(program, CHIP2).layers[0] for program in (tall, deep)]
    assert [layer.cut for layer in found] == ["tiles of 64 x 19 x 2", "tiles of 2500 x 1 x 1"]
    assert [layer.cores for layer in found] == [16, 8]
    (older,) = fit(tall, limited(CHIP2, {}, "lava-2022")).layers
    assert older.cut == "tiles of 64 x 38 x 1"


def test_a_kernel_too_big_for_a_core_is_cut_by_channels() -> None:
    """300 x 9 axons of 500 synapses take 2700 * 63 words; 32 channels take 2700 * 5."""
    (layer,) = fit(network((300, 3, 3), (kernel(500, 300),)), CHIP2).layers
    assert layer.cut == "tiles of 32 x 1 x 1"
    assert [use.neurons for use in layer.used] == [32] * 15 + [20]
    assert [use.synapse_words for use in layer.used] == [2700 * 5] * 15 + [2700 * 3]


def test_groups_store_only_what_they_hold() -> None:
    """Two groups of 3 -> 4 channels: each input channel leads to 4 of the 8."""
    grouped = Conv(np.ones((8, 3, 3, 3), np.float32), groups=2)
    (layer,) = fit(network((6, 5, 5), (grouped,)), CHIP2).layers
    assert layer.fullest.synapse_words == 2 * (9 * 3) * ceil((4 * 8 + 10) / 64)


def test_chains_count_as_the_synapses_they_become() -> None:
    """A sum pool before a linear layer: every pixel of a window has its synapse."""
    ops = (Pool((2, 2), (2, 2)), Reshape((4,)), dense(3, 4))
    found = fit(network((1, 4, 4), ops), CHIP2)
    assert found.layers[0].used == (CoreUse(3, 16 * 2, 16, 3),)  # ceil((3 * 20 + 10) / 64) = 2
    (wall, *_) = found.resources
    assert (wall.used, wall.where, wall.kind) == (16, "0", "wall")


# --------------------------------------------------------------------------------------- Loihi 1


def test_loihi_1_cuts_into_equal_chunks() -> None:
    """nengo-loihi: by compartments, or by synapse bits in blocks of 64, without indices."""
    found = fit(network((30,), (dense(3000, 30),), (dense(200, 3000),)), CHIP1)
    first, second = found.layers
    # 3 chunks of 1000 would do, but for their axons out: to 6 cores each, more than 4096.
    assert [use.neurons for use in first.used] == [600] * 5
    # 600 = 9 blocks of 64 and 24: ceil64(64 * 8 + 10) = 9 words, ceil64(24 * 8 + 10) = 4
    assert first.fullest.synapse_words == 30 * (9 * 9 + 4)
    # One core: 3000 * (3 * 9 + 2) = 87000 words, 6 times 16384; chunks of 34 take 5 words an axon.
    assert (second.cores, second.fullest.neurons) == (6, 34)
    assert second.fullest.synapse_words == 3000 * 5
    assert first.fullest.axons_out == 600 * 6  # one for each core of the next layer


def test_too_many_axons_out_cut_the_sender() -> None:
    """1000 neurons to 6 cores are 6000 axons out, 4096 are allowed: halved."""
    found = fit(network((30,), (dense(1000, 30),), (dense(600, 1000),)), CHIP1)
    first, second = found.layers
    assert second.cores > 4
    assert first.cores == 2
    assert first.fullest.axons_out == 500 * second.cores <= 4096


def test_sparse_synapses_have_indices_on_loihi_1() -> None:
    """The index is as wide as a core's neurons ask, of the widths that there are."""
    weight = np.zeros((300, 40), np.float32)
    weight[7, :] = weight[11, :] = 1
    (layer,) = fit(network((40,), (Linear(weight),)), CHIP1).layers
    assert layer.used == (CoreUse(300, 40 * ceil((2 * (8 + 9) + 10) / 64), 40, 0),)
    for neurons, bits in ((1, 0), (2, 6), (64, 6), (65, 7), (1024, 10)):
        few = np.zeros((neurons, 40), np.float32)
        few[0, :10] = 1
        found = fit(network((40,), (Linear(few),)), CHIP1).layers[0]
        if neurons > 1:
            assert found.fullest.synapse_words == 10 * ceil((8 + bits + 10) / 64)


def test_a_convolution_shares_its_weights_on_loihi_1() -> None:
    """5 x 5 pixels, kernel 3 x 3: a row is seen by 1, 2, 3, 2 or 1 taps, each a pattern."""
    (layer,) = fit(network((2, 5, 5), (kernel(4, 2),)), CHIP1).layers
    each = 8 + 6  # of 36 neurons
    words = 0
    for rows, columns in np.ndindex(5, 5):
        synapses = (1, 2, 3, 2, 1)[rows] * (1, 2, 3, 2, 1)[columns] * 4 * 2
        while synapses > 0:
            words += ceil((min(synapses, 64) * each + 10) / 64)
            synapses -= 64
    assert layer.fullest.synapse_words == words
    assert layer.fullest.axons_in == 25  # a pixel is an axon, its channel an atom


def test_like_pixels_share_a_pattern() -> None:
    """A wide row: all pixels in its middle see the same three taps."""
    narrow, wide = (
        fit(network((1, 3, columns), (kernel(1, 1),)), CHIP1).layers[0] for columns in (5, 50)
    )
    assert wide.fullest.synapse_words == narrow.fullest.synapse_words
    assert wide.fullest.axons_in == 150


def test_population_axons_take_two_slots() -> None:
    """Channels of a pixel share an axon, which takes two slots for each core it leads to."""
    program = network((2, 6, 6), (kernel(3, 2, 1),), (kernel(4, 3),))
    found = fit(program, CHIP1)
    assert found.cores == {"0": 1, "1": 1}
    assert found.layers[0].fullest.axons_out == 2 * 36


# ------------------------------------------------------------------------ relays, delays, walls


def folded() -> Program:
    """In -> relay -> n and in -> delay of 3 -> n: two routes, and no neurons but n's."""
    populations = (
        Population("in", (4,), Input("spikes")),
        Population("sum", (4,), Relay()),
        Population("late", (4,), DelayLine(np.full(4, 3), spiking=True)),
        Population("n", (5,), LIF),
    )
    projections = (
        Projection("in", "sum", (dense(4, 4),)),
        Projection("in", "late"),
        Projection("sum", "n", (dense(5, 4),)),
        Projection("late", "n", (dense(5, 4),)),
    )
    return Program(Convention(1e-3), populations, projections, ("n",))


def test_relays_and_delay_lines_are_no_neurons() -> None:
    """Two dense routes from the same 4 inputs; the late one has 6 bits more a synapse."""
    found = fit(folded(), CHIP2)
    assert found.cores == {"n": 1}
    words = 4 * ceil((5 * 20 + 10) / 64) + 4 * ceil((5 * 26 + 10) / 64)
    assert found.layers[0].used == (CoreUse(5, words, 8, 5),)
    assert [(r.source, r.target, r.cores.tolist()) for r in found.reaches] == [("in", "n", [1] * 4)]


def test_what_is_exceeded() -> None:
    """A fan-in that no chip has, and more cores than there are."""
    found = fit(network((5000,), (dense(2, 5000),), (dense(10, 2),)), CHIP1)
    assert not found.fits
    (wall,) = found.exceeded
    assert (wall.name, wall.where, wall.used, wall.limit, wall.kind) == (
        *("axons into one core", "0", 5000, 4096),
        "wall",
    )
    assert found.worst == wall
    few = limited(CHIP2, {"neurons_per_core": 5, "cores": 7})
    found = fit(network((4,), (dense(50, 4),)), few)
    assert [(r.name, r.kind, r.used, r.limit) for r in found.exceeded] == [
        ("cores", "budget", 10, 7),
        ("neurons", "budget", 50, 35),
    ]
    assert (found.chips, found.lower_bound) == (2, 10)


def test_synapses_of_one_neuron_that_no_core_holds() -> None:
    """A wall that no cut helps: one channel's kernel is more than a core's memory."""
    small = limited(CHIP2, {"synapse_words_per_core": 17})
    found = fit(network((2, 4, 4), (kernel(4, 2),)), small)
    assert [(r.name, r.used, r.limit) for r in found.exceeded if r.kind == "wall"] == [
        ("synapses of one neuron", 18, 17)
    ]


def test_cutting_ends_where_two_neurons_are_one_too_many() -> None:
    """A quarter more chunks than 4, or one more, still hold two each of 7 or 8 neurons."""
    wide = limited(CHIP1, {"synapse_words_per_core": 99})
    (layer,) = fit(network((100,), (dense(8, 100),)), wide).layers
    assert layer.cores == 8
    narrow = limited(CHIP1, {"axons_out_per_core": 5})
    sender, receiver = fit(network((2,), (dense(7, 2),), (dense(3000, 7),)), narrow).layers
    assert (sender.cores, receiver.cores) == (7, 3)


def test_more_chips_are_a_bigger_budget() -> None:
    """A target may say how many chips stand together."""
    program = network((4,), (dense(50, 4),))
    few = limited(CHIP2, {"neurons_per_core": 5, "cores": 7})
    assert not fit(program, few).fits
    two = replace(few.limits["cores"], name="chips", value=2)
    found = fit(program, replace(few, limits={**few.limits, "chips": two}))
    assert found.fits
    assert [r.limit for r in found.resources if r.name == "cores"] == [14]


@pytest.mark.parametrize("target", [CHIP1, CHIP2])
def test_cores_hold_the_whole_network(target: object) -> None:
    """Sums over cores are the layer; no core holds more than the target allows."""
    assert target in (CHIP1, CHIP2)
    chip = CHIP1 if target is CHIP1 else CHIP2
    program = network(
        (3, 20, 20),
        (kernel(16, 3),),
        (kernel(24, 16, stride=(2, 2)),),
        (Reshape((24 * 8 * 8,)), dense(100, 24 * 8 * 8)),
    )
    found = fit(program, chip)
    for layer in found.layers:
        assert sum(use.neurons for use in layer.used) == layer.neurons
        for use in layer.used:
            assert use.neurons <= found.limits["neurons"]
            assert use.synapse_words <= found.limits["synapse_words"]
    assert found.lower_bound is not None
    assert found.lower_bound <= sum(found.cores.values())
    assert found.unchecked


# ------------------------------------------------------------------------------------ processors


def test_a_microcontroller_needs_memory() -> None:
    """Weights with their zeros in flash; two copies of the states and all values in RAM."""
    op = Linear(np.eye(3, 4, dtype=np.float32), np.zeros(3, np.float32))
    found = fit(network((4,), (op,)), load("cortex-m7"))
    assert [(r.name, r.used, r.kind) for r in found.resources] == [
        ("weights", 4 * 15, "budget"),
        ("states and values", 4 * (2 * 3 + 7), "budget"),
    ]
    assert found.layers == ()
    assert (found.chips, found.lower_bound) == (None, None)


def test_inputs_of_a_neuron_where_a_target_limits_them() -> None:
    """Non-zero synapses of the neuron that has most, over all that lead to it."""
    board = load("raspberry-pi-5")
    most = replace(CHIP2.limits["cores"], name="fan_in", value=3)
    weight = np.array([[1, 0, 0, 1], [1, 1, 1, 1]], np.float32)
    found = fit(network((4,), (Linear(weight),)), replace(board, limits={"fan_in": most}))
    assert [(r.name, r.used, r.where) for r in found.exceeded] == [("inputs of one neuron", 4, "0")]


def test_nothing_to_check() -> None:
    """A target without limits is said to be unchecked, not to fit."""
    found = fit(network((4,), (dense(3, 4),)), load("raspberry-pi-5"))
    assert found.resources == ()
    assert found.worst is None
    assert found.unchecked[0] == "everything: raspberry-pi-5 states no limit"


def test_json() -> None:
    """Plain types with shares, the worst, and what each core holds."""
    found = fit(network((4,), (dense(300, 4),)), limited(CHIP2, {"neurons_per_core": 200}))
    plain = json.loads(json.dumps(found.to_json()))
    assert (plain["cores"], plain["lower_bound"], plain["chips"], plain["fits"]) == (2, 2, 1, True)
    assert plain["resources"][0]["share"] == 4 / 16000
    assert plain["layers"][0]["by_core"]["neurons"] == [200, 100]
    assert plain["layers"][0]["fullest_core"]["neurons"] == 200
    assert plain["limits_per_core"]["neurons"] == 200
    assert prod(len(r["source"]) for r in plain["resources"]) > 0


def test_what_is_exported_otherwise_than_it_is_counted_is_named() -> None:
    """Lava gets more than 64 pairs of channels, and pruned kernels, synapse by synapse."""
    few, many, pruned = kernel(8, 3), kernel(9, 8), kernel(6, 9)
    pruned = replace(pruned, weight=pruned.weight * (np.arange(3) == 1))
    program = network((3, 20, 20), (few,), (many,), (pruned,))
    for chip in (CHIP1, CHIP2):
        line = fit(program, chip).unchecked[0]
        assert line.startswith("kernels counted as stored once (Lava's Conv) that the exported")
        assert line.endswith("a chip: 0 -> 1, 1 -> 2")
        assert not any("kernel" in each for each in fit(network((3, 9, 9), (few,)), chip).unchecked)


@pytest.mark.parametrize("target", ["loihi1", "loihi2", "cortex-m7"])
def test_a_network_without_layers_needs_no_core(target: str) -> None:
    """An input that is the output."""
    program = replace(network((4,)), outputs=("input",))
    found = fit(program, load(target))
    assert found.cores == {}
    assert found.fits
    assert found.lower_bound in (0, None)


def test_a_pruned_layer_of_loihi_1_stores_an_index_with_each_weight() -> None:
    """6 bits for 50 neurons: 20 synapses an axon take ceil((20 * 14 + 10) / 64) = 5 words."""
    weight = (np.arange(50)[:, None] < 20) * np.ones((50, 100), np.float32)
    (layer,) = fit(network((100,), (Linear(weight),)), CHIP1).layers
    assert layer.used == (CoreUse(50, 100 * 5, 100, 0),)
