"""The ways that spikes take between layers of neurons, with relays and delay lines folded away.

Loihi and Lava have neurons and synapses, nothing that only adds or only waits. A delay line
becomes delays of the synapses behind or in front of it. One is kept as a layer of relay neurons
only where spikes must stand on their own: it joins several sources, or what it sends is shifted
right after it has been summed over different delays, or enters a convolution too large to be
stored synapse by synapse.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from sltdeploy.arithmetic import apply_ops
from sltdeploy.lava_package.synapses import is_huge
from sltdeploy.program import (
    Array,
    DelayLine,
    Input,
    Op,
    Population,
    Program,
    Projection,
    Relay,
    Reshape,
    Scale,
)
from sltdeploy.synapse import without_bias

MOST = 4096  # ways to one population; they multiply where relays part and meet


@dataclass(frozen=True)
class Way:
    """A chain of ops without biases, and the steps that the reference waits on it."""

    delay: int
    ops: tuple[Op, ...]


@dataclass(frozen=True, eq=False)
class Route:
    """All ways from one sender through the same populations to one receiver.

    ``fault`` says why no synapses do the same; empty where they do.
    """

    source: str
    target: str
    ways: tuple[Way, ...]
    exponent: int
    through: tuple[str, ...] = ()
    fault: str = ""

    @property
    def name(self) -> str:
        """For messages and identifiers: source, what was folded away, target."""
        return " -> ".join((self.source, *self.through, self.target))

    @property
    def least(self) -> int:
        """Fewest steps of delay."""
        return min(way.delay for way in self.ways)

    @property
    def most(self) -> int:
        """Most steps of delay."""
        return max(way.delay for way in self.ways)


@dataclass(frozen=True, eq=False)
class Routes:
    """What Lava gets of a program: layers, the routes between them, constants, refusals.

    ``layers`` are the populations that become neurons, in program order; ``constants`` what
    biases of ops bring to each in every step; ``folded`` the populations that are nowhere.
    """

    layers: tuple[Population, ...]
    routes: tuple[Route, ...]
    constants: Mapping[str, Array]
    folded: tuple[str, ...]
    refusals: tuple[str, ...]


@dataclass(eq=False)
class _Search:
    """Routes and constants that were found so far, by population."""

    program: Program
    senders: frozenset[str]
    into: dict[str, tuple[Route, ...]] = field(default_factory=dict[str, tuple[Route, ...]])
    constants: dict[str, Array] = field(default_factory=dict[str, Array])
    crowded: list[str] = field(default_factory=list[str])


def routes(program: Program) -> Routes:
    """Follow every projection back to where spikes or inputs are sent."""
    kept = frozenset(p.name for p in program.populations if _must_stand(program, p))
    senders = kept | {p.name for p in program.populations if not isinstance(p.rule, _PASSING)}
    circles = tuple(_circles(program, senders))
    layers = tuple(
        p
        for p in program.populations
        if not isinstance(p.rule, Input) and (p.name in senders or p.name in program.outputs)
    )
    folded = tuple(
        p.name for p in program.populations if p not in layers and not isinstance(p.rule, Input)
    )
    if circles:
        return Routes(layers, (), {}, folded, circles)
    search = _Search(program, senders)
    found = tuple(route for p in layers for route in _ending(search, p))
    constants = {p.name: _constant(search, p.name) for p in layers}
    refusals = (
        *(_crowd_refusal(name) for name in search.crowded),
        *_constant_refusals(search),
        *(f"{r.name}: {r.fault}" for r in found if r.fault),
    )
    return Routes(layers, found, constants, folded, refusals)


def _crowd_refusal(name: str) -> str:
    return (
        f"population '{name}' is reached on more than {MOST} ways through relays and delays, each "
        "of which needs synapses of its own: put spiking neurons in between, or take onnx"
    )


_PASSING = (Relay, DelayLine)  # rules without neurons


def _must_stand(program: Program, p: Population) -> bool:
    """Whether a line of spikes becomes a layer that others receive from."""
    if not isinstance(p.rule, DelayLine) or not p.rule.spiking:
        return False
    before = program.into(p.name)
    if len(before) > 1 or any(_is_more(program, q) for q in before):
        return True
    uneven = bool((p.rule.steps != p.rule.steps.flat[0]).any())
    behind = [q for q in program.projections if q.source == p.name]
    return any((q.weight_exponent < 0 and uneven) or is_huge(q.ops, p.shape) for q in behind)


def _is_more(program: Program, q: Projection) -> bool:
    """Whether ``q`` brings other values than the spikes that are sent."""
    return not (moves_nothing(q.ops) and program.population(q.source).spiking)


def _circles(program: Program, senders: frozenset[str]) -> Iterator[str]:
    """Loops in which no neuron stands."""
    passing = [p.name for p in program.populations if p.name not in senders]
    before = {n: [q.source for q in program.into(n) if q.source in passing] for n in passing}
    left = dict.fromkeys(passing)
    while True:
        done = [n for n in left if not any(source in left for source in before[n])]
        if not done:
            break
        for n in done:
            del left[n]
    if left:
        yield (
            f"populations {', '.join(left)} lie on a loop in which no neuron stands: neurons in "
            "Lava only send spikes; put a spiking neuron into the loop, or take onnx"
        )


def _ending(search: _Search, p: Population) -> Iterator[Route]:
    """Routes to a layer; where that is a delay line, it waits before it sends or shows."""
    for route in _into(search, p.name):
        ways = tuple(
            Way(way.delay + steps, (*way.ops, *mask))
            for way in route.ways
            for steps, mask in _waits(p.rule)
        )
        yield replace(route, ways=ways)


def _into(search: _Search, name: str) -> tuple[Route, ...]:
    """Routes that end in ``name``, in program order."""
    if name not in search.into:
        found = tuple(route for q in search.program.into(name) for route in _along(search, q))
        if len(found) > MOST:
            search.crowded.append(name)
            found = ()
        search.into[name] = found
    return search.into[name]


def _along(search: _Search, q: Projection) -> Iterator[Route]:
    late = int(q.recurrent)
    ops = without_bias(q.ops)
    if q.source in search.senders:
        yield Route(q.source, q.target, (Way(late, ops),), q.weight_exponent)
        return
    rule = search.program.population(q.source).rule
    before = _into(search, q.source)
    for route in before:
        ways = tuple(
            Way(way.delay + late + steps, (*way.ops, *mask, *ops))
            for way in route.ways
            for steps, mask in _waits(rule)
        )
        fault = route.fault or _shift_fault(route, q, len(before), len(ways))
        exponent = route.exponent + q.weight_exponent
        through = (*route.through, q.source)
        yield Route(route.source, q.target, ways, exponent, through, fault)


def _waits(rule: object) -> Iterator[tuple[int, tuple[Op, ...]]]:
    """Each number of steps that elements wait, and what lets only those elements through."""
    if not isinstance(rule, DelayLine):
        yield 0, ()
        return
    steps = [int(n) for n in np.unique(rule.steps)]
    for n in steps:
        yield n, (Scale((rule.steps == n).astype(np.float64)),) if len(steps) > 1 else ()


def _shift_fault(route: Route, q: Projection, joined: int, ways: int) -> str:
    """Why shifts to the right on both sides of ``q.source`` are no shift of one synapse."""
    later = q.weight_exponent
    if route.exponent >= 0 and later >= 0:
        return ""
    if later == 0 and moves_nothing(q.ops):
        return ""
    if route.exponent == 0 and joined == 1 and (ways == 1 or moves_nothing(q.ops)):
        return ""
    return (
        f"weight exponents {route.exponent} and {later} shift to the right what '{q.source}' "
        "adds up, which no synapse of Loihi's does: quantise the float program anew"
    )


def moves_nothing(ops: tuple[Op, ...]) -> bool:
    """Whether element k stays element k, in C order."""
    return all(isinstance(op, Reshape) for op in ops)


def _constant(search: _Search, name: str) -> Array:
    """What biases bring to ``name`` in every step, also by way of relays."""
    if name not in search.constants:
        program = search.program
        total = np.zeros(program.population(name).shape)
        for q in program.into(name):
            source = program.population(q.source)
            stands = np.zeros(source.shape)
            if isinstance(source.rule, Relay):
                stands = _constant(search, q.source)
            total = total + apply_ops(q.ops, stands[None])[0]
        search.constants[name] = total
    return search.constants[name]


def _constant_refusals(search: _Search) -> Iterator[str]:
    program = search.program
    for p in program.populations:
        if isinstance(p.rule, Input) or not _constant(search, p.name).any():
            continue
        if isinstance(p.rule, DelayLine):
            yield (
                f"a bias is added before '{p.name}' delays: it would arrive from the start; add it "
                "behind the delay, or take onnx"
            )
        elif program.numbers == "loihi":
            yield (
                f"projections to '{p.name}' carry biases, Loihi's synapses have none: give them to "
                "the neurons (--quantize int8 does)"
            )
