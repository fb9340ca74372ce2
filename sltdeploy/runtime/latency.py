"""How long steps took: a histogram of fixed size, so that a week of steps costs no memory.

A duration d (ns) falls into the bucket of its leading 7 bits, so a percentile is right within
1/64 and never too low; count, total, worst and misses are exact.
"""

from dataclasses import dataclass
from typing import Any

LEADING_BITS = 7
_HALF = 1 << (LEADING_BITS - 1)
_TOP_BITS = 48  # 3 days; what is longer falls into the last bucket
_BUCKETS = (_TOP_BITS - LEADING_BITS + 2) * _HALF
NS_PER_US = 1000.0


@dataclass(frozen=True)
class Latency:
    """Durations of steps in microseconds, by the monotonic clock.

    ``jitter_us`` is p99 minus p50. ``misses`` are steps that took longer than the deadline, None
    without one.
    """

    steps: int
    mean_us: float
    p50_us: float
    p95_us: float
    p99_us: float
    p999_us: float
    worst_us: float
    jitter_us: float
    deadline_us: float | None
    misses: int | None

    def to_json(self) -> dict[str, Any]:
        """Plain types for `json.dumps`."""
        return dict(self.__dict__)


class Stopwatch:
    """Collects durations; ``deadline_ns`` is what a step may take, None for as long as it likes."""

    __slots__ = ("_buckets", "_total", "_worst", "deadline_ns", "misses", "steps")

    def __init__(self, deadline_ns: int | None = None) -> None:
        self.deadline_ns = deadline_ns
        self._buckets = [0] * _BUCKETS
        self.clear()

    def clear(self) -> None:
        """Forget every step."""
        for k in range(_BUCKETS):
            self._buckets[k] = 0
        self.steps = self._total = self._worst = self.misses = 0

    def add(self, duration_ns: int) -> bool:
        """Count a step; return whether it kept its deadline."""
        self.steps += 1
        self._total += duration_ns
        if duration_ns > self._worst:
            self._worst = duration_ns
        shift = duration_ns.bit_length() - LEADING_BITS
        at = duration_ns if shift <= 0 else shift * _HALF + (duration_ns >> shift)
        self._buckets[at if at < _BUCKETS else _BUCKETS - 1] += 1
        if self.deadline_ns is None or duration_ns <= self.deadline_ns:
            return True
        self.misses += 1
        return False

    def latency(self) -> Latency:
        """Read the statistics; all 0 before the first step."""
        p50, p95, p99, p999 = (self._percentile(p) / NS_PER_US for p in (500, 950, 990, 999))
        deadline = self.deadline_ns
        return Latency(
            steps=self.steps,
            mean_us=self._total / max(1, self.steps) / NS_PER_US,
            p50_us=p50,
            p95_us=p95,
            p99_us=p99,
            p999_us=p999,
            worst_us=self._worst / NS_PER_US,
            jitter_us=p99 - p50,
            deadline_us=None if deadline is None else deadline / NS_PER_US,
            misses=None if deadline is None else self.misses,
        )

    def _percentile(self, per_mille: int) -> int:
        """Upper end of the bucket that holds the step at this rank, at most the worst step."""
        rank = -(-self.steps * per_mille // 1000)
        seen = 0
        for at, n in enumerate(self._buckets):
            seen += n
            if seen >= rank and n:
                return min(_upper(at), self._worst)
        return 0


def _upper(at: int) -> int:
    """Largest duration in bucket ``at``."""
    if at < 2 * _HALF:
        return at
    shift = at // _HALF - 1
    return ((at - shift * _HALF + 1) << shift) - 1
