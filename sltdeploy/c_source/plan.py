"""From a program to what the C file does: numbers to count in, kernels, and in which order."""

from dataclasses import dataclass

import numpy as np

from sltdeploy.c_source import costs
from sltdeploy.c_source.exactness import FLOAT32_BITS, Signal, through, together
from sltdeploy.c_source.stages import Stage, stages
from sltdeploy.c_source.text import identifiers
from sltdeploy.program import (
    Array,
    DelayLine,
    Input,
    LoihiNeuron,
    Neuron,
    Population,
    Program,
    Projection,
    Relay,
)
from sltdeploy.resting import at_rest
from sltdeploy.synapse import constant

LOIHI_ROOM = 2.0**30  # what an int32 activation may reach


@dataclass(frozen=True, eq=False)
class Sum:
    """What arrives at a population before its rule sees it.

    ``kind`` is "int32", "int64" or "float64"; integers count multiples of ``2**-bits``.
    ``constant`` is what is there before anything arrives, of the population's size, or None.
    """

    kind: str
    bits: int
    constant: Array | None


@dataclass(frozen=True, eq=False)
class Cell:
    """A population; ``identifier`` is what stands for its name in C.

    ``sent`` is the type of what leaves: "uint8" for spikes, else "float32" or an integer.
    ``rest`` is what stands on its recurrent projections at first, None where it has none.
    """

    population: Population
    identifier: str
    sum: Sum | None
    sent: str
    rest: Array | None

    @property
    def size(self) -> int:
        """Number of neurons."""
        return self.population.size


@dataclass(frozen=True, eq=False)
class Push:
    """What goes from one population to the sum of another.

    In integers the last stage's result is multiplied by ``2**shift``. Where ``shift`` is
    negative (Loihi only) the whole, with ``constant``, is shifted right before it is added.
    """

    index: int
    projection: Projection
    source: Cell
    target: Cell
    stages: tuple[Stage, ...]
    shift: int
    constant: Array | None

    def name(self, stage: int) -> str:
        """Part of the identifiers of a stage; the numbers make it unlike any other."""
        return f"p{self.index}_{stage}_{self.source.identifier}_to_{self.target.identifier}"


@dataclass(frozen=True, eq=False)
class Plan:
    """All that the source needs; ``cells`` are in the order of a step, ``pushes`` as well."""

    program: Program
    cells: tuple[Cell, ...]
    pushes: tuple[Push, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, each once."""
        return tuple(dict.fromkeys(self.program.outputs))

    def out_of(self, cell: Cell, *, recurrent: bool) -> list[Push]:
        """What leaves ``cell``: at once, or in the step after."""
        return [p for p in self.pushes if p.source is cell and p.projection.recurrent == recurrent]


def plan(program: Program) -> Plan:
    """Choose for each population what its sum is counted in, for each projection its kernels."""
    names = identifiers(p.name for p in program.populations)
    rests = at_rest(program)
    cells: dict[str, Cell] = {}
    for p in program.populations:
        total = None if isinstance(p.rule, Input) else _sum(program, p)
        sent = _sent(program, p, total)
        cells[p.name] = Cell(p, names[p.name], total, sent, rests.get(p.name))
    pushes = (
        _push(program, k, q, cells[q.source], cells[q.target])
        for k, q in enumerate(program.projections)
    )
    return Plan(program, tuple(cells.values()), tuple(pushes))


def _sent(program: Program, p: Population, total: Sum | None) -> str:
    if p.spiking:
        return "uint8"
    if program.numbers != "loihi":
        return "float32"
    wide = total is not None and total.kind == "int64" and isinstance(p.rule, Relay | DelayLine)
    return "int64" if wide else "int32"


def _source_signal(program: Program, p: Population) -> Signal | None:
    """Bound what leaves ``p``; values of a float program lie on no grid."""
    if p.spiking:
        return Signal(0, np.ones(p.shape))
    if program.numbers != "loihi":
        return None
    match p.rule:
        case Input() if p.rule.low is not None and p.rule.high is not None:
            top = max(abs(p.rule.low), abs(p.rule.high))
        case LoihiNeuron():
            top = 2**23
        case _:
            return None
    return Signal(0, np.full(p.shape, float(top)))


def _sum(program: Program, p: Population) -> Sum:
    into = program.into(p.name)
    signals = [through(q.ops, _source_signal(program, program.population(q.source))) for q in into]
    constants = [
        constant(q.ops, program.population(q.source).shape).reshape(-1)
        for q in into
        if q.weight_exponent >= 0
    ]
    exponents = [q.weight_exponent for q in into if q.weight_exponent >= 0]
    rest = np.zeros(p.size)
    for c, e in zip(constants, exponents, strict=True):
        rest = rest + c * 2.0**e
    if program.numbers == "loihi":
        raised = [
            None if s is None else s.raised(max(q.weight_exponent, 0))
            for s, q in zip(signals, into, strict=True)
        ]
        bound = together(raised)
        narrow = bound is not None and bound.peak <= LOIHI_ROOM and bound.fits(0)
        kind = "int32" if narrow else "int64"
        return Sum(kind, 0, _kept(rest, kind))
    bound = together(signals)
    if bound is None or bound.peak > 2.0**FLOAT32_BITS or not bound.fits(bound.bits):
        return Sum("float64", 0, _kept(rest, "float64"))
    return Sum("int32", bound.bits, _kept(np.rint(rest * 2.0**bound.bits), "int32"))


def _kept(constant: Array, kind: str) -> Array | None:
    return constant.astype(kind) if constant.any() else None


def _push(program: Program, index: int, q: Projection, source: Cell, target: Cell) -> Push:
    assert target.sum is not None, "Program checks that no projection leads to an input"
    whole = target.sum.kind != "float64"
    rate = costs.SPIKE_RATE if source.population.spiking else costs.VALUE_RATE
    found = stages(q.ops, source.population.shape, rate, whole=whole)
    shift = q.weight_exponent
    held = None
    if program.numbers != "loihi":
        shift = target.sum.bits - sum(s.bits for s in found) if whole else 0
    elif shift < 0:
        held = _kept(constant(q.ops, source.population.shape).reshape(-1), target.sum.kind)
    return Push(index, q, source, target, found, shift, held)


def neuron_state(cell: Cell) -> dict[str, str]:
    """Name and type of what the rule of ``cell`` keeps, each of its size."""
    match cell.population.rule:
        case Neuron() as rule:
            return {"v": "float32"} | ({} if rule.decay_syn is None else {"j": "float32"})
        case LoihiNeuron():
            return {"v": "int32", "j": "int64"}
        case _:
            return {}
