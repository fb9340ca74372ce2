"""Memory that a program needs on a processor: weights with their zeros, states and values."""

from collections.abc import Iterator

from sltdeploy.machine import Target
from sltdeploy.mapping.needs import NETWORK, resource
from sltdeploy.program import Conv, DelayLine, Linear, LoihiNeuron, Neuron, Population, Program
from sltdeploy.resources import Resource

FLOAT_BYTES = 4


def memories(program: Program, target: Target) -> Iterator[Resource]:
    """Flash for the weights, and memory for two copies of the states and for all values."""
    weighted = [op for p in program.projections for op in p.ops if isinstance(op, Linear | Conv)]
    values = sum(op.weight.size + (0 if op.bias is None else op.bias.size) for op in weighted)
    if "flash_bytes" in target.limits:
        used = FLOAT_BYTES * values
        yield resource(target, "weights", "flash_bytes", "budget", used, NETWORK)
    if "ram_bytes" in target.limits:
        # A step reads the old state and writes the new one.
        late = {p.source for p in program.projections if p.recurrent}
        kept = sum(p.size * (_states(p) + (p.name in late)) for p in program.populations)
        state = 2 * FLOAT_BYTES * kept
        sent = FLOAT_BYTES * sum(p.size for p in program.populations)
        yield resource(target, "states and values", "ram_bytes", "budget", state + sent, NETWORK)


def _states(population: Population) -> int:
    match population.rule:
        case Neuron():
            return 1 if population.rule.decay_syn is None else 2
        case LoihiNeuron():
            return 2
        case DelayLine():
            return population.rule.depth
        case _:
            return 0
