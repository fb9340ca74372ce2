"""Random NIR graphs, and a script that compares many of them: python tests/random_networks.py.

A trunk of connections, neurons and delays; edges that skip forward, and edges that lead back.
What leads back starts at a neuron, so that no loop is without one.
"""

import argparse
from dataclasses import dataclass, field
from typing import Any

import nir
import numpy as np
from random_parts import (
    DT,
    READOUTS,
    SPIKING,
    Array,
    Draw,
    Shape,
    connection,
    delay,
    linear,
    neuron,
)

STEPS, BATCH = 25, 2


@dataclass(eq=False)
class Network:
    """A graph, its input by name, and whether its numbers are dyadic."""

    graph: nir.NIRGraph
    x: dict[str, Array]
    dyadic: bool
    features: set[str] = field(default_factory=set[str])


@dataclass(eq=False)
class _Sketch:
    """A graph in the making; ``into`` and ``out`` are shapes before and behind each node."""

    draw: Draw
    nodes: dict[str, Any] = field(default_factory=dict[str, Any])
    edges: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    into: dict[str, Shape] = field(default_factory=dict[str, Shape])
    out: dict[str, Shape] = field(default_factory=dict[str, Shape])
    neurons: list[str] = field(default_factory=list[str])
    features: set[str] = field(default_factory=set[str])

    def add(self, node: Any, into: Shape, out: Shape, *sources: str) -> str:
        """Append a node behind ``sources``; return its name."""
        name = f"{type(node).__name__.lower()}{len(self.nodes)}"
        self.nodes[name] = node
        self.into[name], self.out[name] = into, out
        self.edges += [(s, name) for s in sources]
        self.features.add(type(node).__name__)
        return name

    def join(self, source: str, target: str) -> bool:
        """Lead from ``source`` to ``target``, through a layer where the shapes need one."""
        goal, shape = self.into[target], self.out[source]
        if (source, target) in self.edges:
            return False
        if shape == goal and self.draw.chance(0.5):
            self.edges.append((source, target))
        elif len(shape) == len(goal) == 1:
            node = linear(self.draw, shape[0], goal[0])
            self.edges.append((self.add(node, shape, goal, source), target))
        elif shape == goal:
            node = nir.Scale(self.draw.number(-1, 1, (1,)))
            self.edges.append((self.add(node, shape, goal, source), target))
        else:
            return False
        return True


def random_network(seed: int, *, dyadic: bool = True) -> Network:
    """Draw the network of ``seed``; the same on every machine."""
    rng = np.random.default_rng([seed, dyadic])
    d = Draw(rng, dyadic, pruned=float(rng.choice([0, 0, 0.5, 0.8])))
    s = _Sketch(d)
    shape = _first_shape(d)
    last = s.add(nir.Input({"input": np.array(shape)}), shape, shape)
    trunk = [last]
    for _ in range(int(rng.integers(1, 5))):
        last = _block(s, last)
        trunk += [last] if last != trunk[-1] else []  # a block may be empty
    if d.chance(0.3):
        size = (int(rng.integers(1, 5)),)
        entry = s.add(nir.Input({"input": np.array(size)}), size, size)
        goals = [n for n in trunk[1:] if s.into[n] == size or len(s.into[n]) == 1]
        if not goals or not s.join(entry, d.one(*goals)):
            post = s.add(linear(d, size[0], 3), size, (3,), entry)
            s.neurons.append(s.add(neuron(d, "LIF", (3,)), (3,), (3,), post))
        s.features.add("two inputs")
    _skips(s, trunk)
    _loops(s)
    _outputs(s, last)
    metadata: dict[str, Any] = {
        "dt": DT,
        "reset": d.one("zero", "subtract"),
        "comparison": d.one("gt", "ge"),
        "input_kind": d.one("spikes", "graded"),
    }
    s.features |= {metadata["reset"], metadata["comparison"]} | ({"pruned"} if d.pruned else set())
    graph = nir.NIRGraph(s.nodes, s.edges, metadata=metadata, type_check=False)
    return Network(graph, _stimulus(s, metadata["input_kind"]), dyadic, s.features)


def _first_shape(d: Draw) -> Shape:
    sizes = tuple(int(n) for n in d.rng.integers([1, 3, 3], [4, 7, 7]))
    return d.one((int(d.rng.integers(1, 7)),), sizes[:2], sizes)


def _block(s: _Sketch, last: str) -> str:
    """Some connections and what follows them: a neuron, mostly."""
    d = s.draw
    if len(s.out[last]) == 1 and d.chance(0.1):
        return _nested(s, last)
    for _ in range(int(d.rng.choice([0, 1, 1, 1, 2]))):
        shape = s.out[last]
        node, out = connection(d, shape)
        last = s.add(node, shape, out, last)
    shape = s.out[last]
    if d.chance(0.15):
        return s.add(delay(d, shape), shape, shape, last)
    if d.chance(0.9):
        kind = d.one(*SPIKING, *SPIKING, *READOUTS, "Threshold")
        last = s.add(neuron(d, kind, shape), shape, shape, last)
        s.neurons.append(last)
    return last


