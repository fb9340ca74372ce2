"""Counts against a walk over single synapses, written here in plain loops."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sltdeploy.counting import Counts, ProjectionCount, count
from sltdeploy.program import (
    Array,
    Conv,
    Convention,
    Input,
    Linear,
    LoihiNeuron,
    Neuron,
    Op,
    Pool,
    Population,
    Program,
    Projection,
    Reshape,
    Rule,
    Scale,
    Shape,
)
from sltdeploy.reference import run

Index = tuple[int, ...]


def links(op: Op, shape: Shape) -> Iterator[tuple[Index, Index, Index | None]]:
    """Each connection as (source site, target site, index of its weight or None)."""
    if isinstance(op, Linear):
        for i, j in product(*map(range, op.weight.shape)):
            yield (j,), (i,), (i, j)
    elif isinstance(op, Reshape):
        sites = product(*map(range, op.shape))
        for source, target in zip(product(*map(range, shape)), sites, strict=True):
            yield source, target, None
    elif isinstance(op, Scale):
        for site in product(*map(range, shape)):
            yield site, site, site
    else:
        channels, height, width = shape
        depthwise = isinstance(op, Pool)
        kernel = op.kernel if isinstance(op, Pool) else op.weight.shape[2:]
        dilation = (1, 1) if isinstance(op, Pool) else op.dilation
        groups = channels if isinstance(op, Pool) else op.groups
        outputs = channels if isinstance(op, Pool) else op.weight.shape[0]
        top, left, bottom, right = op.padding
        for o in range(outputs):
            for c in range(channels):
                if o // (outputs // groups) != c // (channels // groups):
                    continue
                y = 0
                while y * op.stride[0] + dilation[0] * (kernel[0] - 1) < height + top + bottom:
                    x = 0
                    while x * op.stride[1] + dilation[1] * (kernel[1] - 1) < width + left + right:
                        for i in range(kernel[0]):
                            for j in range(kernel[1]):
                                h = y * op.stride[0] + dilation[0] * i - top
                                w = x * op.stride[1] + dilation[1] * j - left
                                if 0 <= h < height and 0 <= w < width:
                                    at = None if depthwise else (o, c % (channels // groups), i, j)
                                    yield (c, h, w), (o, y, x), at
                        x += 1
                    y += 1


def weight_of(op: Op, at: Index | None, shape: Shape) -> float:
    """Value of one connection."""
    if isinstance(op, Linear | Conv):
        assert at is not None
        return float(op.weight[at])
    if isinstance(op, Scale):
        assert at is not None
        return float(np.broadcast_to(op.factor, shape)[at])
    if isinstance(op, Pool) and op.kind == "average":
        return 1 / (op.kernel[0] * op.kernel[1])
    return 1.0


def walk(program: Program, projection: Projection, record: Array) -> list[dict[str, Any]]:
    """Per weighted op: events and synops by sample, synapses, by following each event."""
    source = program.population(projection.source)
    stages: list[dict[str, Any]] = []
    shape = source.shape
    shapes = [shape]
    for op in projection.ops:
        if isinstance(op, Linear | Conv):
            every = list(links(op, shape))
            stages.append(
                {
                    "synapses": len(every),
                    "synapses_nonzero": sum(
                        weight_of(op, at, shape) != 0 for _, _, at in every if at is not None
                    ),
                    "events": [0] * record.shape[1],
                    "synops": [0] * record.shape[1],
                    "synops_unpruned": [0] * record.shape[1],
                }
            )
        shape = op.out_shape(shape)
        shapes.append(shape)
    for t, b in product(range(record.shape[0]), range(record.shape[1])):
        values = {
            site: float(record[t, b][site])
            for site in product(*map(range, source.shape))
            if record[t, b][site]
        }
        events: Counter[Index] | None = Counter(list(values)) if source.spiking else None
        stage = 0
        for op, shape in zip(projection.ops, shapes, strict=False):
            every = list(links(op, shape))
            arriving = (
                events if events is not None else Counter([s for s, v in values.items() if v])
            )
            if isinstance(op, Linear | Conv):
                stages[stage]["events"][b] += sum(arriving.values())
                for s, _, at in every:
                    stages[stage]["synops_unpruned"][b] += arriving[s]
                    stages[stage]["synops"][b] += arriving[s] * (weight_of(op, at, shape) != 0)
                stage, events = stage + 1, None
            elif events is not None:
                passed: Counter[Index] = Counter()
                for s, d, at in every:
                    passed[d] += events[s] * (weight_of(op, at, shape) != 0)
                events = passed
            following: dict[Index, float] = {}
            for s, d, at in every:
                following[d] = following.get(d, 0.0) + weight_of(op, at, shape) * values.get(s, 0.0)
            if isinstance(op, Linear | Conv) and op.bias is not None:
                for d in product(*map(range, op.out_shape(shape))):
                    following[d] = following.get(d, 0.0) + float(op.bias[d[0]])
            values = following
    return stages


def lif(threshold: float | None = 0.5) -> Neuron:
    """LIF neurons that keep a quarter; without a threshold a readout."""
    zero = np.zeros((), np.float32)
    return Neuron(
        decay=np.float32(0.25) * np.ones((), np.float32),
        bias=zero,
        v_init=zero,
        threshold=None if threshold is None else np.array(threshold, np.float32),
        v_reset=None if threshold is None else zero,
    )


def network(
    shape: Shape, *layers: tuple[Op, ...], kind: Any = "spikes", rule: Rule | None = None
) -> Program:
    """``input -> ops -> 0 -> ops -> 1 ...``, each layer ending in LIF neurons."""
    populations = [Population("input", shape, Input(kind))]
    projections: list[Projection] = []
    for number, ops in enumerate(layers):
        for op in ops:
            shape = op.out_shape(shape)
        projections.append(Projection(populations[-1].name, str(number), ops))
        populations.append(Population(str(number), shape, rule or lif()))
    return Program(
        Convention(dt=1e-3), tuple(populations), tuple(projections), (populations[-1].name,)
    )


def weights(rng: np.random.Generator, *shape: int, sparsity: float = 0.5) -> Array:
    """Quarters in -1 .. 1 without 0, then pruned: sums are exact in any order."""
    values = rng.choice([-1.0, -0.75, -0.5, -0.25, 0.25, 0.5, 0.75, 1.0], shape)
    return (values * (rng.random(shape) >= sparsity)).astype(np.float32)


def spikes(rng: np.random.Generator, *shape: int, rate: float = 0.3) -> Array:
    """Random spikes."""
    return rng.random(shape) < rate


def agree(program: Program, x: Array) -> Counts:
    """Compare every projection with the walk; return the counts."""
    trace = run(program, x)
    counts = count(program, trace)
    found = iter(counts.projections)
    for projection in program.projections:
        for stage in walk(program, projection, trace.records[projection.source]):
            got = next(found)
            assert got.synapses == stage["synapses"]
            assert got.synapses_nonzero == stage["synapses_nonzero"]
            assert got.events.tolist() == stage["events"]
            assert got.synops.tolist() == stage["synops"]
            assert got.synops_unpruned.tolist() == stage["synops_unpruned"]
            assert got.synops.dtype == np.int64
            assert got.synops_dense == len(x) * stage["synapses"]
    assert next(found, None) is None
    return counts


def one(counts: Counts) -> ProjectionCount:
    """The only projection."""
    (projection,) = counts.projections
    return projection


@settings(max_examples=60, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), sparsity=st.sampled_from([0.0, 0.5, 0.9]))
def test_convolution_of_any_geometry(data: st.DataObject, seed: int, sparsity: float) -> None:
    """Equal to the walk for every padding, stride, dilation, grouping and size."""
    small = st.integers(1, 3)
    groups = data.draw(st.sampled_from([1, 2, 3]))
    into, out = groups * data.draw(st.integers(1, 2)), groups * data.draw(st.integers(1, 2))
    kernel = (data.draw(small), data.draw(small))
    dilation = (data.draw(small), data.draw(small))
    padding = tuple(data.draw(st.integers(0, 2)) for _ in range(4))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    size = tuple(max(1, r - p - q) + data.draw(st.integers(0, 3)) for r, p, q in zip(
        reach, padding[:2], padding[2:], strict=True))  # fmt: skip
    rng = np.random.default_rng(seed)
    conv = Conv(
        weights(rng, out, into // groups, *kernel, sparsity=sparsity),
        stride=(data.draw(small), data.draw(small)),
        padding=(padding[0], padding[1], padding[2], padding[3]),
        dilation=dilation,
        groups=groups,
    )
    agree(network((into, *size), (conv,)), spikes(rng, 2, 2, into, *size))


@settings(max_examples=25, deadline=None)
@given(
    pre=st.integers(1, 9),
    post=st.integers(1, 9),
    sparsity=st.sampled_from([0.0, 0.7, 1.0]),
    seed=st.integers(0, 2**32 - 1),
    graded=st.booleans(),
)
def test_linear(pre: int, post: int, sparsity: float, seed: int, graded: bool) -> None:
    """Equal to the walk; a spike is an accumulation, a graded value a MAC."""
    rng = np.random.default_rng(seed)
    op = Linear(weights(rng, post, pre, sparsity=sparsity), bias=np.ones(post, np.float32))
    x = spikes(rng, 3, 2, pre)
    kind = "graded" if graded else "spikes"
    counts = agree(network((pre,), (op,), kind=kind), x * 0.5 if graded else x)
    assert one(counts).operation == ("mac" if graded else "ac")
    assert one(counts).weights == pre * post
    assert one(counts).nonzero == np.count_nonzero(op.weight)
    zero = np.zeros(2, np.int64)
    assert counts.mac.tolist() == (one(counts).synops if graded else zero).tolist()
    assert counts.ac.tolist() == (zero if graded else one(counts).synops).tolist()


@pytest.mark.parametrize("kind", ["sum", "average"])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [
        ((2, 2), (2, 2), (0, 0, 0, 0)),
        ((3, 2), (1, 2), (1, 0, 0, 1)),
        ((3, 3), (2, 1), (1, 1, 1, 1)),
    ],
)
@pytest.mark.parametrize("graded", [False, True])
def test_pooling_forwards_spikes_and_adds_values(
    kind: Any, kernel: Any, stride: Any, padding: Any, graded: bool
) -> None:
    """A spike goes to every window, graded values are summed first."""
    rng = np.random.default_rng(3)
    pool = Pool(kernel, stride, padding, kind)
    size = prod(pool.out_shape((2, 5, 6)))
    ops = (
        pool,
        Reshape((size,)),
        Linear(weights(rng, 4, size)),
    )
    x = spikes(rng, 3, 2, 2, 5, 6)
    sign = np.where(np.arange(6) % 2, -1.0, 1.0)  # neighbours that cancel in a window
    counts = agree(
        network((2, 5, 6), ops, kind="graded" if graded else "spikes"), x * sign if graded else x
    )
    assert one(counts).operation == ("mac" if graded else "ac")
    assert one(counts).synops.min() > 0


def test_scale_of_zero_stops_events() -> None:
    """What is scaled by 0 never arrives."""
    rng = np.random.default_rng(4)
    factor = np.array([0.0, 2.0, 1.0, 0.0, 0.5], np.float32)
    program = network((5,), (Scale(factor), Linear(weights(rng, 3, 5, sparsity=0.3))))
    counts = agree(program, np.ones((2, 1, 5), bool))
    assert one(counts).events.tolist() == [2 * 3]


def test_second_weighted_op_sees_the_actual_values() -> None:
    """Its inputs are graded and mostly not 0; those that are cost nothing."""
    rng = np.random.default_rng(5)
    ops = (
        Conv(weights(rng, 3, 2, 3, 3, sparsity=0.7), padding=(1, 1, 1, 1)),
        Pool((2, 2), (2, 2)),
        Reshape((27,)),
        Linear(weights(rng, 4, 27), bias=np.zeros(4, np.float32)),
        Linear(weights(rng, 2, 4, sparsity=0.0)),
    )
    counts = agree(network((2, 6, 6), ops), spikes(rng, 3, 2, 2, 6, 6, rate=0.1))
    assert [p.operation for p in counts.projections] == ["ac", "mac", "mac"]
    assert [p.name for p in counts.projections] == [f"input -> 0, op {k}" for k in (1, 2, 3)]
    assert counts.projections[1].events.sum() < 3 * 2 * 27  # some of its inputs are 0
    assert counts.synops.tolist() == (counts.ac + counts.mac).tolist()


def test_quantised_program_counts_its_integers() -> None:
    """Weights and inputs that round to 0 cost nothing."""
    rng = np.random.default_rng(6)
    kernel = np.rint(weights(rng, 3, 1, 3, 3, sparsity=0.2) * 2.4).astype(np.int32) * 2
    assert (kernel == 0).any()
    dense = np.rint(weights(rng, 2, 12, sparsity=0.4) * 2).astype(np.int32) * 2
    neuron = LoihiNeuron(4095, 1024, np.zeros((), np.int32), 0, 64.0, vth=2)
    ops = (Conv(kernel, stride=(2, 2)), Reshape((12,)), Linear(dense))
    program = Program(
        Convention(dt=1e-3),
        (
            Population("in", (1, 6, 6), Input("graded", 4.0, -128, 127)),
            Population("hidden", (3, 2, 2), neuron),
            Population("out", (2,), replace(neuron, vth=None)),
        ),
        (
            Projection("in", "hidden", ops[:1], weight_exponent=2),
            Projection("hidden", "out", ops[1:]),
        ),
        ("out",),
        numbers="loihi",
    )
    x = rng.normal(0, 0.3, (3, 2, 1, 6, 6))
    counts = agree(program, x)
    assert [p.operation for p in counts.projections] == ["mac", "ac"]
    assert counts.nonzero == np.count_nonzero(kernel) + np.count_nonzero(dense)
    # An x that is rounded to the integer 0 on entry is no event.
    assert counts.projections[0].events.sum() == np.count_nonzero(np.rint(x * 4))
    assert counts.projections[0].events.sum() < x.size


def test_connection_without_weights() -> None:
    """Each value that is forwarded is one operation through weight 1."""
    pool = Pool((2, 2), (2, 2))
    x = np.ones((3, 1, 1, 4, 4), bool)
    for op, events in (((), 48), ((pool,), 48), ((Scale(np.array([[0.0, 2.0, 2.0, 2.0]])),), 36)):
        got = one(count(p := network((1, 4, 4), op), run(p, x)))
        assert (got.operation, got.weights, got.synapses) == ("ac", 0, 16)
        assert got.synops.tolist() == [events]
        assert got.synapses_nonzero == events // 3
        assert got.synops_dense == 48
    for op, operation in (((), "ac"), ((replace(pool, kind="average"),), "mac")):
        p = network((1, 4, 4), op, kind="graded")
        assert one(count(p, run(p, x))).operation == operation


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 12))
def test_a_pruned_weight_saves_exactly_the_events_into_it(seed: int, k: int) -> None:
    """Zeroing k weights lowers SynOps by the events they had carried."""
    rng = np.random.default_rng(seed)
    conv = Conv(weights(rng, 4, 1, 3, 3, sparsity=0), stride=(2, 1), padding=(1, 0, 0, 1), groups=2)
    x = spikes(rng, 3, 2, 2, 5, 6)
    dead = {tuple(int(i) for i in np.unravel_index(f, conv.weight.shape)) for f in
            rng.choice(conv.weight.size, k, replace=False)}  # fmt: skip
    mask = np.ones(conv.weight.shape, np.float32)
    for at in dead:
        mask[at] = 0
    saved = [0, 0]
    for source, _, at in links(conv, (2, 5, 6)):
        if at in dead:
            for b in range(2):
                saved[b] += int(x[:, b, source[0], source[1], source[2]].sum())
    whole, pruned = network((2, 5, 6), (conv,)), None
    pruned = network((2, 5, 6), (replace(conv, weight=conv.weight * mask),))
    before, after = one(count(whole, run(whole, x))), one(count(pruned, run(pruned, x)))
    assert (before.synops - after.synops).tolist() == saved
    assert after.nonzero == before.nonzero - k
    assert after.synops_unpruned.tolist() == before.synops.tolist()


def test_no_input_no_operations_and_repeats_add_up() -> None:
    """Nothing in, nothing counted; twice the input, twice the work."""
    rng = np.random.default_rng(8)
    program = network((2, 5, 5), (Conv(weights(rng, 3, 2, 3, 3)),), (Reshape((27,)),))
    silent = count(program, run(program, np.zeros((4, 2, 2, 5, 5), bool)))
    assert silent.synops.tolist() == silent.spikes.tolist() == [0, 0]
    assert silent.updates == 4 * (27 + 27)
    assert [p.silent for p in silent.populations] == [50, 27, 27]
    x = spikes(rng, 3, 1, 2, 5, 5)
    once, twice = (count(program, run(program, y)) for y in (x, np.concatenate([x, x])))
    assert twice.projections[0].synops.tolist() == (2 * once.projections[0].synops).tolist()
