"""A prepared program through a chunk of steps; arrays are (neurons, steps, samples)."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from sltdeploy.integer_simulation.delays import after, leaves
from sltdeploy.integer_simulation.neurons import Membrane, advance, at_first
from sltdeploy.integer_simulation.planning import Group, Joint, Plan
from sltdeploy.program import Array, Population

Sent: TypeAlias = dict[str, Array]


@dataclass(frozen=True, eq=False)
class State:
    """What goes from step to step, each by population.

    ``past`` of a delay line is (neurons, depth, samples), the oldest step first; ``last`` is what
    the source of a recurrent projection sent in the step before, (neurons, 1, samples).
    """

    membranes: dict[str, Membrane]
    past: dict[str, Array]
    last: dict[str, Array]


def first_state(plan: Plan, batch: int) -> State:
    """State before the first step."""
    populations = {p.name: p for p in plan.program.populations}
    return State(
        {n: at_first(layer, populations[n], batch) for n, layer in plan.layers.items()},
        {
            n: np.zeros((populations[n].size, line.depth, batch), plan.kinds[n])
            for n, line in plan.lines.items()
        },
        {
            n: np.repeat(values.reshape(-1, 1, 1).astype(plan.kinds[n]), batch, axis=2)
            for n, values in plan.resting.items()
        },
    )


def through(plan: Plan, state: State, x: Sent, *, potentials: bool) -> tuple[Sent, Sent]:
    """Feed ``x`` (steps, samples, *shape); what left each population, and each membrane or none.

    ``state`` is changed in place.
    """
    steps, batch = next(iter(x.values())).shape[:2]
    sent: Sent = {}
    for name, values in x.items():
        flat = values.reshape(steps * batch, -1).T
        kind = plan.kinds[name] if values.dtype.kind == "f" else values.dtype
        sent[name] = np.ascontiguousarray(flat, dtype=kind).reshape(-1, steps, batch)
    membranes: Sent = {}
    for group in plan.groups:
        for p in group.members:
            shape = (p.size, steps, batch)
            sent[p.name] = np.empty(shape, plan.kinds[p.name])
            if potentials and p.name in plan.layers:
                membranes[p.name] = np.empty(shape, np.int32)
        if group.loops:
            _loop(plan, state, group, sent, membranes)
        else:
            p = group.members[0]
            arrives = [_bring(j, state, sent, 0, steps) for j in plan.into[p.name]]
            _advance(plan, state, p, arrives, sent, membranes, slice(0, steps))
    for name in state.last:
        state.last[name] = sent[name][:, -1:].copy()
    return sent, membranes


def _loop(plan: Plan, state: State, group: Group, sent: Sent, membranes: Sent) -> None:
    """Step by step; what arrives from outside the group is known for the whole chunk."""
    inside = {p.name for p in group.members}
    joints = {p.name: plan.into[p.name] for p in group.members}
    steps = sent[group.members[0].name].shape[1]
    outside = {
        id(j): _bring(j, state, sent, 0, steps)
        for js in joints.values()
        for j in js
        if j.projection.source not in inside
    }

    def arrives(name: str, t: int) -> list[Array]:
        return [
            outside[id(j)][:, t : t + 1] if id(j) in outside else _bring(j, state, sent, t, t + 1)
            for j in joints[name]
        ]

    waiting = [p.name for p in group.waiting]
    for t in range(steps):
        now = slice(t, t + 1)
        for p in group.members:
            if p.name in waiting:
                leaves(plan.lines[p.name], state.past[p.name], None, sent[p.name][:, now])
            else:
                _advance(plan, state, p, arrives(p.name, t), sent, membranes, now)
        for name in waiting:  # what arrives may come from populations that are visited later
            came = _summed(plan, name, arrives(name, t))
            state.past[name] = after(plan.lines[name], state.past[name], came)


def _bring(joint: Joint, state: State, sent: Sent, start: int, stop: int) -> Array:
    """What a projection brings in steps ``start`` to ``stop``, before its shift to the left."""
    source = sent[joint.projection.source]
    if not joint.projection.recurrent:
        x = source[:, start:stop]
    elif start:
        x = source[:, start - 1 : stop - 1]
    else:
        x = np.concatenate([state.last[joint.projection.source], source[:, : stop - 1]], axis=1)
    return joint.apply(x.reshape(len(x), -1)).reshape(-1, stop - start, x.shape[2])


def _advance(
    plan: Plan,
    state: State,
    p: Population,
    arrives: list[Array],
    sent: Sent,
    membranes: Sent,
    now: slice,
) -> None:
    out = sent[p.name][:, now]
    if p.name in plan.layers:
        membrane = membranes[p.name][:, now] if p.name in membranes else None
        advance(plan.layers[p.name], state.membranes[p.name], arrives, out, membrane)
    elif p.name in plan.lines:
        line, came = plan.lines[p.name], _summed(plan, p.name, arrives)
        leaves(line, state.past[p.name], came, out)
        state.past[p.name] = after(line, state.past[p.name], came)
    else:
        out[...] = _summed(plan, p.name, arrives)


def _summed(plan: Plan, name: str, arrives: list[Array]) -> Array:
    """What arrives in all, as a relay or a delay line holds it."""
    joints = plan.into[name]
    if len(joints) == 1 and not joints[0].shift:
        return arrives[0].astype(plan.kinds[name])
    shifted = (y.astype(np.int64) << j.shift for y, j in zip(arrives, joints, strict=True))
    return sum(shifted, start=np.zeros((), np.int64)).astype(plan.kinds[name])
