"""Neurons that send the same in every step: their synapses into biases, or into nothing."""

from dataclasses import replace
from functools import reduce

import numpy as np

from sltdeploy.program import Array, Conv, Linear, Program, Projection, Relay
from sltdeploy.resting import at_rest
from sltdeploy.simplification.intervals import Interval, leaving, sent_along, through
from sltdeploy.simplification.result import Simplified, unchanged


def fold_constants(program: Program) -> Simplified:
    """Set the weights of what is constant to 0, its effect added to the bias behind them.

    What always sends 0 brings nothing, through any projection. What always sends another value,
    a neuron that fires in every step as a rule, is folded where the new bias is exact in float32
    and nothing arrives late or through padding; else its weights stay. The neurons themselves
    stay too: nobody reads them any more, which `drop_unread` sees. Integer programs are left
    alone.
    """
    if program.numbers != "float32":
        return unchanged(program)
    found, first = leaving(program), at_rest(program)
    remembered = _remembered(program)
    folded = [
        _folded(p, sent_along(p, found, first), p.target not in remembered)
        for p in program.projections
    ]
    if all(a is b for a, b in zip(folded, program.projections, strict=True)):
        return unchanged(program)
    return unchanged(replace(program, projections=tuple(folded)))


def _remembered(program: Program) -> set[str]:
    """Relays whose biases stand on a recurrent projection before the first step.

    A neuron's own spike does not yet stand there: folding it into such a bias would send it.
    """
    relays = {p.name for p in program.populations if isinstance(p.rule, Relay)}
    found = {p.source for p in program.projections if p.recurrent} & relays
    fresh = found
    while fresh:
        fresh = {p.source for p in program.projections if p.target in fresh} & relays - found
        found = found | fresh
    return found


def _folded(projection: Projection, entering: Interval, with_spikes: bool) -> Projection:
    """``with_spikes``: whether values other than 0 may become a bias."""
    ops = projection.ops
    at = next((k for k, op in enumerate(ops) if isinstance(op, Linear | Conv)), None)
    if at is None:
        return projection
    # Pools and scales widen what is not 0 a little, so that only reshapes keep it constant.
    entering = reduce(lambda x, op: through(op, x), ops[:at], entering)
    if not entering.constant.any():
        return projection
    op = ops[at]
    new = (
        _linear(op, entering, with_spikes)
        if isinstance(op, Linear)
        else _conv(op, entering, with_spikes)
        if isinstance(op, Conv)
        else op
    )
    return projection if new is op else replace(projection, ops=(*ops[:at], new, *ops[at + 1 :]))


def _linear(op: Linear, x: Interval, with_spikes: bool) -> Linear:
    read = np.flatnonzero(x.constant & op.weight.any(axis=0))
    gone = [k for k in read if x.low[k] == 0]
    bias = _zeros(op)
    if with_spikes:
        for k in read:
            if x.low[k] != 0:
                new = _added(bias, x.low[k] * op.weight[:, k].astype(np.float64))
                if new is not None:
                    bias = new
                    gone.append(k)
    if not gone:
        return op
    weight = op.weight.copy()
    weight[:, gone] = 0
    return Linear(weight, _or_none(bias, op))


def _conv(op: Conv, x: Interval, with_spikes: bool) -> Conv:
    """Whole channels only, of one value."""
    low = x.low.reshape(len(x.low), -1)
    same = (x.constant.reshape(low.shape) & (low == low[:, :1])).all(axis=1)
    per_in, per_out = op.weight.shape[1], len(op.weight) // op.groups
    weight, bias = op.weight, _zeros(op)
    for channel in np.flatnonzero(same):
        group, column = divmod(int(channel), per_in)
        rows = slice(group * per_out, (group + 1) * per_out)
        if not weight[rows, column].any():
            continue
        value = low[channel, 0]
        if value != 0:
            if not with_spikes or any(op.padding):
                continue
            taps = weight[rows, column].reshape(per_out, -1).astype(np.float64)
            new: Array | None = bias
            for tap in taps.T:
                brought = np.zeros(len(bias))
                brought[rows] = value * tap
                new = None if new is None else _added(new, brought)
            if new is None:
                continue
            bias = new
        weight = weight.copy() if weight is op.weight else weight
        weight[rows, column] = 0
    return op if weight is op.weight else replace(op, weight=weight, bias=_or_none(bias, op))


def _zeros(op: Linear | Conv) -> Array:
    return np.zeros(len(op.weight), np.float32) if op.bias is None else op.bias


def _or_none(bias: Array, op: Linear | Conv) -> Array | None:
    return bias if op.bias is not None or bias.any() else None


def _added(bias: Array, brought: Array) -> Array | None:
    """``bias + brought`` in float32 where each sum is exact, else None."""
    wide = bias.astype(np.float64)
    total = wide + brought
    # Subtracting again shows whether the sum lost anything.
    if ((total - wide != brought) | (total - brought != wide)).any():
        return None
    with np.errstate(over="ignore"):
        rounded = total.astype(np.float32)
    return rounded if (rounded == total).all() else None
