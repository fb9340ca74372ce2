"""Ops, delays, relays and projections that change nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from sltdeploy.program import (
    Conv,
    DelayLine,
    Linear,
    Op,
    Pool,
    Population,
    Program,
    Projection,
    Relay,
    Reshape,
    Scale,
    Shape,
)
from sltdeploy.simplification.result import Simplified, relays_in_circle, unchanged


def remove_identities(program: Program) -> Simplified:
    """Take out what passes on its input as it is, and projections that bring nothing.

    These are reshapes to the same shape or followed by another, scales by 1, pools of one value,
    delays of 0 steps, relays with a single projection of reshapes, and projections whose weights
    are all zero and that have no bias, as long as their target keeps one.
    """
    slim = _without_idle_ops(program)
    if not relays_in_circle(program):
        slim = _without_forwarders(_without_empty_projections(slim))
    if slim is program:
        return unchanged(program)
    return Simplified(slim, {p.name: np.arange(p.size) for p in slim.populations})


def _without_idle_ops(program: Program) -> Program:
    shortened = [_short(program, p) for p in program.projections]
    if all(a is b for a, b in zip(shortened, program.projections, strict=True)):
        return program
    return replace(program, projections=tuple(shortened))


def _short(program: Program, projection: Projection) -> Projection:
    ops = tuple(_working(projection.ops, program.population(projection.source).shape))
    return projection if len(ops) == len(projection.ops) else replace(projection, ops=ops)


def _working(ops: tuple[Op, ...], shape: Shape) -> Iterator[Op]:
    """Ops but those that change nothing; of reshapes in a row only the last can matter."""
    waiting: Reshape | None = None
    here = shape  # of what the last op that was kept gives
    for op in ops:
        after = op.out_shape(waiting.shape if waiting else here)
        if isinstance(op, Reshape):
            waiting = None if after == here else op
        elif not _idle(op):
            if waiting:
                yield waiting
            waiting, here = None, after
            yield op
    if waiting:
        yield waiting


def _idle(op: Op) -> bool:
    match op:
        case Scale():
            return bool((op.factor == 1).all())
        case Pool():
            return op.kernel == op.stride == (1, 1) and not any(op.padding)
        case _:
            return False


def _without_empty_projections(program: Program) -> Program:
    left = {p.name: len(program.into(p.name)) for p in program.populations}
    kept: list[Projection] = []
    for projection in program.projections:
        if left[projection.target] > 1 and _brings_nothing(projection.ops):
            left[projection.target] -= 1
        else:
            kept.append(projection)
    if len(kept) == len(program.projections):
        return program
    return replace(program, projections=tuple(kept))


def _brings_nothing(ops: tuple[Op, ...]) -> bool:
    for op in reversed(ops):
        if isinstance(op, Linear | Conv):
            if op.bias is not None and op.bias.any():
                return False
            if not op.weight.any():
                return True
        elif isinstance(op, Scale) and not op.factor.any():
            return True
    return False


def _without_forwarders(program: Program) -> Program:
    """Lead the readers of each forwarder to its source."""
    projections = dict(enumerate(program.projections))
    into: dict[str, list[int]] = {p.name: [] for p in program.populations}
    out: dict[str, dict[int, None]] = {p.name: {} for p in program.populations}
    for k, p in projections.items():
        into[p.target].append(k)
        out[p.source][k] = None
    kept: list[Population] = []
    for population in program.populations:
        name = population.name
        arriving = [projections[k] for k in into[name]]
        late = any(projections[k].recurrent for k in out[name])
        if name in program.outputs or not _forwards(population, arriving, late):
            kept.append(population)
            continue
        (first,) = arriving
        del projections[into[name][0]], out[first.source][into[name][0]]
        for k in out.pop(name):
            projections[k] = _joined(first, projections[k])
            out[first.source][k] = None
    if len(kept) == len(program.populations):
        return program
    left = tuple(projections.values())
    return replace(program, populations=tuple(kept), projections=left)


def _joined(first: Projection, second: Projection) -> Projection:
    return replace(
        second,
        source=first.source,
        ops=(*first.ops, *second.ops),
        recurrent=first.recurrent or second.recurrent,
    )


def _forwards(population: Population, arriving: Sequence[Projection], late: bool) -> bool:
    """Whether what arrives leaves as it is in the same step: already rounded, so nothing is lost.

    What several readers share is worth its relay, and a relay rounds to float32: one that
    computes stays. ``late``: a recurrent projection reads it. Then it must not be two steps, and
    not a delay, which sends 0 before the first step, where a relay passes on biases already.
    """
    rule = population.rule
    waits = isinstance(rule, DelayLine)
    return (
        (isinstance(rule, Relay) or (isinstance(rule, DelayLine) and rule.depth == 0))
        and len(arriving) == 1
        and not (late and (waits or arriving[0].recurrent))
        and arriving[0].weight_exponent == 0
        and arriving[0].source != population.name
        and all(isinstance(op, Reshape) for op in arriving[0].ops)
    )
