"""A delay line on arrays (neurons, steps, samples)."""

from dataclasses import dataclass

import numpy as np

from sltdeploy.program import Array, DelayLine, Population


@dataclass(frozen=True, eq=False)
class Line:
    """Which neurons wait how long, (steps, indices); ``depth`` past steps are kept."""

    waits: tuple[tuple[int, Array], ...]
    depth: int


def line(p: Population) -> Line:
    """Sort the neurons of ``p`` by their delay."""
    assert isinstance(p.rule, DelayLine)
    steps = np.broadcast_to(p.rule.steps, p.shape).reshape(-1)
    waits = tuple((int(d), np.flatnonzero(steps == d)) for d in np.unique(steps))
    return Line(waits, p.rule.depth)


def leaves(line: Line, past: Array, arrives: Array | None, sent: Array) -> None:
    """Write what leaves into ``sent``; ``past`` holds the steps before, the oldest first.

    Without ``arrives`` nothing of this step is known, and each neuron waits for at least one.
    """
    held = past if arrives is None else np.concatenate([past, arrives], axis=1)
    for wait, rows in line.waits:
        start = line.depth - wait
        sent[rows] = held[rows, start : start + sent.shape[1]]


def after(line: Line, past: Array, arrives: Array) -> Array:
    """The past of the next step."""
    held = np.concatenate([past, arrives], axis=1)
    return held[:, held.shape[1] - line.depth :]
