"""The state of a search, whole after every epoch: what a resumed search continues from."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sltdeploy.atomic import write_bytes
from sltdeploy.errors import InputError
from sltdeploy.layers import Arrays
from sltdeploy.program import Array

SCHEMA = 1
KEY = "sltdeploy-search"
GROUPS = ("weights", "momentum", "masks", "rewind")


@dataclass(frozen=True, eq=False)
class State:
    """Where a search stands: ``epoch`` epochs of round ``round`` are done, ``loss`` is the last.

    ``rewind`` is empty before the rewind epoch of round 0. ``history`` has the finished rounds.
    There is no random state: each epoch's generator follows from seed, round and epoch.
    """

    round: int
    epoch: int
    loss: float
    weights: Arrays
    momentum: Arrays
    masks: Arrays
    rewind: Arrays
    history: tuple[Mapping[str, Any], ...] = ()


def save(path: Path, state: State, recipe: Mapping[str, Any]) -> None:
    """Write the state and its recipe to ``path`` in one step (safetensors, no pickle)."""
    from safetensors.numpy import save as to_bytes

    tensors: dict[str, Array] = {
        f"{group}/{name}": np.ascontiguousarray(array)
        for group in GROUPS
        for name, array in sorted(getattr(state, group).items())
    }
    head = {
        "schema": SCHEMA,
        "round": state.round,
        "epoch": state.epoch,
        "loss": state.loss,
        "history": [dict(entry) for entry in state.history],
        "recipe": dict(recipe),
    }
    write_bytes(path, to_bytes(tensors, metadata={KEY: json.dumps(head, sort_keys=True)}))


def load(path: Path, recipe: Mapping[str, Any]) -> State:
    """Read a state back; `InputError` where it is damaged or of another recipe."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            head = json.loads((file.metadata() or {})[KEY])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        groups: dict[str, dict[str, Array]] = {group: {} for group in GROUPS}
        for name, array in arrays.items():
            group, _, rest = name.partition("/")
            groups[group][rest] = array
        schema, before = int(head["schema"]), head["recipe"]
        state = State(
            round=int(head["round"]),
            epoch=int(head["epoch"]),
            loss=float(head["loss"]),
            history=tuple(head["history"]),
            **groups,
        )
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: damaged checkpoint ({type(error).__name__}: {error}): remove it to start anew"
        ) from None
    if schema != SCHEMA:
        raise InputError(f"{path}: checkpoint schema {schema}, this version resumes {SCHEMA}")
    changed = _differences(before, recipe)
    if changed:
        raise InputError(*(f"{path}: was written with another recipe: {line}" for line in changed))
    return state


def _differences(before: Any, now: Any, at: str = "") -> list[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        return [
            line
            for key in sorted({*map(str, before), *map(str, now)})
            for line in _differences(before.get(key), now.get(key), f"{at}.{key}" if at else key)
        ]
    return [] if before == now else [f"'{at}' was {before!r}, is {now!r}"]