def _nested(s: _Sketch, last: str) -> str:
    """A graph in the graph: a layer of LIF neurons, with or without a loop."""
    d, pre, post = s.draw, s.out[last][0], int(s.draw.rng.integers(1, 6))
    nodes: dict[str, Any] = {
        "input": nir.Input({"input": np.array([pre])}),
        "fc": linear(d, pre, post),
        "lif": neuron(d, "LIF", (post,)),
        "output": nir.Output({"output": np.array([post])}),
    }
    edges = [("input", "fc"), ("fc", "lif"), ("lif", "output")]
    if d.chance(0.5):
        nodes["back"] = linear(d, post, post)
        edges += [("lif", "back"), ("back", "lif")]
        s.features.add("loop in a nested graph")
    inner = nir.NIRGraph(nodes, edges, metadata={}, type_check=False)
    # A layer behind it, so that outputs carry names of the outer graph.
    inside = s.add(inner, (pre,), (post,), last)
    return s.add(linear(d, post, 3), (post,), (3,), inside)


def _skips(s: _Sketch, trunk: list[str]) -> None:
    for k, target in enumerate(trunk[1:], start=1):
        for source in trunk[:k]:
            if s.draw.chance(0.25) and s.join(source, target):
                s.features.add("skip")


def _loops(s: _Sketch) -> None:
    """Lead from neurons back to themselves, to earlier neurons, or to layers before them."""
    d = s.draw
    places = [n for n in s.nodes if type(s.nodes[n]).__name__ not in ("Input", "NIRGraph")]
    for target in places:
        at = places.index(target)
        for source in [n for n in s.neurons if n in places and places.index(n) >= at]:
            if not d.chance(0.5 if source == target else 0.12):
                continue
            if d.chance(0.25):
                shape = s.out[source]
                wait = s.add(delay(d, shape, least=d.one(0, 1)), shape, shape, source)
                joined = s.join(wait, target)
            else:
                joined = s.join(source, target)
            if joined:
                s.features.add("self loop" if source == target else "ring")


def _outputs(s: _Sketch, last: str) -> None:
    inputs = [n for n, node in s.nodes.items() if isinstance(node, nir.Input)]
    others = [n for n in s.nodes if n not in (*inputs, last) and "nirgraph" not in n]
    read = [last] + ([s.draw.one(*others)] if others and s.draw.chance(0.4) else [])
    for source in read:
        s.add(nir.Output({"output": np.array(s.out[source])}), s.out[source], s.out[source], source)
    s.features |= {"two outputs"} if len(read) > 1 else set()


def _stimulus(s: _Sketch, kind: str) -> dict[str, Array]:
    """Spikes, or multiples of 1/4; in half of the networks only for a part of the time."""
    rng, x = s.draw.rng, dict[str, Array]()
    start, stop = (0, STEPS) if s.draw.chance(0.5) else sorted(rng.integers(0, STEPS + 1, 2))
    for name, node in s.nodes.items():
        if isinstance(node, nir.Input):
            shape = (STEPS, BATCH, *s.out[name])
            values = rng.integers(-3, 6, shape) / 4
            values = (values > 0.3).astype(float) if kind == "spikes" else values
            values[:start], values[stop:] = 0, 0
            x[name] = values
    return x


def _main() -> None:
    """Compare ``--count`` dyadic and ``--floats`` float networks and print what was found."""
    parser = argparse.ArgumentParser(description=_main.__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--floats", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first network")
    given = parser.parse_args()
    # Imported here: the comparison needs networks, the networks do not need it.
    from network_comparison import MARGIN, compare_many

    for dyadic, count in ((True, given.count), (False, given.floats)):
        total = compare_many(given.seed, count, dyadic=dyadic)
        kind = "dyadic" if dyadic else "float"
        print(f"{total.networks} {kind} networks of {STEPS} steps, seeds {total.seeds}")
        print(f"  drawn again because float32 has too few bits for them: {total.redrawn}")
        print(f"  spikes {total.spikes} of {total.elements}")
        print(f"  differences {len(total.differences)}", *total.differences, sep="\n    ")
        if not dyadic:
            print(
                f"  within {MARGIN:g} of threshold {len(total.inside)}", *total.inside, sep="\n    "
            )
        print("  with", ", ".join(f"{n} {k}" for k, n in sorted(total.features.items())))


if __name__ == "__main__":
    _main()
