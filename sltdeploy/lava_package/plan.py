"""What a Lava network consists of: one process for each layer and each projection, and the wires.

Expressions are Python source; arrays go to weights.npz. Names of NIR nodes are not trusted: they
enter the source only as identifiers made of letters, digits and underscores, or as ASCII literals.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from math import ceil, log2

import numpy as np

from sltdeploy.bounds import ALIGN, VTH_TOP, bounds
from sltdeploy.lava_package.synapses import Synapse, as_synapse
from sltdeploy.program import Array, Input, LoihiNeuron, Neuron, Population, Program, Projection
from sltdeploy.synapse import constant

GRADED_FLOAT_BITS = 24  # any number above 0 makes Lava's float synapses take graded values


@dataclass(frozen=True, eq=False)
class Process:
    """``self.attribute = cls(arguments)``, values as source; ``note`` is for a comment."""

    attribute: str
    cls: str
    arguments: Mapping[str, str]
    arrays: Mapping[str, Array]
    note: str


@dataclass(frozen=True, eq=False)
class Reading:
    """How a population is seen from outside: an out port (spikes), or a variable (values)."""

    name: str
    port: str
    attribute: str
    shape: tuple[int, ...]
    lag: int
    kind: str
    offset: str
    output: bool


@dataclass(eq=False)
class Plan:
    """Everything that network.py says about this program."""

    processes: list[Process] = field(default_factory=list[Process])
    wires: list[str] = field(default_factory=list[str])
    readings: list[Reading] = field(default_factory=list[Reading])
    in_ports: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def arrays(self) -> dict[str, Array]:
        """All arrays by name."""
        return {name: a for p in self.processes for name, a in p.arrays.items()}


def lags(program: Program) -> dict[str, int]:
    """Steps by which each population lags the reference: the hops from the input."""
    found: dict[str, int] = {}
    for p in program.populations:
        found[p.name] = max((found[q.source] + 1 for q in program.into(p.name)), default=0)
    return found


def plan(program: Program) -> Plan:
    """Lay out ``program``, which has been checked by the caller."""
    made = Plan()
    lag = lags(program)
    ids = _identifiers(program)
    for p in program.inputs:
        made.in_ports[p.name] = f"in_{ids[p.name]}"
    for p in program.populations:
        for projection in program.into(p.name):
            _add_synapse(made, program, projection, ids)
        if not isinstance(p.rule, Input):
            _add_layer(made, program, p, ids, lag[p.name])
    return made


def _identifiers(program: Program) -> dict[str, str]:
    """One distinct identifier for each population."""
    found: dict[str, str] = {}
    for p in program.populations:
        plain = re.sub(r"[^A-Za-z0-9]+", "_", p.name).strip("_") or "population"
        found[p.name] = _free(plain, set(found.values()))
    return found


def _free(name: str, taken: set[str]) -> str:
    """``name``, with a number behind it where it is taken."""
    tried = (name if k == 1 else f"{name}_{k}" for k in count(1))
    return next(t for t in tried if t not in taken)


def _add_layer(
    made: Plan, program: Program, p: Population, ids: Mapping[str, str], lag: int
) -> None:
    attribute = f"neurons_{ids[p.name]}"
    arrays: dict[str, Array] = {}
    if isinstance(p.rule, LoihiNeuron):
        values, offset = _loihi(program, p, p.rule), np.zeros(())
    else:
        values, offset = _float(made, program, p, attribute)
    arguments = {"shape": repr(p.shape)}
    for name, value in values.items():
        arguments[name] = _expression(f"{attribute}.{name}", value, arrays)
    arguments["**"] = f"first_step({lag})"
    where = _expression(f"{attribute}.offset", offset, arrays).replace(
        "weights[", "np.load(WEIGHTS)["
    )
    made.processes.append(
        Process(attribute, "LIFReset", arguments, arrays, f"lags the input by {lag}")
    )
    port = f"{'out' if p.spiking else 'v'}_{ids[p.name]}"
    kind = "bool" if p.spiking else "int32" if isinstance(p.rule, LoihiNeuron) else "float32"
    made.readings.append(
        Reading(p.name, port, attribute, p.shape, lag, kind, where, p.name in program.outputs)
    )
    if p.spiking:
        made.wires.append(f"self.{attribute}.s_out.connect(proc.out_ports.{port})")
    else:
        made.wires.append(f"proc.vars.{port}.alias(self.{attribute}.v)")


def _loihi(program: Program, p: Population, rule: LoihiNeuron) -> dict[str, Array]:
    # A readout must not spike. What leaks stays below the largest threshold that Loihi has, as
    # the quantiser sees to; for the rest one more is needed, which only the simulation takes.
    vth = rule.vth
    if vth is None:
        vth = VTH_TOP if bounds(program)[p.name].v_high <= VTH_TOP * ALIGN else VTH_TOP + 1
    return {
        "du": np.asarray(rule.du),
        "dv": np.asarray(rule.dv),
        "vth": np.asarray(vth),
        "bias_mant": rule.bias_mantissa,
        "bias_exp": np.asarray(rule.bias_exponent),
    }


def _float(
    made: Plan, program: Program, p: Population, attribute: str
) -> tuple[dict[str, Array], Array]:
    """Parameters of a float layer, and what must be added to its v.

    Lava resets v to 0, so potentials are shifted: v' = v - v_reset keeps v' <- decay v' + j + bias'
    with bias' = bias - (1 - decay) v_reset.
    """
    brought = np.zeros(p.shape)
    for k, projection in enumerate(program.into(p.name)):
        shape = program.population(projection.source).shape
        if isinstance(p.rule, Neuron) and p.rule.decay_syn is not None:
            _add_bias_neuron(made, f"{attribute}_{k}", constant(projection.ops, shape), attribute)
        else:
            brought = brought + constant(projection.ops, shape)
    if not isinstance(p.rule, Neuron):  # a relay: a layer that remembers nothing
        one = np.ones(())
        return {"du": one, "dv": one, "vth": np.asarray(np.inf), "bias_mant": brought}, 0 * one
    rule = p.rule
    decay = rule.decay.astype(np.float64)
    shift = (rule.v_init if rule.v_reset is None else rule.v_reset).astype(np.float64)
    kept = 0.0 if rule.decay_syn is None else rule.decay_syn.astype(np.float64)
    threshold = np.asarray(np.inf) if rule.threshold is None else rule.threshold - shift
    return {
        "du": np.asarray(1 - kept),
        "dv": 1 - decay,
        "vth": threshold,
        "bias_mant": brought + rule.bias - (1 - decay) * shift,
    }, shift


def _add_bias_neuron(made: Plan, name: str, values: Array, target: str) -> None:
    """A neuron that spikes in every step carries a bias into a synaptic current."""
    if not values.any():
        return
    source, synapse = f"always_{name}", f"bias_{name}"
    always = {"shape": "(1,)", "du": "1", "dv": "1", "vth": "1", "bias_mant": "2"}
    note = "spikes in every step, and so"
    made.processes.append(Process(source, "LIF", always, {}, note))
    arrays = {f"{synapse}.weights": values.reshape(-1, 1)}
    weights = {"weights": f'weights["{synapse}.weights"]'}
    made.processes.append(Process(synapse, "Dense", weights, arrays, "brings the bias"))
    made.wires.append(f"self.{source}.s_out.connect(self.{synapse}.s_in)")
    back = f".reshape({values.shape!r})" if values.ndim > 1 else ""
    made.wires.append(f"self.{synapse}.a_out{back}.connect(self.{target}.a_in)")


def _add_synapse(
    made: Plan, program: Program, projection: Projection, ids: Mapping[str, str]
) -> None:
    source = program.population(projection.source)
    target = program.population(projection.target)
    attribute = _free(
        f"synapses_{ids[source.name]}_to_{ids[target.name]}", {p.attribute for p in made.processes}
    )
    synapse = as_synapse(projection, source.shape, integers=program.numbers == "loihi")
    arrays = {f"{attribute}.{name}": array for name, array in synapse.arrays.items()}
    arguments = {
        name: expression.replace("@", attribute) for name, expression in synapse.arguments.items()
    }
    if isinstance(source.rule, Input) and source.rule.kind == "graded":
        arguments["num_message_bits"] = str(_message_bits(source.rule))
    made.processes.append(Process(attribute, synapse.cls, arguments, arrays, synapse.note))
    if isinstance(source.rule, Input):
        sends = f"proc.in_ports.{made.in_ports[source.name]}"
    else:
        sends = f"self.neurons_{ids[source.name]}.s_out"
    into, out = _views(synapse, source.shape, target.shape)
    made.wires.append(f"{sends}{into}.connect(self.{attribute}.s_in)")
    made.wires.append(f"self.{attribute}.a_out{out}.connect(self.neurons_{ids[target.name]}.a_in)")


def _views(synapse: Synapse, source: tuple[int, ...], target: tuple[int, ...]) -> tuple[str, str]:
    """How ports turn (C, H, W) into what the synapse takes, and back."""
    if synapse.cls == "Conv":
        return ".transpose([1, 2, 0])", ".transpose([2, 0, 1])"
    into = ".flatten()" if len(source) > 1 else ""
    return into, f".reshape({target!r})" if len(target) > 1 else ""


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
