r"""Which sums are exact in integers, whatever their order.

Spikes are 0 or 1. Where every weight that they meet on the way to a neuron is a multiple of
:math:`2^{-n}`, all that arrives is a multiple of :math:`2^{-n}` as well, and so is every partial
sum. If the magnitudes add up to at most :math:`2^{24-n}` at each neuron, float32 holds the total
exactly: then it may be counted in integers of :math:`2^{-n}`, in any order, and is the very
number that the reference rounds its float64 sum to. Where that cannot be shown sums are taken in
float64 and rounded once, as the reference does.
"""

from dataclasses import dataclass, replace
from math import log2, prod

import numpy as np

from sltdeploy.arithmetic import apply_op
from sltdeploy.program import Array, Conv, Linear, Op, Pool, Reshape, Scale

FLOAT32_BITS = 24  # significand, with the implicit bit
MOST_BITS = 30  # a finer grid leaves an int32 no room
WHOLE_BITS = 31  # an int32 without its sign


@dataclass(frozen=True, eq=False)
class Signal:
    """Values that are multiples of ``2**-bits`` and at most ``limit`` in magnitude, by element.

    ``widest`` is the largest magnitude of all that was multiplied to get them, values and weights,
    also where one of the two is 0 and the product is none.
    """

    bits: int
    limit: Array
    widest: float = 1.0

    @property
    def peak(self) -> float:
        """Largest magnitude, in units of the grid."""
        return float(self.limit.max(initial=0.0)) * 2.0**self.bits

    def raised(self, exponent: int) -> "Signal":
        """Give the same times ``2**exponent``."""
        return Signal(self.bits, self.limit * 2.0**exponent, self.widest * 2.0**exponent)

    def fits(self, bits: int) -> bool:
        """Whether an int32 holds each factor on the way, counted in ``2**-bits``."""
        return self.widest * 2.0**bits < 2.0**WHOLE_BITS


def fraction_bits(values: Array) -> int | None:
    """Fewest bits n for which all values are multiples of ``2**-n``; None: more than 30."""
    wide = values.astype(np.float64).reshape(-1)
    for start in range(0, wide.size, 1 << 20):  # a value off the grid is mostly found at once
        part = wide[start : start + (1 << 20)]
        if not (part * 2.0**MOST_BITS == np.rint(part * 2.0**MOST_BITS)).all():
            return None
    _, exponents = np.frexp(wide[wide != 0])
    if not exponents.size:
        return 0
    mantissas = np.ldexp(wide[wide != 0], 53 - exponents).astype(np.int64)  # whole, below 2**53
    zeros = np.log2((mantissas & -mantissas).astype(np.float64)).astype(np.int64)
    return max(0, int((53 - exponents - zeros).max()))


def through(ops: tuple[Op, ...], signal: Signal | None) -> Signal | None:
    """Follow ``ops``; None where what they bring lies on no grid of 30 bits."""
    for op in ops:
        if signal is None:
            return None
        factors = [signal.limit, *(() if (w := _weights(op)) is None else (np.abs(w),))]
        widest = max(signal.widest, *(float(f.max(initial=0.0)) for f in factors))
        after = _through(op, signal)
        signal = None if after is None else replace(after, widest=widest)
    return signal


def together(signals: list[Signal | None]) -> Signal | None:
    """Sum of what several projections bring, if each lies on a grid."""
    known = [s for s in signals if s is not None]
    if len(known) < len(signals):
        return None
    total = np.sum([s.limit for s in known], axis=0)
    return Signal(max(s.bits for s in known), np.asarray(total), max(s.widest for s in known))


def _weights(op: Op) -> Array | None:
    match op:
        case Linear() | Conv():
            return op.weight
        case Scale():
            return op.factor
        case _:
            return None


def _through(op: Op, signal: Signal) -> Signal | None:
    match op:
        case Reshape():
            return Signal(signal.bits, signal.limit.reshape(op.shape))
        case Pool():
            return _pool(op, signal)
        case Scale():
            bits = fraction_bits(op.factor)
            magnitude: Op = replace(op, factor=np.abs(op.factor).astype(np.float64))
        case Linear() | Conv():
            bits = fraction_bits(op.weight)
            bias = None if op.bias is None else np.abs(op.bias).astype(np.float64)
            magnitude = replace(op, weight=np.abs(op.weight).astype(np.float64), bias=bias)
            if op.bias is not None:
                bias_bits = fraction_bits(op.bias)
                if bits is None or bias_bits is None:
                    return None
                bits = max(bits, bias_bits - signal.bits)
    if bits is None or signal.bits + bits > MOST_BITS:
        return None
    return Signal(signal.bits + bits, apply_op(magnitude, signal.limit[None])[0])


def _pool(op: Pool, signal: Signal) -> Signal | None:
    total = apply_op(op, signal.limit[None])[0]
    size = prod(op.kernel)
    if op.kind == "sum":
        return Signal(signal.bits, total)
    if size & (size - 1):
        return None
    return Signal(signal.bits + int(log2(size)), total)
