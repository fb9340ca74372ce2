"""What a network did: everything that left each population, step by step."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sltdeploy.errors import raise_all
from sltdeploy.program import Array, Program


@dataclass(frozen=True, eq=False)
class Trace:
    """Spikes (bool) or values (float32 or int32) by population, each (T, B, *shape).

    Inputs are recorded as they entered, after any conversion to integers.
    """

    program: Program
    records: Mapping[str, Array]

    def __post_init__(self) -> None:
        raise_all(self._problems())

    def _problems(self) -> list[str]:
        heads = {r.shape[:2] for r in self.records.values()}
        found: list[str] = []
        if len(heads) > 1:
            found.append(f"records disagree in (T, B): {sorted(heads)}")
        for p in self.program.populations:
            record = self.records.get(p.name)
            if record is None:
                found.append(f"population '{p.name}' has no record")
            elif record.shape[2:] != p.shape:
                found.append(f"record of '{p.name}' has {record.shape[2:]}, must be {p.shape}")
        return found

    @property
    def steps(self) -> int:
        """Number of time steps T."""
        return next(iter(self.records.values())).shape[0]

    @property
    def batch(self) -> int:
        """Number of samples B."""
        return next(iter(self.records.values())).shape[1]

    @property
    def output(self) -> Array:
        """Record of the first output, (T, B, *shape), in the units of the float program."""
        return scaled(self.program, self.program.outputs[0], self.records[self.program.outputs[0]])


def scaled(program: Program, name: str, record: Array) -> Array:
    """Values of population ``name`` in float units: integer readouts divided by their ``unit``."""
    unit = getattr(program.population(name).rule, "unit", None)
    if unit is None or program.population(name).spiking:
        return record
    return (record / unit).astype(np.float32)


def decision(output: Array) -> Array:
    """Class per sample: argmax over the sum of (T, B, n) over time; ties go to the lower index."""
    return np.asarray(output, dtype=np.float64).sum(axis=0).argmax(axis=-1)
