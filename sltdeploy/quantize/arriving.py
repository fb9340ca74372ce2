"""What brings weighted values to a population: one entry for each projection with weights."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sltdeploy.arithmetic import apply_ops
from sltdeploy.bounds import Range, reach, spread, with_zero
from sltdeploy.program import Array, DelayLine, Input, Op, Population, Program, Projection
from sltdeploy.quantize.folding import fold
from sltdeploy.quantize.waiting import origin, way


@dataclass(frozen=True, eq=False)
class Arriving:
    """A folded projection in floats; ``values`` bounds its source in the integers of the chip.

    A source value x is the integer ``sigma x``. What the weights give goes through ``behind``, by
    turns delays (steps for each element) and reshapes, to the population. ``apart`` says that what
    arrives together left at different times, by a delay line in front of the weights.
    """

    projection: Projection
    ops: tuple[Op, ...]
    values: Range
    sigma: float
    behind: tuple[Array | tuple[Op, ...], ...] = ()
    apart: bool = False

    def bounds(self, ops: tuple[Op, ...], scale: float = 1.0) -> Range:
        """Bounds of what ``ops`` in place of those here bring for ``scale`` times the integers."""
        found = reach(ops, Range(self.values.low * scale, self.values.high * scale))
        for stage in self.behind:
            found = with_zero(found) if isinstance(stage, np.ndarray) else reach(stage, found)
        return found

    def bring(self, ops: tuple[Op, ...], x: Array) -> Array:
        """What ``ops`` in place of those here bring for x (T, B, *shape), float64."""
        flat = x.reshape(-1, *x.shape[2:]).astype(np.float64)
        y = apply_ops(ops, flat)
        for stage in self.behind:
            if isinstance(stage, np.ndarray):
                y = late(y.reshape(*x.shape[:2], *y.shape[1:]), stage).reshape(y.shape)
            else:
                y = apply_ops(stage, y)
        return y.reshape(*x.shape[:2], *y.shape[1:])


def arriving(program: Program, inputs: Mapping[str, Input], p: Population) -> tuple[Arriving, ...]:
    """All that brings weighted values to ``p``, in program order, over delay lines as well."""
    return tuple(
        _arriving(program, inputs, q, behind)
        for q in program.projections
        if (behind := _to(program, q, p)) is not None
    )


def carries_weights(program: Program, q: Projection) -> bool:
    """Whether the weights of ``q`` become synapses: not where it only joins a delay line."""
    target = program.population(q.target)
    if isinstance(target.rule, DelayLine) and origin(program, target) is not None:
        return False
    return not way(program, program.population(q.source))


def late(values: Array, steps: Array) -> Array:
    """``values`` (T, B, *shape) delayed by ``steps``, 0 before the first."""
    at = np.arange(len(values)).reshape(-1, *[1] * (values.ndim - 1)) - steps
    at = np.broadcast_to(at, values.shape)
    return np.where(at >= 0, np.take_along_axis(values, np.maximum(at, 0), axis=0), 0)


def _to(program: Program, q: Projection, p: Population) -> tuple[Projection, ...] | None:
    """The way from behind ``q`` to ``p``; None where its weights do not arrive there."""
    if not carries_weights(program, q):
        return None
    path = way(program, program.population(q.target))
    if path is None:
        return None
    end = path[-1].target if path else q.target
    return path if end == p.name else None


def _arriving(
    program: Program, inputs: Mapping[str, Input], q: Projection, path: tuple[Projection, ...]
) -> Arriving:
    source = program.population(q.source)
    entry = origin(program, source)
    assert entry is not None, "what sends neither spikes nor inputs is refused"
    rule = inputs.get(entry.name, Input("spikes"))
    low, high = rule.low, rule.high
    values = spread(source.shape, 0 if low is None else low, 1 if high is None else high)
    if q.recurrent or isinstance(source.rule, DelayLine):
        values = with_zero(values)
    behind: list[Array | tuple[Op, ...]] = []
    for on in path:
        line = program.population(on.source).rule
        assert isinstance(line, DelayLine)
        behind += [np.asarray(line.steps + on.recurrent), on.ops]
    ops = fold(q.ops, source.shape)
    return Arriving(q, ops, values, rule.scale, tuple(behind), _is_apart(program, source))


def _is_apart(program: Program, p: Population) -> bool:
    """Whether signals that left at different times leave ``p`` together."""
    while isinstance(p.rule, DelayLine):
        if (p.rule.steps != p.rule.steps.flat[0]).any():
            return True
        p = program.population(program.into(p.name)[0].source)
    return False
