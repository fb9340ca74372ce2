"""From what a network means to what a machine steps: the only place where dt meets tau."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sltdeploy.discretization import amplify, rule_of, single, unstable
from sltdeploy.errors import InputError, raise_all
from sltdeploy.graph import NEURONS, problems
from sltdeploy.program import (
    Comparison,
    Convention,
    Decay,
    Input,
    Op,
    Population,
    Program,
    Projection,
    Relay,
    Reset,
    Rule,
    Shape,
)
from sltdeploy.shapes import declared, mismatches, neuron_parameters, ops_of, through
from sltdeploy.topology import in_order, neighbours

if TYPE_CHECKING:
    import nir


def lower(
    graph: "nir.NIRGraph",
    dt: float | None = None,
    *,
    reset: Reset | None = None,
    comparison: Comparison | None = None,
    decay: Decay | None = None,
    input_kind: str | None = None,
) -> Program:
    r"""Turn a NIR graph into a `Program` that steps by ``dt`` seconds.

    The one written convention: an Euler step, integrate, then compare, then reset, all in the
    same step; a spike reaches the next population within the step. With x the input current,
    :math:`a = dt/\tau` (or :math:`1 - e^{-dt/\tau}` for ``decay="exponential"``):

    .. math::
        LIF, LI:\quad & v \leftarrow (1-a) v + a (v_{leak} + r x)\\
        IF, I:\quad & v \leftarrow v + dt\, r x\\
        CubaLIF, CubaLI:\quad & i \leftarrow (1-a_{syn}) i + a_{syn} w_{in} x,\quad
            v \leftarrow (1-a_{mem}) v + a_{mem} (v_{leak} + r i)\\
        z &= v > v_{threshold}\ \text{(or}\ \ge\text{, by comparison)}\\
        v &\leftarrow v_{reset}\ \text{where}\ z\ \text{(or}\ v - v_{threshold}\text{, by reset)}

    CubaLIF uses the new i; with ``w_in = tau_syn / dt`` this is Norse's LIFCell. The first step
    starts from ``v = v_leak`` (IF: ``v_reset``, I: 0) and ``i = 0``. Gains are folded into the
    weights in float64 and rounded to float32 once.

    ``dt``, ``reset``, ``comparison``, ``decay`` and ``input_kind`` override the graph's metadata;
    where neither gives a time step, `InputError` says so. Without either, reset is "zero" (to
    v_reset), comparison "gt", decay "euler", input_kind "graded".

    Raises `InputError` with every violation: node, value, limit. Recurrent loops are refused by
    name. The graph is left as it is.

    Source: NIR 1.0.8, nir/ir/neuron.py, for the equations; Norse 1.1.0 for the Euler step.
    """
    raise_all(problems(graph))
    convention = _convention(graph.metadata, dt, reset, comparison, decay)
    kind = _choose(input_kind, graph.metadata, "input_kind", "graded")
    if kind not in ("spikes", "graded"):
        raise InputError(f"input_kind is {kind!r}, must be spikes or graded")
    walk = _Walk(graph, convention, Input("spikes" if kind == "spikes" else "graded"))
    for name in in_order(graph):
        walk.visit(name)
    raise_all(walk.found)
    return Program(
        convention, tuple(walk.populations), tuple(walk.projections), tuple(walk.outputs)
    )


def _convention(
    metadata: Mapping[str, Any],
    dt: float | None,
    reset: Reset | None,
    comparison: Comparison | None,
    decay: Decay | None,
) -> Convention:
    step = _choose(dt, metadata, "dt", None)
    if step is None:
        raise InputError(
            "no time step: the model's metadata has no dt; give it in seconds, --dt 0.001 "
            "(Python: dt=0.001)"
        )
    return Convention(
        dt=float(step),
        reset=_choose(reset, metadata, "reset", "zero"),
        comparison=_choose(comparison, metadata, "comparison", "gt"),
        decay=_choose(decay, metadata, "decay", "euler"),
    )


def _choose(given: object, metadata: Mapping[str, Any], key: str, otherwise: Any) -> Any:
    return given if given is not None else metadata.get(key, otherwise)


@dataclass(frozen=True)
class _Signal:
    """What leaves a node: a population, and the ops that its values went through since."""

    source: str
    ops: tuple[Op, ...]
    shape: Shape


class _Walk:
    """Visits nodes in order of the edges and collects populations and projections."""

    def __init__(self, graph: "nir.NIRGraph", convention: Convention, entry: Input) -> None:
        self.nodes = graph.nodes
        self.before, self.after = neighbours(graph)
        self.convention = convention
        self.entry = entry
        self.populations: list[Population] = []
        self.projections: list[Projection] = []
        self.outputs: list[str] = []
        self.found: list[str] = []
        self.signals: dict[str, _Signal] = {}

    def visit(self, name: str) -> None:
        """Translate one node; a violation is kept and ends what depends on the node."""
        node = self.nodes[name]
        arriving = [self.signals[s] for s in self.before[name] if s in self.signals]
        if type(node).__name__ == "Input":
            shape = declared(node.input_type)
            if shape is None:
                self.found.append(f"node '{name}': Input declares no shape")
                return
            self._populate(name, shape, self.entry)
            return
        if not self.before[name]:
            self.found.append(f"node '{name}': nothing leads here, connect it or remove it")
        if len(arriving) < len(self.before[name]) or not arriving:
            return  # what leads here is wrong already
        if len({s.shape for s in arriving}) > 1:
            brought = ", ".join(f"{s.source} {s.shape}" for s in arriving)
            self.found.append(f"node '{name}': branches of different shape meet: {brought}")
            return
        if type(node).__name__ in NEURONS:
            self._neuron(name, node, arriving)
        elif type(node).__name__ == "Output":
            self._output(name, node, arriving)
        else:
            self._connection(name, node, arriving)

    def _connection(self, name: str, node: Any, arriving: list[_Signal]) -> None:
        signal = arriving[0] if len(arriving) == 1 else self._relay(f"{name}.sum", arriving)
        try:
            ops = ops_of(node, signal.shape)
        except ValueError as error:
            self.found.append(f"node '{name}': {type(node).__name__}: {error}")
            return
        shape, wrong = through(ops, signal.shape)
        self.found += [f"node '{name}': {type(node).__name__}: {why}" for why in wrong]
        if wrong:
            return
        signal = _Signal(signal.source, (*signal.ops, *ops), shape)
        # Several readers share one relay, so that the work is done once.
        self.signals[name] = signal if len(self.after[name]) < 2 else self._relay(name, [signal])

    def _neuron(self, name: str, node: Any, arriving: list[_Signal]) -> None:
        shape = arriving[0].shape
        wrong = [f"node '{name}': {type(node).__name__}.{w}" for w in mismatches(node, shape)]
        if wrong:
            self.found += wrong
            return
        values = neuron_parameters(node)
        wrong = unstable(name, node, values, self.convention)
        self.found += wrong
        neuron, gain = rule_of(type(node).__name__, values, self.convention)
        self._populate(name, shape, neuron)
        for signal in arriving:
            ops = amplify(signal.ops, np.broadcast_to(gain, shape), shape)
            self.projections.append(Projection(signal.source, name, single(ops)))

    def _output(self, name: str, node: Any, arriving: list[_Signal]) -> None:
        shape = declared(node.output_type)
        if shape is not None and shape != arriving[0].shape:
            self.found.append(
                f"node '{name}': Output declares {shape}, {arriving[0].shape} arrives"
            )
        source = arriving[0].source
        if len(arriving) == 1 and not arriving[0].ops and not self._is_input(source):
            self.outputs.append(source)
            return
        # A relay takes the name of the layer that it shows, unless a population has it.
        layer = self.before[name][0]
        free = len(arriving) == 1 and all(p.name != layer for p in self.populations)
        self.outputs.append(self._relay(layer if free else name, arriving).source)

    def _is_input(self, name: str) -> bool:
        return any(p.name == name and isinstance(p.rule, Input) for p in self.populations)

    def _relay(self, name: str, arriving: list[_Signal]) -> _Signal:
        shape = arriving[0].shape
        for signal in arriving:
            self.projections.append(Projection(signal.source, name, single(signal.ops)))
        return self._populate(name, shape, Relay())

    def _populate(self, name: str, shape: Shape, rule: Rule) -> _Signal:
        self.populations.append(Population(name, shape, rule))
        self.signals[name] = _Signal(name, (), shape)
        return self.signals[name]
