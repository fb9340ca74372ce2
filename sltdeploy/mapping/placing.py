"""Every layer of a program on cores, and what goes from core to core."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from sltdeploy.lava_package.routes import Route, Routes, routes
from sltdeploy.lava_package.schedule import schedule, steps
from sltdeploy.lava_package.synapses import stays_conv
from sltdeploy.machine import Target
from sltdeploy.mapping import lava, nengo
from sltdeploy.mapping.cuts import Cut
from sltdeploy.mapping.parts import Limits, Part, as_parts, limits, pairs
from sltdeploy.ops import Array
from sltdeploy.program import Program
from sltdeploy.resources import CoreUse, LayerFit, Reach
from sltdeploy.rules import Input

NENGO = "nengo-loihi"


@dataclass(frozen=True, eq=False)
class Placement:
    """Layers on cores: ``parts`` are what leads into each, ``cuts`` where its neurons lie.

    ``unrolled`` are the routes that are counted as kernels and exported synapse by synapse.
    """

    program: Program
    limits: Limits
    parts: Mapping[str, list[Part]]
    cuts: Mapping[str, Cut]
    nengo: bool
    unrolled: tuple[str, ...] = ()

    def reaches(self) -> tuple[Reach, ...]:
        """Cores that each spike is sent to, one for each pair of layers that is joined.

        A core that several paths of a pair lead to is counted once.
        """
        return tuple(self._reaches())

    def _reaches(self) -> Iterator[Reach]:
        for name, parts in self.parts.items():
            for source in dict.fromkeys(p.source for p in parts):
                some = [p for p in parts if p.source == source]
                yield Reach(source, name, self._joint(some, name))

    def _joint(self, parts: list[Part], name: str) -> Array:
        cut = self.cuts[name]
        if len(parts) == 1:
            if self.nengo:
                return nengo.reach(parts[0], cut)
            return lava.reach(parts[0], cut, self.program.population(name).shape)
        met = np.unique(np.concatenate([_codes(p, cut) for p in parts]))
        return np.bincount(met // cut.cores, minlength=parts[0].pre).reshape(parts[0].shape)

    def axons_out(self, name: str) -> Array:
        """Entries for axons on each core of a layer.

        Loihi 1 has one for each core that an axon leads to; on Loihi 2 one for each neuron was
        read off for matrices, and for convolutions it is the most that there can be.
        """
        cut = self.cuts[name]
        if not self.nengo:
            return cut.neurons
        found = np.zeros(cut.cores, np.int64)
        for goal, parts in self.parts.items():
            for part in parts:
                if part.source == name:
                    found += nengo.axons_out(part, self.cuts[goal], cut.core, cut.cores)
        return found

    def layers(self) -> Iterator[LayerFit]:
        """Each layer with what its cores hold."""
        for name, cut in self.cuts.items():
            columns = (cut.neurons, cut.words, cut.axons_in, self.axons_out(name))
            used = tuple(CoreUse(*map(int, row)) for row in zip(*columns, strict=True))
            yield LayerFit(name, int(cut.neurons.sum()), cut.text, used)


def place(program: Program, target: Target, declared: Mapping[str, int]) -> Placement:
    """Cut every layer by the rules of ``target.placement``.

    Layers and the ways between them are those of the Lava package: relays and delay lines are
    folded into synapses as far as they can be.
    """
    held, found = limits(target), routes(program)
    names = [p.name for p in (*program.inputs, *found.layers)]
    lags = schedule(names, found.routes, {}).lags

    def into(name: str) -> list[Part]:
        some: list[Route] = [r for r in found.routes if r.target == name]
        timed = [
            (route, program.population(route.source).shape, steps(route, lags)) for route in some
        ]
        return as_parts(timed, program.population(name).shape, held, declared)

    parts = {p.name: into(p.name) for p in found.layers}
    by_nengo = target.placement == NENGO
    if by_nengo:
        cuts = _in_chunks(program, parts, held)
    else:
        cuts = {
            name: lava.cut(program.population(name).shape, some, held, target.placement or "")
            for name, some in parts.items()
        }
    return Placement(program, held, parts, cuts, by_nengo, tuple(_unrolled(found, parts)))


def _unrolled(found: Routes, parts: Mapping[str, list[Part]]) -> Iterator[str]:
    for name, some in parts.items():
        into = [r for r in found.routes if r.target == name]
        for route, part in zip(into, some, strict=True):
            kernel = part.form == "conv"
            if kernel and stays_conv(route.ways[0].ops, part.shape, route.exponent) is None:
                yield route.name


def _in_chunks(
    program: Program, parts: Mapping[str, list[Part]], held: Limits
) -> Mapping[str, Cut]:
    before = dict.fromkeys(parts, 0)
    for part in (p for into in parts.values() for p in into):
        if not isinstance(program.population(part.source).rule, Input):
            before[part.source] += nengo.slots_before(part)
    cuts = {
        name: nengo.cut(program.population(name).shape, into, held, before[name])
        for name, into in parts.items()
    }
    while True:  # cores that came of the cuts take axons of those that send to them
        placement = Placement(program, held, parts, cuts, nengo=True)
        slots = {name: int(placement.axons_out(name).max()) for name in cuts}
        full = [n for n, cut in cuts.items() if slots[n] > held.axons_out and cut.neurons.max() > 1]
        if not full:
            return cuts
        for name in full:
            cores = cuts[name].cores
            split = max(nengo.finer(cuts[name]), int(cores * slots[name] / held.axons_out))
            cuts[name] = nengo.split_into(split, program.population(name).shape, parts[name])


def _codes(part: Part, cut: Cut) -> Array:
    source, at = pairs(part, cut.core, cut.cores)
    return source * cut.cores + at
