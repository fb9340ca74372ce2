"""Which weights are 8-bit integers times a power of two, and where integers are the faster way."""

import numpy as np

from sltdeploy.program import Array

TOP = 127  # -128 is left out: the negative of a weight is a weight
FLOAT32_WHOLE = 2**24  # up to here float32 holds every integer
# From this many weights on MatMulInteger, two Casts and a Mul take less time than Gemm in float32,
# which spends its time on reading weights: benchmarks/onnx_forms.py prints both by size.
FASTER_FROM = 32_768


def grid_bits(weight: Array) -> int | None:
    """Return n such that ``weight * 2**n`` are integers of at most 127, or None."""
    n = _fraction_bits(weight)
    return n if np.ldexp(_magnitudes(weight), n).max(initial=0) <= TOP else None


def multiplies(weight: Array, bias: Array | None) -> bool:
    """Whether spikes times ``weight`` (post, pre) goes in integers: exact there, and faster.

    With the bias, too, every sum must be exact in float32: Gemm may begin with it.
    """
    n = grid_bits(weight)
    if n is None or weight.size < FASTER_FROM:
        return False
    worst = np.abs(weight.astype(np.float64)).sum(axis=1)
    if bias is not None:
        n = max(n, _fraction_bits(bias))
        worst += np.abs(bias)
    return bool(np.ldexp(worst.max(), n) < FLOAT32_WHOLE)


def _fraction_bits(values: Array) -> int:
    """Bits behind the point of the finest value: of its mantissa without its trailing zeros."""
    used = _magnitudes(values)
    mantissa, exponent = np.frexp(used[used != 0])
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    trailing = np.frexp((whole & -whole).astype(np.float64))[1] - 1
    found = 53 - exponent - trailing
    return int(found.max()) if found.size else 0


def _magnitudes(values: Array) -> Array:
    return np.unique(np.abs(values)).astype(np.float64)  # few, where there is a grid
