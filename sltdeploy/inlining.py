"""Relays and delays of values out of the way: what is left joins neurons by weights alone.

Chips send spikes. A relay adds values and sends the sum; a delay line may hold back weighted
values. Both mean the same as other projections between the neurons around them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from sltdeploy.program import (
    DelayLine,
    Op,
    Population,
    Program,
    Projection,
    Relay,
    Reshape,
    Rule,
)
from sltdeploy.synapse import constant, without_bias

MOST = 4096  # projections that may take the place of one relay or delay line


@dataclass(frozen=True, eq=False)
class _Wires:
    """A program on the way; it is checked once, at the end."""

    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    outputs: tuple[str, ...]

    def into(self, name: str) -> list[Projection]:
        return [q for q in self.projections if q.target == name]

    def out_of(self, name: str) -> list[Projection]:
        return [q for q in self.projections if q.source == name]

    def named(self) -> Mapping[str, Population]:
        return {p.name: p for p in self.populations}


def inline(program: Program) -> Program:
    """The same spikes and values from fewer populations, as far as that is exact.

    With relays ``r = sum_i W_i x_i + b_i`` and targets ``A r + a``:

    - a relay's sources project to its targets themselves, ``A (W_i x_i + b_i)``, a counted once;
      the relay goes unless it is an output. A delay of 0 steps is such a relay.
    - a delay line of n steps everywhere that carries values (not spikes, not what enters) waits
      on the other side of its weights: ``A (W_i x_i[t - n])``, one line of the source's shape for
      each source. So the weights of each path lie on one side of its delay line.
    - a line that carries nothing but spikes says so (``spiking``).

    What stays keeps its name, new lines have names of their own. Where float32 rounded the sum in
    a relay, what follows may differ by that rounding, as nothing rounds there any more.

    Left as they are: relays between two recurrent projections, relays in a circle without a
    neuron, delays of values that differ within a line, biases in front of a delay, which arrive
    late and are no constant, and what more than 4096 projections would replace. Integer programs
    are returned as they are.
    """
    if program.numbers != "float32":
        return program
    wires = _Wires(program.populations, program.projections, program.outputs)
    for name in _in_order(wires, _of(Relay, wires)):
        wires = _joined(wires, name)
    for name in _in_order(wires, _of(DelayLine, wires)):
        wires = _joined(wires, name) if _idle(wires, name) else _moved(_marked(wires, name), name)
    if wires.populations == program.populations and wires.projections == program.projections:
        return program
    return replace(program, populations=wires.populations, projections=wires.projections)


def _of(rule: type[Rule], wires: _Wires) -> set[str]:
    return {p.name for p in wires.populations if isinstance(p.rule, rule)}


def _in_order(wires: _Wires, some: set[str]) -> list[str]:
    """Names in ``some``, sources first; without those in or behind a circle of ``some``."""
    sources = {n: {q.source for q in wires.into(n)} & some for n in some}
    done: dict[str, None] = {}
    while True:
        ready = [
            p.name
            for p in wires.populations
            if p.name in some and p.name not in done and sources[p.name] <= set(done)
        ]
        if not ready:
            return list(done)
        done |= dict.fromkeys(ready)


def _idle(wires: _Wires, name: str) -> bool:
    """Whether a line waits 0 steps and is the same as a relay, before the first step as well.

    Then a relay sent the biases on its way, a delay line nothing.
    """
    named = wires.named()
    rule = named[name].rule
    if not isinstance(rule, DelayLine) or rule.depth:
        return False
    relays = _of(Relay, wires)
    if not any(q.recurrent and q.source in relays | {name} for q in wires.projections):
        return True
    return not any(q.source in relays or _biased(q, named) for q in wires.into(name))


def _biased(q: Projection, named: Mapping[str, Population]) -> bool:
    return bool(constant(q.ops, named[q.source].shape).any())


def _joined(wires: _Wires, name: str) -> _Wires:
    """The sources of a relay joined with its targets."""
    before, behind = wires.into(name), wires.out_of(name)
    twice = any(b.recurrent for b in before) and any(b.recurrent for b in behind)
    if twice or len(before) * len(behind) > MOST:
        return wires

    def through(q: Projection) -> list[Projection]:
        return [
            Projection(
                b.source,
                q.target,
                (*b.ops, *_counted_once(q.ops, k)),
                recurrent=b.recurrent or q.recurrent,
            )
            for k, b in enumerate(before)
        ]

    kept = _replaced(wires.projections, name, through)
    if name in wires.outputs:
        return replace(wires, projections=kept)
    return replace(
        wires,
        populations=tuple(p for p in wires.populations if p.name != name),
        projections=tuple(q for q in kept if q.target != name),
    )


def _counted_once(ops: tuple[Op, ...], k: int) -> tuple[Op, ...]:
    """``ops`` for the first of several sources, without their biases for the others."""
    return ops if k == 0 else without_bias(ops)


def _replaced(
    projections: Sequence[Projection],
    source: str,
    by: Callable[[Projection], Sequence[Projection]],
) -> tuple[Projection, ...]:
    """``projections`` with those from ``source`` replaced where they stand."""
    return tuple(new for q in projections for new in (by(q) if q.source == source else (q,)))


def _sends_plainly(wires: _Wires, name: str) -> Population | None:
    """The only source of a line, if it reaches it as it is: through no weights."""
    into = wires.into(name)
    if len(into) == 1 and all(isinstance(op, Reshape) for op in into[0].ops):
        return wires.named()[into[0].source]
    return None


def _marked(wires: _Wires, name: str) -> _Wires:
    """``wires`` with a line that carries spikes only saying so."""
    line = wires.named()[name]
    source = _sends_plainly(wires, name)
    assert isinstance(line.rule, DelayLine)
    if line.rule.spiking or source is None or not source.spiking:
        return wires
    spiking = replace(line, rule=replace(line.rule, spiking=True))
    return replace(
        wires, populations=tuple(spiking if p.name == name else p for p in wires.populations)
    )


def _moved(wires: _Wires, name: str) -> _Wires:
    """A line of values on the side of its sources, as far as it can be there."""
    named = wires.named()
    line, before = named[name], wires.into(name)
    assert isinstance(line.rule, DelayLine)
    steps = line.rule.steps
    if (
        _sends_plainly(wires, name) is not None
        or (steps != steps.flat[0]).any()
        or not (behind := wires.out_of(name))
        or len(before) * len(behind) > MOST
        or any(_biased(b, named) for b in before)
    ):
        return wires
    stays = name in wires.outputs
    taken = set(named)
    lines: dict[tuple[str, bool], Population] = {}
    fed: list[Projection] = []
    for b in before:
        if (b.source, b.recurrent) in lines:
            continue
        source = named[b.source]
        rule = DelayLine(np.full(source.shape, steps.flat[0], steps.dtype), source.spiking)
        free = _free(f"{name}.{source.name}", taken)
        lines[b.source, b.recurrent] = Population(free, source.shape, rule)
        taken.add(free)
        fed.append(replace(b, target=free, ops=()))

    def through(q: Projection) -> list[Projection]:
        return [
            replace(
                q,
                source=lines[b.source, b.recurrent].name,
                ops=(*b.ops, *_counted_once(q.ops, k)),
            )
            for k, b in enumerate(before)
        ]

    kept = [q for q in wires.projections if stays or q.target != name]
    at = wires.populations.index(line)
    return replace(
        wires,
        populations=(
            *wires.populations[: at + stays],
            *lines.values(),
            *wires.populations[at + 1 :],
        ),
        projections=(*fed, *_replaced(kept, name, through)),
    )


def _free(name: str, taken: set[str]) -> str:
    """``name``, with a number behind it where it is taken."""
    tried = (name if k == 1 else f"{name}.{k}" for k in count(1))
    return next(t for t in tried if t not in taken)
