"""Small networks with real weights, for tests of quantisation and of Lava."""

from dataclasses import replace

import numpy as np

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
)


def single(value: float) -> Array:
    """Float32 of shape ()."""
    return np.asarray(value, np.float32)


def noise(rng: np.random.Generator, *shape: int, scale: float = 0.5) -> Array:
    """Real weights."""
    return rng.normal(scale=scale, size=shape).astype(np.float32)


def lif(**changes: Array | str | None) -> Neuron:
    """Leaky, threshold 1, reset to 0; changed as told."""
    plain = Neuron(single(0.5), single(0), single(0), None, single(1), single(0))
    return replace(plain, **changes)


READOUT = Neuron(single(0.75), single(0), single(0))


def chain(*layers: tuple[Rule, tuple[int, ...], tuple[Op, ...]], source: Input) -> Program:
    """Input "p0" of 1x8x8, then populations p1, p2, ... each fed by the one before."""
    populations = [Population("p0", (1, 8, 8), source)]
    projections: list[Projection] = []
    for k, (rule, shape, ops) in enumerate(layers, 1):
        populations.append(Population(f"p{k}", shape, rule))
        projections.append(Projection(f"p{k - 1}", f"p{k}", ops))
    return Program(
        Convention(1e-3), tuple(populations), tuple(projections), (populations[-1].name,)
    )


def digits(rng: np.random.Generator, source: Input | None = None) -> Program:
    """A small convolutional network as for the digits, with biases everywhere."""
    return chain(
        (lif(), (6, 8, 8), (Conv(noise(rng, 6, 1, 3, 3), noise(rng, 6), padding=(1, 1, 1, 1)),)),
        (
            lif(threshold=single(0.75), bias=single(0.05)),
            (8, 4, 4),
            (
                Pool((2, 2), (2, 2), kind="average"),
                Conv(noise(rng, 8, 6, 3, 3), noise(rng, 8, scale=0.1), padding=(1, 1, 1, 1)),
            ),
        ),
        (READOUT, (10,), (Reshape((128,)), Linear(noise(rng, 10, 128), noise(rng, 10)))),
        source=source or Input("graded"),
    )


def images(rng: np.random.Generator, steps: int = 6, batch: int = 4) -> Array:
    """Pixels k / 16, the same in each step, as direct coding gives."""
    pixels = rng.integers(0, 17, (1, batch, 1, 8, 8)) / 16
    return np.broadcast_to(pixels, (steps, batch, 1, 8, 8)).astype(np.float32)


def loihi(program: Program, name: str) -> LoihiNeuron:
    """The integer rule of a population."""
    rule = program.population(name).rule
    assert isinstance(rule, LoihiNeuron)
    return rule
