"""Edges that take steps as NIR's recurrent edges, where these mean the same, else as delays."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sltdeploy.errors import raise_all
from sltdeploy.layer_graph import joined, placed
from sltdeploy.layers import PARAMETERS, Layer, reset_of
from sltdeploy.program import Shape
from sltdeploy.search.folding import Edge, Steady, biased, shape_of
from sltdeploy.topology import Wiring, loops_among, visiting_order

if TYPE_CHECKING:
    import nir


def graph_of(steady: Steady, input_shape: Shape, dt: float) -> "nir.NIRGraph":
    """Write a folded network as a NIR graph; dt in seconds.

    NIR leaves open which edge of a loop takes a step; `sltdeploy.topology` says which. Where that
    edge gives what the network does, at the first step too, edges are plain; else each edge that
    takes steps leads through a Delay.
    """
    import nir
    import numpy as np

    reset = reset_of([call.layer for call in steady.nodes.values()])
    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array(input_shape)})}
    for name, call in steady.nodes.items():
        nodes[name], _ = placed(call.layer, call.arrays, call.shape, dt)
    after = shape_of(steady.nodes, steady.into("output")[0].source, input_shape)
    end = nir.Output({"output": np.array(after)})
    edges: list[tuple[str, str]] = []
    if _plain(steady, {**nodes, "output": end}):
        edges = [(e.source, e.target) for e in steady.edges]
    else:
        raise_all(
            f"'{name}' gives its bias before the first step, which a Delay cannot: remove the bias"
            for name in steady.rested
            if name in steady.nodes and biased(steady.nodes[name])
        )
        for edge in steady.edges:
            if not edge.steps:
                edges.append((edge.source, edge.target))
                continue
            name = f"{edge.source}_delay" + (f"_{edge.steps}" if edge.steps > 1 else "")
            while name in steady.nodes:
                name += "_"
            if name not in nodes:
                layer = Layer("delay", name, {"seconds": edge.steps * dt})
                shape = shape_of(steady.nodes, edge.source, input_shape)
                nodes[name], _ = placed(layer, {}, shape, dt)
                edges.append((edge.source, name))
            edges.append((name, edge.target))
    nodes["output"] = end
    order = {name: k for k, name in enumerate(nodes)}
    edges.sort(key=lambda edge: (order[edge[1]], order[edge[0]]))
    return joined(nodes, edges, dt, reset)


def _plain(steady: Steady, nodes: Mapping[str, Any]) -> bool:
    """Whether plain edges mean the same as edges with steps, in a file (sorted) as well."""
    if not any(e.steps for e in steady.edges):
        return True
    pairs = tuple((e.source, e.target) for e in steady.edges)
    instant = {name for name in nodes if name not in steady.nodes or not _holds(steady, name)}
    if any(loops_among(Wiring(nodes, pairs), instant)):
        return False
    orders = (nodes, dict(sorted(nodes.items())))
    return all(_closes_alike(steady, Wiring(ordered, pairs)) for ordered in orders)


def _closes_alike(steady: Steady, wires: Wiring) -> bool:
    """Whether the edges that the topology takes to be recurrent do what the network does."""
    order = visiting_order(wires, lambda _: False)
    late = set(order.closing)
    moved = _moved(steady, order.names, late)
    if moved is None:
        return False
    return all(_starts_alike(steady, edge, moved) for edge in steady.edges if _key(edge) in late)


def _moved(
    steady: Steady, names: Sequence[str], late: set[tuple[str, str]]
) -> dict[str, int] | None:
    """Steps by which each layer would run later with plain edges, None where they do not agree.

    Neurons and the ends of the network must stay where they are.
    """
    moved = {n: 0 for n in names if n not in steady.nodes or _holds(steady, n)}
    for name in names:
        if name not in moved:
            edge = next((e for e in steady.into(name) if e.source in moved), None)
            if edge is None:
                return None
            moved[name] = moved[edge.source] + (_key(edge) in late) - edge.steps
    for edge in steady.edges:
        if (_key(edge) in late) - edge.steps != moved[edge.target] - moved[edge.source]:
            return None
    return moved


def _starts_alike(steady: Steady, closing: Edge, moved: Mapping[str, int]) -> bool:
    """Whether a recurrent edge brings the same at the first step.

    It brings what the layers before it make of 0. In the network, a bias among them came at the
    first step only if the layer ran on what left the neurons a step before, or before the first.
    """
    behind: dict[str, None] = {}
    waiting = [closing.source]
    while waiting:
        name = waiting.pop()
        if name in behind or name not in steady.nodes or _holds(steady, name):
            continue
        behind[name] = None
        waiting += [e.source for e in steady.into(name)]
    return all(
        moved[name] == -1 or (name in steady.rested and not moved[name])
        for name in behind
        if biased(steady.nodes[name])
    )


def _holds(steady: Steady, name: str) -> bool:
    return steady.nodes[name].layer.kind in PARAMETERS


def _key(edge: Edge) -> tuple[str, str]:
    return edge.source, edge.target
