"""What quantisation lost: weights, decays, biases and spikes as deployed, against floats."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np

from sltdeploy import integer_simulation
from sltdeploy.bounds import ALIGN, StateBound, arrives, state_bound
from sltdeploy.program import Array, Input, LoihiNeuron, Population, Program, Projection
from sltdeploy.quantize.arriving import carries_weights
from sltdeploy.quantize.calibration import by_name
from sltdeploy.quantize.folding import fold, weight_of
from sltdeploy.quantize.measuring import some_of
from sltdeploy.quantize.waiting import origin, way
from sltdeploy.quantize.wanted import errors, wanted
from sltdeploy.reference import run
from sltdeploy.trace import Trace


@dataclass(frozen=True)
class ProjectionLoss:
    """Errors of the weights of one projection, in the units of the float program.

    ``weights`` counts those that are not 0 in the float program, ``zeroed`` those of them that
    became 0: they are pruned, no synapse is left. ``exponent`` is Loihi's weight exponent.
    """

    name: str
    max_error: float
    rms_error: float
    max_weight: float
    weights: int
    zeroed: int
    exponent: int


@dataclass(frozen=True)
class PopulationLoss:
    """Errors of one population; a value of 1 in the float program is ``unit`` integers.

    ``bias_error`` and ``start_error`` (of the first potential and current) in the units of the
    float program. ``bound`` holds what 24-bit states reach at worst. ``differing`` is the share
    of spikes (of all neurons, steps and samples) that differ on the calibration, each program
    running by itself, or for values their RMS difference in float units; None without one.
    """

    name: str
    unit: float
    decay_error: float
    bias_error: float
    start_error: float
    bound: StateBound
    differing: float | None = None


@dataclass(frozen=True)
class QuantizeReport:
    """Losses by projection with weights and by population (only those in integers), in order."""

    projections: tuple[ProjectionLoss, ...]
    populations: tuple[PopulationLoss, ...]


def losses(
    before: Program,
    after: Program,
    calibration: Array | Mapping[str, Array] | None = None,
) -> QuantizeReport:
    """Compare ``after``, from `snap` or `for_loihi`, with the program ``before``.

    With ``calibration``, which feeds every input, both run on up to 64 steps of 16 samples of it.
    """
    traces = None
    if calibration is not None:
        x = some_of(before, by_name(before, calibration))
        traces = run(before, x), _run(after, x)
    pairs = zip(before.projections, after.projections, strict=True)
    both = zip(before.populations, after.populations, strict=True)
    return QuantizeReport(
        tuple(_projection(before, b, after, a) for b, a in pairs if carries_weights(before, b)),
        tuple(
            _population(before, b, after, a.rule, traces)
            for b, a in both
            if isinstance(a.rule, LoihiNeuron)
        ),
    )


def _run(program: Program, x: Mapping[str, Array]) -> Trace:
    if program.numbers == "loihi":
        return Trace(program, integer_simulation.run(program, x))
    return run(program, x)


def _projection(before: Program, b: Projection, after: Program, a: Projection) -> ProjectionLoss:
    shape = before.population(b.source).shape
    wished = weight_of(fold(b.ops, shape))
    got = weight_of(fold(a.ops, shape)) * _factor(after, a)
    error = np.abs(got - wished)
    present = wished != 0
    return ProjectionLoss(
        name=b.name,
        max_error=float(error.max()),
        rms_error=sqrt(float((error**2).mean())),
        max_weight=float(np.abs(wished).max()),
        weights=int(present.sum()),
        zeroed=int((present & (got == 0)).sum()),
        exponent=a.weight_exponent,
    )


def _factor(program: Program, q: Projection) -> float:
    """What a weight of 1 is in float units."""
    path = way(program, program.population(q.target))
    rule = program.population(path[-1].target if path else q.target).rule
    if not isinstance(rule, LoihiNeuron):
        return 1.0
    entry = origin(program, program.population(q.source))
    sigma = entry.rule.scale if entry is not None and isinstance(entry.rule, Input) else 1.0
    return 2.0**q.weight_exponent * sigma * ALIGN / rule.unit


def _population(
    before: Program,
    p: Population,
    after: Program,
    rule: LoihiNeuron,
    traces: tuple[Trace, Trace] | None,
) -> PopulationLoss:
    decay, bias, start = errors(rule, wanted(before, p))
    return PopulationLoss(
        name=p.name,
        unit=rule.unit,
        decay_error=decay,
        bias_error=bias,
        start_error=start,
        bound=state_bound(rule, arrives(after, after.population(p.name))),
        differing=None if traces is None else _differing(p, rule, *traces),
    )


def _differing(p: Population, rule: LoihiNeuron, floats: Trace, whole: Trace) -> float:
    a, b = floats.records[p.name], whole.records[p.name]
    if rule.spiking:
        return float((a != b).mean())
    return sqrt(float(((a - b / rule.unit) ** 2).mean()))
