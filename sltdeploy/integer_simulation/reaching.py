"""What can leave each population and what each projection can bring: bounds, before any step."""

from dataclasses import dataclass, replace

import numpy as np

from sltdeploy.arithmetic import apply_op
from sltdeploy.bounds import TOP, UNBOUNDED, Range, reach, shifted, spread, with_zero
from sltdeploy.errors import InputError
from sltdeploy.program import (
    Array,
    Conv,
    DelayLine,
    Input,
    Linear,
    LoihiNeuron,
    Op,
    Pool,
    Population,
    Program,
    Projection,
    Relay,
    Scale,
    Shape,
)


@dataclass(frozen=True, eq=False)
class Stage:
    """One op of a projection; ``peak`` bounds the magnitude of each partial sum that it forms."""

    op: Op
    before: Shape
    peak: float


@dataclass(frozen=True, eq=False)
class Reach:
    """One projection's ops with their bounds, and what arrives at the end, after the shift."""

    projection: Projection
    stages: tuple[Stage, ...]
    brought: Range


def reaches(program: Program) -> dict[str, tuple[Reach, ...]]:
    """Bound the projections into each population, by its name, in program order.

    Raises `InputError` for an average pool: integers have no such thing.
    """
    # What is sent at rest lies within, because each range holds 0.
    sent = {p.name: _sent(p) for p in program.populations}
    found: dict[str, tuple[Reach, ...]] = {}
    for p in program.populations:
        into = program.into(p.name)
        found[p.name] = tuple(_reach(q, sent[q.source]) for q in into)
        if isinstance(p.rule, Relay | DelayLine) and not p.spiking:
            sent[p.name] = _capped(with_zero(total(found[p.name])))
    return found


def total(parts: tuple[Reach, ...]) -> Range:
    """Bounds of the sum of what ``parts`` bring."""
    return sum((r.brought for r in parts[1:]), start=parts[0].brought)


def _sent(p: Population) -> Range:
    """What leaves a population, whatever arrives."""
    match p.rule:
        case Input(low=int(low), high=int(high)):
            return with_zero(spread(p.shape, low, high))
        case _ if p.spiking:
            return spread(p.shape, 0, 1)
        case LoihiNeuron():
            return spread(p.shape, -TOP, TOP)
        case _:
            return spread(p.shape, -UNBOUNDED, UNBOUNDED)


def _capped(values: Range) -> Range:
    return Range(np.maximum(values.low, -UNBOUNDED), np.minimum(values.high, UNBOUNDED))


def _reach(projection: Projection, values: Range) -> Reach:
    stages: list[Stage] = []
    for op in map(_whole, projection.ops):
        if isinstance(op, Pool) and op.kind == "average":
            raise InputError(
                f"{projection.name}: an average pool divides, integers do not: give the sum and "
                "a smaller weight exponent"
            )
        stages.append(Stage(op, values.low.shape, _peak(op, values)))
        values = reach((op,), values)
    return Reach(projection, tuple(stages), shifted(values, projection.weight_exponent))


def _whole(op: Op) -> Op:
    """``op`` with its weights as the integers that the reference takes them for."""
    match op:
        case Linear() | Conv():
            bias = None if op.bias is None else _integers(op.bias)
            return replace(op, weight=_integers(op.weight), bias=bias)
        case Scale():
            return Scale(_integers(op.factor))
        case _:
            return op


def _integers(values: Array) -> Array:
    return np.asarray(values.astype(np.int64).astype(np.float64))


def _peak(op: Op, values: Range) -> float:
    """Sum of magnitudes at the worst output: bounds what is added up, in any order.

    What enters may be larger where its weight is 0, and is then lost without harm.
    """
    widest = np.maximum(np.abs(values.low), np.abs(values.high))[None]
    match op:
        case Linear() | Conv():
            bias = None if op.bias is None else np.abs(op.bias)
            op = replace(op, weight=np.abs(op.weight), bias=bias)
        case Scale():
            op = Scale(np.abs(op.factor))
        case _:
            pass
    return float(apply_op(op, widest).max())
