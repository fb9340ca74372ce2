"""The scale of one population on Loihi: threshold, weights, exponents and bias in integers.

With scale s, an activation of 1 in the float program is s on the chip, and a potential of 1 is
``64 s`` (the chip shifts what arrives left by 6 bits). A weight w on inputs that are integers
``sigma x`` becomes ``W = w s / (sigma 2**e)`` in 8 bits, the threshold ``vth = s threshold``. So
s is taken from the integers vth: then the threshold is exact, and weights alone are rounded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, inf, log2, sqrt

import numpy as np

from sltdeploy.bounds import ALIGN, TOP, VTH_TOP, Range, activation, limit, reach
from sltdeploy.program import Array, Op
from sltdeploy.quantize.folding import weight_of, weighted, with_weight

CANDIDATES = 32  # scales tried within the factor of 2 below the largest
EXPONENTS = (-7, 7)  # weight exponent that both Loihi 1 and 2 hold
MIXED = (-256, 254)  # weights of both signs are even
SINGLE = 255
MANTISSA_TOP = 4095  # 13 bits, signed
BIAS_EXPONENT_TOP = 7
FINE_VTH = 8  # below this few scales fit the threshold: larger exponents give more
SLACK = 0.98  # room for rounding below a bound; the bound is checked again on the integers
HORIZON = 64  # steps that an integrator without leak must last where nothing says how many


@dataclass(frozen=True, eq=False)
class Arriving:
    """A folded projection in floats; ``values`` bounds its source in the integers of the chip."""

    name: str
    ops: tuple[Op, ...]
    values: Range
    sigma: float


@dataclass(frozen=True, eq=False)
class Scaled:
    """One population in integers, with ops and weight exponent for each projection to it."""

    scale: float
    vth: int | None
    mantissa: Array
    exponent: int
    synapses: tuple[tuple[tuple[Op, ...], int], ...]


def choose(
    arriving: Sequence[Arriving],
    bias: Array,
    threshold: float | None,
    kept: float,
    kept_syn: float,
    steps: int,
) -> Scaled | str:
    """Choose the scale with the least error in what arrives; or say why none is possible.

    ``kept`` and ``kept_syn`` are the shares of v and j that a step leaves; ``steps`` is how long
    an integrator without leak must not clip.
    """
    cap = _cap(arriving, bias, threshold, kept, kept_syn, steps)
    if isinstance(cap, str):
        return cap
    while True:
        best = min(_candidates(arriving, threshold, cap), default=None)
        if best is None:
            return (
                "no scale fits: weights, threshold and bias lie too far apart for 8-bit weights "
                "with exponents -7..7 and a 17-bit threshold"
            )
        _, negative, exponents = best
        chosen = _integers(arriving, bias, threshold, -negative, exponents)
        if _peak(chosen, arriving) * ALIGN / (1 - kept_syn) < TOP:
            return chosen
        cap *= SLACK


def integers(weight: Array, factor: float) -> Array:
    """``weight * factor`` rounded to Loihi's 8-bit weights: even where both signs occur."""
    scaled = weight * factor
    if (scaled < 0).any() and (scaled > 0).any():
        return np.clip(2 * np.rint(scaled / 2), *MIXED)
    return np.clip(np.rint(scaled), -SINGLE, SINGLE)


def _cap(
    arriving: Sequence[Arriving],
    bias: Array,
    threshold: float | None,
    kept: float,
    kept_syn: float,
    steps: int,
) -> float | str:
    """Largest scale that 24-bit states, 17-bit thresholds and 13-bit biases allow."""
    ranges = [_in_floats(a) for a in arriving]
    total = sum(ranges[1:], start=ranges[0])
    drive = Range(limit(total.low, kept_syn), limit(total.high, kept_syn))
    caps = [inf]
    if drive.peak > 0:
        caps.append(SLACK * TOP / ALIGN / drive.peak)
    if bias.any():
        caps.append(MANTISSA_TOP * 2**BIAS_EXPONENT_TOP / ALIGN / float(np.abs(bias).max()))
    if threshold:
        caps.append(VTH_TOP / threshold)
    if threshold is None:
        worst = max(float((drive.high + bias).max()), -float((drive.low + bias).min()), 0)
        top = SLACK * VTH_TOP
        grown = worst * steps if kept == 1 else worst / (1 - kept)
        if grown > 0:
            caps.append(top / grown)
    wished = _scale_for_weights(arriving)
    if threshold and wished < inf:
        while wished * threshold < FINE_VTH:
            wished *= 2
    cap = min(*caps, wished)
    return cap if cap < inf else float(VTH_TOP)


