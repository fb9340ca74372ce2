"""From the plain tree of a NIR file to nir's nodes, each built on its own: all errors, by name.

nir 1.0.8 rejects some files that are valid: it compares types that it computed from one kernel
axis, or without groups, and it wants all parameters of a neuron in one shape.
"""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from sltdeploy.errors import InputError

if TYPE_CHECKING:
    import nir

Tree = Mapping[str, Any]

DERIVED = ("input_type", "output_type")  # old files hold them, nir computes them
MAY_MISS = {"Conv1d": ("input_shape",), "Conv2d": ("input_shape",), "Flatten": ("input_type",)}


def graph_of(tree: Tree) -> tuple["nir.NIRGraph", list[str], list[str]]:
    """Build the graph that ``tree`` describes; its values are checked elsewhere.

    Scalar parameters of a neuron stretch to the shape of the others, what nir has a default for
    may be missing, and so may the input size of a convolution. Also returns what is wrong, a line
    for every node that nir does not know, that lacks parameters or has others, and the names of
    these, which the graph lacks. Raises `InputError` where the file holds no graph at all.
    """
    if "type" not in tree:
        raise InputError("holds no node with a type: the file is not whole, write it again")
    if tree["type"] != "NIRGraph":
        raise InputError(f"holds a single {tree['type']}, not a NIRGraph")
    found: list[str] = []
    absent: list[str] = []
    graph = _graph(tree, "", found, absent)
    return graph, found, absent


def _graph(tree: Tree, within: str, found: list[str], absent: list[str]) -> "nir.NIRGraph":
    import nir

    where = f"nested graph '{within[:-1]}'" if within else "the graph"
    found += [f"{where} has no {key}" for key in ("nodes", "edges") if key not in tree]
    nodes: dict[str, Any] = {}
    for name, node in dict(tree.get("nodes", {})).items():
        if isinstance(node, dict):
            nodes[name] = _node(node, f"{within}{name}", found, absent)
        else:
            found.append(f"node '{within}{name}' is no group of parameters")
    edges = [(_text(a), _text(b)) for a, b in tree.get("edges", ())]
    metadata = dict(tree.get("metadata", {}))
    kept = {name: node for name, node in nodes.items() if node is not None}
    absent += [name for name in tree.get("nodes", {}) if name not in kept]
    return nir.NIRGraph(kept, edges, metadata=metadata, type_check=False)


def _node(tree: Tree, where: str, found: list[str], absent: list[str]) -> Any:
    """One node, or None with what is wrong in ``found``."""
    import nir

    kind = str(tree.get("type", ""))
    if kind == "NIRGraph":
        return _graph(tree, f"{where}.", found, absent)
    if kind not in nir.ir.__all__ or kind in ("NIRNode", "str2NIRNode", "dict2NIRNode"):
        found.append(f"node '{where}': nir {nir.version} has no type '{kind}'")
        return None
    given = _completed(kind, {k: v for k, v in tree.items() if k != "type"})
    wrong = list(_misfits(kind, given))
    if not wrong:
        try:
            return nir.dict2NIRNode({"type": kind, **_stretched(given)})
        except Exception as error:  # nir raises whatever its constructors meet
            wrong = [" ".join(str(error).split())[:160] or type(error).__name__]
    found += [f"node '{where}': {kind}: {why}" for why in wrong]
    return None


def _completed(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Without what nir computes itself, with None for what it wants told but can do without."""
    kept = {k: v for k, v in given.items() if k not in DERIVED or kind == "Flatten"}
    for key in ("shape", "input_type"):
        if isinstance(kept.get(key), dict):  # as nir wrote it once
            kept[key] = next(iter(kept[key].values()), None)
    if kind == "Flatten":
        kept.pop("output_type", None)
    if kind in ("Conv1d", "Conv2d"):
        kept.setdefault("input_shape", None)
    return kept


def _misfits(kind: str, given: Mapping[str, Any]) -> Iterator[str]:
    """Fields that nir has no default for and that are missing, and such as it does not have."""
    import nir

    known = {f.name: f for f in fields(getattr(nir, kind)) if f.init}
    if kind in ("Input", "Output"):
        known["shape"] = known.pop(f"{kind.lower()}_type")
    for name, f in known.items():
        optional = name in MAY_MISS.get(kind, ()) or f.default is not MISSING
        if name not in given and not optional and f.default_factory is MISSING:
            yield f"has no '{name}', nir {nir.version} requires it"
    for name in given:
        if name not in known:
            yield f"has a field '{name}', which nir {nir.version} does not know"
    shapes = {k: np.shape(v) for k, v in given.items() if _is_neuron(given) and _is_number(v)}
    if shapes and not _fit(shapes):
        told = ", ".join(f"{k} {s}" for k, s in shapes.items())
        yield f"parameters of different shapes: {told}"


def _stretched(given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a neuron in one shape."""
    if not _is_neuron(given):
        return dict(given)
    shape = np.broadcast_shapes(*(np.shape(v) for v in given.values() if _is_number(v)))
    return {
        k: np.broadcast_to(v, shape).copy() if _is_number(v) and np.shape(v) != shape else v
        for k, v in given.items()
    }


def _is_neuron(given: Mapping[str, Any]) -> bool:
    return "r" in given


def _is_number(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic)


def _fit(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    try:
        np.broadcast_shapes(*shapes.values())
    except ValueError:
        return False
    return True


def _text(value: Any) -> str:
    return value.decode("utf8", "replace") if isinstance(value, bytes) else str(value)
