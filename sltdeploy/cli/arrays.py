"""Arrays between files and commands: X.npy in, Y.npz out."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sltdeploy.errors import InputError, located

if TYPE_CHECKING:
    from sltdeploy.program import Array


def read(path: Path) -> "Array | dict[str, Array]":
    """Read a .npy file, or a .npz with one array for each input by name; never a pickle."""
    import numpy as np

    if not path.is_file():
        raise InputError(f"{path}: no such file; give a .npy array of shape (T, B, ...)")
    try:
        loaded = np.load(path, allow_pickle=False)
        return loaded if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a .npy array ({reason}); write it with numpy.save") from None


def read_for(artifact: Path, path: Path) -> "Array | dict[str, Array]":
    """Read what the artifact is to be fed; a wrong shape or value is told with the file's name."""
    from sltdeploy.feeding import conform
    from sltdeploy.runtime.manifest import read as manifest_of

    inputs = manifest_of(artifact).inputs
    loaded = read(path)
    with located(path):
        conform(inputs, loaded, ("T", "B"))
    return loaded


def read_one(path: Path) -> "Array":
    """Read a .npy file."""
    loaded = read(path)
    if isinstance(loaded, dict):
        raise InputError(f"{path}: a .npz of several arrays; give one .npy array")
    return loaded


def npz(arrays: "Mapping[str, Array]") -> bytes:
    """The bytes of a .npz; unlike numpy.savez any name will do, and equal input, equal bytes."""
    import numpy as np

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()
