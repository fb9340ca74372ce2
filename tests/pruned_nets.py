"""Random pruned programs with all that simplification may meet: loops, delays, relays, biases.

Weights, inputs and decays are dyadic, so that no order of adding changes a bit.
"""

from itertools import pairwise
from typing import TypeVar

import numpy as np
from programs import CONVENTION, dyadic, neuron

from sltdeploy.program import (
    Array,
    Conv,
    DelayLine,
    Input,
    Linear,
    Neuron,
    Op,
    Pool,
    Population,
    Program,
    Projection,
    Relay,
    Reshape,
    Rule,
    Scale,
    Shape,
)

T = TypeVar("T")

SHAPES: tuple[Shape, ...] = ((3,), (6,), (9,), (3, 4, 4), (2, 3, 3))


def pruned_program(seed: int) -> Program:
    """Two to six layers behind one input; recurrent, skipping and parallel projections."""
    rng = np.random.default_rng(seed)
    density = rng.choice([0.05, 0.2, 0.5])
    kind = "spikes" if rng.random() < 0.6 else "graded"
    populations = [Population("in", _pick(rng, SHAPES), Input(kind))]
    projections: list[Projection] = []
    for k in range(int(rng.integers(2, 7))):
        source, name = populations[-1], f"layer {k}"
        ops, shape = _ops(rng, source.shape, density)
        spiking = source.spiking and all(isinstance(op, Reshape) for op in ops)
        populations.append(Population(name, shape, _rule(rng, shape, spiking)))
        projections.append(Projection(source.name, name, ops))
        for other in populations[:-2]:
            if rng.random() < 0.2:
                projections.append(Projection(other.name, name, _to(rng, other, shape, density)))
    spikes_only = {p.name for p in populations if isinstance(p.rule, DelayLine) and p.rule.spiking}
    for target in populations[1:]:
        if target.name in spikes_only:  # nothing but its one source
            projections = [
                p
                for p in projections
                if p.target != target.name or all(isinstance(op, Reshape) for op in p.ops)
            ]
        elif rng.random() < 0.3:
            source = _pick(rng, tuple(populations[1:]))
            ops = _to(rng, source, target.shape, density)
            projections.append(Projection(source.name, target.name, ops, recurrent=True))
    outputs = {populations[-1].name, _pick(rng, tuple(populations[1:])).name}
    return Program(CONVENTION, tuple(populations), tuple(projections), tuple(sorted(outputs)))


def perceptron(
    rng: np.random.Generator, *sizes: int, density: float, kind: str = "graded"
) -> Program:
    """Layers of LIF without bias and a readout, real weights, the share ``density`` of them."""
    entry = Input("graded" if kind == "graded" else "spikes")
    populations = [Population("in", sizes[:1], entry)]
    projections: list[Projection] = []
    for k, (pre, post) in enumerate(pairwise(sizes)):
        name = f"layer {k}"
        last = k == len(sizes) - 2
        weight = rng.normal(0, 2 / np.sqrt(pre * density), (post, pre)).astype(np.float32)
        weight[rng.random(weight.shape) >= density] = 0
        populations.append(Population(name, (post,), neuron(None if last else 0.5)))
        projections.append(Projection(populations[-2].name, name, (Linear(weight),)))
    return Program(CONVENTION, tuple(populations), tuple(projections), (populations[-1].name,))


def _pick(rng: np.random.Generator, items: tuple[T, ...]) -> T:
    return items[int(rng.integers(len(items)))]


def _rule(rng: np.random.Generator, shape: Shape, spiking: bool) -> Rule:
    what = rng.random()
    if what < 0.15:
        return Relay()
    if what < 0.3:
        steps = np.asarray(rng.integers(0, 3, shape if rng.random() < 0.5 else ()))
        return DelayLine(steps * int(rng.integers(0, 2)), spiking)
    if what < 0.38:
        return neuron(None, decay=0.5, bias=_some(rng, shape, -1, 2))
    return _neuron(rng, shape)


def _neuron(rng: np.random.Generator, shape: Shape) -> Neuron:
    return neuron(
        _some(rng, shape, 1, 5),
        decay=_pick(rng, (0.0, 0.5, 0.75, 1.0)),
        decay_syn=_pick(rng, (0.0, 0.5, 1.0)) if rng.random() < 0.3 else None,
        bias=_some(rng, shape, -1, 3) if rng.random() < 0.5 else 0.0,
        v_init=_some(rng, shape, -2, 4) if rng.random() < 0.3 else 0.0,
        v_reset=_some(rng, shape, -2, 2) if rng.random() < 0.3 else 0.0,
        subtract=rng.random() < 0.4,
        ge=rng.random() < 0.5,
    )


def _some(rng: np.random.Generator, shape: Shape, low: int, high: int) -> Array:
    """Multiples of 1/4, one for all or one by neuron."""
    return np.asarray(rng.integers(low, high, shape if rng.random() < 0.6 else ()) / 4, np.float32)


def _ops(rng: np.random.Generator, shape: Shape, density: float) -> tuple[tuple[Op, ...], Shape]:
    """One to three ops with an identity here and there."""
    ops: list[Op] = []
    for _ in range(int(rng.integers(1, 4))):
        op = _op(rng, shape, density)
        if not any(op.problems(shape)):
            ops.append(op)
            shape = op.out_shape(shape)
    return tuple(ops), shape


def _op(rng: np.random.Generator, shape: Shape, density: float) -> Op:
    what = rng.random()
    if what < 0.1:
        return Reshape(shape)
    if what < 0.2:
        factors = (shape, (), (shape[0], *[1] * (len(shape) - 1)))
        return Scale(np.asarray(rng.choice([0, 1, 2, 0.5], _pick(rng, factors)), np.float32))
    if len(shape) == 1:
        post = int(rng.integers(2, 9))
        weight = _pruned(rng, density, post, shape[0])
        bias = _pruned(rng, density, post) if rng.random() < 0.4 else None
        return Reshape((shape[0], 1, 1)) if what < 0.3 else Linear(weight, bias)
    if what < 0.45:
        return Reshape((int(np.prod(shape)),))
    if what < 0.6:
        size = _pick(rng, ((1, 1), (2, 2)))
        return Pool(size, size, kind="sum" if rng.random() < 0.5 else "average")
    groups = shape[0] if rng.random() < 0.3 else 1
    post = groups * int(rng.integers(1, 4))
    side = min(2, *shape[1:])
    weight = _pruned(rng, density, post, shape[0] // groups, side, side)
    weight[rng.random(post) < 0.3] = 0
    bias = _pruned(rng, density, post) if rng.random() < 0.4 else None
    pad = int(rng.integers(0, 2))
    return Conv(weight, bias, padding=(pad, 0, 0, pad), groups=groups)


def _pruned(rng: np.random.Generator, density: float, *shape: int) -> Array:
    return dyadic(rng, *shape, bits=3) * (rng.random(shape) < density)


def _to(
    rng: np.random.Generator, source: Population, goal: Shape, density: float
) -> tuple[Op, ...]:
    if source.shape == goal and rng.random() < 0.5:
        return ()
    pre, post = source.size, int(np.prod(goal))
    bias = _pruned(rng, density, post) if rng.random() < 0.3 else None
    return (Reshape((pre,)), Linear(_pruned(rng, density, post, pre), bias), Reshape(goal))
