"""The walk over a graph's nodes that collects populations and projections."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sltdeploy.discretization import amplify, rule_of, single, steps_of, threshold_of, unstable
from sltdeploy.graph import NEURONS
from sltdeploy.program import (
    Array,
    Convention,
    DelayLine,
    Input,
    Op,
    Population,
    Projection,
    Relay,
    Reshape,
    Rule,
    Shape,
)
from sltdeploy.shapes import declared, mismatches, neuron_parameters, ops_of, through
from sltdeploy.topology import Wiring, visiting_order


@dataclass(frozen=True)
class Signal:
    """What leaves a node: a population, and the ops that its values went through since."""

    source: str
    ops: tuple[Op, ...]
    shape: Shape


class Walk:
    """Visits nodes in order; a violation is kept and ends what depends on its node."""

    def __init__(self, wires: Wiring, convention: Convention, entry: Input) -> None:
        self.nodes = wires.nodes
        self.before, self.after = wires.neighbours()
        self.convention = convention
        self.entry = entry
        self.order = visiting_order(wires, self._ends_loops)
        self.late = dict.fromkeys(self.order.closing, True)
        self.late |= dict.fromkeys(self.order.waiting, False)  # edge: recurrent?
        self.late_ends = {target for _, target in self.late}
        self.populations: list[Population] = []
        self.named: dict[str, Population] = {}
        self.projections: list[Projection] = []
        self.shown: dict[str, str] = {}  # Output node: population that it shows
        self.found: list[str] = []
        self.signals: dict[str, Signal] = {}
        self.arrived: dict[str, Shape] = {}  # node: shape of what arrives there
        self.gains: dict[str, tuple[str, Array | None]] = {}  # node: population and gain there

    @property
    def outputs(self) -> tuple[str, ...]:
        """Populations shown, in the order of the Output nodes' names, as files sort them."""
        return tuple(dict.fromkeys(population for _, population in sorted(self.shown.items())))

    def all(self) -> None:
        """Visit every node, then join what closes loops."""
        for name in self.order.names:
            self._visit(name)
        for (source, target), recurrent in self.late.items():
            if source in self.signals and target in self.gains:
                name, gain = self.gains[target]
                self._project(self.signals[source], target, name, gain, recurrent)

    def _visit(self, name: str) -> None:
        node = self.nodes[name]
        kind = type(node).__name__
        if kind == "Input" and not self.before[name]:
            self._enter(name, node)
            return
        if not self.before[name]:
            self.found.append(f"node '{name}': nothing leads here, connect it or remove it")
            return
        sources = [s for s in self.before[name] if (s, name) not in self.late]
        arriving = [self.signals[s] for s in sources if s in self.signals]
        if len(arriving) < len(sources):
            return  # what leads here is wrong already
        shape = arriving[0].shape if arriving else np.shape(getattr(node, "delay", ()))
        if not shape:
            self.found.append(f"node '{name}': its shape is unknown, no input leads here")
            return
        if len({s.shape for s in arriving}) > 1:
            brought = ", ".join(f"{s.source} {s.shape}" for s in arriving)
            self.found.append(f"node '{name}': branches of different shape meet: {brought}")
            return
        self.arrived[name] = shape
        if kind in NEURONS or kind == "Threshold":
            self._neuron(name, node, arriving, shape)
        elif kind == "Delay":
            self._delay(name, node, arriving, shape)
        elif kind == "Output" and not self.after[name]:
            self._output(name, node, arriving)
        else:
            self._connection(name, node, arriving, shape)

    def _enter(self, name: str, node: Any) -> None:
        shape = declared(node.input_type)
        if not shape:
            self.found.append(f"node '{name}': Input declares no shape")
            return
        self._populate(name, shape, self.entry)

    def _connection(self, name: str, node: Any, arriving: list[Signal], shape: Shape) -> None:
        joined = len(arriving) != 1 or self._is_late(name)
        signal = self._relay(f"{name}.sum", arriving, shape) if joined else arriving[0]
        if joined:
            self.gains[name] = (signal.source, None)
        try:
            ops = () if type(node).__name__ in ("Input", "Output") else ops_of(node, shape)
        except ValueError as error:
            self.found.append(f"node '{name}': {type(node).__name__}: {error}")
            return
        after, wrong = through(ops, shape)
        self.found += [f"node '{name}': {type(node).__name__}: {why}" for why in wrong]
        if wrong:
            return
        signal = Signal(signal.source, (*signal.ops, *ops), after)
        # Several readers share one relay, so that the work is done once.
        shared = len(self.after[name]) > 1 and signal.ops
        self.signals[name] = self._relay(name, [signal], after) if shared else signal

    def _neuron(self, name: str, node: Any, arriving: list[Signal], shape: Shape) -> None:
        kind = type(node).__name__
        wrong = [f"node '{name}': {kind}.{w}" for w in mismatches(node, shape)]
        if wrong:
            self.found += wrong
            return
        values = neuron_parameters(node)
        self.found += unstable(name, node, values, self.convention)
        if kind == "Threshold":
            rule, gain = threshold_of(values, self.convention)
        else:
            rule, gain = rule_of(kind, values, self.convention)
        self._join(name, shape, rule, arriving, np.broadcast_to(gain, shape))

    def _delay(self, name: str, node: Any, arriving: list[Signal], shape: Shape) -> None:
        wrong = [f"node '{name}': Delay.{w}" for w in mismatches(node, shape)]
        steps, uneven = steps_of(neuron_parameters(node)["delay"], self.convention)
        wrong += [f"node '{name}': {uneven}"] if uneven else []
        self.found += wrong
        if wrong:
            return
        spiking = (
            len(arriving) == 1
            and not self._is_late(name)
            and self._spiking(arriving[0].source)
            and all(isinstance(op, Reshape) for op in arriving[0].ops)
        )
        self._join(name, shape, DelayLine(steps, spiking), arriving, None)

    def _output(self, name: str, node: Any, arriving: list[Signal]) -> None:
        shape = declared(node.output_type)
        if shape is not None and shape != arriving[0].shape:
            self.found.append(
                f"node '{name}': Output declares {shape}, {arriving[0].shape} arrives"
            )
        source = arriving[0].source
        if len(arriving) == 1 and not arriving[0].ops and not self._is_input(source):
            self.shown[name] = source
            return
        # A relay takes the name of the layer that it shows, unless a population has it.
        layer = self.before[name][0]
        free = len(arriving) == 1 and layer not in self.named
        shown = self._relay(layer if free else name, arriving, arriving[0].shape)
        self.shown[name] = shown.source

    def _join(
        self, name: str, shape: Shape, rule: Rule, arriving: list[Signal], gain: Array | None
    ) -> None:
        """Make a population and the projections to it."""
        self._populate(name, shape, rule)
        self.gains[name] = (name, gain)
        for signal in arriving:
            self._project(signal, name, name, gain, False)

    def _project(
        self, signal: Signal, node: str, target: str, gain: Array | None, recurrent: bool
    ) -> None:
        shape = self.named[target].shape
        if signal.shape != shape:
            self.found.append(f"node '{node}': {signal.source} brings {signal.shape}, not {shape}")
            return
        ops = signal.ops if gain is None else amplify(signal.ops, gain, shape)
        self.projections.append(Projection(signal.source, target, single(ops), recurrent=recurrent))

    def _relay(self, name: str, arriving: list[Signal], shape: Shape) -> Signal:
        for signal in arriving:
            self.projections.append(Projection(signal.source, name, single(signal.ops)))
        return self._populate(name, shape, Relay())

    def _populate(self, name: str, shape: Shape, rule: Rule) -> Signal:
        self.populations.append(Population(name, shape, rule))
        self.named.setdefault(name, self.populations[-1])
        self.signals[name] = Signal(name, (), shape)
        return self.signals[name]

    def _is_input(self, name: str) -> bool:
        return name in self.named and isinstance(self.named[name].rule, Input)

    def _spiking(self, name: str) -> bool:
        return name in self.named and self.named[name].spiking

    def _is_late(self, name: str) -> bool:
        return name in self.late_ends

    def _ends_loops(self, name: str) -> bool:
        node = self.nodes[name]
        return type(node).__name__ == "Delay" and bool(
            (np.asarray(node.delay) >= self.convention.dt / 2).all()
        )
