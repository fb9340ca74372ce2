"""Whether a neuron never fires, or always does, whatever arrives within bounds.

A step of the rule in float32 is monotone in potential, current and input where the decays are
not negative: rounding keeps order. So it is enough to step the extremes, in the arithmetic of the
reference, and the answer is exact, not a matter of tolerance.
"""

import numpy as np

from sltdeploy.program import Array, Neuron

ROOM = np.float32(1 + 2**-20)  # above the limit of a geometric sum, for its rounding


def never_fires(rule: Neuron, high: Array) -> Array:
    """Which neurons stay silent for ever while no input exceeds ``high`` (float32).

    The largest potential V that does not fire is an invariant: the first step must not fire, nor
    one from V. Then no potential ever exceeds V.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        current, holds = _furthest(rule, high, upper=True)
        threshold = _f32(rule.threshold)
        top = (
            threshold
            if rule.comparison == "gt"
            else np.nextafter(threshold, np.float32(-np.inf), dtype=np.float32)
        )
        first, later = _step(rule, _f32(rule.v_init), current), _step(rule, top, current)
        return holds & (first <= top) & (later <= top)


def always_fires(rule: Neuron, low: Array) -> Array:
    """Which neurons fire in every step while no input falls below ``low`` (float32).

    After a spike the potential is v_reset, or at least 0 where the threshold is subtracted.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        current, holds = _furthest(rule, low, upper=False)
        after = np.zeros((), np.float32) if rule.reset == "subtract" else _f32(rule.v_reset)
        first, later = _step(rule, _f32(rule.v_init), current), _step(rule, after, current)
        return holds & _fires(rule, first) & _fires(rule, later)


def resting(rule: Neuron, low: Array, high: Array) -> tuple[Array, Array]:
    """For neurons without threshold: what leaves, and where it is the same in every step."""
    with np.errstate(over="ignore", invalid="ignore"):
        value = _step(rule, _f32(rule.v_init), low)
        steady = (low == high) & (_step(rule, value, low) == value)
        return value, steady if rule.decay_syn is None else steady & (low == 0)


def _furthest(rule: Neuron, x: Array, *, upper: bool) -> tuple[Array, Array]:
    """Bound of the current j in any step while x is bounded by ``x``; and where that is proven."""
    monotone = _f32(rule.decay) >= 0
    if rule.decay_syn is None:
        return x, monotone & np.isfinite(x)
    decay = _f32(rule.decay_syn)
    away = x > 0 if upper else x < 0  # then j goes on growing; else its first value is the bound
    limit = np.divide(x, 1 - decay, out=np.full(np.shape(x), np.nan, np.float32), where=decay < 1)
    holds = _kept_within(decay, limit, x, upper)
    limit = np.where(holds, limit, limit * ROOM)
    proven = ~away | _kept_within(decay, limit, x, upper)
    return np.where(away, limit, x), monotone & (decay >= 0) & proven & np.isfinite(x)


def _kept_within(decay: Array, limit: Array, x: Array, upper: bool) -> Array:
    """Where a current within ``limit`` is so after another step."""
    following = decay * limit + x
    return (following <= limit) if upper else (following >= limit)


def _step(rule: Neuron, v: Array, j: Array) -> Array:
    return _f32(rule.decay) * v + j + _f32(rule.bias)


def _fires(rule: Neuron, u: Array) -> Array:
    threshold = _f32(rule.threshold)
    return u > threshold if rule.comparison == "gt" else u >= threshold


def _f32(array: Array | None) -> Array:
    assert array is not None, "Program checks that the rule is complete"
    return array.astype(np.float32)
