"""A winning ticket: a sparse network, how it was found, and what it becomes.

One safetensors file, no pickle. Its tensors are ``weights/...``, ``masks/...`` and
``rewind/...``; its metadata is one JSON text with structure, recipe, history and the id. Equal
tickets are equal files.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sltdeploy.atomic import write_bytes
from sltdeploy.errors import InputError, raise_all
from sltdeploy.grid import Grid, snapped
from sltdeploy.layer_graph import to_graph
from sltdeploy.layers import Arrays, Layer, fold, problems
from sltdeploy.program import Array, Shape

if TYPE_CHECKING:
    import nir

FORMAT = "sltdeploy-ticket"
SCHEMA = 1
GROUPS = ("weights", "masks", "rewind")
KEY = "sltdeploy"  # one metadata key: safetensors writes several in any order


@dataclass(frozen=True, eq=False)
class Ticket:
    """A pruned network with its masks, the weights to rewind to, its recipe and history.

    ``weights`` are the arrays of `sltdeploy.layers`, batch normalisation included; ``masks``
    (bool) cover the prunable weights, ``rewind`` is where training starts again. ``recipe`` is
    JSON; its ``deployment`` holds dt [s], steps, grid ("exact", "none" or fraction bits),
    input_bits and input_max, see `sltdeploy.grid.Grid`. ``history`` has one entry a round.

    Always true, or `InputError` with every violation: weights == weights * masks, shapes agree,
    the network is complete, all is finite. Arrays are read-only.
    """

    layers: tuple[Layer, ...]
    input_shape: Shape
    weights: Arrays
    masks: Arrays
    rewind: Arrays
    recipe: Mapping[str, Any]
    history: tuple[Mapping[str, Any], ...] = field(default=())

    def __post_init__(self) -> None:
        for group in GROUPS:
            arrays = {key: np.array(value) for key, value in sorted(getattr(self, group).items())}
            for array in arrays.values():
                array.flags.writeable = False
            object.__setattr__(self, group, MappingProxyType(arrays))
        raise_all(_problems(self))

    @cached_property
    def id(self) -> str:
        """SHA-256 (hex) of the content: equal for equal tickets, on any machine."""
        sha = hashlib.sha256(_canonical(_content(self)).encode())
        for name, array in _tensors(self).items():
            sha.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
            sha.update(array.tobytes())
        return sha.hexdigest()

    @property
    def dt(self) -> float:
        """Time step in seconds."""
        return float(self.recipe["deployment"]["dt"])

    @property
    def steps(self) -> int:
        """Number of time steps T that one sample is shown."""
        return int(self.recipe["deployment"]["steps"])

    @property
    def nonzero(self) -> dict[str, int]:
        """Number of weights that are left, by array name."""
        return {name: int(mask.sum()) for name, mask in self.masks.items()}

    @property
    def sparsity(self) -> float:
        """Share of the prunable weights that are pruned, 0 to 1."""
        total = sum(mask.size for mask in self.masks.values())
        return 1 - sum(self.nonzero.values()) / total

    def deployed(self) -> tuple[tuple[Layer, ...], dict[str, Array]]:
        """Layers and arrays as deployed: batch normalisation folded, weights on the grid."""
        grid = grid_of(self.recipe)
        if grid is None:
            return fold(self.layers, self.weights)
        return snapped(self.layers, self.weights, self.dt, grid)

    def graph(self) -> "nir.NIRGraph":
        """Write the deployed network as a NIR graph; its metadata name the ticket by id."""
        layers, arrays = self.deployed()
        graph = to_graph(layers, arrays, self.input_shape, self.dt)
        asked = self.recipe["deployment"]
        graph.metadata |= {
            "ticket": self.id,
            "steps": self.steps,
            "input_bits": int(asked["input_bits"]),
            "input_max": float(asked["input_max"]),
        }
        return graph

    def save(self, path: str | Path) -> None:
        """Write the ticket to ``path``, replacing a file there in one step."""
        from safetensors.numpy import save

        text = _canonical({**_content(self), "id": self.id})
        write_bytes(Path(path), save(_tensors(self), metadata={KEY: text}))

    @staticmethod
    def load(path: str | Path) -> "Ticket":
        """Read a ticket and check its id.

        Raises `InputError` with the file where it is missing, damaged, altered, no ticket, or
        of a newer schema.
        """
        return _read(Path(path))


def grid_of(recipe: Mapping[str, Any]) -> Grid | None:
    """Return the grid that a ticket's recipe asks for; None where it asks for none."""
    asked = recipe["deployment"]
    if asked["grid"] == "none":
        return None
    bits = None if asked["grid"] == "exact" else int(asked["grid"])
    return Grid(
        bits=bits,
        steps=int(asked["steps"]),
        input_bits=int(asked["input_bits"]),
        input_max=float(asked["input_max"]),
    )


