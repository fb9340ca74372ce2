"""A layer's parameters as Lava's LIF takes them.

Lava resets v to 0, so potentials are shifted: ``v' = v - v_reset`` keeps ``v' <- decay v' + j +
bias'`` with ``bias' = bias - (1 - decay) v_reset``. Reset by subtraction needs no shift.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from sltdeploy.bounds import ALIGN, TOP, VTH_TOP, bounds
from sltdeploy.program import (
    Array,
    LoihiNeuron,
    Neuron,
    Population,
    Program,
)

FORGETS = 4095  # du or dv of Loihi's neurons that keep less than 1/4096 of a step


def _zero() -> Array:
    return np.zeros(())


@dataclass(frozen=True, eq=False)
class Parameters:
    """Arguments of LIF; ``offset`` must be added to v, ``current`` is a bias into u."""

    arguments: Mapping[str, Array]
    offset: Array = field(default_factory=_zero)
    current: Array = field(default_factory=_zero)
    subtracts: bool = False


def parameters(program: Program, p: Population, constant: Array) -> Parameters:
    """Parameters of layer ``p``, to which biases bring ``constant`` in every step."""
    match p.rule:
        case LoihiNeuron():
            return _loihi(program, p, p.rule)
        case Neuron():
            return _float(p, p.rule, constant)
        case _ if p.spiking:
            relay = relaying(integers=program.numbers == "loihi")
            return Parameters({**relay, "bias_mant": np.asarray(0)})
        case _:  # a readout that remembers nothing
            one = np.ones(())
            arguments = {"du": one, "dv": one, "vth": np.asarray(np.inf), "bias_mant": constant}
            return Parameters(arguments)


def relaying(*, integers: bool) -> dict[str, Array]:
    """Neurons without memory that spike where a spike arrives by a weight of 1."""
    kept, vth = (FORGETS, 0) if integers else (1, 0.5)
    return {"du": np.asarray(kept), "dv": np.asarray(kept), "vth": np.asarray(vth)}


def _loihi(program: Program, p: Population, rule: LoihiNeuron) -> Parameters:
    vth = _silent(program, p) if rule.vth is None else rule.vth
    return Parameters(
        {
            "du": np.asarray(rule.du),
            "dv": np.asarray(rule.dv),
            "vth": np.asarray(vth),
            "bias_mant": rule.bias_mantissa,
            "bias_exp": np.asarray(rule.bias_exponent),
            **_first(p, u=rule.u_init, v=rule.v_init),
        }
    )


def _silent(program: Program, p: Population) -> int:
    """Threshold at which a readout never spikes.

    What leaks stays below the largest threshold that Loihi has, as the quantiser sees to; for
    the rest one more is needed, which only the simulation takes.
    """
    bound = bounds(program)[p.name]
    fits = bound.u <= TOP and bound.v_high <= VTH_TOP * ALIGN
    return VTH_TOP if fits else VTH_TOP + 1


def _float(p: Population, rule: Neuron, constant: Array) -> Parameters:
    decay = rule.decay.astype(np.float64)
    shift, subtracts = _zero(), rule.spiking and rule.reset == "subtract"
    if rule.spiking and not subtracts and rule.v_reset is not None:
        shift = rule.v_reset.astype(np.float64)
    direct = rule.decay_syn is None
    kept = 0.0 if rule.decay_syn is None else rule.decay_syn.astype(np.float64)
    threshold = np.asarray(np.inf) if rule.threshold is None else rule.threshold - shift
    arguments = {
        "du": np.asarray(1 - kept),
        "dv": np.asarray(1 - decay),
        "vth": np.asarray(threshold),
        "bias_mant": constant * direct + rule.bias - (1 - decay) * shift,
        **_first(p, u=_zero(), v=rule.v_init - shift),
    }
    return Parameters(arguments, shift, _zero() if direct else constant, subtracts)


def _first(p: Population, **states: Array) -> dict[str, Array]:
    """First values of u and v where they are not 0, which is what Lava takes."""
    return {name: np.broadcast_to(s, p.shape).copy() for name, s in states.items() if s.any()}
