"""What Lava's processes cannot do exactly, each with the nearest thing that works."""

from collections.abc import Iterator, Mapping

from sltdeploy.lava_package.plan import Plan, hops
from sltdeploy.lava_package.routes import Route, Routes, moves_nothing
from sltdeploy.lava_package.schedule import TOP_DELAY, steps
from sltdeploy.lava_package.synapses import held, is_huge
from sltdeploy.program import (
    DelayLine,
    Input,
    LoihiNeuron,
    Neuron,
    Population,
    Program,
    Relay,
)


def rule_refusals(program: Program, found: Routes) -> Iterator[str]:
    """Populations that Lava's LIF is not, and values where only spikes can be sent."""
    sending = {route.source for route in found.routes}
    names = {p.name for p in program.populations}
    for p in program.populations:
        match p.rule:
            case Input():
                if p.name in program.outputs:
                    yield f"output '{p.name}' is an input: nothing to run in Lava"
            case Neuron() if p.spiking and p.rule.comparison == "ge":
                yield (
                    f"population '{p.name}' compares with >=, Lava's LIF with >: lower with "
                    "comparison 'gt', or take onnx"
                )
            case Relay() | DelayLine() if p in found.layers:
                yield from _shown_refusals(program, p)
            case _:
                pass
        if p.name in sending and not p.spiking and not isinstance(p.rule, Input):
            yield (
                f"population '{p.name}' sends values, not spikes, to another: neurons in Lava "
                "only send spikes; give it a threshold, let it be an output only, or take the "
                "onnx exporter"
            )
        if f"{p.name}.v" in names and isinstance(p.rule, Neuron | LoihiNeuron):
            yield (
                f"population '{p.name}.v' has the name under which network.py writes the "
                f"potentials of '{p.name}': rename it"
            )
    yield from _part_refusals(program)


def delay_refusals(program: Program, found: Routes, lags: Mapping[str, int]) -> Iterator[str]:
    """Ways that wait longer than synapses can."""
    for route in found.routes:
        source = program.population(route.source)
        taken = steps(route, lags)
        rest = [n - sum(hops(route, taken, source)) for n in taken]
        if max(rest) > TOP_DELAY + 1:
            yield (
                f"{route.name}: waits {max(taken) - 1} steps in its synapses, {TOP_DELAY} is the "
                f"most on Loihi, and {_no_relays(route, source)}: shorten the delay, or take onnx"
            )
        elif max(rest) > 1 and any(is_huge(way.ops, source.shape) for way in route.ways):
            yield (
                f"{route.name}: a convolution with millions of synapses cannot wait "
                f"{max(taken) - 1} steps, and {_no_relays(route, source)}: make the ways to "
                f"'{route.target}' equally long, or take onnx"
            )


def weight_refusals(plan: Plan) -> Iterator[str]:
    """Integers that Loihi's 8 bits do not hold."""
    for attribute, synapse in plan.synapses:
        if why := held(synapse):
            yield f"{attribute}: {why}: quantise the float program anew"


def _no_relays(route: Route, source: Population) -> str:
    if not source.spiking:
        return f"no neuron relays the values of '{source.name}'"
    return f"its ways from '{source.name}' are too different to be relayed"


def _shown_refusals(program: Program, p: Population) -> Iterator[str]:
    if program.numbers == "loihi" and not p.spiking:
        yield (
            f"output '{p.name}' shows sums that no neuron holds, in integers: let it be a readout "
            "neuron (--quantize int8 makes one of it), or let another population be the output"
        )
    for q in program.into(p.name) if p.spiking else ():
        if not moves_nothing(q.ops) or not program.population(q.source).spiking:
            yield (
                f"population '{p.name}' is said to delay spikes, and '{q.name}' brings it more: "
                "put a spiking neuron in front of the delay, or take onnx"
            )


def _part_refusals(program: Program) -> Iterator[str]:
    """Lava runs a network whose processes are all joined; of two it runs none, and waits."""
    part = {p.name: k for k, p in enumerate(program.populations)}
    for q in program.projections:
        joined, other = sorted((part[q.source], part[q.target]))
        part = {name: joined if k == other else k for name, k in part.items()}
    numbers = sorted(set(part.values()))
    if len(numbers) > 1:
        named = (", ".join(name for name, k in part.items() if k == n) for n in numbers)
        yield (
            f"the network falls into parts that nothing joins: {' | '.join(named)}: Lava runs "
            "one at a time; export them one by one, or take onnx"
        )
