"""What quantisation lost: weights, decays and biases as deployed, against the float program."""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from sltdeploy.bounds import ALIGN, UNITY, StateBound, arrives, state_bound
from sltdeploy.program import Array, Input, LoihiNeuron, Neuron, Population, Program, Projection
from sltdeploy.quantize.folding import fold, weight_of
from sltdeploy.synapse import constant


@dataclass(frozen=True)
class ProjectionLoss:
    """Errors of the weights of one projection, in the units of the float program.

    ``weights`` counts those that are not 0 in the float program, ``zeroed`` those of them that
    became 0. ``exponent`` is Loihi's weight exponent.
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

    ``bias_error`` in the units of the float program. ``bound`` holds what 24-bit states reach at
    worst.
    """

    name: str
    unit: float
    decay_error: float
    bias_error: float
    bound: StateBound


@dataclass(frozen=True)
class QuantizeReport:
    """Losses by projection and by population (only those in integers), in program order."""

    projections: tuple[ProjectionLoss, ...]
    populations: tuple[PopulationLoss, ...]


def losses(before: Program, after: Program) -> QuantizeReport:
    """Compare ``after``, from `snap` or `for_loihi`, with the program ``before``."""
    pairs = zip(before.projections, after.projections, strict=True)
    both = zip(before.populations, after.populations, strict=True)
    return QuantizeReport(
        tuple(_projection(before, b, after, a) for b, a in pairs),
        tuple(
            _population(before, b, after, a.rule)
            for b, a in both
            if isinstance(a.rule, LoihiNeuron)
        ),
    )


def _projection(before: Program, b: Projection, after: Program, a: Projection) -> ProjectionLoss:
    shape = before.population(b.source).shape
    wanted = weight_of(fold(b.ops, shape))
    got = weight_of(fold(a.ops, shape)) * _factor(after, a)
    error = np.abs(got - wanted)
    present = wanted != 0
    return ProjectionLoss(
        name=b.name,
        max_error=float(error.max()),
        rms_error=sqrt(float((error**2).mean())),
        max_weight=float(np.abs(wanted).max()),
        weights=int(present.sum()),
        zeroed=int((present & (got == 0)).sum()),
        exponent=a.weight_exponent,
    )


def _factor(program: Program, p: Projection) -> float:
    """What a weight of 1 is in float units."""
    rule, source = program.population(p.target).rule, program.population(p.source).rule
    if not isinstance(rule, LoihiNeuron):
        return 1.0
    sigma = source.scale if isinstance(source, Input) else 1.0
    return 2.0**p.weight_exponent * sigma * ALIGN / rule.unit


def _population(
    before: Program, p: Population, after: Program, rule: LoihiNeuron
) -> PopulationLoss:
    wanted = p.rule
    decay, bias = 0.0, np.zeros(p.shape)
    for projection in before.into(p.name):
        bias = bias + constant(projection.ops, before.population(projection.source).shape)
    decay_error = 0.0
    if isinstance(wanted, Neuron):
        decay = float(wanted.decay.flat[0])
        shift = 0.0 if wanted.v_reset is None else float(wanted.v_reset.flat[0])
        bias = bias + wanted.bias - (1 - decay) * shift
        if wanted.decay_syn is not None:
            kept = (UNITY - 1 - rule.du) / UNITY
            decay_error = abs(float(wanted.decay_syn.flat[0]) - kept)
    decay_error = max(decay_error, abs(decay - (UNITY - rule.dv) / UNITY))
    got: Array = (rule.bias_mantissa.astype(np.float64) * 2.0**rule.bias_exponent) / rule.unit
    return PopulationLoss(
        name=p.name,
        unit=rule.unit,
        decay_error=decay_error,
        bias_error=float(np.abs(got - bias).max()),
        bound=state_bound(rule, arrives(after, after.population(p.name))),
    )
