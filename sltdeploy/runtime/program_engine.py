"""Steps a program: by the reference, slow and right by definition, or fast in Loihi's integers."""

from collections.abc import Callable, Mapping
from typing import final

import numpy as np

from sltdeploy import reference
from sltdeploy.errors import InputError, located
from sltdeploy.integer_simulation import Simulation
from sltdeploy.program import Array, Program
from sltdeploy.program_file import from_bytes
from sltdeploy.runtime.manifest import EXPORT_AGAIN, PROGRAM, Manifest

NETWORK = "network.nir"


def read_program(manifest: Manifest, files: Mapping[str, bytes]) -> Program:
    """Program that the artifact was made from; `InputError` where it is not there or another."""
    if PROGRAM not in files:
        raise InputError(f"{manifest.folder}: the artifact has no {PROGRAM}: {EXPORT_AGAIN}")
    with located(manifest.folder / PROGRAM):
        program = from_bytes(files[PROGRAM])
        if program.digest() != manifest.program_digest:
            raise InputError(
                f"digest {program.digest()[:12]}..., the manifest says "
                f"{manifest.program_digest[:12]}...: {EXPORT_AGAIN}"
            )
    return program


def read_network(manifest: Manifest) -> Program:
    """Program that the artifact's NIR file means, lowered anew by the file's own metadata."""
    from sltdeploy.graph import read_nir
    from sltdeploy.lowering import lower

    path = manifest.folder / NETWORK
    graph = read_nir(path)
    with located(path):
        return lower(graph)


@final
class ProgramEngine:
    """`sltdeploy.runtime.engine.Engine` for any program."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._state: dict[str, reference.State] = {}

    def begin(self, batch: int) -> None:
        """Go to the first state."""
        self._state = reference.initial_state(self._program, batch)

    def advance(self, fed: Mapping[str, Array], *, record: bool) -> dict[str, Array]:
        """Run one step."""
        sent, self._state = reference.step(self._program, self._state, fed)
        return sent if record else {name: sent[name] for name in self._program.outputs}

    def state(self) -> dict[str, Array]:
        """Copy what the reference keeps, but for what is empty."""
        return {
            f"{name}.{what}": (values.astype(np.int32) if _wide(what, values) else values.copy())
            for name, held in self._state.items()
            for what, values in vars(held).items()
            if values is not None and values.size
        }

    def restore(self, values: Mapping[str, Array]) -> None:
        """Go to ``values``."""
        self._state = {
            name: reference.State(
                **{
                    what: None if old is None else _like(values.get(f"{name}.{what}"), old)
                    for what, old in vars(held).items()
                }
            )
            for name, held in self._state.items()
        }

    def close(self) -> None:
        """Nothing is held."""


@final
class IntegerEngine:
    """`sltdeploy.runtime.engine.SequenceEngine` for a "loihi" program; the reference's bits."""

    def __init__(self, program: Program) -> None:
        self._simulation = Simulation(program)

    def begin(self, batch: int) -> None:
        """Go to the first state."""
        self._simulation.begin(batch)

    def advance(self, fed: Mapping[str, Array], *, record: bool) -> dict[str, Array]:
        """Run one step."""
        now = {name: values[None] for name, values in fed.items()}
        return {n: values[0] for n, values in self._simulation.advance(now, record).items()}

    def advance_all(
        self,
        fed: Mapping[str, Array],
        *,
        record: bool,
        on_share: Callable[[float], None] | None = None,
    ) -> dict[str, Array]:
        """Run a sequence on from where the state is."""
        return self._simulation.advance(fed, record, on_share=on_share)

    def state(self) -> dict[str, Array]:
        """Copy what the simulation keeps."""
        return self._simulation.state()

    def restore(self, values: Mapping[str, Array]) -> None:
        """Go to ``values``."""
        self._simulation.restore(values)

    def close(self) -> None:
        """Nothing is held."""


def _wide(what: str, values: Array) -> bool:
    """Loihi's registers have 24 bits; the reference computes with 64."""
    return what in ("v", "j") and values.dtype == np.int64


def _like(given: Array | None, held: Array) -> Array:
    return held if given is None else given.astype(held.dtype)
