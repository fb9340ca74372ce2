"""manifest.json, read and checked: what an artifact says about itself."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sltdeploy.errors import InputError, raise_all
from sltdeploy.program import Input, Population, Shape

FORMAT = "sltdeploy-artifact"
SCHEMA = 1
NAME = "manifest.json"
PROGRAM = "program.safetensors"
EXPORT_AGAIN = "export the artifact again"

# What must be there, and of which kind.
FIELDS: Mapping[str, type] = {
    "exporter": str,
    "numbers": str,
    "inputs": list,
    "outputs": list,
    "populations": list,
    "latency_steps": int,
    "program_digest": str,
    "files": dict,
}


@dataclass(frozen=True)
class Output:
    """What `step` returns; unit is how much 1 in the float program is here, or None for 1."""

    name: str
    shape: Shape
    spiking: bool
    unit: float | None


@dataclass(frozen=True)
class Manifest:
    """The manifest of the artifact in ``folder``; ``data`` is all of it, as read."""

    folder: Path
    data: Mapping[str, Any]
    exporter: str
    numbers: str
    inputs: tuple[Population, ...]
    outputs: tuple[Output, ...]
    shapes: Mapping[str, Shape]
    spiking: frozenset[str]
    latency_steps: int
    program_digest: str
    hashes: Mapping[str, str]


def read(folder: Path) -> Manifest:
    """Read ``folder/manifest.json``; `InputError` where it is missing or not as written by us."""
    path = folder / NAME
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; an artifact is a folder that export made")
    try:
        data = json.loads(path.read_text("utf8"))
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}: this folder is no artifact, or its export did not finish"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}): {EXPORT_AGAIN}") from None
    raise_all(f"{path}: {why}" for why in _problems(data))
    try:
        return _manifest(folder, data)
    except (KeyError, TypeError, ValueError) as error:
        why = f"entry {error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path}: {why}: {EXPORT_AGAIN}") from None


def read_files(manifest: Manifest, *, verify: bool = True) -> dict[str, bytes]:
    """Content of every file of the artifact, each compared with its hash if ``verify``.

    Raises `InputError` with every file that is missing or was changed.
    """
    contents: dict[str, bytes] = {}
    found: list[str] = []
    for name, expected in manifest.hashes.items():
        path = manifest.folder / name
        try:
            contents[name] = path.read_bytes()
        except OSError as error:
            found.append(f"{path}: {error.strerror}: the manifest names it, {EXPORT_AGAIN}")
            continue
        got = hashlib.sha256(contents[name]).hexdigest()
        if verify and got != expected:
            found.append(
                f"{path}: was changed after export: sha256 {got[:12]}..., the manifest says "
                f"{expected[:12]}...: {EXPORT_AGAIN}"
            )
    raise_all(found)
    return contents


def _problems(data: Any) -> Iterator[str]:
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        yield f"no manifest of an artifact: format is not '{FORMAT}'"
        return
    if data.get("schema") != SCHEMA:
        yield f"schema {data.get('schema')!r}, this sltdeploy reads {SCHEMA}: update sltdeploy"
        return
    for key, kind in FIELDS.items():
        if key not in data:
            yield f"'{key}' is missing: {EXPORT_AGAIN}"
        elif not isinstance(data[key], kind) or isinstance(data[key], bool):
            yield f"'{key}' is {data[key]!r}, must be {kind.__name__}: {EXPORT_AGAIN}"
    files = data.get("files")
    for name, value in files.items() if isinstance(files, dict) else ():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
            yield f"file '{name}' leads out of the folder"
        if not (isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value)):
            yield f"hash of '{name}' is {value!r}, must be a sha256 in hex: {EXPORT_AGAIN}"


def _manifest(folder: Path, data: dict[str, Any]) -> Manifest:
    shapes = {str(p["name"]): _shape(p) for p in data["populations"]}
    for p in (*data["inputs"], *data["outputs"]):
        if shapes.get(p["name"]) != _shape(p):
            raise ValueError(f"'{p['name']}' {_shape(p)} is none of the populations {shapes}")
    return Manifest(
        folder,
        data,
        data["exporter"],
        data["numbers"],
        tuple(_input(p) for p in data["inputs"]),
        tuple(
            Output(
                str(p["name"]),
                _shape(p),
                p["kind"] == "spikes",
                None if p["unit"] is None else float(p["unit"]),
            )
            for p in data["outputs"]
        ),
        shapes,
        frozenset(p["name"] for p in data["populations"] if p["spiking"]),
        data["latency_steps"],
        data["program_digest"],
        data["files"],
    )


def _input(p: Mapping[str, Any]) -> Population:
    low, high = (None if p[key] is None else int(p[key]) for key in ("low", "high"))
    if p["kind"] not in ("spikes", "graded"):
        raise ValueError(f"input '{p['name']}' is of kind {p['kind']!r}, must be spikes or graded")
    return Population(str(p["name"]), _shape(p), Input(p["kind"], float(p["scale"]), low, high))


def _shape(p: Mapping[str, Any]) -> Shape:
    shape = tuple(p["shape"])
    if not shape or not all(isinstance(n, int) and n > 0 for n in shape):
        raise ValueError(f"'{p['name']}' has shape {p['shape']}, must be positive integers")
    return shape
