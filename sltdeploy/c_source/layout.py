"""What a state holds: members of the struct, widest first, so that nothing needs padding."""

from dataclasses import dataclass

import numpy as np

from sltdeploy.c_source.kernels import short
from sltdeploy.c_source.plan import Cell, Plan, neuron_state
from sltdeploy.c_source.pushing import Emitted
from sltdeploy.c_source.rules import slots
from sltdeploy.c_source.text import comment, smallest_unsigned
from sltdeploy.program import DelayLine, Input


@dataclass(frozen=True)
class Member:
    """An array in the struct; ``what`` of ``population`` it is, "" for scratch space.

    That is "v", "j", "x" (the sum), "sent", "last" (sent, and read again in the step after),
    "past" (the ring of a delay, of ``depth`` steps that count) or "place" (where it begins).
    """

    name: str
    kind: str
    count: int
    population: str
    what: str
    why: str
    depth: int = 0

    @property
    def bytes(self) -> int:
        """Size of the array."""
        return np.dtype(self.kind).itemsize * self.count


def members(made: Plan, emitted: Emitted) -> tuple[Member, ...]:
    """All members, in the order of the struct."""
    found = [m for cell in made.cells for m in _of(cell)]
    found += [
        Member(f"between_{short(kind)}_{k}", kind, count, "", "", "between two kernels")
        for (kind, k), count in sorted(emitted.between.items())
    ]
    if emitted.active:
        kind = np.dtype(smallest_unsigned(emitted.active - 1)).name
        found += [
            Member("active", kind, emitted.active, "", "", "places of the spikes"),
            Member("groups", kind, emitted.active // 8 + 1, "", "", "eight places each"),
        ]
    return tuple(sorted(found, key=lambda m: (-np.dtype(m.kind).itemsize, m.kind != "float32")))


def _of(cell: Cell) -> list[Member]:
    me, name, rule = cell.identifier, cell.population.name, cell.population.rule
    shown = comment(name)
    if isinstance(rule, Input):
        if cell.rest is None:
            return []
        return [Member(f"sent_{me}", cell.sent, cell.size, name, "last", f"last of {shown}")]
    assert cell.sum is not None, "only inputs have no sum"
    what = "sent" if cell.rest is None else "last"
    found = [
        Member(f"x_{me}", cell.sum.kind, cell.size, name, "x", f"arrives at {shown}"),
        Member(f"sent_{me}", cell.sent, cell.size, name, what, f"left {shown} last"),
        *(
            Member(f"{kept}_{me}", kind, cell.size, name, kept, "")
            for kept, kind in neuron_state(cell).items()
        ),
    ]
    if isinstance(rule, DelayLine):
        count = slots(rule) * cell.size
        ring = Member(f"ring_{me}", cell.sent, count, name, "past", "", rule.depth)
        found += [ring, Member(f"place_{me}", "uint32", 1, name, "place", "of the ring")]
    return found
