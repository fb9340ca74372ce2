"""What a Lava network consists of: processes for layers and synapses, and the wires between them.

Expressions are Python source; arrays go to weights.npz. Names of NIR nodes are not trusted: they
enter the source only as identifiers made of letters, digits and underscores, or as ASCII literals.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import ceil, log2, prod

import numpy as np

from sltdeploy.lava_package.neurons import Parameters, parameters, relaying
from sltdeploy.lava_package.routes import Route, Routes
from sltdeploy.lava_package.schedule import TOP_DELAY, steps
from sltdeploy.lava_package.synapses import Synapse, Timed, as_synapses, identity, is_huge
from sltdeploy.program import (
    Array,
    Input,
    LoihiNeuron,
    Neuron,
    Population,
    Program,
    Shape,
)

SUBTRACTING = "SubtractingLIF"  # our own process, for the simulation
GRADED_FLOAT_BITS = 24  # any number above 0 makes Lava's float synapses take graded values


@dataclass(frozen=True, eq=False)
class Process:
    """``self.attribute = cls(arguments)``, values as source; ``note`` is for a comment.

    ``lag`` is that of a layer, which rests outside its samples; None for all other processes.
    """

    attribute: str
    cls: str
    arguments: Mapping[str, str]
    arrays: Mapping[str, Array]
    note: str
    lag: int | None = None


@dataclass(frozen=True, eq=False)
class Reading:
    """How a layer is seen from outside: an out port for spikes, a variable for its membrane.

    Either may be None. ``kind`` is the type of what it sends, ``potential`` that of the membrane
    where it has one; ``offset`` must be added to the variable.
    """

    name: str
    port: str | None
    variable: str | None
    shape: Shape
    lag: int
    kind: str
    potential: str | None
    offset: str
    output: bool

    @property
    def seen(self) -> str:
        """Port or variable that shows what the layer sends."""
        return self.port or self.variable or ""


@dataclass(eq=False)
class Plan:
    """Everything that network.py says about this program.

    ``pause`` is the number of steps without input between two samples, so that what is on its
    way at the end of one is gone before the next.
    """

    pause: int = 0
    processes: list[Process] = field(default_factory=list[Process])
    wires: list[str] = field(default_factory=list[str])
    readings: list[Reading] = field(default_factory=list[Reading])
    in_ports: dict[str, str] = field(default_factory=dict[str, str])
    ids: dict[str, str] = field(default_factory=dict[str, str])
    synapses: list[tuple[str, Synapse]] = field(default_factory=list[tuple[str, Synapse]])

    @property
    def arrays(self) -> dict[str, Array]:
        """All arrays by name."""
        return {name: a for p in self.processes for name, a in p.arrays.items()}

    def free(self, name: str) -> str:
        """``name``, with a number behind it where another process has it."""
        return _free(name, {p.attribute for p in self.processes})


def plan(program: Program, found: Routes, lags: Mapping[str, int]) -> Plan:
    """Lay out ``program``, of which `refusals` found nothing to say."""
    made = Plan(pause=max((route.most for route in found.routes), default=0))
    made.ids |= _identifiers(program)
    for p in program.inputs:
        made.in_ports[p.name] = f"in_{made.ids[p.name]}"
    for p in found.layers:
        for route in found.routes:
            if route.target == p.name:
                _add_route(made, program, route, steps(route, lags))
        _add_layer(made, p, parameters(program, p, found.constants[p.name]), program, lags[p.name])
    return made


def _identifiers(program: Program) -> dict[str, str]:
    """One distinct identifier for each population.

    None is "ports": Lava's processes have in_ports and out_ports of their own.
    """
    found: dict[str, str] = {}
    for p in program.populations:
        plain = re.sub(r"[^A-Za-z0-9]+", "_", p.name).strip("_") or "population"
        found[p.name] = _free(plain, {"ports", *found.values()})
    return found


def _free(name: str, taken: set[str]) -> str:
    tried = (name if k == 1 else f"{name}_{k}" for k in count(1))
    return next(t for t in tried if t not in taken)


def _add_layer(made: Plan, p: Population, given: Parameters, program: Program, lag: int) -> None:
    attribute = f"neurons_{made.ids[p.name]}"
    _add_current(made, attribute, given.current)
    arrays: dict[str, Array] = {}
    arguments = {"shape": repr(p.shape)}
    for name, value in given.arguments.items():
        arguments[name] = _expression(f"{attribute}.{name}", value, arrays)
    offset = _expression(f"{attribute}.offset", given.offset, arrays)
    cls = SUBTRACTING if given.subtracts else "LIF"
    note = f"lags the input by {lag}"
    made.processes.append(Process(attribute, cls, arguments, arrays, note, lag))
    number = "int32" if program.numbers == "loihi" else "float32"
    neuron = isinstance(p.rule, Neuron | LoihiNeuron)
    port = f"out_{made.ids[p.name]}" if p.spiking else None
    variable = f"v_{made.ids[p.name]}" if neuron or not p.spiking else None
    made.readings.append(
        Reading(
            p.name,
            port,
            variable,
            p.shape,
            lag,
            "bool" if p.spiking else number,
            number if neuron else None,
            offset.replace("weights[", "np.load(WEIGHTS)["),
            p.name in program.outputs,
        )
    )
    if port is not None:
        made.wires.append(f"self.{attribute}.s_out.connect(proc.out_ports.{port})")
    if variable is not None:
        made.wires.append(f"proc.vars.{variable}.alias(self.{attribute}.v)")


def _add_current(made: Plan, target: str, values: Array) -> None:
    """A neuron that spikes in every step carries a bias into a synaptic current."""
    if not values.any():
        return
    source, synapse = f"always_{target}", f"bias_{target}"
    always = {"shape": "(1,)", "du": "1", "dv": "1", "vth": "1", "bias_mant": "2"}
    made.processes.append(Process(source, "LIF", always, {}, "spikes in every step, and so"))
    arrays = {f"{synapse}.weights": values.reshape(-1, 1)}
    weights = {"weights": f'weights["{synapse}.weights"]'}
    made.processes.append(Process(synapse, "Dense", weights, arrays, "brings the bias"))
    made.wires.append(f"self.{source}.s_out.connect(self.{synapse}.s_in)")
    made.wires.append(f"self.{synapse}.a_out{_back(values.shape)}.connect(self.{target}.a_in)")


def _add_route(made: Plan, program: Program, route: Route, taken: Sequence[int]) -> None:
    source, target = program.population(route.source), program.population(route.target)
    integers = program.numbers == "loihi"
    names = "_to_".join(made.ids[n] for n in (route.source, route.target))
    sends = f"self.neurons_{made.ids[source.name]}.s_out"
    bits = 0
    if isinstance(source.rule, Input):
        sends = f"proc.in_ports.{made.in_ports[source.name]}"
        bits = _message_bits(source.rule) if source.rule.kind == "graded" else 0
    for hop in hops(route, taken, source):
        sends = _add_relay(made, names, sends, source.shape, hop, integers=integers)
        taken = [n - hop for n in taken]
    timed = [Timed(n, way.ops) for n, way in zip(taken, route.ways, strict=True)]
    for synapse in as_synapses(timed, source.shape, route.exponent, integers=integers):
        attribute = made.free(f"synapses_{names}")
        into, out = _views(synapse, source.shape, target.shape)
        _add_synapse(made, attribute, synapse, bits)
        made.wires.append(f"{sends}{into}.connect(self.{attribute}.s_in)")
        made.wires.append(
            f"self.{attribute}.a_out{out}.connect(self.neurons_{made.ids[target.name]}.a_in)"
        )


def hops(route: Route, taken: Sequence[int], source: Population) -> list[int]:
    """Steps that spikes spend on the way to relay neurons before the synapses of ``route``.

    Relay neurons stand where synapses would have to wait longer than Loihi's can, and before a
    convolution too large to be stored with a delay for each synapse.
    """
    if not source.spiking:
        return []
    longest, spare = max(taken), min(taken) - 1
    if spare and longest == spare + 1 and is_huge(route.ways[0].ops, source.shape):
        needed = spare
    else:
        needed = min(max(0, longest - TOP_DELAY - 1), spare)
    whole, rest = divmod(needed, TOP_DELAY + 1)
    return [TOP_DELAY + 1] * whole + [rest] * (rest > 0)


def _add_relay(
    made: Plan, names: str, sends: str, shape: Shape, hop: int, *, integers: bool
) -> str:
    """A layer that sends on what arrives ``hop`` steps later; returns what sends it."""
    wait, relay = made.free(f"wait_{names}"), made.free(f"relay_{names}")
    _add_synapse(made, wait, identity(prod(shape), hop, integers=integers), 0)
    arguments = {"shape": repr(shape)}
    arguments |= {n: _expression(n, v, {}) for n, v in relaying(integers=integers).items()}
    made.processes.append(Process(relay, "LIF", arguments, {}, "sends on what arrives"))
    flat = ".flatten()" if len(shape) > 1 else ""
    made.wires.append(f"{sends}{flat}.connect(self.{wait}.s_in)")
    made.wires.append(f"self.{wait}.a_out{_back(shape)}.connect(self.{relay}.a_in)")
    return f"self.{relay}.s_out"


def _add_synapse(made: Plan, attribute: str, synapse: Synapse, bits: int) -> None:
    made.synapses.append((attribute, synapse))
    arrays = {f"{attribute}.{name}": array for name, array in synapse.arrays.items()}
    arguments = {
        name: expression.replace("@", attribute) for name, expression in synapse.arguments.items()
    }
    if bits:
        arguments["num_message_bits"] = str(bits)
    made.processes.append(Process(attribute, synapse.cls, arguments, arrays, synapse.note))


def _views(synapse: Synapse, source: Shape, target: Shape) -> tuple[str, str]:
    """How ports turn (C, H, W) into what the synapse takes, and back."""
    if synapse.cls == "Conv":
        return ".transpose([1, 2, 0])", ".transpose([2, 0, 1])"
    return ".flatten()" if len(source) > 1 else "", _back(target)


def _back(shape: Shape) -> str:
    return f".reshape({shape!r})" if len(shape) > 1 else ""


def _message_bits(rule: Input) -> int:
    if rule.low is None or rule.high is None:
        return GRADED_FLOAT_BITS
    return max(1, ceil(log2(max(-rule.low, rule.high, 1) + 1)) + (rule.low < 0))


def _expression(name: str, value: Array, arrays: dict[str, Array]) -> str:
    """A literal where all entries are equal, else an entry of weights.npz."""
    if (value == value.flat[0]).all():
        single = value.flat[0].item()
        return "np.inf" if single == np.inf else repr(single)
    arrays[name] = value
    return f'weights["{name}"]'
