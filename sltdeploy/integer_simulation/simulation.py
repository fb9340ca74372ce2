"""A program in Loihi's integers over many samples, a chunk of steps at a time."""

from collections.abc import Callable, Mapping
from typing import final

import numpy as np

from sltdeploy.errors import InputError, raise_all
from sltdeploy.feeding import conform
from sltdeploy.integer_simulation.keeping import kept, put
from sltdeploy.integer_simulation.planning import Plan, plan
from sltdeploy.integer_simulation.stepping import State, first_state, through
from sltdeploy.program import Array, Program

# What passes a layer at once, to stay in the cache: columns are samples times steps, values are
# columns times the neurons of the largest population.
MOST_COLUMNS, MOST_VALUES = 512, 2**19
MOST_SAMPLES = 128


@final
class Simulation:
    """Steps a "loihi" program, bit for bit as `sltdeploy.reference` does.

    The state is kept from one `advance` to the next: however a sequence is cut, the result is
    the same. Raises `InputError` where the program is in floats or divides.
    """

    def __init__(self, program: Program) -> None:
        if program.numbers != "loihi":
            raise InputError(
                f"the program is in {program.numbers}, this simulation is for Loihi's integers: "
                "quantise it, or use sltdeploy.reference"
            )
        self.program = program
        self._plan: Plan = plan(program)
        largest = max(p.size for p in program.populations)
        self._columns = min(MOST_COLUMNS, MOST_VALUES // largest)
        self._parts: list[tuple[slice, State]] = []
        self._batch = 0

    def begin(self, batch: int) -> None:
        """Go to the first state, for ``batch`` samples."""
        if batch < 0:
            raise InputError(f"batch size is {batch}, must be 0 or more")
        cuts = range(0, batch, MOST_SAMPLES)
        parts = [slice(k, min(k + MOST_SAMPLES, batch)) for k in cuts]
        self._parts = [(s, first_state(self._plan, s.stop - s.start)) for s in parts]
        self._batch = batch

    def advance(
        self,
        x: Mapping[str, Array],
        record: bool = False,
        *,
        potentials: bool = False,
        on_share: Callable[[float], None] | None = None,
    ) -> dict[str, Array]:
        """Feed what enters, {input: (T, B, *shape)}: 0/1 or the integers of a graded input.

        Returns what left the outputs, with ``record`` every population: spikes (bool), values of
        neurons (int32), of relays and delay lines (int64), (T, B, *shape); with ``potentials``
        also v of each population of neurons after each step (int32), under its name and ".v".
        ``on_share`` gets the share of x that is done, now and then.
        Raises `InputError` where x has another batch size than the state.
        """
        steps, batch = next(iter(x.values())).shape[:2]
        if batch != self._batch:
            raise InputError(f"the input has {batch} samples, the state {self._batch}: call begin")
        if potentials:
            raise_all(
                f"population '{n}.v' has the name that the membrane of '{n}' would get: rename it"
                for n in self._plan.layers
                if f"{n}.v" in self._plan.kinds
            )
        wanted = [p for p in self.program.populations if record or p.name in self.program.outputs]
        sent = {
            p.name: np.empty((steps, batch, *p.shape), self._plan.kinds[p.name])
            for p in wanted
            if p.name not in x
        }
        seen = {
            name: np.empty((steps, batch, *self.program.population(name).shape), np.int32)
            for name in (self._plan.layers if potentials else ())
        }
        for samples, state in self._parts:
            chunk = max(1, self._columns // (samples.stop - samples.start))
            for start in range(0, steps, chunk):
                at = slice(start, min(start + chunk, steps)), samples
                fed = {name: values[at] for name, values in x.items()}
                left, membranes = through(self._plan, state, fed, potentials=potentials)
                _write(sent, at, left)
                _write(seen, at, membranes)
                if on_share is not None:
                    here = (samples.stop - samples.start) * at[0].stop
                    on_share((samples.start * steps + here) / (batch * steps))
        sent |= {p.name: x[p.name] for p in wanted if p.name in x}
        return sent | {f"{name}.v": values for name, values in seen.items()}

    def state(self) -> dict[str, Array]:
        """Copy what goes from step to step, (B, ...); see `keeping.kept`."""
        parts = [kept(self.program, state) for _, state in self._parts]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def restore(self, values: Mapping[str, Array]) -> None:
        """Go to ``values``, which `state` gave for the same program and batch size."""
        for samples, state in self._parts:
            put(state, {name: a[samples] for name, a in values.items()})


def _write(whole: Mapping[str, Array], at: tuple[slice, slice], parts: Mapping[str, Array]) -> None:
    """Put parts (neurons, steps, samples) where they belong in arrays (T, B, *shape)."""
    for name, values in whole.items():
        here = values[at]
        here[...] = np.moveaxis(parts[name], 0, -1).reshape(here.shape)


def run(program: Program, x: Array | Mapping[str, Array]) -> dict[str, Array]:
    """What left each population over ``x`` (T, B, *shape), as `reference.run` records it."""
    fed = conform(program.inputs, x, ("T", "B"))
    simulation = Simulation(program)
    simulation.begin(next(iter(fed.values())).shape[1])
    return simulation.advance(fed, record=True)
