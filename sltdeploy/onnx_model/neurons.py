"""One step of neurons, in the order in which the reference rounds."""

from collections.abc import Mapping
from dataclasses import dataclass

from sltdeploy.onnx_model.graph import FLOAT, Graph
from sltdeploy.onnx_model.projecting import compact
from sltdeploy.onnx_model.state import State
from sltdeploy.program import Array, Neuron, Population


@dataclass(frozen=True)
class Signal:
    """What a population sends: float32 (N, *shape), and of spikes also the form to cast from.

    ``values`` is None where nothing reads spikes as float32.
    """

    values: str | None
    spikes: str | None = None


@dataclass(frozen=True)
class Goals:
    """Tensors to write: what is sent as float32, or for neurons that spike as bool, or both."""

    sent: str | None
    fired: str | None = None


def neuron(
    graph: Graph,
    p: Population,
    rule: Neuron,
    x: str,
    states: Mapping[str, State],
    goals: Goals,
) -> Signal:
    """Emit one step of ``rule`` for what arrives in ``x``; ``states`` of ``p`` by their names."""
    if rule.decay_syn is not None and "j" in states:
        j = states["j"]
        x = graph.total([_decayed(graph, p, "j", rule.decay_syn, j.input), x], j.output)
    v = states.get("v")
    terms = [x] if v is None else [_decayed(graph, p, "v", rule.decay, v.input), x]
    if rule.bias.any():  # not folded into Gemm: the reference rounds before it adds the bias
        terms.append(graph.constant(compact(rule.bias), f"{p.name}.bias"))
    if rule.threshold is None:
        assert goals.sent is not None, "values leave as float32"
        graph.total(terms, goals.sent)
        if v is not None:
            graph.add("Identity", [goals.sent], v.output)
        return Signal(goals.sent)
    u = terms[0] if len(terms) == 1 else graph.total(terms, graph.claim(f"{p.name}.u"))
    return _fire(graph, p, rule, rule.threshold, u, v, goals)


def _decayed(graph: Graph, p: Population, letter: str, decay: Array, before: str) -> str:
    if (decay == 1).all():
        return before
    factor = graph.constant(compact(decay), f"{p.name}.decay_{letter}")
    return graph.add("Mul", [factor, before], graph.claim(f"{p.name}.{letter}_decayed"))


def _fire(
    graph: Graph,
    p: Population,
    rule: Neuron,
    threshold: Array,
    u: str,
    v: State | None,
    goals: Goals,
) -> Signal:
    """Compare ``u`` with the threshold, send the spikes, reset."""
    limit = graph.constant(compact(threshold), f"{p.name}.threshold")
    compare = "Greater" if rule.comparison == "gt" else "GreaterOrEqual"
    fired = graph.add(compare, [u, limit], goals.fired or graph.claim(f"{p.name}.fired"))
    subtracts_one = v is not None and rule.reset == "subtract" and bool((threshold == 1).all())
    sent = goals.sent
    if sent is None and subtracts_one:
        sent = graph.claim(f"{p.name}.spikes")
    if sent is not None:
        graph.add("Cast", [fired], sent, {"to": FLOAT})
    if v is None:
        return Signal(sent, fired)
    if subtracts_one and sent is not None:
        graph.add("Sub", [u, sent], v.output)  # what to subtract is the spike itself
    elif rule.reset == "subtract":
        lowered = graph.add("Sub", [u, limit], graph.claim(f"{p.name}.lowered"))
        graph.add("Where", [fired, lowered, u], v.output)
    else:
        assert rule.v_reset is not None, "Program checks that the rule is complete"
        rest = graph.constant(compact(rule.v_reset), f"{p.name}.v_reset")
        graph.add("Where", [fired, rest, u], v.output)
    return Signal(sent, fired)
