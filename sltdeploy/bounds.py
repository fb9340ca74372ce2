"""What can reach a neuron at worst: interval arithmetic through ops, and through Loihi's state.

The worst input drives every synapse as far as it goes, in every step, for ever. What holds for
it holds for any input.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import ceil, inf, log

import numpy as np

from sltdeploy.arithmetic import apply_op
from sltdeploy.program import (
    Array,
    Conv,
    Input,
    Linear,
    LoihiNeuron,
    Op,
    Population,
    Program,
    Rule,
    Scale,
    Shape,
)

TOP = 2**23 - 1  # Loihi's v stops here, u wraps around behind it
VTH_TOP = 2**17 - 1
ALIGN = 64  # activation and threshold are shifted left by 6 bits
UNITY = 4096  # 12-bit decays


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

    ``steps_to_clip`` is how many worst steps v takes from 0 to where Loihi clips it; None: never.
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
    """Bounds of the integer activation of ``p`` in a "loihi" program."""
    synapses: list[tuple[tuple[Op, ...], int, Range]] = []
    for projection in program.into(p.name):
        source = program.population(projection.source)
        values = sent(source.rule, source.shape)
        synapses.append((projection.ops, projection.weight_exponent, values))
    return activation(synapses)


def sent(rule: Rule, shape: Shape) -> Range:
    """What can leave a population of spiking neurons or an input of a "loihi" program."""
    low, high = 0, 1
    if isinstance(rule, Input) and rule.low is not None and rule.high is not None:
        low, high = rule.low, rule.high
    return Range(np.full(shape, float(low)), np.full(shape, float(high)))


def activation(synapses: Sequence[tuple[tuple[Op, ...], int, Range]]) -> Range:
    """Sum over (ops, weight exponent, what the source sends), shifted as the chip does."""
    ranges = [_shifted(reach(ops, values), exponent) for ops, exponent, values in synapses]
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
    """Bound u and v of a population that gets activations (integers) within ``arrives``."""
    kept = (UNITY - 1 - rule.du) / UNITY
    u = Range(*(limit(np.asarray(a, float) * ALIGN, kept) for a in (arrives.low, arrives.high)))
    bias = rule.bias_mantissa.astype(np.int64) << rule.bias_exponent
    low, high = u.low + bias, u.high + bias
    kept = (UNITY - rule.dv) / UNITY
    v_low = float(np.minimum(limit(low, kept), 0).min())
    if rule.vth is None:
        v_high = float(np.maximum(limit(high, kept), 0).max())
    else:
        v_high = float(rule.vth * ALIGN * kept + max(high.max(), 0))
    worst = min(float(low.min()), 0.0 if rule.vth is not None else -float(high.max()))
    return StateBound(u.peak, v_low, v_high, steps_until(TOP, -worst, kept))


def _shifted(values: Range, exponent: int) -> Range:
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
