"""What an ONNX model in step form hands from step to step: states, and the lines of delays."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sltdeploy.onnx_graph import Graph
from sltdeploy.program import Array, DelayLine, Population, Shape


@dataclass(frozen=True, eq=False)
class State:
    """A tensor that goes from one step to the next."""

    population: str
    input: str
    output: str
    shape: Shape
    init: Array

    def to_json(self) -> dict[str, Any]:
        """Entry of the manifest; init broadcasts to (batch, *shape)."""
        return {
            "population": self.population,
            "input": self.input,
            "output": self.output,
            "shape": list(self.shape),
            "init": self.init.astype(np.float32).tolist(),
        }


def state(graph: Graph, p: Population, name: str, init: Array, shape: Shape = ()) -> State:
    """Claim the tensors ``<population>.<name>`` and ``<population>.<name>_next``."""
    before, after = graph.claim(f"{p.name}.{name}"), graph.claim(f"{p.name}.{name}_next")
    return State(p.name, before, after, shape or p.shape, init)


def line(graph: Graph, p: Population, rule: DelayLine) -> State:
    """State of a delay of at least one step: what arrived before, latest first."""
    return state(graph, p, "line", np.zeros(()), (rule.depth, *p.shape))


def send(graph: Graph, p: Population, places: Array, kept: str, depth: int) -> None:
    """Send from the tensor ``kept`` (N, depth, *shape) what each element has at its place."""
    places = np.broadcast_to(places, p.shape)
    first = int(places.flat[0])
    if (places == first).all():
        graph.add("Gather", [kept, graph.index(first, f"{p.name}.place")], p.name, {"axis": 1})
        return
    # One 1 for each element: the sum has one term that counts, and so is exact.
    chosen = np.arange(depth).reshape(-1, *[1] * places.ndim) == places
    mask = graph.constant(chosen[None], f"{p.name}.places")
    masked = graph.add("Mul", [kept, mask], graph.claim(f"{p.name}.masked"))
    axes = graph.integers((1,), f"{p.name}.axis")
    graph.add("ReduceSum", [masked, axes], p.name, {"keepdims": 0})


def shift(graph: Graph, p: Population, rule: DelayLine, kept: State, arrived: str) -> None:
    """Put what ``arrived`` before the line; where an element does not wait, send it as well."""
    one = graph.integers((1,), f"{p.name}.axis")
    if rule.depth == 1 and rule.ends_loops:
        graph.add("Unsqueeze", [arrived, one], kept.output)
        return
    newest = graph.add("Unsqueeze", [arrived, one], graph.claim(f"{p.name}.newest"))
    if rule.ends_loops:
        older = _first(graph, p, kept.input, rule.depth - 1, graph.claim(f"{p.name}.older"))
        graph.add("Concat", [newest, older], kept.output, {"axis": 1})
        return
    whole = graph.claim(f"{p.name}.line_whole")
    graph.add("Concat", [newest, kept.input], whole, {"axis": 1})
    send(graph, p, rule.steps, whole, rule.depth + 1)
    _first(graph, p, whole, rule.depth, kept.output)


def _first(graph: Graph, p: Population, tensor: str, count: int, to: str) -> str:
    """Keep the latest ``count`` of a line."""
    ends = [
        graph.integers((n,), f"{p.name}.{what}")
        for n, what in ((0, "start"), (count, "end"), (1, "axis"))
    ]
    return graph.add("Slice", [tensor, *ends], to)
