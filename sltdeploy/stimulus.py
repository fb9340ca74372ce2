"""Seeded input for any program, where nobody gave one."""

import numpy as np

from sltdeploy.program import Array, Input, Population, Program, Shape

SEED = 20
STEPS, BATCH = 25, 4
RATE = 0.3  # spikes per neuron and step


def example(
    program: Program,
    *,
    steps: int = STEPS,
    batch: int = BATCH,
    rate: float = RATE,
    seed: int = SEED,
) -> dict[str, Array]:
    """Seeded input (steps, batch, *shape) for each input of ``program``.

    Spikes are drawn with probability ``rate``, graded values uniformly from [0, 1], or from the
    range that the program's integers can hold.
    """
    rng = np.random.default_rng(seed)
    return {p.name: _drawn(p, rng, (steps, batch, *p.shape), rate) for p in program.inputs}


def _drawn(p: Population, rng: np.random.Generator, shape: Shape, rate: float) -> Array:
    assert isinstance(p.rule, Input)
    if p.rule.kind == "spikes":
        return rng.random(shape) < rate
    low, high = 0.0, 1.0
    if p.rule.low is not None and p.rule.high is not None:
        low, high = p.rule.low / p.rule.scale, p.rule.high / p.rule.scale
    return rng.uniform(low, high, shape).astype(np.float32)
