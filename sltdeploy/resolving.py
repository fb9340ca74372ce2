"""Whatever a user calls a model: a path, a NIR graph, a ticket or a program, made ready to use."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from sltdeploy.convention_presets import Framework
from sltdeploy.errors import InputError, located
from sltdeploy.graph import write_nir
from sltdeploy.loading import load
from sltdeploy.lowering import lower
from sltdeploy.program import Array, Comparison, Decay, Program, Reset
from sltdeploy.ticket import Ticket
from sltdeploy.translation import translate

if TYPE_CHECKING:
    import nir

AnyModel: TypeAlias = "str | Path | nir.NIRGraph | Ticket | Program"


@dataclass(frozen=True)
class Resolved:
    """A model as a program, with the graph and the ticket that it came from, if any.

    ``source`` says what it was, for an artifact's provenance: content hashes, never paths.
    ``span`` are values (T, 1, *shape) that show the range and the grid of the input, where the
    model's metadata know them.
    ``metadata`` is what the model itself says, before any flag and convention.
    """

    program: Program
    graph: "nir.NIRGraph | None"
    ticket: Ticket | None
    source: dict[str, str]
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def span(self) -> Array | None:
        """0, the grid's step and the largest value, over all steps; None where unknown."""
        known = {} if self.graph is None else self.graph.metadata
        if not {"steps", "input_max", "input_bits"} <= set(known) or len(self.program.inputs) != 1:
            return None
        values = (0.0, 2.0 ** -int(known["input_bits"]), float(known["input_max"]))
        entry = np.resize(values, (max(int(known["steps"]), 3), 1, *self.program.inputs[0].shape))
        return entry if entry.size >= len(values) else None


def resolve(
    model: AnyModel,
    *,
    dt: float | None = None,
    reset: Reset | None = None,
    comparison: Comparison | None = None,
    decay: Decay | None = None,
    input_kind: str | None = None,
    convention: Framework | None = None,
) -> Resolved:
    """Load ``model`` if it is a path, and lower it; see `sltdeploy.lowering.lower`.

    A `Program` is lowered already: options for it raise `InputError`, as does anything that is no
    model. Violations carry the file's name.
    """
    if isinstance(model, str | Path):
        loaded = load(model, check=False)  # `lower` names wrong values with the rest
        with located(model):
            return resolve(
                loaded,
                dt=dt,
                reset=reset,
                comparison=comparison,
                decay=decay,
                input_kind=input_kind,
                convention=convention,
            )
    if isinstance(model, Program):
        options = (dt, reset, comparison, decay, input_kind, convention)
        if any(o is not None for o in options):
            raise InputError("a Program has its time step and convention: give none, or the graph")
        return Resolved(model, None, None, {"program": model.digest()})
    ticket = model if isinstance(model, Ticket) else None
    graph = model.graph() if isinstance(model, Ticket) else model
    translated = graph
    if convention is not None:
        translated = translate(
            graph, convention, dt=dt, reset=reset, comparison=comparison, decay=decay
        )
    program = lower(
        translated, dt, reset=reset, comparison=comparison, decay=decay, input_kind=input_kind
    )
    source = {"ticket": ticket.id} if ticket else {"nir": _digest(graph)}
    source |= {} if convention is None else {"convention": convention}
    return Resolved(program, translated, ticket, source, graph.metadata)


def _digest(graph: "nir.NIRGraph") -> str:
    return hashlib.sha256(write_nir(graph)).hexdigest()
