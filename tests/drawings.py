"""Graphs to draw, and drawings read back."""

from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from test_inspection import image, nested, recurrent, view

from sltdeploy.drawing.rows import BOX_H, BOX_W
from sltdeploy.inspection import Edge, Inspection, Node

SVG = "{http://www.w3.org/2000/svg}"


class Box(NamedTuple):
    """A box as drawn, and the words in it."""

    x: float
    y: float
    kind: str
    words: tuple[str, ...]
    tip: str
    shade: float

    def meets(self, other: "Box") -> bool:
        """Whether the two share any area."""
        return abs(self.x - other.x) < BOX_W and abs(self.y - other.y) < BOX_H


def boxes(text: str) -> list[Box]:
    """All boxes of nodes in a drawing."""
    found: list[Box] = []
    for group in ElementTree.fromstring(text).iter(f"{SVG}g"):
        tip, rect = group.find(f"{SVG}title"), group.find(f"{SVG}rect")
        if tip is None or rect is None:
            continue
        words = tuple(t.text or "" for t in group.iter(f"{SVG}text"))
        x, y, shade = (float(rect.get(k, "1")) for k in ("x", "y", "fill-opacity"))
        found.append(Box(x, y, group.get("class", ""), words, tip.text or "", shade))
    return found


def lines(text: str) -> list[tuple[str, str]]:
    """Class and tooltip of each line that stands for an edge."""
    paths = ElementTree.fromstring(text).iter(f"{SVG}path")
    tips = ((p.get("class", ""), p.find(f"{SVG}title")) for p in paths)
    return [(kind, tip.text or "") for kind, tip in tips if tip is not None]


def network(
    edges: list[tuple[str, str]], back: frozenset[tuple[str, str]] = frozenset()
) -> Inspection:
    """Nodes in the order in which the edges name them."""
    names = dict.fromkeys(name for edge in edges for name in edge)
    nodes = tuple(Node(n, "LIF", (4,)) for n in names)
    return Inspection(nodes, tuple(Edge(*e, e in back, e in back) for e in edges), (), (), 1e-3)


def chain(n: int) -> Inspection:
    """Make a line of ``n`` nodes with a shortcut over each fourth."""
    straight = [(f"n{k}", f"n{k + 1}") for k in range(n - 1)]
    return network(straight + [(f"n{k}", f"n{k + 4}") for k in range(0, n - 5, 4)])


def fan(n: int) -> Inspection:
    """Make ``n`` branches of two nodes each between an input and an output."""
    first = [("in", f"n{k}") for k in range(n)]
    return network(
        [*first, *((f"n{k}", f"m{k}") for k in range(n)), *((f"m{k}", "out") for k in range(n))]
    )


def tangle(n: int, seed: int, reach: int) -> Inspection:
    """Random edges forward over up to ``reach`` nodes, and some back."""
    rng = np.random.default_rng(seed)
    edges = {(max(0, k - int(rng.integers(1, reach))), k) for k in range(1, n) for _ in range(2)}
    back = {(k, int(rng.integers(0, k + 1))) for k in range(3, n, 7)}
    both = [(f"n{a}", f"n{b}") for a, b in [*sorted(edges), *sorted(back)]]
    late = frozenset(both[len(edges) :])
    found = network(both, late)
    order = sorted(found.nodes, key=lambda node: int(node.name[1:]))
    return Inspection(tuple(order), found.edges, (), (), 1e-3)


CASES = {
    "recurrent": view(recurrent()),
    "nested": view(nested()),
    "image": view(image()),
    "one node": Inspection((Node("alone", "LIF", (1,)),), (), (), (), 1e-3),
    "itself": network([("a", "b"), ("b", "b")], frozenset({("b", "b")})),
    "chain of 500": chain(500),
    "fan of 300": fan(149),
    "tangle of 40": tangle(40, 1, 6),
    "tangle of 500": tangle(500, 2, 12),
    "wild tangle": tangle(120, 3, 100),
}
