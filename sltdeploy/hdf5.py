"""HDF5 files read in one pass into plain dicts, and only what lies in the file itself.

HDF5 lets a file point to other files, by links, external storage and virtual datasets, and to
itself in circles; a reader that follows them reads what the sender chose. h5py's own view of a
group costs some 0.2 ms an entry; this walk uses its low-level calls.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from sltdeploy.errors import InputError, raise_all

Tree: TypeAlias = dict[str, Any]

MAX_BYTES = 4 * 2**30  # of declared array data in one file
MAX_DEPTH = 64  # of groups in groups


def read_tree(path: Path, root: str) -> Tree:
    """Read the group ``root`` of the file ``path``: groups as dicts, datasets as arrays or str.

    Raises `InputError` for a file that is no HDF5 or damaged, without that group, and with every
    link, external or virtual dataset, group linked twice and excess of size in it.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if root not in file:
                raise InputError(f"HDF5, but no NIR: it has no '{root}'; write it with nir.write")
            walk = _Walk(h5py)
            tree = walk.group(file.id, "")
            raise_all(walk.found)
            return tree[root]
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"not a NIR file ({reason}); write it with nir.write") from None


class _Walk:
    """Reads groups depth first and collects what must not be in them."""

    def __init__(self, low: Any) -> None:
        self.low = low  # h5py, whose low-level modules its stubs do not list
        self.found: list[str] = []
        self.seen: set[Any] = set()
        self.size = 0

    def group(self, group: Any, at: str) -> Tree:
        """Read one group; nothing is read any more once something was found."""
        h5py = self.low
        tree: Tree = {}
        if group in self.seen:
            self.found.append(f"group '{at}' is linked twice, which is refused")
            return tree
        if at.count("/") > MAX_DEPTH:
            self.found.append(f"group '{at}' lies {MAX_DEPTH} groups deep, which is refused")
            return tree
        self.seen.add(group)
        links = group.links  # each look makes an object that HDF5 has to register
        for key in group:
            name = key.decode("utf8", "replace")
            where = f"{at}/{name}"
            if links.get_info(key).type != h5py.h5l.TYPE_HARD:
                self.found.append(f"'{where}' is a link, data must lie in the file itself")
                continue
            item = h5py.h5o.open(group, key)
            if isinstance(item, h5py.h5g.GroupID):
                tree[name] = self.group(item, where)
            elif isinstance(item, h5py.h5d.DatasetID):
                shape, kind = item.shape, item.dtype
                self.found += self._wrong(item, where, shape, kind)
                if not self.found:
                    tree[name] = _value(h5py, item, shape, kind)
        return tree

    def _wrong(self, data: Any, where: str, shape: Any, kind: Any) -> Iterator[str]:
        h5py = self.low
        made = data.get_create_plist()
        if made.get_layout() == h5py.h5d.VIRTUAL or made.get_external_count():
            yield f"'{where}' is stored outside the file, which is refused"
        if shape is None:
            yield f"'{where}' holds nothing at all"
        before = self.size
        self.size += prod(shape or ()) * kind.itemsize
        if before <= MAX_BYTES < self.size:
            yield f"'{where}' brings the data to {self.size} bytes, the limit is {MAX_BYTES}"


def _value(h5py: Any, data: Any, shape: Any, kind: Any) -> Any:
    """Read a dataset: text as str, anything else as an array or numpy scalar."""
    array = np.empty(shape, kind)
    data.read(h5py.h5s.ALL, h5py.h5s.ALL, array)
    value = array if shape else array[()]
    return value.decode("utf8", "replace") if isinstance(value, bytes) else value
