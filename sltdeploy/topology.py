"""The order in which the nodes of a graph can be visited."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sltdeploy.errors import InputError

if TYPE_CHECKING:
    import nir


def neighbours(graph: "nir.NIRGraph") -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Names before and after each node, in the order of the edges."""
    before: dict[str, list[str]] = {n: [] for n in graph.nodes}
    after: dict[str, list[str]] = {n: [] for n in graph.nodes}
    for source, target in graph.edges:
        before[target].append(source)
        after[source].append(target)
    return before, after


def in_order(graph: "nir.NIRGraph") -> list[str]:
    """Names in an order in which each edge leads forward; a loop is refused by name."""
    before, after = neighbours(graph)
    waiting = {name: len(sources) for name, sources in before.items()}
    ready = [name for name, count in waiting.items() if not count]
    order: list[str] = []
    for name in ready:  # grows while it is walked
        order.append(name)
        for target in after[name]:
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    if len(order) < len(waiting):
        raise InputError(
            f"recurrent loop {' -> '.join(_loop(before, set(waiting) - set(order)))}: "
            "only feed-forward networks can be lowered"
        )
    return order


def _loop(before: Mapping[str, list[str]], left: set[str]) -> list[str]:
    """One loop among the nodes ``left``, each of which has a predecessor among them."""
    path = [min(left)]
    while True:
        source = min(s for s in before[path[-1]] if s in left)
        if source in path:
            return [source, *reversed(path[path.index(source) :])]
        path.append(source)
