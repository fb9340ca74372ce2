"""The wiring of a NIR graph: nested graphs inlined, loops found, an order in which to visit.

A loop is closed by one recurrent edge, whose signal arrives one step later. It is the edge that
leads back to the node of the loop that the inputs reach first (by number of edges, then by name,
as files sort their nodes); a loop through a delay of at least one step needs no such edge. Loops
that share nodes are closed together, at the first node of all, and then what loops are left among
the rest.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import nir

Edge: TypeAlias = tuple[str, str]


@dataclass(frozen=True)
class Wiring:
    """Nodes by name, flat, and edges between them; inner nodes are called ``outer.inner``."""

    nodes: Mapping[str, Any]
    edges: tuple[Edge, ...]

    def neighbours(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Names before and after each node, in the order of the edges."""
        before: dict[str, list[str]] = {n: [] for n in self.nodes}
        after: dict[str, list[str]] = {n: [] for n in self.nodes}
        for source, target in self.edges:
            before[target].append(source)
            after[source].append(target)
        return before, after


@dataclass(frozen=True)
class Order:
    """Names in visiting order; edges that lead back, ``closing`` ones one step later.

    ``waiting`` edges lead into a delay that was visited before its source: no extra step.
    """

    names: tuple[str, ...]
    closing: tuple[Edge, ...]
    waiting: tuple[Edge, ...]


def wiring(graph: "nir.NIRGraph") -> Wiring:
    """Inline nested graphs; their Input and Output nodes stay as nodes that pass on what arrives.

    Structure is not checked here, see `sltdeploy.graph.problems`.
    """
    nodes: dict[str, Any] = {}
    edges: list[Edge] = []
    for name, node in graph.nodes.items():
        if type(node).__name__ != "NIRGraph":
            nodes[name] = node
            continue
        nested: Any = node
        inner = wiring(nested)
        nodes |= {f"{name}.{key}": value for key, value in inner.nodes.items()}
        edges += [(f"{name}.{a}", f"{name}.{b}") for a, b in inner.edges]
    for source, target in graph.edges:
        edges.append((_end(graph, source, "Output"), _end(graph, target, "Input")))
    return Wiring(nodes, tuple(edges))


def _end(graph: "nir.NIRGraph", name: str, kind: str) -> str:
    """Where an edge at ``name`` really ends: for a nested graph at its Input or Output."""
    node: Any = graph.nodes[name]
    if type(node).__name__ != "NIRGraph":
        return name
    inner = next(key for key, value in node.nodes.items() if type(value).__name__ == kind)
    return f"{name}.{_end(node, inner, kind)}"


def visiting_order(wires: Wiring, ends_loops: Callable[[str], bool]) -> Order:
    """Order the nodes so that every edge but those that close loops leads forward.

    ``ends_loops`` tells the delays of at least one step. Which edges close loops, says the
    module's text; an edge that lies on no loop never does.
    """
    before, after = wires.neighbours()
    closing, waiting = _cuts(wires, ends_loops)
    cut = {*closing, *waiting}
    missing = {n: sum((s, n) not in cut for s in sources) for n, sources in before.items()}
    done: dict[str, int] = {}
    ready = deque(name for name, count in missing.items() if not count)
    while ready:
        name = ready.popleft()
        done[name] = len(done)
        for target in after[name]:
            if (name, target) not in cut:
                missing[target] -= 1
                if not missing[target]:
                    ready.append(target)
    late = tuple((s, t) for s, t in waiting if done[s] >= done[t])
    return Order(tuple(done), tuple(closing), late)


def _cuts(wires: Wiring, ends_loops: Callable[[str], bool]) -> tuple[list[Edge], list[Edge]]:
    """Edges without which there is no loop: closing ones, and those into delays in loops."""
    before, after = wires.neighbours()
    distance = _distances(wires, before, after)
    rank = {name: (distance[name], name) for name in wires.nodes}
    closing: list[Edge] = []
    waiting: list[Edge] = []
    tangles = _tangles(list(wires.nodes), after)
    while tangles:
        tangle = sorted(tangles.pop(), key=lambda name: rank[name])
        ends = {n for n in tangle if ends_loops(n)}
        back = waiting if ends else closing
        ends = ends or set(tangle[:1])
        inside = set(tangle)
        kept = {n: [t for t in after[n] if t in inside and t not in ends] for n in tangle}
        back += [(s, t) for s in tangle for t in after[s] if t in ends]
        tangles += _tangles(tangle, kept)
    return closing, waiting


def _tangles(names: Sequence[str], after: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Sets of nodes of which each can be reached from each other one: loops that hang together.

    Tarjan's strongly connected components without recursion, single nodes only with an edge to
    themselves. Source: Tarjan 1972, SIAM J. Comput. 1(2).
    """
    found: list[list[str]] = []
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    opened: dict[str, None] = {}
    for root in names:
        path = [] if root in number else [(root, iter(after[root]))]
        while path:
            name, targets = path[-1]
            if name not in number:
                number[name] = lowest[name] = len(number)
                opened[name] = None
            fresh = next((t for t in targets if _low(name, t, number, lowest, opened)), None)
            if fresh is not None:
                path.append((fresh, iter(after[fresh])))
                continue
            path.pop()
            if path:
                lowest[path[-1][0]] = min(lowest[path[-1][0]], lowest[name])
            if lowest[name] == number[name]:
                whole = [opened.popitem()[0]]
                while whole[-1] != name:
                    whole.append(opened.popitem()[0])
                if len(whole) > 1 or name in after[name]:
                    found.append(whole)
    return found


def _low(
    name: str,
    target: str,
    number: Mapping[str, int],
    lowest: dict[str, int],
    opened: Mapping[str, None],
) -> bool:
    """Whether ``target`` is new; else note how far back the edge to it leads."""
    if target in opened:
        lowest[name] = min(lowest[name], number[target])
    return target not in number


def _distances(
    wires: Wiring, before: Mapping[str, Sequence[str]], after: Mapping[str, Sequence[str]]
) -> dict[str, int]:
    """Number of edges from the nearest Input; larger than any where none leads there."""
    distance = dict.fromkeys(wires.nodes, len(wires.nodes))
    found = deque(  # an Input that something leads to is that of a nested graph
        n for n, node in wires.nodes.items() if type(node).__name__ == "Input" and not before[n]
    )
    distance |= dict.fromkeys(found, 0)
    while found:
        name = found.popleft()
        for target in after[name]:
            if distance[target] > distance[name] + 1:
                distance[target] = distance[name] + 1
                found.append(target)
    return distance


def loops_among(wires: Wiring, names: set[str]) -> Iterator[list[str]]:
    """One loop of each tangle of loops that stays within ``names``; first name repeated last."""
    before, after = wires.neighbours()
    kept = dict.fromkeys(n for n in wires.nodes if n in names)
    peeled = list(kept)
    while kept:
        # Peel off what is on no loop: nodes without a predecessor or a successor that is kept.
        while peeled:
            name = peeled.pop()
            if name in kept and not (
                any(s in kept for s in before[name]) and any(t in kept for t in after[name])
            ):
                del kept[name]
                peeled += [n for n in (*before[name], *after[name]) if n in kept]
        if not kept:
            return
        path = {next(iter(kept)): None}  # a dict, to look names up at once
        source = next(iter(path))
        while True:
            source = next(s for s in before[source] if s in kept)
            if source in path:
                break
            path[source] = None
        walked = list(path)
        loop = [source, *reversed(walked[walked.index(source) :])]
        yield loop
        for name in loop[1:]:
            del kept[name]
            peeled += [n for n in (*before[name], *after[name]) if n in kept]
