"""A population as Loihi can have it: it resets to 0, and no bias enters its current."""

from dataclasses import dataclass

import numpy as np

from sltdeploy.bounds import ALIGN, UNITY
from sltdeploy.program import Array, LoihiNeuron, Neuron, Population, Program
from sltdeploy.synapse import constant

DECAY_TOP = UNITY - 1
MANTISSA_TOP = 4095  # 13 bits, signed
BIAS_EXPONENT_TOP = 7
ALIGN_BITS = 6


@dataclass(frozen=True, eq=False)
class Wanted:
    """Parameters of a population; arrays have its shape.

    Potentials are shifted by v_reset: ``v' = v - v_reset`` resets to 0 and keeps
    ``v' <- decay v' + j + bias'`` with ``bias' = bias - (1 - decay) v_reset``. A bias b that
    enters a synaptic current ends at ``j_inf = b / (1 - decay_syn)``: ``j' = j - j_inf`` starts at
    ``first_u = -j_inf`` and needs none, j_inf joins the bias.

    ``inclusive`` compares with >=. A relay is a readout that remembers nothing.
    """

    decay: float
    decay_syn: float
    bias: Array
    first_u: Array
    first_v: Array
    threshold: float | None
    inclusive: bool

    @property
    def dv(self) -> int:
        """Loihi's decay of the potential, 12 bits."""
        return min(round(UNITY * (1 - self.decay)), DECAY_TOP)

    @property
    def du(self) -> int:
        """Loihi's decay of the current, 12 bits."""
        return max(0, round(UNITY * (1 - self.decay_syn)) - 1)

    @property
    def kept(self) -> float:
        """Share of v that a step leaves on the chip."""
        return (UNITY - self.dv) / UNITY

    @property
    def kept_syn(self) -> float:
        """Share of u that a step leaves on the chip."""
        return (UNITY - 1 - self.du) / UNITY


def wanted(program: Program, p: Population) -> Wanted:
    """What ``p``, neurons or a relay of a float program, asks of the chip."""
    nothing = np.zeros(p.shape)
    brought = brought_bias(program, p)
    if not isinstance(p.rule, Neuron):
        return Wanted(0.0, 0.0, brought, nothing, nothing, None, inclusive=False)
    rule = p.rule
    decay = _single(rule.decay)
    decay_syn = 0.0 if rule.decay_syn is None else _single(rule.decay_syn)
    shift = 0.0 if rule.v_reset is None else _single(rule.v_reset)
    settled = brought / (1 - decay_syn) if brought.any() else nothing
    return Wanted(
        decay=decay,
        decay_syn=decay_syn,
        bias=settled + rule.bias.astype(np.float64) - (1 - decay) * shift,
        first_u=nothing if rule.decay_syn is None else -settled,
        first_v=np.broadcast_to(rule.v_init.astype(np.float64) - shift, p.shape),
        threshold=None if rule.threshold is None else _single(rule.threshold) - shift,
        inclusive=rule.spiking and rule.comparison == "ge",
    )


def brought_bias(program: Program, p: Population) -> Array:
    """Sum of the biases on the projections to ``p``, float64."""
    brought = np.zeros(p.shape)
    for q in program.into(p.name):
        brought += constant(q.ops, program.population(q.source).shape)
    return brought


def errors(rule: LoihiNeuron, asked: Wanted) -> tuple[float, float, float]:
    """Largest errors of the decays, the bias and the first u and v, in float units."""
    unit = rule.unit
    decay = max(
        abs(asked.decay - (UNITY - rule.dv) / UNITY),
        abs(asked.decay_syn - (UNITY - 1 - rule.du) / UNITY),
    )
    bias = rule.bias_mantissa.astype(np.float64) * 2.0**rule.bias_exponent / unit
    starts = (
        np.abs(rule.v_init / unit - asked.first_v).max(),
        np.abs(rule.u_init / unit - asked.first_u).max(),
    )
    return decay, float(np.abs(bias - asked.bias).max()), float(max(starts))


def in_integers(asked: Wanted, scale: float) -> LoihiNeuron:
    """The rule at a scale at which ``scale * threshold`` is whole.

    ``w >= vth`` is ``w > vth - 1`` for whole multiples of 64, which is what an inclusive
    population without leak holds: its bias and first potential are rounded to them.
    """
    unit = ALIGN * scale
    grid = ALIGN if asked.inclusive else 1
    mantissa, exponent = _mantissa(asked.bias * unit, ALIGN_BITS if asked.inclusive else 0)
    return LoihiNeuron(
        du=asked.du,
        dv=asked.dv,
        bias_mantissa=mantissa,
        bias_exponent=exponent,
        unit=unit,
        vth=None if asked.threshold is None else round(scale * asked.threshold) - asked.inclusive,
        u_init=np.rint(asked.first_u * unit).astype(np.int32),
        v_init=(np.rint(asked.first_v * unit / grid) * grid).astype(np.int32),
    )


def _mantissa(bias: Array, exponent: int) -> tuple[Array, int]:
    """13-bit mantissas and the smallest common exponent, at least ``exponent``."""
    while np.abs(np.rint(bias / 2.0**exponent)).max() > MANTISSA_TOP:
        exponent += 1
    return np.rint(bias / 2.0**exponent).astype(np.int16), exponent


def _single(values: Array) -> float:
    return float(values.flat[0])
