"""The state of a simulation as plain arrays by name, and back; samples first, as outside."""

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import numpy as np

from sltdeploy.integer_simulation.stepping import State
from sltdeploy.program import Array, Program

_Held: TypeAlias = tuple[str, str, Array]  # population, what of it, (neurons, [depth,] samples)


def kept(program: Program, state: State) -> dict[str, Array]:
    """Copy what goes from step to step, named and shaped as `sltdeploy.reference.State` has it.

    POPULATION.v and .j (int32), .past, the latest step first, and .last.
    """
    found: dict[str, Array] = {}
    for name, what, values in _held(state):
        shape = program.population(name).shape
        if what == "past":
            turned = np.moveaxis(values, (2, 1), (0, 1))[:, ::-1]
            found[f"{name}.past"] = turned.reshape(*turned.shape[:2], *shape).copy()
        else:
            plain = values.reshape(len(values), -1).T.reshape(-1, *shape)
            found[f"{name}.{what}"] = plain.astype(np.int32 if what in "vj" else plain.dtype)
    return found


def put(state: State, values: Mapping[str, Array]) -> None:
    """Go to ``values``, as `kept` gives them."""
    for name, what, held in _held(state):
        given = values[f"{name}.{what}"]
        if what == "past":
            flat = given.reshape(*given.shape[:2], -1)[:, ::-1]
            held[...] = np.moveaxis(flat, (0, 1), (2, 1))
        else:
            held[...] = given.reshape(len(given), -1).T.reshape(held.shape)


def _held(state: State) -> Iterator[_Held]:
    for name, membrane in state.membranes.items():
        yield name, "v", membrane.v
        if membrane.u is not None:
            yield name, "j", membrane.u
    for name, past in state.past.items():
        if past.size:
            yield name, "past", past
    for name, last in state.last.items():
        yield name, "last", last
