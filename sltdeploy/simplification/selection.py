"""Cutting neurons out of a program: what can go together, and the program without it."""

from collections.abc import Mapping
from dataclasses import fields, replace
from math import prod
from typing import Any, TypeVar

import numpy as np

from sltdeploy.program import (
    Array,
    Conv,
    Linear,
    Op,
    Pool,
    Population,
    Program,
    Projection,
    Reshape,
    Rule,
    Scale,
    Shape,
    op_shapes,
)
from sltdeploy.simplification.result import Simplified, unchanged

SomeRule = TypeVar("SomeRule", bound=Rule)


def closed(program: Program, wanted: Mapping[str, Array]) -> dict[str, Array]:
    """Masks of the ``wanted`` neurons (bool by population) and what no op could do without.

    That is the whole entry of the leading axis in populations of several axes, both ends of
    one-to-one projections, one source of a population that would have none left, and of a
    projection that brings a bias.
    """
    masks = {name: mask.copy() for name, mask in wanted.items()}
    while _grown(program, masks):
        pass
    return masks


def cut(program: Program, masks: Mapping[str, Array]) -> Simplified:
    """Cut out all neurons but those of the masks, which are `closed`."""
    if all(mask.all() for mask in masks.values()):
        return unchanged(program)
    alive = {name for name, mask in masks.items() if mask.any()}
    left = replace(
        program,
        populations=tuple(
            _population(p, masks[p.name]) for p in program.populations if p.name in alive
        ),
        projections=tuple(
            replace(p, ops=_ops(p, masks[p.source], masks[p.target]))
            for p in program.projections
            if p.source in alive and p.target in alive
        ),
    )
    return Simplified(left, {name: np.flatnonzero(masks[name]) for name in masks if name in alive})


def _grown(program: Program, masks: dict[str, Array]) -> bool:
    """Add what is needed besides, and whether there was any."""
    before = {name: int(mask.sum()) for name, mask in masks.items()}
    for name, mask in masks.items():
        masks[name] = _entries(mask)
    for p in program.projections:
        source, target = masks[p.source], masks[p.target]
        if not target.any():
            continue
        if not source.any() and _has_bias(p.ops):
            _keep_one(masks, p.source)
        if masks[p.source].any():
            along = _along(p, masks[p.source], target)
            masks[p.source] = masks[p.source] | along[0]
            masks[p.target] = target | along[-1]
    for population in program.populations:
        into = program.into(population.name)
        bereft = not any(masks[p.source].any() for p in into)
        if into and bereft and masks[population.name].any():
            _keep_one(masks, into[0].source)
    return any(int(mask.sum()) > before[name] for name, mask in masks.items())


def _keep_one(masks: dict[str, Array], name: str) -> None:
    masks[name] = masks[name].copy()
    masks[name].flat[0] = True


def _has_bias(ops: tuple[Op, ...]) -> bool:
    return any(isinstance(op, Linear | Conv) and op.bias is not None for op in ops)


def _mixes(op: Op) -> bool:
    """Whether each output may read each input (or channel), so that either side can be cut."""
    return isinstance(op, Linear) or (isinstance(op, Conv) and op.groups == 1)


def _along(projection: Projection, source: Array, target: Array) -> list[Array]:
    """Masks before each op and after the last, closed under what the ops couple.

    Up to the first op that mixes, the source decides, behind the last one, the target; all in
    between stays. Without any, both do.
    """
    ops = projection.ops
    shapes = op_shapes(projection, source.shape)
    mixing = [k for k, op in enumerate(ops) if _mixes(op)]
    if not mixing:
        return _coupled(ops, shapes, source, target)
    first, last = mixing[0], mixing[-1]
    head = _coupled(ops[:first], shapes[: first + 1], source, np.zeros(shapes[first], bool), True)
    tail = _coupled(ops[last + 1 :], shapes[last + 1 :], np.zeros(shapes[last + 1], bool), target)
    return [*head, *(np.ones(s, bool) for s in shapes[first + 1 : last + 1]), *tail]


