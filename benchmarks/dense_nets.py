"""Layers of neurons as a program, and frames to feed them, for the benchmarks of the runner."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from sltdeploy.program import (
    Array,
    Convention,
    Input,
    Linear,
    Neuron,
    Population,
    Program,
    Projection,
)

RATE = 0.05  # spikes per input and step


def dense(sizes: Sequence[int]) -> Program:
    """LIF neurons behind random weights k / 256, so that about one neuron in ten spikes."""
    rng = np.random.default_rng(0)
    rule = Neuron(
        decay=np.asarray(0.25),
        bias=np.zeros(()),
        v_init=np.zeros(()),
        threshold=np.ones(()),
        v_reset=np.zeros(()),
    )
    names = ["in", *(f"lif{k}" for k in range(1, len(sizes)))]
    weights = [
        np.rint(rng.normal(0, 7 / np.sqrt(pre), (post, pre)) * 256) / 256
        for pre, post in pairwise(sizes)
    ]
    return Program(
        Convention(1e-3),
        (
            Population("in", (sizes[0],), Input("spikes")),
            *(Population(n, (k,), rule) for n, k in zip(names[1:], sizes[1:], strict=True)),
        ),
        tuple(
            Projection(a, b, (Linear(w.astype(np.float32)),))
            for (a, b), w in zip(pairwise(names), weights, strict=True)
        ),
        (names[-1],),
    )


def frames(size: int, count: int) -> Array:
    """Spikes as float32, (count, 1, size)."""
    rng = np.random.default_rng(1)
    return (rng.random((count, 1, size)) < RATE).astype(np.float32)
