"""Delay lines: step by step, and for a whole sequence at once."""

import numpy as np

from sltdeploy.onnx_model.graph import Graph
from sltdeploy.onnx_model.state import State
from sltdeploy.program import Array, DelayLine, Population

END = 2**63 - 1  # Slice takes it for "to the end"


def send(graph: Graph, p: Population, places: Array, line: str, depth: int, to: str) -> None:
    """Send from the tensor ``line`` (N, depth, *shape) what each element has at its place."""
    places = np.broadcast_to(places, p.shape)
    first = int(places.flat[0])
    if (places == first).all():
        graph.add("Gather", [line, graph.index(first, f"{p.name}.place")], to, {"axis": 1})
        return
    # One 1 for each element: the sum has one term that counts, and so is exact.
    chosen = np.arange(depth).reshape(-1, *[1] * places.ndim) == places
    mask = graph.constant(chosen[None], f"{p.name}.places")
    masked = graph.add("Mul", [line, mask], graph.claim(f"{p.name}.masked"))
    axes = graph.integers((1,), f"{p.name}.axis")
    graph.add("ReduceSum", [masked, axes], to, {"keepdims": 0})


def shift(graph: Graph, p: Population, rule: DelayLine, line: State, arrived: str, to: str) -> None:
    """Put what ``arrived`` before the line; where an element does not wait, send it as well."""
    one = graph.integers((1,), f"{p.name}.axis")
    if rule.depth == 1 and rule.ends_loops:
        graph.add("Unsqueeze", [arrived, one], line.output)
        return
    newest = graph.add("Unsqueeze", [arrived, one], graph.claim(f"{p.name}.newest"))
    if rule.ends_loops:
        older = graph.claim(f"{p.name}.older")
        _slice(graph, p, line.input, (0, rule.depth - 1), 1, older)
        graph.add("Concat", [newest, older], line.output, {"axis": 1})
        return
    whole = graph.claim(f"{p.name}.line_whole")
    graph.add("Concat", [newest, line.input], whole, {"axis": 1})
    send(graph, p, rule.steps, whole, rule.depth + 1, to)
    _slice(graph, p, whole, (0, rule.depth), 1, line.output)


def pass_by(
    graph: Graph, p: Population, rule: DelayLine, line: State, arrived: str, to: str
) -> None:
    """Send all that ``arrived`` (T, N, *shape) at once, the line before it."""
    past = _turned(graph, p, line.input, graph.claim(f"{p.name}.past"), rule.depth, time=0)
    whole = graph.claim(f"{p.name}.line_whole")
    graph.add("Concat", [past, arrived], whole, {"axis": 0})
    steps = np.broadcast_to(rule.steps, p.shape)
    waits = [int(d) for d in np.unique(steps)]
    parts: list[str] = []
    for d in waits:
        part = to if len(waits) == 1 else graph.claim(f"{p.name}.late")
        _slice(graph, p, whole, (rule.depth - d, -d if d else END), 0, part)
        if len(waits) > 1:
            mask = graph.constant(steps == d, f"{p.name}.places")
            part = graph.add("Mul", [part, mask], graph.claim(f"{p.name}.masked"))
        parts.append(part)
    if len(waits) > 1:
        graph.total(parts, to)
    latest = _slice(graph, p, whole, (-rule.depth, END), 0, graph.claim(f"{p.name}.latest"))
    _turned(graph, p, latest, line.output, rule.depth, time=1)


def _turned(graph: Graph, p: Population, tensor: str, to: str, depth: int, *, time: int) -> str:
    """Exchange the axes of samples and of time, which becomes axis ``time``, and turn time."""
    perm = (1, 0, *range(2, 2 + len(p.shape)))
    if depth == 1:
        return graph.add("Transpose", [tensor], to, {"perm": perm})
    swapped = graph.add("Transpose", [tensor], graph.claim(f"{to}.swapped"), {"perm": perm})
    back = graph.integers(range(depth - 1, -1, -1), f"{p.name}.backwards")
    return graph.add("Gather", [swapped, back], to, {"axis": time})


def _slice(
    graph: Graph, p: Population, tensor: str, part: tuple[int, int], axis: int, to: str
) -> str:
    """Keep ``part`` (start, end) along ``axis``."""
    limits = [
        graph.integers((n,), f"{p.name}.{what}")
        for n, what in ((part[0], "start"), (part[1], "end"), (axis, "axis"))
    ]
    return graph.add("Slice", [tensor, *limits], to)
