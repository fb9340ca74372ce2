"""What the reference's neurons hold inside: the membrane that meets the threshold.

A `Trace` holds what left each population, not its state. The steps up to the one that is asked
for are taken again, for one sample.
"""

from dataclasses import dataclass, replace

import numpy as np

from sltdeploy.errors import raise_all
from sltdeploy.program import Array, LoihiNeuron, Neuron, Population, Program
from sltdeploy.reference import ALIGN_BITS, initial_state, step
from sltdeploy.trace import Trace


@dataclass(frozen=True)
class Distance:
    """Membrane before reset minus threshold, of one neuron in one step; positive is above.

    ``value`` is in the units of the float program. In a "loihi" program ``integers`` is the exact
    distance on the chip and value = integers / unit; elsewhere it is None.
    """

    value: float
    integers: int | None = None

    def __str__(self) -> str:
        if self.value == 0:
            return "at threshold"
        exact = "" if self.integers is None else f" ({abs(self.integers)} in the chip's integers)"
        return f"{abs(self.value):g}{exact} {'above' if self.value > 0 else 'below'} threshold"


def before_reset(trace: Trace, population: str, sample: int, at: int) -> Array:
    r"""Membrane of a population once step ``at`` has integrated, before it compares and resets.

    This is u of `Neuron` (float32) and w of `LoihiNeuron` (int32), shape (\*shape), for the sample
    and the inputs of ``trace``; see `sltdeploy.rules`. Raises `InputError` where the population
    has no membrane or the trace does not reach the sample or the step.
    """
    program = trace.program
    raise_all(_problems(trace, population, sample, at))
    fed = {p.name: trace.records[p.name][:, sample : sample + 1] for p in program.inputs}
    state = initial_state(program, 1)
    for t in range(at):
        _, state = step(program, state, {name: x[t] for name, x in fed.items()})
    # Without a threshold the same neuron sends its membrane; what that feeds is not looked at.
    shown = _as_readout(program, population)
    sent, _ = step(shown, state, {name: x[at] for name, x in fed.items()})
    return sent[population][0]


def distance(
    trace: Trace, population: str, neuron: tuple[int, ...], sample: int, at: int
) -> Distance | None:
    """How far the reference's neuron is from its threshold in step ``at``.

    None for what does not compare: inputs, readouts, relays, delay lines.
    """
    p = trace.program.population(population)
    if not _compares(p):
        return None
    u = before_reset(trace, population, sample, at)[neuron]
    match p.rule:
        case Neuron(threshold=threshold) if threshold is not None:
            limit = np.broadcast_to(threshold.astype(np.float32), p.shape)[neuron]
            return Distance(float(u) - float(limit))
        case LoihiNeuron(vth=vth) if vth is not None:
            integers = int(u) - (vth << ALIGN_BITS)
            return Distance(integers / p.rule.unit, integers)
        case _:
            return None


def _compares(p: Population) -> bool:
    return isinstance(p.rule, Neuron | LoihiNeuron) and p.rule.spiking


def _as_readout(program: Program, name: str) -> Program:
    def shown(p: Population) -> Population:
        match p.rule:
            case Neuron() if p.name == name:
                return replace(p, rule=replace(p.rule, threshold=None))
            case LoihiNeuron() if p.name == name:
                return replace(p, rule=replace(p.rule, vth=None))
            case _:
                return p

    return replace(program, populations=tuple(map(shown, program.populations)))


def _problems(trace: Trace, population: str, sample: int, at: int) -> list[str]:
    known = {p.name: p for p in trace.program.populations}
    found: list[str] = []
    if population not in known:
        found.append(f"population '{population}' is missing, these are: {', '.join(known)}")
    elif not isinstance(known[population].rule, Neuron | LoihiNeuron):
        kind = type(known[population].rule).__name__
        found.append(f"population '{population}': {kind} has no membrane, give one of neurons")
    if not 0 <= at < trace.steps:
        found.append(f"step {at} must be 0 or more and below {trace.steps}, the trace's length")
    if not 0 <= sample < trace.batch:
        found.append(f"sample {sample} must be 0 or more and below {trace.batch}")
    return found
