"""What a pass gives back: a program and where its neurons were before."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sltdeploy.program import Array, Program, Relay


@dataclass(frozen=True, eq=False)
class Simplified:
    """A program, and for each of its populations which neurons of the original it holds.

    ``kept`` maps a name to indices into the original population, flat in C order and ascending;
    population ``n`` of the program is ``original.reshape(-1)[kept[n]]`` in its own shape. A name
    that is missing went as a whole.
    """

    program: Program
    kept: Mapping[str, Array]

    def then(self, later: "Simplified") -> "Simplified":
        """Join with what a later pass made of this program: indices into the first original."""
        if later.program is self.program:
            return self
        return Simplified(
            later.program, {name: self.kept[name][at] for name, at in later.kept.items()}
        )

    def of(self, records: Mapping[str, Array]) -> dict[str, Array]:
        """Restrict records of the original, (T, B, *shape), to what is kept, in its new shape."""
        return {
            p.name: records[p.name]
            .reshape(*records[p.name].shape[:2], -1)[:, :, self.kept[p.name]]
            .reshape(*records[p.name].shape[:2], *p.shape)
            for p in self.program.populations
        }


def unchanged(program: Program) -> Simplified:
    """All of ``program``."""
    return Simplified(program, {p.name: np.arange(p.size) for p in program.populations})


def relays_in_circle(program: Program) -> bool:
    """Whether a loop has nothing but relays in it, which no graph is lowered to.

    What stands on such a loop before the first step depends on the whole loop, so that none of
    it may go; see `sltdeploy.resting.at_rest`.
    """
    relays = {p.name for p in program.populations if isinstance(p.rule, Relay)}
    between = [p for p in program.projections if p.source in relays and p.target in relays]
    waits = Counter(p.target for p in between)
    after: dict[str, list[str]] = {name: [] for name in relays}
    for p in between:
        after[p.source].append(p.target)
    free = [name for name in relays if not waits[name]]
    for name in free:  # grows while it is walked
        for target in after[name]:
            waits[target] -= 1
            if not waits[target]:
                free.append(target)
    return len(free) < len(relays)
