"""Named arrays as the bytes of a .npz: equal arrays, equal bytes."""

import io
import zipfile
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from sltdeploy.errors import InputError
from sltdeploy.ops import Array

WRITTEN = (1980, 1, 1, 0, 0, 0)  # instead of the time of writing
Arrays: TypeAlias = Mapping[str, Array]


def npz(arrays: Arrays) -> bytes:
    """Write ``arrays``, by name in alphabetical order, little-endian."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            part = io.BytesIO()
            little = arrays[name].astype(arrays[name].dtype.newbyteorder("<"), copy=False)
            np.lib.format.write_array(part, little, allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=WRITTEN)
            info.external_attr = 0o644 << 16
            archive.writestr(info, part.getvalue(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def read_npz(data: bytes) -> dict[str, Array]:
    """Read what `npz` wrote, never a pickle; `InputError` where it is something else."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {
                name.removesuffix(".npy"): np.lib.format.read_array(
                    io.BytesIO(archive.read(name)), allow_pickle=False
                )
                for name in archive.namelist()
            }
    except (
        Exception
    ) as error:  # zipfile, zlib and numpy raise a dozen kinds, Python's tokenizer too
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"not an .npz of arrays ({why})") from None
