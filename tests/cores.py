"""Networks for tests of mapping, by their shapes; every weight is there."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from sltdeploy.machine import Placing, Target
from sltdeploy.program import (
    Conv,
    Convention,
    Input,
    Linear,
    Neuron,
    Op,
    Population,
    Program,
    Projection,
    Shape,
)

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


def kernel(
    out: int, into: int, size: int = 3, stride: tuple[int, int] = (1, 1), padding: int = 0
) -> Conv:
    """A square convolution without zeros."""
    weight = np.ones((out, into, size, size), np.float32)
    return Conv(weight, stride=stride, padding=(padding, padding, padding, padding))


def limited(target: Target, values: Mapping[str, int], placement: Placing | None = None) -> Target:
    """The same target with other limits, and cut by other rules."""
    changed = {n: replace(target.limits[n], value=v) for n, v in values.items()}
    limits = {**target.limits, **changed}
    return replace(target, limits=limits, placement=placement or target.placement)
