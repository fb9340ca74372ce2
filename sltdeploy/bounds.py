"""What can reach a neuron at worst: interval arithmetic through ops, and through Loihi's state.

The worst input drives every synapse as far as it goes, in every step, for ever. What holds for
it holds for any input.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import ceil, inf, log

import numpy as np

from sltdeploy.arithmetic import apply_op
from sltdeploy.program import (
    Array,
    Conv,
    DelayLine,
    Input,
    Linear,
    LoihiNeuron,
    Op,
    Population,
    Program,
    Relay,
    Scale,
    Shape,
)

TOP = 2**23 - 1  # Loihi's v stops here, u wraps around behind it
VTH_TOP = 2**17 - 1
ALIGN = 64  # activation and threshold are shifted left by 6 bits
UNITY = 4096  # 12-bit decays
UNBOUNDED = 2.0**62  # more than any sum; infinity times a weight of 0 would be no number


@dataclass(frozen=True, eq=False)
class Range:
    """Lowest and highest value of each neuron, or of what reaches it; shapes agree."""

    low: Array
    high: Array

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.high + other.high)

    @property
    def peak(self) -> float:
        """Largest magnitude."""
        return float(max(np.abs(self.low).max(), np.abs(self.high).max()))


@dataclass(frozen=True)
class StateBound:
    """Bounds of one population: |u| before it wraps, v before it is clipped.

    ``steps_to_clip`` is how many worst steps v takes from its start to where Loihi clips it; None:
    never.
    """

    u: float
    v_low: float
    v_high: float
    steps_to_clip: int | None


def bounds(program: Program) -> dict[str, StateBound]:
    """Bound the state of each neuron population of a "loihi" program for the worst input."""
    return {
        p.name: state_bound(p.rule, arrives(program, p))
        for p in program.populations
        if isinstance(p.rule, LoihiNeuron)
    }


def arrives(program: Program, p: Population) -> Range:
    """Bounds of the integer activation of ``p`` in a "loihi" program.

    Spikes are 0 or 1 in a loop as well, so nothing needs to be followed around it; relays and
    delays of values in a circle without a neuron have no bounds, `UNBOUNDED` stands for that.
    """
    return _arrives(program, p, _brought(program, p))


def sent(program: Program, p: Population) -> Range:
    """What can leave ``p``, a population of a "loihi" program, 0 included."""
    return _sent(p) or with_zero(arrives(program, p))


def _arrives(program: Program, p: Population, values: Mapping[str, Range]) -> Range:
    return activation([(q.ops, q.weight_exponent, values[q.source]) for q in program.into(p.name)])


def _sent(p: Population) -> Range | None:
    """What can leave ``p`` whatever arrives; None for a relay and a delay of values."""
    match p.rule:
        case Input(low=int(low), high=int(high)):
            return with_zero(spread(p.shape, low, high))
        case LoihiNeuron(vth=None):
            return spread(p.shape, -TOP, TOP)
        case Relay() | DelayLine() if not p.spiking:
            return None
        case _:
            return spread(p.shape, 0, 1)


def _brought(program: Program, p: Population) -> dict[str, Range]:
    """What can leave each source of ``p``, and of each relay and delay on the way to it."""
    found: dict[str, Range] = {}
    passing: dict[str, Population] = {}
    left = [program.population(q.source) for q in program.into(p.name)]
    while left:
        source = left.pop()
        if source.name in found or source.name in passing:
            continue
        if (values := _sent(source)) is not None:
            found[source.name] = values
        else:
            passing[source.name] = source
            left += [program.population(q.source) for q in program.into(source.name)]
    while passing:
        known = [
            r for r in passing.values() if all(q.source in found for q in program.into(r.name))
        ]
        for r in known:
            found[r.name] = with_zero(_arrives(program, r, found))
        if not known:
            found |= {r.name: spread(r.shape, -UNBOUNDED, UNBOUNDED) for r in passing.values()}
        passing = {name: r for name, r in passing.items() if name not in found}
    return found


def spread(shape: Shape, low: float, high: float) -> Range:
    """The same bounds for each neuron."""
    return Range(np.full(shape, float(low)), np.full(shape, float(high)))


def with_zero(values: Range) -> Range:
    """``values``, or nothing."""
    return Range(np.minimum(values.low, 0), np.maximum(values.high, 0))


def activation(synapses: Sequence[tuple[tuple[Op, ...], int, Range]]) -> Range:
    """Sum over (ops, weight exponent, what the source sends), shifted as the chip does."""
    ranges = [shifted(reach(ops, values), exponent) for ops, exponent, values in synapses]
    return sum(ranges[1:], start=ranges[0])


def reach(ops: tuple[Op, ...], values: Range) -> Range:
    """Bounds of what ``ops`` bring for a source within ``values``."""
    return reduce(_through, ops, values)


def _through(values: Range, op: Op) -> Range:
    low, high = values.low[None], values.high[None]
    match op:
        case Linear() | Conv():
            up = replace(op, weight=np.maximum(op.weight, 0), bias=None)
            down = replace(op, weight=np.minimum(op.weight, 0))
            return Range(
                (apply_op(up, low) + apply_op(down, high))[0],
                (apply_op(up, high) + apply_op(down, low))[0],
            )
        case Scale():
            ends = apply_op(op, low), apply_op(op, high)
            return Range(np.minimum(*ends)[0], np.maximum(*ends)[0])
        case _:
            return Range(apply_op(op, low)[0], apply_op(op, high)[0])


def state_bound(rule: LoihiNeuron, arrives: Range) -> StateBound:
    """Bound u and v of a population that gets activations (integers) within ``arrives``.

    With ``s <- kept s + d`` and d within l..h, s stays within ``min(s_0, l / (1 - kept), 0)`` and
    ``max(s_0, h / (1 - kept), 0)``; cutting ``kept s`` to an integer only brings it nearer to 0.
    """
    kept = (UNITY - 1 - rule.du) / UNITY
    first = rule.u_init.astype(float)
    u = Range(
        np.minimum(np.minimum(limit(arrives.low * ALIGN, kept), first), 0),
        np.maximum(np.maximum(limit(arrives.high * ALIGN, kept), first), 0),
    )
    bias = rule.bias_mantissa.astype(np.int64) << rule.bias_exponent
    low, high = u.low + bias, u.high + bias
    kept = (UNITY - rule.dv) / UNITY
    first = rule.v_init.astype(float)
    v_low = float(np.minimum(np.minimum(limit(low, kept), first), 0).min())
    if rule.vth is None:
        v_high = float(np.maximum(np.maximum(limit(high, kept), first), 0).max())
    else:
        v_high = float(max(rule.vth * ALIGN, first.max(), 0) * kept + max(high.max(), 0))
    worst = min(float(low.min()), 0.0 if rule.vth is not None else -float(high.max()))
    start = float(np.abs(first).max())
    clips = kept == 1 or -worst > TOP * (1 - kept)
    steps = steps_until(TOP - start, -worst, kept) if clips else None
    return StateBound(u.peak, v_low, v_high, steps)


def shifted(values: Range, exponent: int) -> Range:
    """``values`` times ``2**exponent``, rounded down."""
    factor = 2.0**exponent
    return Range(np.floor(values.low * factor), np.floor(values.high * factor))


def limit(drive: Array, kept: float) -> Array:
    """Where ``s <- kept s + drive`` ends from 0: ``drive / (1 - kept)``, or infinity."""
    if kept < 1:
        return drive / (1 - kept)
    return np.where(drive == 0, 0, np.copysign(inf, drive))


def steps_until(top: float, drive: float, kept: float) -> int | None:
    """Steps after which ``s <- kept s + drive`` first exceeds ``top``; None: never."""
    if drive <= 0 or (kept < 1 and drive / (1 - kept) <= top):
        return None
    if kept == 1:
        return int(top // drive) + 1
    # s after n steps is drive (1 - kept**n) / (1 - kept)
    return max(1, ceil(log(1 - top * (1 - kept) / drive) / log(kept))) if kept else 1
