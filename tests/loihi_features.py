"""What a program for Loihi holds, by name: counted, so that nothing is left out unseen."""

from collections.abc import Iterator
from math import prod

import numpy as np

from sltdeploy.program import (
    Conv,
    DelayLine,
    Input,
    Linear,
    LoihiNeuron,
    Neuron,
    Pool,
    Population,
    Program,
    Projection,
    Relay,
    Scale,
)

PRUNED = 0.4  # more of the weights than this is 0


def features(program: Program, steps: int) -> set[str]:
    """What ``program`` holds; samples have ``steps`` steps."""
    found = set[str]()
    for p in program.populations:
        found.update(_population(p, steps))
    for q in program.projections:
        found.update(_projection(program, q))
    found.update(_paths(program))
    if len(program.inputs) > 1:
        found.add("two inputs")
    if len(program.outputs) > 1:
        found.add("several outputs")
    if any(isinstance(program.population(n).rule, DelayLine) for n in program.outputs):
        found.add("delay line as output")
    return found


def _population(p: Population, steps: int) -> Iterator[str]:
    match p.rule:
        case Input(kind=kind):
            yield f"{kind} input"
        case Relay():
            yield "relay"
        case DelayLine(steps=waits):
            yield "delay by element" if waits.size > 1 and np.ptp(waits) else "one delay"
            if waits.max() > steps:
                yield "delay longer than a sample"
        case LoihiNeuron() as n:
            yield _kind(n.spiking, cuba=n.du < 4095, leaks=n.dv > 0)
            if n.bias_mantissa.any():
                yield "bias"
            if n.v_init.any():
                yield "v starts elsewhere"
            if n.u_init.any():
                yield "u starts elsewhere"
        case Neuron() as n:
            yield _kind(n.spiking, cuba=n.decay_syn is not None, leaks=bool((n.decay < 1).any()))
            if n.bias.any():
                yield "bias"
            if n.v_reset is not None and n.v_reset.any():
                yield "v_reset"
            if (n.v_init != (0 if n.v_reset is None else n.v_reset)).any():
                yield "v starts elsewhere"
            if n.reset == "subtract":
                yield "reset by subtraction"
            if n.decay.size > 1:
                yield "parameters by neuron"


def _kind(spikes: bool, *, cuba: bool, leaks: bool) -> str:
    match cuba, leaks, spikes:
        case True, _, _:
            return "CubaLIF" if spikes else "CubaLI"
        case False, True, _:
            return "LIF" if spikes else "LI"
        case _:
            return "IF" if spikes else "I"


def _projection(program: Program, q: Projection) -> Iterator[str]:
    source, target = program.population(q.source), program.population(q.target)
    if q.weight_exponent:
        yield "positive exponent" if q.weight_exponent > 0 else "negative exponent"
    if (
        not q.ops
        and not isinstance(source.rule, DelayLine)
        and not isinstance(target.rule, DelayLine)
    ):
        yield "no op"
    if isinstance(source.rule, Input) and isinstance(target.rule, DelayLine):
        yield f"delayed {source.rule.kind} input"
    if isinstance(target.rule, DelayLine) and not target.rule.spiking and q.ops:
        yield "delay behind weights"
    for op in q.ops:
        match op:
            case Linear() | Conv():
                yield from _weight(op)
            case Pool():
                apart = op.stride[0] >= op.kernel[0] and op.stride[1] >= op.kernel[1]
                yield f"{op.kind} pool" + ("" if apart else ", windows overlap")
                if any(op.padding):
                    yield "padded pool"
            case Scale():
                yield "scale"
            case _:
                yield "reshape"
        if isinstance(op, Linear | Conv) and op.bias is not None:
            cuba = isinstance(target.rule, Neuron) and target.rule.decay_syn is not None
            yield "bias into a synaptic current" if cuba else "bias of a layer"


def _weight(op: Linear | Conv) -> Iterator[str]:
    weight = op.weight
    if np.count_nonzero(weight) < (1 - PRUNED) * weight.size:
        yield "pruned"
    if not weight.any():
        yield "nothing left"
    elif weight.min() >= 0:
        yield "weights above 0"
    elif weight.max() <= 0:
        yield "weights below 0"
    else:
        yield "weights of both signs"
    if isinstance(op, Linear):
        yield "linear"
        return
    yield "conv"
    tall, wide = op.weight.shape[2:]
    yield from (
        name
        for name, holds in (
            ("conv, not square", tall != wide),
            ("conv, stride", prod(op.stride) > 1),
            ("conv, dilation", prod(op.dilation) > 1),
            ("conv, groups", op.groups > 1),
            ("conv, padding", any(op.padding)),
            ("conv, padding on one side", op.padding[:2] != op.padding[2:]),
        )
        if holds
    )


def _paths(program: Program) -> Iterator[str]:
    order = {p.name: k for k, p in enumerate(program.populations)}
    lines = {p.name for p in program.populations if isinstance(p.rule, DelayLine)}
    hops: dict[str, set[int]] = {p.name: {0} for p in program.inputs}
    pairs = [(q.source, q.target) for q in program.projections]
    if len(pairs) > len(set(pairs)):
        yield "two projections between the same two"
    for q in program.projections:
        # A line stands for its source.
        ends = [a for a, b in pairs if b == q.source] if q.source in lines else [q.source]
        for start in ends:
            back = q.recurrent or (start in order and order[start] >= order[q.target])
            if q.target in lines or not back:
                continue
            yield "self loop" if start == q.target else "loop"
            if q.source in lines:
                yield "loop through a delay line"
    for p in program.populations:
        arrivals = [hops[q.source] for q in program.into(p.name) if q.source in hops]
        step = 0 if p.name in lines else 1
        hops.setdefault(p.name, {h + step for found in arrivals for h in found} or {0})
        if len(hops[p.name]) > 1 and p.name not in lines:
            yield "paths of different length"
