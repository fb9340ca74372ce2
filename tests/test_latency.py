"""Latency statistics against sorted durations."""

import numpy as np
import pytest

from sltdeploy.runtime.latency import Stopwatch

KINDS = {
    "log normal": np.random.default_rng(1).lognormal(9, 1.5, 20_000),
    "uniform": np.random.default_rng(2).uniform(0, 5e5, 5_000),
    "all alike": np.full(100, 12_345),
    "a few": np.array([1, 127, 128, 129, 255, 256, 10**9]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_percentiles_are_right_within_a_64th(kind: str) -> None:
    """Never below the step at that rank, at most 1/64 above; the rest exact."""
    durations = KINDS[kind].astype(np.int64)
    watch = Stopwatch()
    assert all(watch.add(int(d)) for d in durations)
    found = watch.latency()
    inner = np.sort(durations)
    for per_mille, got in (
        (500, found.p50_us),
        (950, found.p95_us),
        (990, found.p99_us),
        (999, found.p999_us),
    ):
        exact = int(inner[-(-len(inner) * per_mille // 1000) - 1])
        assert exact <= round(got * 1000) <= exact * (1 + 1 / 64), per_mille
    assert found.steps == len(durations)
    assert found.worst_us * 1000 == durations.max()
    assert found.mean_us * 1000 == pytest.approx(durations.mean())
    assert found.jitter_us == found.p99_us - found.p50_us
    assert (found.deadline_us, found.misses) == (None, None)


def test_misses_are_counted() -> None:
    """A step of exactly the deadline keeps it."""
    watch = Stopwatch(deadline_ns=1_000)
    assert [watch.add(d) for d in (999, 1_000, 1_001, 5_000)] == [True, True, False, False]
    assert watch.latency().misses == 2
    assert watch.latency().deadline_us == 1.0
    watch.clear()
    assert (watch.latency().misses, watch.latency().steps, watch.latency().worst_us) == (0, 0, 0)


def test_very_long_steps_are_kept() -> None:
    """A day, and a year."""
    watch = Stopwatch()
    for seconds in (86_400, 86_400 * 365):
        watch.add(seconds * 10**9)
    assert watch.latency().worst_us == 86_400 * 365 * 1e6
    assert watch.latency().p50_us == pytest.approx(86_400e6, rel=1 / 64)
