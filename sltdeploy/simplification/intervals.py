"""What can leave each neuron in any step, whatever enters: intervals through the program."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from sltdeploy.arithmetic import apply_op
from sltdeploy.program import (
    Array,
    Conv,
    DelayLine,
    Input,
    Linear,
    Neuron,
    Op,
    Pool,
    Population,
    Program,
    Projection,
    Relay,
    Reshape,
    Scale,
)
from sltdeploy.resting import at_rest
from sltdeploy.simplification.firing import always_fires, never_fires, resting

CHUNK = 1 << 14  # weights held in float64 at once, to bound memory
ROUNDS = 16  # through a loop, before what still grows counts as unbounded
SLACK = 2.0**-50  # of the sum of magnitudes: more than float64 loses in any order of adding


@dataclass(frozen=True, eq=False)
class Interval:
    """Lowest and highest value of each element, float64, possibly infinite."""

    low: Array
    high: Array

    @property
    def constant(self) -> Array:
        """Where there is one value only."""
        return self.low == self.high

    def before(self, at_rest: Array | float) -> "Interval":
        """The same, or what stood there before the first step."""
        return Interval(np.minimum(self.low, at_rest), np.maximum(self.high, at_rest))

    def joined(self, other: "Interval") -> "Interval":
        """Everything that is in either."""
        return Interval(np.minimum(self.low, other.low), np.maximum(self.high, other.high))

    def equals(self, other: "Interval") -> bool:
        """Whether the bounds are the same."""
        return np.array_equal(self.low, other.low) and np.array_equal(self.high, other.high)


def leaving(program: Program) -> dict[str, Interval]:
    """Bound what leaves each population of a float32 program, in any step and for any input.

    Begins with what stands on recurrent projections before the first step, and in delays, and
    widens until it holds from step to step: so neurons that could only wake each other are found
    silent.
    """
    first = at_rest(program)
    found = {p.name: Interval(np.zeros(p.shape), np.zeros(p.shape)) for p in program.populations}
    order = {p.name: k for k, p in enumerate(program.populations)}
    loops = any(p.recurrent or order[p.source] >= order[p.target] for p in program.projections)
    turn = 0
    while True:
        before = dict(found)
        for p in program.populations:
            new = _leaves(program, p, found, first)
            if turn:
                new = new.joined(before[p.name])
            if turn >= ROUNDS and not new.equals(before[p.name]):
                new = _anything(p)
            found[p.name] = new
        if not loops or (turn and all(found[n].equals(before[n]) for n in found)):
            return found
        turn += 1


def through(op: Op, x: Interval) -> Interval:
    """Bound ``op`` of a value within ``x``, of one sample."""
    match op:
        case Linear():
            return _linear(op, x)
        case Conv():
            return _conv(op, x)
        case Pool():
            low, high = (apply_op(op, bound[None])[0] for bound in (x.low, x.high))
            ends = [np.abs(bound)[None] for bound in (x.low, x.high)]
            size = apply_op(op, np.maximum(*ends))[0]
            return _widened(low, high, size)
        case Scale():
            factor = np.broadcast_to(op.factor.astype(np.float64), x.low.shape)
            with np.errstate(invalid="ignore"):
                ends = [np.where(factor == 0, 0, factor * bound) for bound in (x.low, x.high)]
            return _widened(np.minimum(*ends), np.maximum(*ends), np.abs(ends).max(axis=0))
        case Reshape():
            return Interval(x.low.reshape(op.shape), x.high.reshape(op.shape))


def sent_along(
    projection: Projection, found: Mapping[str, Interval], first: Mapping[str, Array]
) -> Interval:
    """What enters the ops of ``projection``; ``first`` is what stood there `at_rest`."""
    source = found[projection.source]
    return source.before(first[projection.source]) if projection.recurrent else source


def _leaves(
    program: Program, p: Population, found: Mapping[str, Interval], first: Mapping[str, Array]
) -> Interval:
    rule = p.rule
    if isinstance(rule, Input) or not isinstance(rule, Neuron | Relay | DelayLine):
        return _anything(p)
    arrives = _arrives(program, p, found, first)
    match rule:
        case Relay():
            return arrives
        case DelayLine():
            late = arrives.before(0)
            if not rule.spiking:
                return late
            return Interval(np.zeros(p.shape), ((late.low < 0) | (late.high > 0)).astype(float))
        case Neuron():
            low, high = arrives.low.astype(np.float32), arrives.high.astype(np.float32)
            if rule.spiking:
                always = np.broadcast_to(always_fires(rule, low), p.shape)
                never = np.broadcast_to(never_fires(rule, high), p.shape)
                return Interval(always.astype(np.float64), (~never).astype(np.float64))
            value, steady = resting(rule, low, high)
            anything = _anything(p)
            return Interval(
                np.where(steady, value, anything.low), np.where(steady, value, anything.high)
            )


def _arrives(
    program: Program, p: Population, found: Mapping[str, Interval], first: Mapping[str, Array]
) -> Interval:
    """Sum of what the projections bring, rounded to float32 as the reference does."""
    parts = [
        reduce(lambda x, op: through(op, x), q.ops, sent_along(q, found, first))
        for q in program.into(p.name)
    ]
    with np.errstate(over="ignore"):
        low, high = sum(x.low for x in parts), sum(x.high for x in parts)
        if len(parts) > 1:
            sizes = sum(np.maximum(np.abs(x.low), np.abs(x.high)) for x in parts)
            wide = _widened(np.asarray(low), np.asarray(high), np.asarray(sizes))
            low, high = wide.low, wide.high
        return Interval(*(np.asarray(b).astype(np.float32).astype(float) for b in (low, high)))


def _anything(p: Population) -> Interval:
    if p.spiking:
        return Interval(np.zeros(p.shape), np.ones(p.shape))
    return Interval(np.full(p.shape, -np.inf), np.full(p.shape, np.inf))


def _linear(op: Linear, x: Interval) -> Interval:
    post, pre = op.weight.shape
    free = ~(np.isfinite(x.low) & np.isfinite(x.high))
    low_in, high_in = np.where(free, 0, x.low), np.where(free, 0, x.high)
    largest = np.maximum(np.abs(low_in), np.abs(high_in))
    low, high, size, unbounded = (np.zeros(post) for _ in range(4))
    for rows in blocks(post, pre, CHUNK):
        weight = op.weight[rows].astype(np.float64)
        unbounded[rows] = (weight != 0) @ free
        positive = np.maximum(weight, 0)
        weight -= positive
        low[rows] = positive @ low_in + weight @ high_in
        high[rows] = positive @ high_in + weight @ low_in
        size[rows] = (positive - weight) @ largest
    return _biased(op, low, high, size, unbounded > 0)


def _conv(op: Conv, x: Interval) -> Interval:
    free = ~(np.isfinite(x.low) & np.isfinite(x.high))
    low_in, high_in = np.where(free, 0, x.low), np.where(free, 0, x.high)
    weight = op.weight.astype(np.float64)

    def image(values: Array, by: Array) -> Array:
        return apply_op(replace(op, weight=by, bias=None), values.astype(float)[None])[0]

    positive, negative = np.maximum(weight, 0), np.minimum(weight, 0)
    return _biased(
        op,
        image(low_in, positive) + image(high_in, negative),
        image(high_in, positive) + image(low_in, negative),
        image(np.maximum(np.abs(low_in), np.abs(high_in)), np.abs(weight)),
        image(free, (weight != 0).astype(float)) > 0.5,
    )


def _biased(op: Linear | Conv, low: Array, high: Array, size: Array, unbounded: Array) -> Interval:
    if op.bias is not None:
        bias = op.bias.astype(np.float64).reshape(-1, *[1] * (low.ndim - 1))
        low, high = low + bias, high + bias
        size = np.where(size > 0, size + np.abs(bias), 0)  # a bias alone is exact
    found = _widened(low, high, size)
    return Interval(
        np.where(unbounded, -np.inf, found.low), np.where(unbounded, np.inf, found.high)
    )


def _widened(low: Array, high: Array, size: Array) -> Interval:
    room = np.where(np.isfinite(size), size, 0) * SLACK
    return Interval(low - room, high + room)


def blocks(rows: int, columns: int, size: int) -> Iterator[slice]:
    """Cut a matrix into blocks of rows of about ``size`` entries."""
    step = max(1, size // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
