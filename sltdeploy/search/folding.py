"""A few steps of a network folded into one: nodes, and edges with the steps that they take."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sltdeploy.errors import raise_all
from sltdeploy.layers import NORMS, PARAMETERS, WEIGHTED, Layer, fold
from sltdeploy.program import Array, Shape
from sltdeploy.search.tracing import Call, Sum
from sltdeploy.search.unrolling import Unrolled


@dataclass(frozen=True)
class Edge:
    """What leaves ``source`` reaches ``target`` ``steps`` steps later."""

    source: str
    target: str
    steps: int = 0


@dataclass(frozen=True)
class Steady:
    """What a network does at every step. ``input`` and ``output`` are ends of edges, not nodes.

    Nodes in ``rested`` ran before the first step too, on what left the neurons then: on 0.
    """

    nodes: Mapping[str, Call]
    edges: tuple[Edge, ...]
    rested: frozenset[str] = frozenset()

    def into(self, name: str) -> list[Edge]:
        """Edges that end in ``name``."""
        return [e for e in self.edges if e.target == name]


def folded(unrolled: Unrolled) -> Steady:
    """Fold the steps into one; batch normalisation goes into the layer before it.

    Raises `InputError` where the steps do not all do the same.
    """
    takes = [
        {**{name: call.takes for name, call in calls.items()}, "output": output}
        for calls, output in zip(unrolled.calls, unrolled.outputs, strict=True)
    ]
    last = len(takes) - 1
    steady = {name: _relative(sums, last) for name, sums in takes[last].items()}
    if not steady["output"]:
        raise_all(["the output does not depend on the input"])
    raise_all(dict.fromkeys(_uneven(takes, steady, unrolled)))
    edges = tuple(
        Edge(source, name, steps)
        for name, sums in steady.items()
        for (source, steps), times in sums.items()
        for _ in range(times)
    )
    whole = _needed(Steady(unrolled.calls[last], edges, frozenset(unrolled.before)))
    return _without_norms(_without_pairs(_without_late_starts(whole, takes)))


def _relative(sums: Sum, step: int) -> Counter[tuple[str, int]]:
    return Counter((source.node, step - source.step) for source in sums)


def _uneven(
    takes: Sequence[Mapping[str, Sum]],
    steady: Mapping[str, Counter[tuple[str, int]]],
    unrolled: Unrolled,
) -> Iterator[str]:
    """Where a step does something else than the last; signals from before the start are 0."""
    last = len(takes) - 1

    def ran(source: str, step: int) -> bool:
        if step < 0:
            return step == -1 and source in unrolled.before
        return source == "input" or source in takes[step]

    for name, call in unrolled.before.items():
        now = Counter(
            {key: n for key, n in steady.get(name, Counter()).items() if key[0] in unrolled.before}
        )
        if _relative(call.takes, -1) != now:
            yield f"'{name}' is fed otherwise before the first step than at step {last}"
    for name, sums in steady.items():
        if any(steps < 0 for _, steps in sums):
            yield f"'{name}' depends on what comes later"
        for step, at_step in enumerate(takes[:last]):
            if name not in at_step:
                waits = min((steps for _, steps in sums), default=0)
                if unrolled.calls[last][name].layer.kind in PARAMETERS or waits <= step:
                    yield f"'{name}' does not run at step {step}: run it at every step"
                continue
            expected = Counter(
                {
                    (source, steps): times
                    for (source, steps), times in sums.items()
                    if ran(source, step - steps)
                }
            )
            if _relative(at_step[name], step) != expected:
                yield (
                    f"'{name}' is fed otherwise at step {step} than at step {last}: what is done "
                    "must be the same at every step"
                )


def _needed(steady: Steady) -> Steady:
    """Drop what leads to no output."""
    kept = {"output"}
    waiting = ["output"]
    while waiting:
        for edge in steady.into(waiting.pop()):
            if edge.source not in kept:
                kept.add(edge.source)
                waiting.append(edge.source)
    nodes = {name: call for name, call in steady.nodes.items() if name in kept}
    edges = tuple(e for e in steady.edges if e.target in kept)
    return replace(steady, nodes=nodes, edges=edges)


def _without_late_starts(steady: Steady, takes: Sequence[Mapping[str, Sum]]) -> Steady:
    """Let a layer that did not run at first run at once; what leaves it waits instead."""
    edges = list(steady.edges)
    for name in steady.nodes:
        if name in takes[0]:
            continue
        wait = min(e.steps for e in edges if e.target == name)
        for k, edge in enumerate(edges):
            steps = edge.steps - wait * (edge.target == name) + wait * (edge.source == name)
            edges[k] = replace(edge, steps=steps)
    return replace(steady, edges=tuple(edges))


def _without_pairs(steady: Steady) -> Steady:
    """A signal that is added several times is scaled: NIR has no parallel edges."""
    nodes = dict(steady.nodes)
    edges: list[Edge] = []
    for edge, times in Counter(steady.edges).items():
        if times == 1:
            edges.append(edge)
            continue
        name = f"{edge.source}_times_{times}"
        while name in nodes:
            name += "_"
        shape = nodes[edge.source].after if edge.source in nodes else nodes[edge.target].shape
        layer, factor = Layer("scale", name), np.full(shape, float(times))
        nodes[name] = Call(layer, {f"{name}.factor": factor}, (), shape, shape)
        edges += [replace(edge, target=name), Edge(name, edge.target)]
    return replace(steady, nodes=nodes, edges=tuple(edges))


def _without_norms(steady: Steady) -> Steady:
    """Fold each batch normalisation into the layer before it."""
    nodes, edges = dict(steady.nodes), list(steady.edges)
    wrong: list[str] = []
    for name, call in steady.nodes.items():
        if call.layer.kind not in NORMS:
            continue
        (into,) = [e for e in edges if e.target == name]
        before = nodes[into.source]
        if (
            into.steps
            or before.layer.kind not in WEIGHTED
            or sum(e.source == into.source for e in edges) > 1
        ):
            wrong.append(
                f"module '{name}': '{into.source}', into which it is to be folded, is read "
                "elsewhere as well: normalise a layer of its own"
            )
            continue
        pair = (before.layer, call.layer)
        _, arrays = fold(pair, {**before.arrays, **call.arrays})
        nodes[into.source] = replace(before, arrays=arrays)
        del nodes[name]
        edges.remove(into)
        edges = [replace(e, source=into.source) if e.source == name else e for e in edges]
    raise_all(wrong)
    return replace(steady, nodes=nodes, edges=tuple(edges))


def arrays_of(call: Call) -> dict[str, Array]:
    """Arrays of a node by their own names."""
    return {key.removeprefix(f"{call.layer.name}."): a for key, a in call.arrays.items()}


def biased(call: Call) -> bool:
    """Whether something leaves a layer when nothing arrives."""
    bias = arrays_of(call).get("bias")
    return bias is not None and bool(bias.any())


def shape_of(nodes: Mapping[str, Any], name: str, input_shape: Shape) -> Shape:
    """Shape of what leaves a node, or the input."""
    return input_shape if name == "input" else nodes[name].after
