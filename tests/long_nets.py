"""M, C and a recurrent network with weights k * 2**-n, for runs of many steps."""

from itertools import pairwise

import numpy as np
from programs import CONVENTION, neuron

from sltdeploy.program import (
    Array,
    Conv,
    Input,
    Linear,
    Op,
    Pool,
    Population,
    Program,
    Projection,
    Reshape,
)

RATE = 0.05  # spikes per input and step


def drawn(rng: np.random.Generator, gain: float, *shape: int) -> Array:
    """Normal weights on the grid 2**-6, at most 127 / 64; about one neuron in ten spikes."""
    scaled = rng.normal(0, gain / np.sqrt(np.prod(shape[1:])), shape)
    return np.asarray(np.clip(np.rint(scaled * 64), -127, 127) / 64, np.float32)


def dense() -> Program:
    """M: 784-512-512-10."""
    rng = np.random.default_rng(0)
    sizes = (784, 512, 512, 10)
    names = ("in", "a", "b", "out")
    return Program(
        CONVENTION,
        (
            Population("in", (784,), Input("spikes")),
            *(Population(n, (k,), neuron(1.0)) for n, k in zip(names[1:], sizes[1:], strict=True)),
        ),
        tuple(
            Projection(names[k], names[k + 1], (Linear(drawn(rng, 5, post, pre)),))
            for k, (pre, post) in enumerate(pairwise(sizes))
        ),
        ("out",),
    )


def convolutional() -> Program:
    """C: 2x34x34, convolutions to 16, 32 and 64 channels with average pools between, then 10."""
    rng = np.random.default_rng(0)
    pool = Pool((2, 2), (2, 2), kind="average")
    before: tuple[tuple[Op, ...], ...] = ((), (pool,), (pool,), (pool, Reshape((1024,))))
    weights = [drawn(rng, 4, post, pre, 3, 3) for pre, post in pairwise((2, 16, 32, 64))]
    weights.append(drawn(rng, 6, 10, 1024))
    populations = [Population("in", (2, 34, 34), Input("spikes"))]
    projections: list[Projection] = []
    for k, (ops, w) in enumerate(zip(before, weights, strict=True)):
        last = Linear(w) if w.ndim == 2 else Conv(w, padding=(1, 1, 1, 1))
        shape = populations[-1].shape
        for op in (*ops, last):
            shape = op.out_shape(shape)
        projections.append(Projection(populations[-1].name, f"p{k}", (*ops, last)))
        populations.append(Population(f"p{k}", shape, neuron(0.5)))
    return Program(CONVENTION, tuple(populations), tuple(projections), ("p3",))


def recurrent() -> Program:
    """128-256 with all-to-all recurrence, and 10 behind it that feed back."""
    rng = np.random.default_rng(0)
    return Program(
        CONVENTION,
        (
            Population("in", (128,), Input("spikes")),
            Population("a", (256,), neuron(1.0, decay=0.9, decay_syn=0.5)),
            Population("out", (10,), neuron(1.0, decay=0.8, subtract=True, ge=True)),
        ),
        (
            Projection("in", "a", (Linear(drawn(rng, 2, 256, 128)),)),
            Projection("a", "a", (Linear(drawn(rng, 2, 256, 256)),), recurrent=True),
            Projection("out", "a", (Linear(drawn(rng, 1, 256, 10)),), recurrent=True),
            Projection("a", "out", (Linear(drawn(rng, 2, 10, 256)),)),
        ),
        ("out",),
    )


NETWORKS = {"M": dense, "C": convolutional, "recurrent": recurrent}


def spikes(program: Program, steps: int, batch: int) -> Array:
    """Random input (T, B, *shape)."""
    rng = np.random.default_rng(1)
    return rng.random((steps, batch, *program.inputs[0].shape), np.float32) < RATE
