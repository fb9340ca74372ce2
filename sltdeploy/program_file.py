"""A `Program` as one file: safetensors for the arrays, JSON in its header for the rest.

An artifact carries this file, so that whoever has the artifact can run the reference and check
that the two agree. Equal programs give equal bytes.
"""

import json
from dataclasses import fields
from typing import Any, get_args

import numpy as np

from sltdeploy.errors import InputError
from sltdeploy.program import Array, Convention, Op, Population, Program, Projection, Rule

SCHEMA = 1
_KEY = "sltdeploy.program"
_PARTS = (Convention, Population, Program, Projection, *get_args(Op), *get_args(Rule))
_CLASSES: dict[str, Any] = {c.__name__: c for c in _PARTS}


def to_bytes(program: Program) -> bytes:
    """Write ``program`` as the bytes of a safetensors file."""
    from safetensors.numpy import save

    arrays: dict[str, Array] = {}
    structure = {"schema": SCHEMA, "program": _plain(program, arrays)}
    # One metadata key: safetensors keeps several in no fixed order.
    return save(arrays, {_KEY: json.dumps(structure, sort_keys=True)})


def from_bytes(data: bytes) -> Program:
    """Read what `to_bytes` wrote; `InputError` where the bytes are something else."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        structure = json.loads(header["__metadata__"][_KEY])
        schema = structure["schema"]
        if schema != SCHEMA:
            raise InputError(
                f"program file has schema {schema}, this sltdeploy reads {SCHEMA}: update sltdeploy"
            )
        program = _whole(structure["program"], arrays)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"not a program file of sltdeploy ({error}): export again") from None
    if not isinstance(program, Program):
        raise InputError("not a program file of sltdeploy: export again")
    return program


def _plain(item: Any, arrays: dict[str, Array]) -> Any:
    if isinstance(item, np.ndarray):
        name = f"{len(arrays):06d}"
        arrays[name] = np.ascontiguousarray(item).reshape(item.shape)
        return {"array": name}
    if isinstance(item, tuple):
        return {"tuple": [_plain(each, arrays) for each in item]}
    if type(item).__name__ in _CLASSES:
        parts = {f.name: _plain(getattr(item, f.name), arrays) for f in fields(item) if f.init}
        return {"type": type(item).__name__, "fields": parts}
    return item


def _whole(item: Any, arrays: dict[str, Array]) -> Any:
    match item:
        case {"array": name}:
            return arrays[name]
        case {"tuple": parts}:
            return tuple(_whole(each, arrays) for each in parts)
        case {"type": name, "fields": parts}:
            return _CLASSES[name](**{k: _whole(v, arrays) for k, v in parts.items()})
        case _:
            return item
