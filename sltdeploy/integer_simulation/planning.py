"""What can be prepared before the first step: the synapses, the layers, what is stepped at once."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sltdeploy.integer_simulation.delays import Line, line
from sltdeploy.integer_simulation.neurons import Layer, layer
from sltdeploy.integer_simulation.reaching import reaches
from sltdeploy.integer_simulation.synapses import Apply, Kind, synapse
from sltdeploy.program import (
    Array,
    DelayLine,
    Input,
    LoihiNeuron,
    Population,
    Program,
    Projection,
)
from sltdeploy.resting import at_rest


@dataclass(frozen=True, eq=False)
class Joint:
    """A projection and the function that sends arrays (pre, columns) through it."""

    projection: Projection
    apply: Apply

    @property
    def shift(self) -> int:
        """Bits by which what it brings is still to be shifted to the left."""
        return max(self.projection.weight_exponent, 0)


@dataclass(frozen=True, eq=False)
class Plan:
    """A program made ready; each mapping is by the names of populations.

    ``groups`` are populations in program order; one that ``loops`` goes step by step, any other
    is a single population and takes a chunk of steps at once.
    """

    program: Program
    into: Mapping[str, tuple[Joint, ...]]
    layers: Mapping[str, Layer]
    lines: Mapping[str, Line]
    kinds: Mapping[str, Kind]
    resting: Mapping[str, Array]
    groups: tuple["Group", ...]


@dataclass(frozen=True, eq=False)
class Group:
    """Neighbours in program order, without inputs.

    Of a group that ``loops``, the delay lines in ``waiting`` send before they know what arrives.
    """

    members: tuple[Population, ...]
    loops: bool
    waiting: tuple[Population, ...]


def plan(program: Program) -> Plan:
    """Prepare ``program``."""
    found = reaches(program)
    neurons = [p for p in program.populations if isinstance(p.rule, LoihiNeuron)]
    lines = [p for p in program.populations if isinstance(p.rule, DelayLine)]
    return Plan(
        program,
        {n: tuple(Joint(r.projection, synapse(r)) for r in parts) for n, parts in found.items()},
        {p.name: layer(p, found[p.name]) for p in neurons},
        {p.name: line(p) for p in lines},
        {p.name: _kind(p) for p in program.populations},
        at_rest(program),
        _groups(program),
    )


def _kind(p: Population) -> Kind:
    if p.spiking:
        return np.bool_
    return np.int32 if isinstance(p.rule, LoihiNeuron) else np.int64


def _groups(program: Program) -> tuple[Group, ...]:
    """Cut the program order where no projection leads back over the cut."""
    place = {p.name: k for k, p in enumerate(program.populations)}
    end = list(range(len(place)))  # last population that sends to this one, or to an earlier one
    loops: set[int] = set()
    for q in program.projections:
        source, target = place[q.source], place[q.target]
        if source >= target:
            end[target] = max(end[target], source)
            loops.add(target)
    groups: list[Group] = []
    start = stop = 0
    for k, last in enumerate(end):
        stop = max(stop, last)
        if k == stop:
            some = [p for p in program.populations[start : k + 1] if not isinstance(p.rule, Input)]
            looped = not loops.isdisjoint(range(start, k + 1))
            if some:
                groups.append(_group(some, looped))
            start = stop = k + 1
    return tuple(groups)


def _group(members: list[Population], loops: bool) -> Group:
    waiting = (p for p in members if isinstance(p.rule, DelayLine) and p.rule.ends_loops)
    return Group(tuple(members), loops, tuple(waiting) if loops else ())
