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
``convention``    framework                   its steps are nodes here, see `translation`
``steps``         int                         steps T for which a sample is shown
``input_max``     float                       largest value that enters; the smallest is 0
``input_bits``    int                         what enters is a multiple of ``2**-input_bits``
``ticket``        hex digest                  the ticket that it came from
================  ==========================  ==========================================
"""

import io
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sltdeploy.errors import InputError, located, raise_all
from sltdeploy.hdf5 import read_tree
from sltdeploy.nir_tree import graph_of

if TYPE_CHECKING:
    import nir

NEURONS = ("LIF", "LI", "IF", "I", "CubaLIF", "CubaLI")
CONNECTIONS = (
    *("Affine", "Linear", "Scale", "Conv1d", "Conv2d"),
    *("SumPool2d", "AvgPool2d", "Flatten"),
)
ENDS = ("Input", "Output")
SUPPORTED = (*ENDS, *CONNECTIONS, *NEURONS, "Delay", "Threshold", "NIRGraph")
TIME_CONSTANTS = ("tau", "tau_syn", "tau_mem")  # seconds

NUMBERS = {"dt": " of seconds", "steps": "", "input_max": ""}
CHOICES = {
    "reset": ("zero", "subtract"),
    "comparison": ("gt", "ge"),
    "decay": ("euler", "exponential"),
    "input_kind": ("spikes", "graded"),
}


def read_nir(path: Path, *, check: bool = True) -> "nir.NIRGraph":
    """Read a NIR file; its values are checked by `problems`, its meaning by `lower`.

    Without ``check`` the values are left to `lower`, which names them with the rest. Raises
    `InputError` with the file, and each node and value that is wrong. Links to other
    files, external storage and virtual datasets are refused: they would read what lies outside
    the file.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with located(path):
        graph, found, absent = graph_of(read_tree(path, "node"))
        if found or check:
            missing = tuple(f"node '{name}' is missing" for name in absent)
            found += [line for line in problems(graph) if not line.endswith(missing or ("\0",))]
        raise_all(found)
    return graph


def write_nir(graph: "nir.NIRGraph") -> bytes:
    """Write ``graph`` as the bytes of a NIR file; equal graphs give equal bytes.

    Input sizes that a node leaves open are left out, `read_nir` finds them again. Written to
    memory first: `nir.write` on a full disk ends the process.
    """
    import nir

    buffer = io.BytesIO()
    nir.write(buffer, _Writable(graph))  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


@dataclass(frozen=True)
class _Writable:
    """What `nir.write` asks a graph for, without the None that it cannot write."""

    graph: "nir.NIRGraph"

    def to_dict(self) -> dict[str, Any]:
        return _without_none(self.graph.to_dict())


def _without_none(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in tree.items()
        if value is not None
    }


def sound(graph: "nir.NIRGraph") -> bool:
    """Whether ``graph`` can be walked: known nodes, edges between them, ends in nested graphs."""
    kinds = Counter(type(node).__name__ for node in graph.nodes.values())
    nested: list[Any] = [n for n in graph.nodes.values() if type(n).__name__ == "NIRGraph"]
    return (
        set(kinds) <= set(SUPPORTED)
        and all(end in graph.nodes for edge in graph.edges for end in edge)
        and all(kinds[end] for end in ENDS)
        and not any(_metadata_problems(graph.metadata))
        and all(sound(inner) and _one_end_each(inner) for inner in nested)
    )


def problems(graph: "nir.NIRGraph", within: str = "") -> Iterator[str]:
    """What is wrong with nodes, edges and metadata, one line each: node, value, limit, fix."""
    for name, node in graph.nodes.items():
        kind, where = type(node).__name__, f"{within}{name}"
        if kind not in SUPPORTED:
            yield f"node '{where}': {kind} is not supported, these are: {', '.join(SUPPORTED)}"
            continue
        if kind == "NIRGraph":
            inner: Any = node
            yield from problems(inner, f"{where}.")
            for end in ENDS:
                count = sum(type(n).__name__ == end for n in inner.nodes.values())
                if count > 1:
                    yield f"node '{where}': a nested graph needs one {end}, has {count}"
        for key, value in _numbers(node):
            bad = _bad_number(kind, key, value)
            if bad:
                yield f"node '{where}': {kind}.{key} {bad}"
    for (source, target), times in Counter((str(a), str(b)) for a, b in graph.edges).items():
        if times > 1:
            yield f"edge {within}{source} -> {within}{target} appears {times} times"
        for end in (source, target):
            if end not in graph.nodes:
                yield f"edge {within}{source} -> {within}{target}: node '{end}' is missing"
    for source, target in () if within else graph.edges:
        if type(graph.nodes.get(target)).__name__ == "Input":
            yield f"edge {source} -> {target}: leads into an Input, which takes what is outside"
        if type(graph.nodes.get(source)).__name__ == "Output":
            yield f"edge {source} -> {target}: leads out of an Output, which ends the graph"
    for kind in ENDS:
        if not any(type(n).__name__ == kind for n in graph.nodes.values()):
            what = f"nested graph '{within[:-1]}'" if within else "the graph"
            yield f"{what} has no {kind} node"
    yield from _metadata_problems(graph.metadata)


def _one_end_each(graph: "nir.NIRGraph") -> bool:
    kinds = Counter(type(node).__name__ for node in graph.nodes.values())
    return all(kinds[end] == 1 for end in ENDS)


def _metadata_problems(metadata: Mapping[str, Any]) -> Iterator[str]:
    for key, allowed in CHOICES.items():
        if key in metadata and metadata[key] not in allowed:
            yield f"metadata {key} is {metadata[key]!r}, must be one of {', '.join(allowed)}"
    for key, unit in NUMBERS.items():
        if key in metadata and not _positive(metadata[key]):
            yield f"metadata {key} is {metadata[key]!r}, must be a positive number{unit}"


def _positive(value: Any) -> bool:
    number = np.asarray(value)
    if number.shape != () or number.dtype.kind not in "iuf":
        return False
    return bool(np.isfinite(number) and number > 0)


def _numbers(node: Any) -> Iterator[tuple[str, np.ndarray]]:
    for key, value in vars(node).items():
        if isinstance(value, np.ndarray | np.generic | int | float):
            yield key, np.asarray(value)


def _bad_number(kind: str, key: str, value: np.ndarray) -> str:
    """What is wrong with one parameter, or an empty string."""
    if value.dtype.kind not in "biuf":
        return f"has dtype {value.dtype}, must be real numbers"
    if value.size == 0:
        return f"has shape {value.shape}, must hold something"
    off = np.argwhere(~np.isfinite(value))
    if len(off):
        at = tuple(int(k) for k in off[0])
        return f"is {value[at]} at {at} ({len(off)} of {value.size}), must be finite"
    if key in TIME_CONSTANTS and (value <= 0).any():
        return f"is {value.min():g} s, must be positive: is it in seconds?"
    if key == "delay" and (value < 0).any():
        return f"is {value.min():g} s, must be 0 or more"
    if key in ("stride", "dilation", "groups", "kernel_size") and (value < 1).any():
        return f"is {value.min()}, must be at least 1"
    return ""
