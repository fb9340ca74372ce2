"""From the MODEL argument to a program, with a word on every flag that overrules the file."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sltdeploy.cli.options import CompareRule, DecayRule, Framework, InputKind, ResetRule
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
    convention: Framework | None = None


def resolve_model(path: Path, flags: Flags) -> "Resolved":
    """Read the model in ``path`` and lower it as ``flags`` say; violations name the file."""
    from sltdeploy.resolving import resolve

    resolved = resolve(path, **vars(flags))
    for line in overruled(resolved.metadata, flags):
        note(f"{path}: {line}")
    return resolved


def overruled(metadata: Mapping[str, Any], flags: Flags) -> list[str]:
    """One line for each setting in the file's ``metadata`` that ``flags`` replace by another.

    ``--convention`` replaces what it fixes, unless another flag does.
    """
    from sltdeploy.convention_presets import settings

    said = {f"{flag} {value}": (key, value) for key, flag, value in _given(flags)}
    fixed = {} if flags.convention is None else settings(flags.convention)
    said |= {
        f"--convention {flags.convention} ({key} {value})": (key, value)
        for key, value in fixed.items()
        if getattr(flags, key) is None
    }
    return [
        f"{by} overrules the file's {key} = {metadata[key]}"
        for by, (key, value) in said.items()
        if key in metadata and metadata[key] != value
    ]


def _given(flags: Flags) -> Iterator[tuple[str, str, Any]]:
    for key, flag in FLAGS.items():
        value = getattr(flags, key)
        if value is not None:
            yield key, flag, value
