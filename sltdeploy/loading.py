"""Models from files: a NIR graph or a ticket, told apart by content, not by name."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from sltdeploy.errors import InputError
from sltdeploy.graph import read_nir
from sltdeploy.ticket import Ticket

if TYPE_CHECKING:
    import nir

Model: TypeAlias = "nir.NIRGraph | Ticket"

_HDF5 = b"\x89HDF\r\n\x1a\n"


def load(path: str | Path, *, check: bool = True) -> Model:
    """Read a ``.nir`` file or a ticket; without ``check`` a graph's values are left to `lower`.

    Raises `InputError` with the file and every violation: missing, of another kind, damaged,
    values that are not finite, time constants that are not positive.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: a folder; a model is a .nir file or a ticket.safetensors")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with path.open("rb") as file:
        start = file.read(9)
    if start.startswith(_HDF5):
        return read_nir(path, check=check)
    if start[8:9] == b"{":  # safetensors: eight bytes of length, then JSON
        return Ticket.load(path)
    raise InputError(f"{path}: neither a NIR file (HDF5) nor a ticket (safetensors)")
