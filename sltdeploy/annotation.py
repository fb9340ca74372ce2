"""A NIR graph completed: our metadata, and the input sizes that `nir.write` needs."""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sltdeploy.graph import CONNECTIONS
from sltdeploy.program import Input, Program, Shape
from sltdeploy.shapes import declared, ops_of, through
from sltdeploy.topology import in_order, neighbours

if TYPE_CHECKING:
    import nir


def annotated(
    graph: "nir.NIRGraph", program: Program, provenance: Mapping[str, Any]
) -> "nir.NIRGraph":
    """Copy ``graph`` with ``program``'s convention, the provenance and all input sizes in it.

    Provenance goes into the metadata under ``producer`` and ``ticket`` (where it came from one).
    """
    import nir

    nodes = copy.deepcopy(graph.nodes)
    for name, shape in arriving_shapes(graph).items():
        node: Any = nodes[name]
        if isinstance(node, nir.Conv2d) and node.input_shape is None:
            node.input_shape = (shape[1], shape[2])
        if isinstance(node, nir.Flatten) and node.input_type.get("input") is None:
            node.input_type = {"input": np.array(shape)}
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


def arriving_shapes(graph: "nir.NIRGraph") -> dict[str, Shape]:
    """Shape of what arrives at each node of a graph that `sltdeploy.lowering.lower` accepts."""
    before, _ = neighbours(graph)
    arriving: dict[str, Shape] = {}
    leaving: dict[str, Shape] = {}
    for name in in_order(graph):
        node: Any = graph.nodes[name]
        if not before[name]:
            leaving[name] = declared(node.input_type) or ()
            continue
        arriving[name] = leaving[name] = leaving[before[name][0]]
        if type(node).__name__ in CONNECTIONS:
            leaving[name], _ = through(ops_of(node, arriving[name]), arriving[name])
    return arriving
