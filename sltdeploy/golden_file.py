"""Golden vectors: a few steps of input, and what the reference makes of them.

An artifact carries them as ``golden.npz``, so that the machine that runs it can show that it
computes what the reference computed where the artifact was made.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sltdeploy.array_file import npz, read_npz
from sltdeploy.errors import InputError
from sltdeploy.ops import Array

GOLDEN = "golden.npz"
STEPS = 8


@dataclass(frozen=True, eq=False)
class Golden:
    """Inputs as they are fed, outputs as they leave the machine, each (T, 1, *shape).

    Both are in the order of the manifest, which has the names: any name is allowed there.
    """

    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]


def to_bytes(golden: Golden) -> bytes:
    """Write an .npz of ``input_0`` ... and ``output_0`` ...; same arrays, same bytes."""
    return npz({**_named("input", golden.inputs), **_named("output", golden.outputs)})


def from_bytes(data: bytes) -> Golden:
    """Read what `to_bytes` wrote; `InputError` where the bytes are something else."""
    arrays = read_npz(data)
    inputs, outputs = (
        tuple(arrays[n] for n in _names(arrays, what)) for what in ("input", "output")
    )
    if len(inputs) + len(outputs) != len(arrays):
        raise InputError(f"holds {', '.join(arrays)}, must be input_0 ... and output_0 ...")
    return Golden(inputs, outputs)


def _named(what: str, arrays: Sequence[Array]) -> dict[str, Array]:
    return {f"{what}_{k}": a for k, a in enumerate(arrays)}


def _names(arrays: dict[str, Array], what: str) -> list[str]:
    count = sum(name.startswith(f"{what}_") for name in arrays)
    return [name for k in range(count) if (name := f"{what}_{k}") in arrays]