def _scale_for_weights(arriving: Sequence[Arriving]) -> float:
    """Scale at which the projection with the smallest range of weights fills 8 bits.

    Every exponent is then 0 or more, so nothing is shifted out.
    """
    filled = [
        _top(w) * a.sigma / np.abs(w).max() for a in arriving if (w := weight_of(a.ops)).any()
    ]
    return float(max(filled)) if filled else inf


def _top(weight: Array) -> int:
    return MIXED[1] if (weight < 0).any() and (weight > 0).any() else SINGLE


def _in_floats(a: Arriving) -> Range:
    return reach(a.ops, Range(a.values.low / a.sigma, a.values.high / a.sigma))


def _candidates(
    arriving: Sequence[Arriving], threshold: float | None, cap: float
) -> Iterator[tuple[float, float, tuple[int, ...]]]:
    """Error, negative scale (the larger wins a tie) and exponents."""
    scales = [2.0 ** floor(log2(cap) + 1e-9)]  # exact for weights that are k * 2**-n
    if threshold:
        top = floor(cap * threshold + 1e-9)
        scales = [s for s in scales if (s * threshold).is_integer() and s * threshold >= 1]
        wholes = np.unique(np.linspace(max(1, ceil(top / 2)), top, CANDIDATES).astype(int))
        scales += [int(vth) / threshold for vth in wholes if top >= 1]
    else:
        scales += [float(s) for s in np.linspace(cap / 2, cap, CANDIDATES)]
    for scale in scales:
        found = [_exponent(a, scale) for a in arriving]
        known = [f for f in found if f is not None]
        if len(known) == len(found):
            yield sqrt(sum(e * e for e, _ in known)), -scale, tuple(e for _, e in known)


def _exponent(a: Arriving, scale: float) -> tuple[float, int] | None:
    """Error and weight exponent of one projection; None where its weights do not fit."""
    weight = weight_of(a.ops)
    if not weight.any():
        return 0.0, 0
    natural = ceil(log2(float(np.abs(weight).max()) * scale / a.sigma / _top(weight)) - 1e-9)
    low, high = EXPONENTS
    tried = sorted({max(natural, low), max(natural, 0)}, reverse=True)
    options = [(_error(a, weight, scale, e), e) for e in tried if e <= high]
    return min(options, key=lambda o: o[0], default=None)


def _error(a: Arriving, weight: Array, scale: float, exponent: int) -> float:
    """RMS error of what arrives when every source is at its peak, in float units.

    A right shift also rounds the sum down, by half a unit on average.
    """
    factor = scale / a.sigma / 2.0**exponent
    off = (integers(weight, factor) / factor - weight).reshape(len(weight), -1)
    summed = sqrt(float((off**2).sum(axis=1).mean())) * a.values.peak / a.sigma
    return summed + (0.5 / scale if exponent < 0 else 0.0)


def _integers(
    arriving: Sequence[Arriving],
    bias: Array,
    threshold: float | None,
    scale: float,
    exponents: tuple[int, ...],
) -> Scaled:
    synapses: list[tuple[tuple[Op, ...], int]] = []
    for a, e in zip(arriving, exponents, strict=True):
        at = weighted(a.ops)
        weight = integers(weight_of(a.ops), scale / a.sigma / 2.0**e).astype(np.int16)
        synapses.append(((*a.ops[:at], with_weight(a.ops[at], weight), *a.ops[at + 1 :]), e))
    mantissa, exponent = _mantissa(bias * scale * ALIGN)
    vth = None if threshold is None else round(scale * threshold)
    return Scaled(scale, vth, mantissa, exponent, tuple(synapses))


def _mantissa(bias: Array) -> tuple[Array, int]:
    """13-bit mantissas and the smallest common exponent."""
    exponent = 0
    while np.abs(np.rint(bias / 2.0**exponent)).max() > MANTISSA_TOP:
        exponent += 1
    return np.rint(bias / 2.0**exponent).astype(np.int16), exponent


def _peak(chosen: Scaled, arriving: Sequence[Arriving]) -> float:
    return activation(
        [(ops, e, a.values) for (ops, e), a in zip(chosen.synapses, arriving, strict=True)]
    ).peak
