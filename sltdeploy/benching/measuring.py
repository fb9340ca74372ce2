"""Times of single steps, of several contenders in turns, and whether they send the same.

What is measured in turns on one thread shares whatever else the machine does, so that ratios of
medians hold on a busy machine too. Tails do not: for these the machine must be quiet, and the
contender alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Protocol, TypeAlias

import numpy as np

from sltdeploy.agreement import error
from sltdeploy.program import Array
from sltdeploy.runtime.latency import NS_PER_US, Latency

Clock: TypeAlias = Callable[[], int]  # nanoseconds
Show: TypeAlias = Callable[[int, int, str], None]  # done, total, what

WARM = 20  # steps after `begin` that are not timed: they find the caches cold


class Contender(Protocol):
    """One way to step a network over frames that it knows."""

    name: str

    def begin(self) -> None:
        """Go to the first state."""
        ...

    def step(self, frame: int) -> Any:
        """Take one time step on frame number ``frame``."""
        ...

    def read(self, sent: Any) -> Mapping[str, Array]:
        """Outputs, (1, *shape) by name, of what `step` has just returned; spikes are bool."""
        ...


@dataclass(frozen=True)
class Agreement:
    """How what one contender sent differs from what the first one did.

    ``spikes`` counts those of the first in ``elements`` of spiking outputs, of which ``differing``
    differ; ``worst`` is the largest difference in ``values`` values, NaN where one alone is NaN.
    """

    spikes: int
    elements: int
    differing: int
    values: int
    worst: float

    def to_json(self) -> dict[str, Any]:
        """Plain types for `json.dumps`; a number that JSON lacks becomes text."""
        worst = self.worst if isfinite(self.worst) else str(self.worst)
        return {**self.__dict__, "worst": worst}


def durations(
    contenders: Sequence[Contender],
    frames: int,
    steps: int,
    rounds: int,
    clock: Clock,
    show: Show,
) -> dict[str, Array]:
    """Nanoseconds of each step, (rounds * steps,) by the name of the contender.

    In every round each contender goes to its first state, takes `WARM` steps and then ``steps``
    that are timed one by one; the frames repeat.
    """
    taken = {c.name: np.empty((rounds, steps), np.int64) for c in contenders}
    for done in range(rounds):
        for k, c in enumerate(contenders):
            show(done * len(contenders) + k, rounds * len(contenders), c.name)
            taken[c.name][done] = _round(c, frames, steps, clock)
    return {name: values.ravel() for name, values in taken.items()}


def _round(c: Contender, frames: int, steps: int, clock: Clock) -> list[int]:
    step = c.step
    c.begin()
    for k in range(WARM):
        step(k % frames)
    taken = [0] * steps
    for k in range(steps):
        at = (WARM + k) % frames
        start = clock()
        step(at)
        taken[k] = clock() - start
    return taken


def statistics(taken: Array, deadline_ms: float | None = None) -> Latency:
    """Percentiles by rank, as a `Stopwatch` gives them but exact; ``taken`` in ns, not empty."""
    ordered = np.sort(taken)
    p50, p95, p99, p999 = (_percentile(ordered, k) / NS_PER_US for k in (500, 950, 990, 999))
    deadline = None if deadline_ms is None else deadline_ms * 1000
    return Latency(
        steps=len(ordered),
        mean_us=float(ordered.mean()) / NS_PER_US,
        p50_us=p50,
        p95_us=p95,
        p99_us=p99,
        p999_us=p999,
        worst_us=float(ordered[-1]) / NS_PER_US,
        jitter_us=p99 - p50,
        deadline_us=deadline,
        misses=None if deadline is None else int((ordered > deadline * NS_PER_US).sum()),
    )


def _percentile(ordered: Array, per_mille: int) -> float:
    return float(ordered[-(-len(ordered) * per_mille // 1000) - 1])


def sent(c: Contender, frames: int) -> dict[str, Array]:
    """What ``c`` sends from its first state on, one step a frame, (T, 1, *shape) by output."""
    c.begin()
    rows = [{n: np.array(a) for n, a in c.read(c.step(k)).items()} for k in range(frames)]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def agreement(first: Mapping[str, Array], other: Mapping[str, Array]) -> Agreement:
    """Hold ``other`` against ``first``, output by output."""
    spikes = elements = differing = values = 0
    worst = 0.0
    for name, expected in first.items():
        if expected.dtype == bool:
            elements += expected.size
            spikes += int(expected.sum())
            differing += int((expected != other[name]).sum())
        else:
            values += expected.size
            both = np.isnan(expected) & np.isnan(other[name])
            apart = np.where(both, 0, error(expected, other[name]))
            worst = float(np.maximum(worst, apart.max(initial=0)))  # max() would lose a NaN
    return Agreement(spikes, elements, differing, values, worst)
