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

from sltdeploy.bounds import ALIGN, TOP, VTH_TOP, Range, limit, shifted, state_bound
from sltdeploy.program import Array, LoihiNeuron, Op
from sltdeploy.quantize.arriving import Arriving
from sltdeploy.quantize.folding import weight_of, weighted, with_weight
from sltdeploy.quantize.wanted import BIAS_EXPONENT_TOP, MANTISSA_TOP, Wanted, in_integers

CANDIDATES = 32  # scales tried within the factor of 2 below the largest
EXPONENTS = (-7, 7)  # weight exponent that both Loihi 1 and 2 hold
MIXED = (-256, 254)  # weights of both signs are even
SINGLE = 255
FINE_VTH = 8  # below this few scales fit the threshold: larger exponents give more
SLACK = 0.98  # room for rounding below a bound; the bound is checked again on the integers
SPREAD = 1 << 17  # weights by which scales are compared, of small and of large ones
HORIZON = 64  # steps that an integrator without leak must last where nothing says how many
NO_SCALE = (
    "no scale fits: weights, threshold, bias and first potential lie too far apart for 8-bit "
    "weights with exponents -7..7, a 17-bit threshold and 24-bit states: bring what is farthest "
    "off nearer to the rest, or take the onnx exporter (--format onnx)"
)


@dataclass(frozen=True, eq=False)
class Scaled:
    """One population in integers, with ops and weight exponent for each of what arrives."""

    rule: LoihiNeuron
    synapses: tuple[tuple[tuple[Op, ...], int], ...]


def candidates(asked: Wanted, arriving: Sequence[Arriving], steps: int) -> Iterator[Scaled]:
    """Scales at which nothing overflows, the least RMS error of what arrives first.

    That error is the one with every source at its peak; of equal ones the larger scale comes
    first. ``steps`` is how long an integrator without leak must not clip.
    """
    cap = _cap(asked, arriving, steps)
    for _, negative, exponents in sorted(_scales(arriving, asked.threshold, cap)):
        scaled = _integers(asked, arriving, -negative, exponents)
        if _holds(scaled, arriving, steps):
            yield scaled


def integers(weight: Array, factor: float) -> Array:
    """``weight * factor`` rounded to Loihi's 8-bit weights: even where both signs occur."""
    return _rounded(weight * factor, mixed=_top(weight) == MIXED[1])


def _rounded(scaled: Array, *, mixed: bool) -> Array:
    if mixed:
        return np.clip(2 * np.rint(scaled / 2), *MIXED)
    return np.clip(np.rint(scaled), -SINGLE, SINGLE)


def _cap(asked: Wanted, arriving: Sequence[Arriving], steps: int) -> float:
    """Largest scale that 24-bit states, 17-bit thresholds and 13-bit biases allow."""
    total = _sum([a.bounds(a.ops, 1 / a.sigma) for a in arriving])
    drive = Range(
        np.minimum(np.minimum(limit(total.low, asked.kept_syn), asked.first_u), 0),
        np.maximum(np.maximum(limit(total.high, asked.kept_syn), asked.first_u), 0),
    )
    first = float(np.abs(asked.first_v).max())
    caps = [inf]
    if drive.peak > 0:
        caps.append(SLACK * TOP / ALIGN / drive.peak)
    if first > 0:
        caps.append(SLACK * VTH_TOP / first)
    if asked.bias.any():
        caps.append(MANTISSA_TOP * 2**BIAS_EXPONENT_TOP / ALIGN / float(np.abs(asked.bias).max()))
    if asked.threshold:
        caps.append(VTH_TOP / asked.threshold)
    if asked.threshold is None:
        worst = max(
            float((drive.high + asked.bias).max()), -float((drive.low + asked.bias).min()), 0
        )
        kept = asked.kept
        grown = worst * steps + first if kept == 1 else max(worst / (1 - kept), first)
        if grown > 0:
            caps.append(SLACK * VTH_TOP / grown)
    # Beyond this the largest weights need a larger exponent than there is.
    caps += [s * 2.0 ** EXPONENTS[1] for s in _scales_for_weights(arriving)]
    wished = max(_scales_for_weights(arriving), default=inf)
    if asked.threshold and wished < inf:
        while wished * asked.threshold < FINE_VTH:
            wished *= 2
    cap = min(*caps, wished)
    return cap if cap < inf else float(VTH_TOP)


def _sum(ranges: Sequence[Range]) -> Range:
    return sum(ranges[1:], start=ranges[0])


