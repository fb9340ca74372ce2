"""From the MODEL argument to a program, with a word on every flag that overrules the file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sltdeploy.cli.options import CompareRule, DecayRule, InputKind, ResetRule
from sltdeploy.cli.outcome import note

if TYPE_CHECKING:
    from sltdeploy.resolving import Resolved

FLAGS = {  # setting: its flag
    "dt": "--dt",
    "reset": "--reset",
    "comparison": "--compare",
    "decay": "--decay",
    "input_kind": "--input-kind",
}


@dataclass(frozen=True)
class Flags:
    """How to read a model, as the command line says; None where the model decides."""

    dt: float | None = None
    reset: ResetRule | None = None
    comparison: CompareRule | None = None
    decay: DecayRule | None = None
    input_kind: InputKind | None = None


def resolve_model(path: Path, flags: Flags) -> "Resolved":
    """Read the model in ``path`` and lower it as ``flags`` say; violations name the file."""
    from sltdeploy.resolving import resolve

    resolved = resolve(path, **vars(flags))
    if resolved.graph is not None:
        for line in overruled(resolved.graph.metadata, flags):
            note(f"{path}: {line}")
    return resolved


def overruled(metadata: Mapping[str, Any], flags: Flags) -> list[str]:
    """One line for each setting in the file's ``metadata`` that ``flags`` replace by another."""
    return [
        f"{FLAGS[key]} {value} overrules the file's {key} = {metadata[key]}"
        for key, value in vars(flags).items()
        if value is not None and key in metadata and metadata[key] != value
    ]
