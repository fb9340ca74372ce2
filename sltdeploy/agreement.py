"""When two machines that compute the same network agree."""

import numpy as np

from sltdeploy.ops import Array

TOLERANCE = 1e-5  # of max(1, |expected|), for values of a float32 program


def tolerance(numbers: str) -> float:
    """What values may differ by: a float32 sum depends on its order, integers do not."""
    return TOLERANCE if numbers == "float32" else 0.0


def error(expected: Array, got: Array) -> Array:
    """Absolute difference, float64; what is equal differs by 0, the same infinity too."""
    wide, other = expected.astype(np.float64), got.astype(np.float64)
    return np.abs(np.subtract(wide, other, where=wide != other, out=np.zeros_like(wide)))


def beyond(expected: Array, got: Array, tolerance: float) -> Array:
    """Where ``got`` differs by more than ``tolerance`` times max(1, abs(expected)), or is NaN."""
    allowed = tolerance * np.maximum(1, np.abs(expected.astype(np.float64)))
    return ~(error(expected, got) <= allowed)
