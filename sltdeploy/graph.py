"""NIR graphs: reading, writing, what must hold of each node, our metadata keys.

NIR says what a network means in continuous time; it has no time step, reset rule or comparison.
We keep these in the graph's ``metadata``, which survives `nir.write` and `nir.read`:

================  ==========================  ==========================================
key               value                       meaning
================  ==========================  ==========================================
``dt``            float, seconds              time step the network was made for
``reset``         ``zero`` or ``subtract``    to ``v_reset``, or by the threshold
``comparison``    ``gt`` or ``ge``            spike where v > threshold, or v >= threshold
``decay``         ``euler``, ``exponential``  1 - dt/tau, or exp(-dt/tau)
``input_kind``    ``spikes`` or ``graded``    what enters: 0 and 1, or real numbers
``steps``         int                         steps T for which a sample is shown
``input_max``     float                       largest value that enters; the smallest is 0
``input_bits``    int                         what enters is a multiple of ``2**-input_bits``
``ticket``        hex digest                  the ticket that it came from
================  ==========================  ==========================================
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sltdeploy.errors import InputError, located, raise_all

if TYPE_CHECKING:
    import h5py
    import nir

NEURONS = ("LIF", "LI", "IF", "I", "CubaLIF", "CubaLI")
CONNECTIONS = ("Affine", "Linear", "Scale", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten")
ENDS = ("Input", "Output")
SUPPORTED = (*ENDS, *CONNECTIONS, *NEURONS)
TIME_CONSTANTS = ("tau", "tau_syn", "tau_mem")  # seconds

CHOICES = {
    "reset": ("zero", "subtract"),
    "comparison": ("gt", "ge"),
    "decay": ("euler", "exponential"),
    "input_kind": ("spikes", "graded"),
}
MAX_BYTES = 4 * 2**30  # of declared array data in one file


def read_nir(path: Path) -> "nir.NIRGraph":
    """Read a NIR file; its values are checked by `problems`, its meaning by `lower`.

    Raises `InputError` with the file, and each node and value that is wrong. Links to other
    files, external storage and virtual datasets are refused: they would read what lies outside
    the file.
    """
    import h5py
    import nir

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with located(path):
        try:
            with h5py.File(path, "r") as file:
                raise_all(_outside(file))
                if "node" not in file:
                    raise InputError("HDF5, but no NIR: it has no 'node'; write it with nir.write")
                tree = _tree(file["node"])
        except OSError as error:
            raise InputError(f"not a NIR file ({_short(error)}); write it with nir.write") from None
        try:
            graph = nir.dict2NIRNode({**tree, "type_check": False})
        except Exception as error:  # nir raises whatever its constructors meet
            reason = _short(error) or type(error).__name__
            raise InputError(f"nir cannot build the graph: {reason}") from None
        if not isinstance(graph, nir.NIRGraph):
            raise InputError(f"holds a single {type(graph).__name__}, not a NIRGraph")
        raise_all(problems(graph))
    return graph


def write_nir(graph: "nir.NIRGraph") -> bytes:
    """Write ``graph`` as the bytes of a NIR file; equal graphs give equal bytes.

    Written to memory first: `nir.write` on a full disk ends the process.
    """
    import nir

    buffer = io.BytesIO()
    nir.write(buffer, graph)  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


def problems(graph: "nir.NIRGraph") -> Iterator[str]:
    """What is wrong with nodes, edges and metadata, one line each: node, value, limit, fix."""
    for name, node in graph.nodes.items():
        kind = type(node).__name__
        if kind not in SUPPORTED:
            yield f"node '{name}': {kind} is not supported, these are: {', '.join(SUPPORTED)}"
            continue
        for key, value in _numbers(node):
            bad = _bad_number(kind, key, value)
            if bad:
                yield f"node '{name}': {kind}.{key} {bad}"
    for source, target in graph.edges:
        for end in (source, target):
            if end not in graph.nodes:
                yield f"edge {source} -> {target}: node '{end}' is missing"
    for kind in ENDS:
        if not any(type(n).__name__ == kind for n in graph.nodes.values()):
            yield f"the graph has no {kind} node"
    for key, allowed in CHOICES.items():
        if key in graph.metadata and graph.metadata[key] not in allowed:
            yield f"metadata {key} is {graph.metadata[key]!r}, must be one of {', '.join(allowed)}"


def _numbers(node: Any) -> Iterator[tuple[str, np.ndarray]]:
    for key, value in vars(node).items():
        if isinstance(value, np.ndarray | np.generic | int | float):
            yield key, np.asarray(value)


def _bad_number(kind: str, key: str, value: np.ndarray) -> str:
    """What is wrong with one parameter, or an empty string."""
    if value.dtype.kind not in "biuf":
        return f"has dtype {value.dtype}, must be real numbers"
    off = np.argwhere(~np.isfinite(value))
    if len(off):
        at = tuple(int(k) for k in off[0])
        return f"is {value[at]} at {at} ({len(off)} of {value.size}), must be finite"
    if key in TIME_CONSTANTS and (value <= 0).any():
        return f"is {value.min():g} s, must be positive: is it in seconds?"
    if key in ("stride", "dilation", "groups", "kernel_size") and (value < 1).any():
        return f"is {value.min()}, must be at least 1"
    return ""


def _outside(file: "h5py.File") -> list[str]:
    """Violations of the rule that a NIR file holds all of its own data."""
    import h5py

    found: list[str] = []
    size = 0
    groups: list[tuple[str, h5py.Group]] = [("", file)]
    seen: set[Any] = set()
    while groups:
        at, group = groups.pop()
        if group.id in seen:
            found.append(f"group '{at}' is linked twice, which is refused")
            continue
        seen.add(group.id)
        for key in group:
            where = f"{at}/{key}"
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                found.append(f"'{where}' is a link, data must lie in the file itself")
                continue
            item = group[key]
            if isinstance(item, h5py.Group):
                groups.append((where, item))
            elif isinstance(item, h5py.Dataset):
                if item.is_virtual or item.external:
                    found.append(f"'{where}' is stored outside the file, which is refused")
                size += item.size * item.dtype.itemsize
    if size > MAX_BYTES:
        found.append(f"declares {size} bytes of data, the limit is {MAX_BYTES}")
    return found


def _tree(group: Any) -> dict[str, Any]:
    import h5py

    tree: dict[str, Any] = {}
    for key, item in group.items():
        if isinstance(item, h5py.Group):
            tree[key] = _tree(item)
        else:
            value = item[()]
            tree[key] = value.decode("utf8", "replace") if isinstance(value, bytes) else value
    return tree


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:160]