def _coupled(
    ops: tuple[Op, ...],
    shapes: tuple[Shape, ...],
    start: Array,
    end: Array,
    biases: bool = False,
) -> list[Array]:
    """Smallest masks over the one-to-one ``ops`` that hold ``start`` and ``end``.

    And, on request, what has a bias, which goes on where nothing arrives.
    """
    masks = [_entries(start), *(np.zeros(s, bool) for s in shapes[1:])]
    masks[-1] = masks[-1] | end
    if biases:
        for k, op in enumerate(ops):
            if isinstance(op, Conv) and op.bias is not None:
                masks[k + 1] = masks[k + 1] | (op.bias != 0)[:, None, None]
    size = -1
    while sum(int(m.sum()) for m in masks) != size:
        size = sum(int(m.sum()) for m in masks)
        for k, op in enumerate(ops):
            masks[k + 1] = _entries(masks[k + 1] | _carried(op, masks[k], shapes[k + 1]))
        for k, op in reversed([*enumerate(ops)]):
            masks[k] = _entries(masks[k] | _carried(op, masks[k + 1], shapes[k]))
    return masks


def _carried(op: Op, mask: Array, shape: Shape) -> Array:
    """``mask`` on the other side of ``op``, in either direction."""
    match op:
        case Pool():
            return np.broadcast_to(mask.any(axis=(1, 2), keepdims=True), shape)
        case Conv():
            groups = mask.reshape(op.groups, -1).any(axis=1, keepdims=True)
            return np.broadcast_to(groups, (op.groups, prod(shape) // op.groups)).reshape(shape)
        case _:
            return mask.reshape(shape)


def _entries(mask: Array) -> Array:
    """Grow to whole entries of the leading axis."""
    if mask.ndim == 1:
        return mask
    return np.broadcast_to(mask.any(axis=tuple(range(1, mask.ndim)), keepdims=True), mask.shape)


def _leading(mask: Array) -> Array:
    return np.flatnonzero(mask.reshape(len(mask), -1)[:, 0])


def _population(p: Population, mask: Array) -> Population:
    if mask.all():
        return p
    at = _leading(mask)
    return Population(p.name, (len(at), *p.shape[1:]), _rule(p.rule, p.shape, at))


def _rule(rule: SomeRule, shape: Shape, at: Array) -> SomeRule:
    changes: dict[str, Any] = {}
    for f in fields(rule):
        value = getattr(rule, f.name)
        if not isinstance(value, np.ndarray) or value.ndim != len(shape):
            continue
        if len(value) == shape[0]:  # else one value for all entries
            changes[f.name] = value[at]
    return replace(rule, **changes)


def _ops(projection: Projection, source: Array, target: Array) -> tuple[Op, ...]:
    masks = _along(projection, source, target)
    return tuple(
        _op(op, before, after)
        for op, before, after in zip(projection.ops, masks, masks[1:], strict=False)
    )


def _op(op: Op, before: Array, after: Array) -> Op:
    rows, columns = _leading(after), _leading(before)
    if len(rows) == len(after) and len(columns) == len(before):
        return op
    match op:
        case Linear():
            bias = None if op.bias is None else op.bias[rows]
            return Linear(op.weight[np.ix_(rows, columns)], bias)
        case Conv() if op.groups == 1:
            bias = None if op.bias is None else op.bias[rows]
            return replace(op, weight=op.weight[np.ix_(rows, columns)], bias=bias)
        case Conv():
            bias = None if op.bias is None else op.bias[rows]
            groups = len(columns) // op.weight.shape[1]
            return replace(op, weight=op.weight[rows], bias=bias, groups=groups)
        case Pool():
            return op
        case Scale():
            whole = op.factor.ndim == before.ndim and len(op.factor) == len(before)
            return Scale(op.factor[columns]) if whole else op
        case Reshape():
            return Reshape((len(rows), *op.shape[1:]))