def _scales_for_weights(arriving: Sequence[Arriving]) -> list[float]:
    """Scale at which each projection fills 8 bits with an exponent of 0.

    At the largest of them every exponent is 0 or more, so nothing is shifted out.
    """
    return [
        float(_top(w) * a.sigma / np.abs(w).max())
        for a in arriving
        if (w := weight_of(a.ops)).any()
    ]


def _top(weight: Array) -> int:
    return MIXED[1] if (weight < 0).any() and (weight > 0).any() else SINGLE


def _scales(
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
    spreads = [_spread(a) for a in arriving]
    for scale in scales:
        found = [_exponent(s, scale) for s in spreads]
        known = [f for f in found if f is not None]
        if len(known) == len(found):
            yield sqrt(sum(e * e for e, _ in known)), -scale, tuple(e for _, e in known)


@dataclass(frozen=True, eq=False)
class _Spread:
    """Weights of one projection that are not 0, or a part of them if there are many.

    ``by_row`` is how many weights each of ``some`` stands for, over the number of rows.
    """

    some: Array
    by_row: Array
    largest: float
    top: int
    sigma: float
    peak: float
    lowest: int


def _spread(a: Arriving) -> _Spread:
    weight = weight_of(a.ops)
    present = weight[weight != 0]
    largest = float(np.abs(present).max(initial=0))
    cut = np.abs(present) > largest / 2  # what one exponent less would cut off may be rare
    parts = [(part, part[:: max(1, part.size // SPREAD)]) for part in (present[~cut], present[cut])]
    return _Spread(
        np.concatenate([some for _, some in parts]),
        by_row=np.concatenate(
            [np.full(some.size, p.size / max(1, some.size) / len(weight)) for p, some in parts]
        ),
        largest=largest,
        top=_top(present),
        sigma=a.sigma,
        peak=a.values.peak,
        # A chip shifts right what one arrival brings, not the sum of several.
        lowest=0 if a.apart else EXPONENTS[0],
    )


def _exponent(w: _Spread, scale: float) -> tuple[float, int] | None:
    """Error and weight exponent of one projection; None where its weights do not fit.

    One exponent less than the largest weights ask for halves the steps and cuts those weights
    off; one below 0 shifts what arrives right. Either is taken where it loses less.
    """
    if not w.some.size:
        return 0.0, 0
    natural = ceil(log2(w.largest * scale / w.sigma / w.top) - 1e-9)
    tried = sorted({max(natural - k, at) for k in (0, 1) for at in (w.lowest, 0)}, reverse=True)
    options = [(_error(w, scale, e), e) for e in tried if e <= EXPONENTS[1]]
    return min(options, key=lambda o: o[0], default=None)


def _error(w: _Spread, scale: float, exponent: int) -> float:
    """RMS error of what arrives when every source is at its peak, in float units.

    A right shift also rounds the sum down, by half a unit on average.
    """
    factor = scale / w.sigma / 2.0**exponent
    off = _rounded(w.some * factor, mixed=w.top == MIXED[1]) / factor - w.some
    summed = sqrt(float(off**2 @ w.by_row)) * w.peak / w.sigma
    return summed + (0.5 / scale if exponent < 0 else 0.0)


def _integers(
    asked: Wanted, arriving: Sequence[Arriving], scale: float, exponents: tuple[int, ...]
) -> Scaled:
    synapses: list[tuple[tuple[Op, ...], int]] = []
    for a, e in zip(arriving, exponents, strict=True):
        at = weighted(a.ops)
        weight = integers(weight_of(a.ops), scale / a.sigma / 2.0**e).astype(np.int16)
        synapses.append(((*a.ops[:at], with_weight(a.ops[at], weight), *a.ops[at + 1 :]), e))
    return Scaled(in_integers(asked, scale), tuple(synapses))


def _holds(scaled: Scaled, arriving: Sequence[Arriving], steps: int) -> bool:
    """Whether for no input u wraps or a readout clips, and everything fits its bits."""
    brought = [
        shifted(a.bounds(ops), e) for a, (ops, e) in zip(arriving, scaled.synapses, strict=True)
    ]
    rule = scaled.rule
    bound = state_bound(rule, _sum(brought))
    first = max(float(np.abs(rule.v_init).max()), float(np.abs(rule.u_init).max()))
    if bound.u >= TOP or first >= TOP or rule.bias_exponent > BIAS_EXPONENT_TOP:
        return False
    if rule.spiking:
        return True
    if rule.dv == 0:
        return bound.steps_to_clip is None or bound.steps_to_clip > steps
    return max(bound.v_high, -bound.v_low) <= VTH_TOP * ALIGN