def _problems(ticket: Ticket) -> Iterator[str]:
    deployment = ticket.recipe.get("deployment")
    keys = ("dt", "steps", "grid", "input_bits", "input_max")
    if not isinstance(deployment, Mapping):
        yield "recipe has no 'deployment'"
        return
    missing = [key for key in keys if key not in deployment]
    if missing:
        yield f"recipe: deployment has no {', '.join(missing)}"
        return
    yield from problems(ticket.layers, ticket.weights, ticket.dt)
    if not ticket.masks:
        yield "the ticket has no masks"
    for name, mask in ticket.masks.items():
        weight = ticket.weights.get(name)
        if mask.dtype != bool:
            yield f"mask '{name}' has dtype {mask.dtype}, must be bool"
        elif weight is None or weight.shape != mask.shape:
            yield f"mask '{name}' {mask.shape} belongs to no weight of that shape"
        elif (weight[~mask] != 0).any():
            alive = int((weight[~mask] != 0).sum())
            yield f"weight '{name}': {alive} weights are not 0 where the mask prunes them"
    for name, array in ticket.rewind.items():
        if name not in ticket.weights or array.shape != ticket.weights[name].shape:
            yield f"rewind '{name}' {array.shape} belongs to no weight of that shape"
        elif not np.isfinite(array).all():
            yield f"rewind '{name}' holds NaN or infinity"


def _content(ticket: Ticket) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "schema": SCHEMA,
        "layers": [
            {"kind": layer.kind, "name": layer.name, "options": dict(layer.options)}
            for layer in ticket.layers
        ],
        "input_shape": list(ticket.input_shape),
        "recipe": dict(ticket.recipe),
        "history": [dict(entry) for entry in ticket.history],
    }


def _canonical(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _tensors(ticket: Ticket) -> dict[str, Array]:
    """All arrays by name, sorted, contiguous and little-endian."""
    found = {f"{g}/{name}": array for g in GROUPS for name, array in getattr(ticket, g).items()}
    return {
        name: np.ascontiguousarray(found[name].astype(found[name].dtype.newbyteorder("<")))
        for name in sorted(found)
    }


def _read(path: Path) -> Ticket:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(KEY)
            if text is None:
                raise InputError(f"{path}: a safetensors file, but no ticket (no '{KEY}' metadata)")
            content = json.loads(text)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        raise InputError(f"{path}: damaged or no safetensors file ({error})") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path}: no ticket, its format is not '{FORMAT}'")
    known = cast("dict[str, Any]", content)
    schema = known.get("schema")
    if schema != SCHEMA:
        raise InputError(
            f"{path}: ticket schema {schema}, this version reads {SCHEMA}: upgrade sltdeploy"
        )
    try:
        ticket = _build(known, arrays)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path}: damaged ticket ({reason})") from None
    except InputError as error:
        raise InputError(*(f"{path}: {line}" for line in error.violations)) from None
    if ticket.id != known.get("id"):
        raise InputError(
            f"{path}: content does not match the id {known.get('id')}: the file was altered "
            "after it was written, take the original"
        )
    return ticket


def _build(content: Mapping[str, Any], arrays: Arrays) -> Ticket:
    groups: dict[str, dict[str, Array]] = {group: {} for group in GROUPS}
    for name, array in arrays.items():
        group, _, rest = name.partition("/")
        groups[group][rest] = array
    return Ticket(
        layers=tuple(Layer(i["kind"], i["name"], i["options"]) for i in content["layers"]),
        input_shape=tuple(int(n) for n in content["input_shape"]),
        weights=groups["weights"],
        masks=groups["masks"],
        rewind=groups["rewind"],
        recipe=content["recipe"],
        history=tuple(content["history"]),
    )
