"""What a NIR graph means, written again: plain float64, node by node, and nothing of sltdeploy.

Every connection becomes a matrix, filled tap by tap. A step asks each node for its value; a node
asks its predecessors. Where a loop must be cut, it is found by searching paths: with no edge of
nodes that lie on a common loop left, the question always ends.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from oracle_maps import Array, connection

Edge: TypeAlias = tuple[str, str]

BITS = 22  # of the 24 that float32 has: products with folded gains need up to two more
NEURONS = ("LIF", "LI", "IF", "I", "CubaLIF", "CubaLI", "Threshold")


@dataclass(frozen=True)
class Convention:
    """Time step in seconds, reset and comparison as in a file's metadata."""

    dt: float
    reset: str
    comparison: str


class Oracle:
    """Steps a flat or nested graph on x by input name, each (T, B, *shape).

    Afterwards ``spikes`` and ``values`` hold records by node name, (T, B, *shape), ``margins``
    the distance of each potential to its threshold, ``outputs`` what reached each Output.
    With ``only_exact`` it checks that every number on the way fits float32, whatever the order
    of sums, and stops after the first step in which one does not: then ``exact`` is False.
    """

    def __init__(
        self, graph: Any, convention: Convention, x: dict[str, Array], *, only_exact: bool
    ) -> None:
        self.only_exact = only_exact
        self.c = convention
        self.nodes: dict[str, Any] = {}
        self.edges: list[Edge] = []
        self._flatten(graph, "")
        self.late = self._late_edges()
        self.exact = True
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.maps: dict[str, tuple[Array, Array]] = {}
        self.grids: dict[str, tuple[float, float]] = {}
        self._shape_all({n: v.shape[2:] for n, v in x.items()})
        steps, self.batch = next(iter(x.values())).shape[:2]
        self.state: dict[str, dict[str, Array]] = {}
        self.past: dict[str, list[Array]] = {n: [] for n in self.nodes if self._kind(n) == "Delay"}
        self.before = self._at_rest()
        records: dict[str, list[Array]] = {n: [] for n in self.nodes}
        margins: dict[str, list[Array]] = {}
        for t in range(steps):
            self.now = {n: v[t].astype(float) for n, v in x.items()}
            self.margin: dict[str, Array] = {}
            for name in self.nodes:
                self._value(name)
            for name in self.past:
                self.past[name].append(self._arriving(name))
            for name, value in self.now.items():
                records[name].append(value)
            for name, value in self.margin.items():
                margins.setdefault(name, []).append(value)
            self.before = self.now
            if not self.exact:
                break
        whole = {n: np.stack(r) for n, r in records.items()}
        self.margins = {n: np.stack(r) for n, r in margins.items()}
        self.spikes = {n: whole[n] != 0 for n in self.margins}
        self.values = {n: v for n, v in whole.items() if self._kind(n) in ("LI", "I", "CubaLI")}
        outer = [n for n, node in graph.nodes.items() if type(node).__name__ == "Output"]
        self.outputs = {n: whole[n] for n in outer}

    # ------------------------------------------------------------------------- structure

    def _kind(self, name: str) -> str:
        return type(self.nodes[name]).__name__

    def _flatten(self, graph: Any, prefix: str) -> None:
        def end(name: str, kind: str) -> str:
            node, path = graph.nodes[name], prefix + name
            while type(node).__name__ == "NIRGraph":
                inner = [k for k, v in node.nodes.items() if type(v).__name__ == kind]
                node, path = node.nodes[inner[0]], f"{path}.{inner[0]}"
            return path

        for name, node in graph.nodes.items():
            if type(node).__name__ == "NIRGraph":
                self._flatten(node, f"{prefix}{name}.")
            else:
                self.nodes[prefix + name] = node
        self.edges += [(end(a, "Output"), end(b, "Input")) for a, b in graph.edges]

    def _sources(self, name: str) -> list[str]:
        return [a for a, b in self.edges if b == name]

    def _late_edges(self) -> set[Edge]:
        """Edges that bring what their source had in the step before.

        Of each set of nodes that lie on common loops it is those that lead, within the set, to
        the node nearest to the inputs; then again for what loops are left.
        """
        far = len(self.nodes)
        distance = {n: far if self._sources(n) else 0 for n in self.nodes}
        for _ in self.nodes:
            for a, b in self.edges:
                distance[b] = min(distance[b], distance[a] + 1)
        # What a delay sends does not depend on what reaches it in the same step.
        left = [(a, b) for a, b in self.edges if not self._waits(b)]
        late: set[Edge] = set()
        while True:
            reach = {n: self._reachable(n, left) for n in self.nodes}
            looped = [n for n in self.nodes if n in reach[n]]
            if not looped:
                return late
            first = min(looped, key=lambda n: (distance[n], n))
            common = {n for n in looped if n in reach[first] and first in reach[n]}
            late |= {(a, b) for a, b in left if b == first and a in common}
            left = [e for e in left if e not in late]

    def _waits(self, name: str) -> bool:
        return self._kind(name) == "Delay" and bool((self._steps(name) > 0).all())

    def _steps(self, name: str) -> Array:
        return np.rint(np.asarray(self.nodes[name].delay) / self.c.dt).astype(int)

    @staticmethod
    def _reachable(name: str, edges: list[Edge]) -> set[str]:
        found: set[str] = set()
        open_ = [name]
        while open_:
            at = open_.pop()
            fresh = [b for a, b in edges if a == at and b not in found]
            found.update(fresh)
            open_ += fresh
        return found

    def _shape_all(self, inputs: dict[str, tuple[int, ...]]) -> None:
        self.shapes |= inputs
        while len(self.shapes) < len(self.nodes):
            for name in self.nodes:
                known = [self.shapes[s] for s in self._sources(name) if s in self.shapes]
                if name in self.shapes:
                    continue
                if self._kind(name) == "Delay":
                    self.shapes[name] = np.shape(self.nodes[name].delay)
                elif known:
                    self.shapes[name] = self._out_shape(name, known[0])

    def _out_shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        made = connection(self.nodes[name], shape)
        if made is None:
            return shape
        matrix, bias, out = made
        self.maps[name] = (matrix, bias)
        self.grids[name] = (lowest(matrix), lowest(bias))
        return out

    # ------------------------------------------------------------------------- values

    def _at_rest(self) -> dict[str, Array]:
        """What each node sent before the first step: inputs, neurons and delays sent 0."""
        self.now = {
            n: np.zeros((self.batch, *self.shapes[n]))
            for n in self.nodes
            if self._kind(n) in (*NEURONS, "Delay") or not self._sources(n)
        }
        late, self.late = self.late, set[Edge]()
        for name in self.nodes:
            self._value(name)
        self.late = late
        return self.now

    def _value(self, name: str) -> Array:
        if name not in self.now:
            kind = self._kind(name)
            if kind == "Delay" and self._waits(name):
                self.now[name] = self._delayed(name, np.zeros(0))
            else:
                x = self._arriving(name)
                if kind == "Delay":
                    self.now[name] = self._delayed(name, x)
                elif kind in NEURONS:
                    self.now[name] = self._neuron(name, kind, x)
                else:
                    self.now[name] = self._through(name, x)
        return self.now[name]

    def _arriving(self, name: str) -> Array:
        brought = [
            self.before[s] if (s, name) in self.late else self._value(s)
            for s in self._sources(name)
        ]
        if len(brought) == 1:
            return brought[0]
        if self.only_exact:
            self._bounded(np.sum(np.abs(brought), axis=0), *map(lowest, brought))
        return self._checked(np.sum(brought, axis=0))

    def _through(self, name: str, x: Array) -> Array:
        shape = (self.batch, *self.shapes[name])
        if name not in self.maps:  # Input, Output
            return x.reshape(shape)
        matrix, bias = self.maps[name]
        flat = x.reshape(self.batch, -1)
        y = self._checked(flat @ matrix.T + bias)
        if self.only_exact:
            grid, grid_bias = self.grids[name]
            reach = np.abs(flat) @ np.abs(matrix).T + np.abs(bias)
            self._bounded(reach, grid * lowest(flat), grid_bias)
        return y.reshape(shape)

    def _delayed(self, name: str, x: Array) -> Array:
        steps = np.broadcast_to(self._steps(name), self.shapes[name])
        past, y = self.past[name], np.zeros((self.batch, *self.shapes[name]))
        for at in np.ndindex(steps.shape):
            d = steps[at]
            if d <= len(past):
                y[(slice(None), *at)] = (past[-d] if d else x)[(slice(None), *at)]
        return y

    def _neuron(self, name: str, kind: str, x: Array) -> Array:
        p, dt, fits = self.nodes[name], self.c.dt, self._checked
        if kind == "Threshold":
            return self._fired(name, x - p.threshold)
        if name not in self.state:
            start = getattr(p, "v_leak", getattr(p, "v_reset", np.zeros(())))
            self.state[name] = {"v": start + np.zeros_like(x), "i": np.zeros_like(x)}
        s = self.state[name]
        v = s["v"]
        if kind in ("IF", "I"):
            u = fits(v + fits(dt * p.r * x))
        else:
            drive = p.r * x
            mem = dt / (p.tau if kind in ("LIF", "LI") else p.tau_mem)
            if kind in ("CubaLIF", "CubaLI"):
                syn = dt / p.tau_syn
                # As in Euler steps of both equations, the potential sees the new current.
                s["i"] = (1 - syn) * s["i"] + syn * p.w_in * x
                drive = p.r * s["i"]
                fits(mem * p.r * (1 - syn) * s["i"])
            u = fits(fits(fits((1 - mem) * v) + fits(mem * drive)) + fits(mem * p.v_leak))
        if kind in ("LI", "I", "CubaLI"):
            s["v"] = u
            return u
        z = self._fired(name, u - p.v_threshold)
        lower = p.v_reset if self.c.reset == "zero" else u - p.v_threshold
        s["v"] = fits(np.where(z > 0, lower, u))
        return z

    def _fired(self, name: str, above: Array) -> Array:
        self.margin[name] = above
        return (above > 0 if self.c.comparison == "gt" else above >= 0).astype(float)

    def _checked(self, values: Array) -> Array:
        """Return ``values``; note where float32 has too few bits for them."""
        with np.errstate(over="ignore"):  # what overflows differs
            if self.only_exact and (values.astype(np.float32) != values).any():
                self.exact = False
        return values

    def _bounded(self, reach: Array, *grids: float) -> None:
        """Note where sums of at most ``reach``, of multiples of the grids, may round in float32."""
        grid = min(grids)
        if np.isfinite(grid) and reach.max(initial=0) >= grid * 2.0**BITS:
            self.exact = False


def lowest(values: Array) -> float:
    """The largest power of two of which all ``values`` are multiples; inf where all are 0."""
    mantissa, exponent = np.frexp(values[values != 0])
    if not mantissa.size:
        return np.inf
    whole = (mantissa * 2.0**53).astype(np.int64)
    return float(np.ldexp((whole & -whole).astype(float), exponent - 53).min())
