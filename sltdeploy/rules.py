"""What a population does in a step: take input, relay, or be neurons in floats or integers."""

from dataclasses import dataclass, field, fields
from typing import Literal, TypeAlias

import numpy as np

from sltdeploy.ops import Array

Comparison: TypeAlias = Literal["gt", "ge"]
Reset: TypeAlias = Literal["zero", "subtract"]


def _nothing() -> Array:
    return np.zeros((), np.int32)


def _keep_arrays(rule: "Neuron | LoihiNeuron") -> None:
    """Turn scalars back into arrays: numpy makes scalars of 0-d arrays at every operation."""
    for f in fields(rule):
        if isinstance(value := getattr(rule, f.name), np.generic):
            object.__setattr__(rule, f.name, np.asarray(value))


@dataclass(frozen=True, eq=False)
class Input:
    """Values from outside: ``spikes`` are 0 or 1, ``graded`` are real numbers.

    In a "loihi" program a graded x enters as the integer ``clip(rint(x * scale), low, high)``
    (rint rounds halves to even); elsewhere ``scale`` is 1 and low and high are None.
    """

    kind: Literal["spikes", "graded"]
    scale: float = 1.0
    low: int | None = None
    high: int | None = None


@dataclass(frozen=True, eq=False)
class Relay:
    """No state: the sum of what arrives leaves in the same step as graded values.

    Stands where a graph adds branches or where a layer without a neuron is an output.
    """


@dataclass(frozen=True, eq=False)
class DelayLine:
    """``y[t] = x[t - steps]``, 0 before the first step; steps (int, 0 or more) by element.

    ``spiking`` says that only spikes arrive, and so leave. A line of at least one step ends a
    loop: what it sends does not depend on what arrives in the same step.
    """

    steps: Array
    spiking: bool = False

    @property
    def depth(self) -> int:
        """Number of past steps that are kept."""
        return int(self.steps.max(initial=0))

    @property
    def ends_loops(self) -> bool:
        """Whether every element waits for at least one step."""
        return bool((self.steps > 0).all())


@dataclass(frozen=True, eq=False)
class Neuron:
    """One rule for LIF, LI, IF, I, CubaLIF, CubaLI and Threshold, in float32.

    With x the sum of what arrives, each product and each sum rounded on its own::

        j <- decay_syn * j + x            (without decay_syn: j = x)
        u  = decay * v + j + bias
        z  = u > threshold                (or >=, by ``comparison``)
        v <- v_reset where z else u       (or u - threshold where z, by ``reset``)

    Without a threshold there is no z, and v leaves as a graded value. Each array broadcasts to
    the population's shape. Dimensionless but for v, j, bias, threshold and v_reset, which share
    the model's unit of potential.
    """

    decay: Array
    bias: Array
    v_init: Array
    decay_syn: Array | None = None
    threshold: Array | None = None
    v_reset: Array | None = None
    reset: Reset = "zero"
    comparison: Comparison = "gt"

    def __post_init__(self) -> None:
        _keep_arrays(self)

    @property
    def spiking(self) -> bool:
        """Whether spikes leave, not values."""
        return self.threshold is not None


@dataclass(frozen=True, eq=False)
class LoihiNeuron:
    """Loihi's LIF in integers, bit for bit as Lava's fixed-point models step it.

    With a the sum of ``activation << weight_exponent`` over projections, and
    ``decayed(s, d) = sign(s) * (|s| * (4096 - d) >> 12)``::

        u <- wrap24(decayed(u, du + 1) + (a << 6))
        w  = clip(decayed(v, dv) + u + bias, -2**23 + 1, 2**23 - 1)
        z  = w > (vth << 6);  v <- 0 where z else w

    ``du`` and ``dv`` are 12 bits, 4095 = no memory for u; ``bias = mantissa << exponent`` with a
    13-bit signed mantissa (population shape) and one exponent 0..7; ``vth`` is 17 bits. Without
    vth (a readout) v never resets and leaves as a value. Before the first step u and v are
    ``u_init`` and ``v_init``, 24-bit integers. A value of 1 in the float program is ``unit``
    here. Source: lava-nc 0.10.0, lava/proc/lif/models.py, AbstractPyLifModelFixed.
    """

    du: int
    dv: int
    bias_mantissa: Array
    bias_exponent: int
    unit: float
    vth: int | None = None
    u_init: Array = field(default_factory=_nothing)
    v_init: Array = field(default_factory=_nothing)

    def __post_init__(self) -> None:
        _keep_arrays(self)

    @property
    def spiking(self) -> bool:
        """Whether spikes leave, not values."""
        return self.vth is not None


Rule: TypeAlias = Input | Relay | DelayLine | Neuron | LoihiNeuron
