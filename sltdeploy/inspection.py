"""What a model holds, for people: nodes, parameters with units, loops, and what each target says.

A view is plain data: `sltdeploy.drawing` draws it, the command line prints it, JSON keeps it. The
nodes are those of the NIR graph, nested graphs inlined; where there is none, populations and what
lies between them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from sltdeploy import target as targets
from sltdeploy.checking import too_big, unsupported
from sltdeploy.parameters import Parameter, of_node, of_ops, of_rule, weights_of
from sltdeploy.program import Conv, Linear, Program, Shape, op_shapes
from sltdeploy.shapes import declared, ops_of, through
from sltdeploy.topology import Order, Wiring, loops_among, visiting_order, wiring

if TYPE_CHECKING:
    import nir

    from sltdeploy.machine import Target
    from sltdeploy.resolving import Resolved

Says: TypeAlias = Literal["fits", "lacks", "too big"]

WEIGHTED = ("Affine", "Linear", "Conv1d", "Conv2d")
CONNECTIONS = (*WEIGHTED, "Scale", "SumPool2d", "AvgPool2d", "Flatten")


@dataclass(frozen=True)
class Node:
    """One node; ``shape`` is what leaves it, per sample.

    ``weights`` counts those of its matrix or kernel, ``nonzero`` those that are not pruned.
    ``within`` names the nested graphs that it is in, outermost first.
    """

    name: str
    kind: str
    shape: Shape
    parameters: tuple[Parameter, ...] = ()
    weights: int = 0
    nonzero: int = 0
    within: tuple[str, ...] = ()

    @property
    def sparsity(self) -> float | None:
        """Fraction of the weights that are 0; None where there are none."""
        return 1 - self.nonzero / self.weights if self.weights else None


@dataclass(frozen=True)
class Edge:
    """From node to node. ``back``: it closes a loop; ``recurrent``: it arrives a step later.

    An edge back into a delay is not recurrent: the delay holds it back itself.
    """

    source: str
    target: str
    back: bool = False
    recurrent: bool = False


@dataclass(frozen=True)
class Verdict:
    """What a target says to the program as it is: every violation, or what to know."""

    target: str
    says: Says
    lines: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = f" (and {len(self.lines) - 1} more)" if len(self.lines) > 1 else ""
        return self.says + (f": {self.lines[0]}{more}" if self.lines else "")


@dataclass(frozen=True)
class Inspection:
    """A model at a glance. Nodes in visiting order; all edges but those back lead forward.

    ``loops`` has one loop of each tangle of loops, its first name repeated last.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    loops: tuple[tuple[str, ...], ...]
    verdicts: tuple[Verdict, ...]
    dt: float

    @property
    def weights(self) -> int:
        """Number of weights."""
        return sum(n.weights for n in self.nodes)

    @property
    def nonzero(self) -> int:
        """Number of weights that are not 0."""
        return sum(n.nonzero for n in self.nodes)

    @property
    def sparsity(self) -> float | None:
        """Fraction of the weights that are 0; None where there are none."""
        return 1 - self.nonzero / self.weights if self.weights else None

    def to_json(self) -> dict[str, Any]:
        """Plain types for `json.dumps`."""
        plain = asdict(self)
        for node, each in zip(plain["nodes"], self.nodes, strict=True):
            node["sparsity"] = each.sparsity
        totals = {"weights": self.weights, "nonzero": self.nonzero, "sparsity": self.sparsity}
        return {**plain, **totals}


def inspected(resolved: "Resolved", machines: Sequence[str | Path] | None = None) -> Inspection:
    """View of a model; ``machines`` are targets by name or path, by default all that come along.

    Raises `InputError` for an unknown target.
    """
    program = resolved.program
    if resolved.graph is None:
        nodes, edges = _of_program(program)
    else:
        nodes, edges = _of_graph(resolved.graph, program.dt)
    wires = Wiring({n.name: n for n in nodes}, tuple((e.source, e.target) for e in edges))
    loops = tuple(tuple(loop) for loop in loops_among(wires, set(wires.nodes)))
    names = targets.names() if machines is None else machines
    verdicts = tuple(verdict(program, targets.load(name)) for name in names)
    return Inspection(nodes, edges, loops, verdicts, program.dt)


