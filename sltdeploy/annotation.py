"""A NIR graph completed: our metadata, and the input sizes that `nir.write` needs."""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sltdeploy.program import Input, Program, Shape
from sltdeploy.topology import wiring
from sltdeploy.walking import Walk

if TYPE_CHECKING:
    import nir


def annotated(
    graph: "nir.NIRGraph", program: Program, provenance: Mapping[str, Any]
) -> "nir.NIRGraph":
    """Copy ``graph`` with ``program``'s convention, the provenance and all input sizes in it.

    Provenance goes into the metadata under ``producer`` and ``ticket`` (where it came from one).
    """
    import nir

    walk = Walk(wiring(graph), program.convention, Input("graded"))
    walk.all()
    nodes = _sized(graph, walk.arrived, "")
    c = program.convention
    entry = program.inputs[0].rule
    metadata = {
        **graph.metadata,
        "dt": c.dt,
        "reset": c.reset,
        "comparison": c.comparison,
        "decay": c.decay,
        "input_kind": entry.kind if isinstance(entry, Input) else "graded",
        "producer": f"sltdeploy {provenance['sltdeploy']}",
    }
    if "ticket" in provenance["source"]:
        metadata["ticket"] = provenance["source"]["ticket"]
    return nir.NIRGraph(nodes, list(graph.edges), metadata=metadata, type_check=False)


def _sized(graph: "nir.NIRGraph", arrived: Mapping[str, Shape], within: str) -> dict[str, Any]:
    """Copy the nodes of ``graph`` with the size of what arrives in those that leave it open."""
    import nir

    nodes: dict[str, Any] = {}
    for name, node in graph.nodes.items():
        shape = arrived.get(f"{within}{name}", ())
        copied: Any = copy.deepcopy(node)
        match copied:
            case nir.NIRGraph():
                inner = _sized(copied, arrived, f"{within}{name}.")
                edges, metadata = list(copied.edges), copied.metadata
                copied = nir.NIRGraph(inner, edges, metadata=metadata, type_check=False)
            case nir.Conv1d() if copied.input_shape is None:
                copied.input_shape = shape[1]
            case nir.Conv2d() if copied.input_shape is None:
                copied.input_shape = (shape[1], shape[2])
            case nir.Flatten() if copied.input_type.get("input") is None:
                copied.input_type = {"input": np.array(shape)}
            case _:
                pass
        nodes[name] = copied
    return nodes