def verdict(program: Program, target: "Target") -> Verdict:
    """Ask one target whether it runs ``program``, and whether it is large enough."""
    lacks = tuple(unsupported(program, target))
    if lacks:
        return Verdict(target.name, "lacks", lacks)
    over = tuple(too_big(program, target))
    if over:
        return Verdict(target.name, "too big", over)
    if program.numbers in target.simulated:
        numbers = program.numbers
        chip = f"{numbers} runs in its simulator only, for the chip quantise (--quantize int8)"
        return Verdict(target.name, "fits", (chip,))
    return Verdict(target.name, "fits")


def _of_graph(graph: "nir.NIRGraph", dt: float) -> tuple[tuple[Node, ...], tuple[Edge, ...]]:
    wires = wiring(graph)
    delays = {n for n, node in wires.nodes.items() if _ends_loops(node, dt)}
    order = visiting_order(wires, delays.__contains__)
    shapes = _shapes(wires, order)
    within = dict(_within(graph, ()))
    nodes = tuple(
        Node(
            name,
            type(node).__name__,
            shapes[name],
            of_node(node, dt),
            *weights_of(node),
            within[name],
        )
        for name, node in ((name, wires.nodes[name]) for name in order.names)
    )
    closing, waiting = set(order.closing), set(order.waiting)
    edges = tuple(Edge(*e, e in closing or e in waiting, e in closing) for e in wires.edges)
    return nodes, edges


def _ends_loops(node: Any, dt: float) -> bool:
    return type(node).__name__ == "Delay" and bool((np.asarray(node.delay) >= dt / 2).all())


def _shapes(wires: Wiring, order: Order) -> dict[str, Shape]:
    """Shape of what leaves each node of a graph that lowers."""
    before, _ = wires.neighbours()
    found: dict[str, Shape] = {}
    for name in order.names:
        node, kind = wires.nodes[name], type(wires.nodes[name]).__name__
        known = [found[s] for s in before[name] if s in found]
        if not before[name]:
            found[name] = declared(node.input_type) or ()
        elif not known:  # a delay that is visited before its sources
            found[name] = np.shape(node.delay)
        elif kind in CONNECTIONS:
            found[name] = through(ops_of(node, known[0]), known[0])[0]
        else:
            found[name] = known[0]
    return found


def _within(graph: "nir.NIRGraph", outer: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each inlined node and the nested graphs that hold it."""
    for key, node in graph.nodes.items():
        name, inner = ".".join((*outer[-1:], key)), node
        if isinstance(inner, type(graph)):
            yield from _within(inner, (*outer, name))
        else:
            yield name, outer


def _of_program(program: Program) -> tuple[tuple[Node, ...], tuple[Edge, ...]]:
    places = {p.name: k for k, p in enumerate(program.populations)}
    between: dict[int, list[Node]] = {k: [] for k in places.values()}
    edges: list[Edge] = []
    taken = set(places)
    for projection in program.projections:
        source, end = projection.source, projection.target
        back = projection.recurrent or places[source] >= places[end]
        if not projection.ops:
            edges.append(Edge(source, end, back, projection.recurrent))
            continue
        name = projection.name
        while name in taken:
            name += "'"
        taken.add(name)
        shape = op_shapes(projection, program.population(source).shape)[-1]
        arrays = [op.weight for op in projection.ops if isinstance(op, Linear | Conv)]
        counts = sum(a.size for a in arrays), sum(int((a != 0).sum()) for a in arrays)
        kind = "+".join(type(op).__name__ for op in projection.ops)
        between[places[source]].append(Node(name, kind, shape, of_ops(projection.ops), *counts))
        edges += [Edge(source, name), Edge(name, end, back, projection.recurrent)]
    nodes: list[Node] = []
    for p in program.populations:
        kind, parameters = of_rule(p.rule)
        nodes += [Node(p.name, kind, p.shape, parameters), *between[places[p.name]]]
    return tuple(nodes), tuple(edges)
