"""A network as a machine steps it: one ``dt``, explicit rules, nothing implicit.

A `Program` is populations joined by projections. In each step the populations are visited in
order. A population adds up what its projections bring, updates its state by its rule and sends
out spikes or values; a projection of the same step hands them on. `sltdeploy.reference.run`
defines the arithmetic; every exporter must agree with it, spike for spike.

Arrays belong to the program once it is built: they are made read-only.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from math import prod
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from sltdeploy.errors import raise_all

Array: TypeAlias = npt.NDArray[Any]
Shape: TypeAlias = tuple[int, ...]
Pair: TypeAlias = tuple[int, int]
Comparison: TypeAlias = Literal["gt", "ge"]
Reset: TypeAlias = Literal["zero", "subtract"]
Decay: TypeAlias = Literal["euler", "exponential"]
Numbers: TypeAlias = Literal["float32", "loihi"]

# ----------------------------------------------------------------------------- projection ops


@dataclass(frozen=True, eq=False)
class Linear:
    """``y = W x + b``; weight (post, pre), zero where pruned; bias (post,) or None."""

    weight: Array
    bias: Array | None = None

    def out_shape(self, shape: Shape) -> Shape:
        """Shape of y for x of ``shape``."""
        return (*shape[:-1], self.weight.shape[0])

    def problems(self, shape: Shape) -> Iterator[str]:
        """What does not fit an input of ``shape``."""
        if self.weight.ndim != 2:
            yield f"weight has shape {self.weight.shape}, must be (post, pre)"
        elif shape != (self.weight.shape[1],):
            yield f"weight {self.weight.shape} needs input ({self.weight.shape[1]},), gets {shape}"
        if self.bias is not None and self.bias.shape != self.weight.shape[:1]:
            yield f"bias has shape {self.bias.shape}, must be {self.weight.shape[:1]}"


@dataclass(frozen=True, eq=False)
class Conv:
    """2-d cross-correlation, zero padding; x (C_in, H, W), y (C_out, H', W').

    ``y[o] = b[o] + sum_c sum_ij W[o, c, i, j] x[c, s h + d i - p, s w + d j - p]``;
    weight (C_out, C_in / groups, kH, kW); padding is (top, left, bottom, right).
    """

    weight: Array
    bias: Array | None = None
    stride: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    def out_shape(self, shape: Shape) -> Shape:
        """Shape of y for x of ``shape``."""
        size = tuple(
            (n + before + after - d * (k - 1) - 1) // s + 1
            for n, before, after, d, k, s in zip(
                shape[1:],
                self.padding[:2],
                self.padding[2:],
                self.dilation,
                self.weight.shape[2:],
                self.stride,
                strict=True,
            )
        )
        return (self.weight.shape[0], *size)

    def problems(self, shape: Shape) -> Iterator[str]:
        """What does not fit an input of ``shape``."""
        if self.weight.ndim != 4 or len(shape) != 3:
            yield (
                f"convolution needs weight (C_out, C_in, kH, kW) and input (C, H, W), "
                f"has {self.weight.shape} and {shape}"
            )
            return
        if min(self.stride + self.dilation) < 1 or min(self.padding) < 0:
            yield (
                f"stride {self.stride} and dilation {self.dilation} must be at least 1, "
                f"padding {self.padding} at least 0"
            )
            return
        if self.groups < 1 or shape[0] != self.weight.shape[1] * self.groups:
            yield (
                f"weight {self.weight.shape} with groups={self.groups} needs "
                f"{self.weight.shape[1] * self.groups} input channels, gets {shape[0]}"
            )
        elif self.weight.shape[0] % self.groups:
            yield f"{self.weight.shape[0]} output channels do not divide by groups={self.groups}"
        elif min(self.out_shape(shape)) < 1:
            yield f"kernel {self.weight.shape[2:]} does not fit into the padded input {shape}"
        if self.bias is not None and self.bias.shape != self.weight.shape[:1]:
            yield f"bias has shape {self.bias.shape}, must be {self.weight.shape[:1]}"


@dataclass(frozen=True, eq=False)
class Pool:
    """Sum or average over windows of each channel; x (C, H, W); zero padding counts as input.

    ``kind="average"`` divides the sum by the full window kH kW, also where it covers padding
    (torch's ``count_include_pad=True``). padding is (top, left, bottom, right).
    """

    kernel: Pair
    stride: Pair
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    kind: Literal["sum", "average"] = "sum"

    def out_shape(self, shape: Shape) -> Shape:
        """Shape of y for x of ``shape``."""
        size = tuple(
            (n + before + after - k) // s + 1
            for n, before, after, k, s in zip(
                shape[1:], self.padding[:2], self.padding[2:], self.kernel, self.stride, strict=True
            )
        )
        return (shape[0], *size)

    def problems(self, shape: Shape) -> Iterator[str]:
        """What does not fit an input of ``shape``."""
        if len(shape) != 3:
            yield f"pooling needs input (C, H, W), gets {shape}"
        elif min(self.stride + self.kernel) < 1 or min(self.padding) < 0:
            yield (
                f"kernel {self.kernel} and stride {self.stride} must be at least 1, "
                f"padding {self.padding} at least 0"
            )
        elif min(self.out_shape(shape)) < 1:
            yield f"window {self.kernel} does not fit into the padded input {shape}"


@dataclass(frozen=True, eq=False)
class Scale:
    """``y = f x`` elementwise; factor broadcasts to the shape of x and never widens it."""

    factor: Array

    def out_shape(self, shape: Shape) -> Shape:
        """Shape of y for x of ``shape``."""
        return shape

    def problems(self, shape: Shape) -> Iterator[str]:
        """What does not fit an input of ``shape``."""
        if not _broadcasts(self.factor.shape, shape):
            yield f"factor of shape {self.factor.shape} does not broadcast to {shape}"


@dataclass(frozen=True, eq=False)
class Reshape:
    """The same values in C order under another shape (NIR's Flatten)."""

    shape: Shape

    def out_shape(self, shape: Shape) -> Shape:
        """Shape of y for x of ``shape``."""
        return self.shape

    def problems(self, shape: Shape) -> Iterator[str]:
        """What does not fit an input of ``shape``."""
        if prod(self.shape) != prod(shape):
            yield f"cannot reshape {shape} into {self.shape}"


Op: TypeAlias = Linear | Conv | Pool | Scale | Reshape

# ----------------------------------------------------------------------------- population rules


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
class Neuron:
    """One rule for LIF, LI, IF, I, CubaLIF and CubaLI, in float32.

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
    vth (a readout) v never resets and leaves as a value. A value of 1 in the float program is
    ``unit`` here. Source: lava-nc 0.10.0, lava/proc/lif/models.py, AbstractPyLifModelFixed.
    """

    du: int
    dv: int
    bias_mantissa: Array
    bias_exponent: int
    unit: float
    vth: int | None = None

    @property
    def spiking(self) -> bool:
        """Whether spikes leave, not values."""
        return self.vth is not None


Rule: TypeAlias = Input | Relay | Neuron | LoihiNeuron

# ----------------------------------------------------------------------------- the program


@dataclass(frozen=True, eq=False)
class Population:
    """Neurons (or inputs, or relays) of one rule; shape is per sample, without batch."""

    name: str
    shape: Shape
    rule: Rule

    @property
    def size(self) -> int:
        """Number of neurons."""
        return prod(self.shape)

    @property
    def spiking(self) -> bool:
        """Whether 0/1 spikes leave; otherwise graded values do."""
        match self.rule:
            case Input():
                return self.rule.kind == "spikes"
            case Relay():
                return False
            case _:
                return self.rule.spiking


@dataclass(frozen=True, eq=False)
class Projection:
    """What leaves ``source`` goes through ``ops`` in turn and adds to the input of ``target``.

    In a "loihi" program the weights are the integers of one synapse format and what they bring
    is shifted left by ``weight_exponent`` (right where negative).
    """

    source: str
    target: str
    ops: tuple[Op, ...] = ()
    weight_exponent: int = 0

    @property
    def name(self) -> str:
        """``source -> target``, for messages and reports."""
        return f"{self.source} -> {self.target}"


@dataclass(frozen=True)
class Convention:
    """How continuous time became steps; see `sltdeploy.lowering.lower`. dt in seconds."""

    dt: float
    reset: Reset = "zero"
    comparison: Comparison = "gt"
    decay: Decay = "euler"


@dataclass(frozen=True, eq=False)
class Program:
    """Populations in the order in which a step visits them, joined by projections.

    Always true, or `InputError` with every violation: names resolve and are unique, shapes
    agree, arrays are finite, a projection leads from an earlier to a later population.
    """

    convention: Convention
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    outputs: tuple[str, ...]
    numbers: Numbers = "float32"
    _by_name: dict[str, Population] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {p.name: p for p in self.populations})
        raise_all(_problems(self))
        for array in _arrays(self):
            array.flags.writeable = False

    @property
    def dt(self) -> float:
        """Time step in seconds."""
        return self.convention.dt

    @property
    def inputs(self) -> tuple[Population, ...]:
        """Populations fed from outside."""
        return tuple(p for p in self.populations if isinstance(p.rule, Input))

    def population(self, name: str) -> Population:
        """The population called ``name``."""
        return self._by_name[name]

    def into(self, name: str) -> tuple[Projection, ...]:
        """Projections that end in ``name``, in program order."""
        return tuple(p for p in self.projections if p.target == name)

    def digest(self) -> str:
        """SHA-256 (hex) of the content: equal for equal programs, on any machine."""
        sha = hashlib.sha256()
        _feed(sha, self)
        return sha.hexdigest()


def op_shapes(projection: Projection, shape: Shape) -> tuple[Shape, ...]:
    """Shapes along a projection from a source of ``shape``: before each op and after the last."""
    shapes = [shape]
    for op in projection.ops:
        shapes.append(op.out_shape(shapes[-1]))
    return tuple(shapes)


def _broadcasts(shape: Shape, onto: Shape) -> bool:
    try:
        return np.broadcast_shapes(shape, onto) == onto
    except ValueError:
        return False


def _arrays(item: Any) -> Iterator[Array]:
    if isinstance(item, np.ndarray):
        yield item
    elif isinstance(item, tuple):
        for each in item:
            yield from _arrays(each)
    elif hasattr(item, "__dataclass_fields__"):
        for f in fields(item):
            if f.init:
                yield from _arrays(getattr(item, f.name))


def _feed(sha: Any, item: Any) -> None:
    if isinstance(item, np.ndarray):
        little = np.ascontiguousarray(item).astype(item.dtype.newbyteorder("<"), copy=False)
        sha.update(f"{little.dtype.str}{little.shape}".encode())
        sha.update(little.tobytes())
    elif isinstance(item, tuple):
        sha.update(b"(")
        for each in item:
            _feed(sha, each)
        sha.update(b")")
    elif hasattr(item, "__dataclass_fields__"):
        sha.update(type(item).__name__.encode())
        for f in fields(item):
            if f.init:
                sha.update(f.name.encode())
                _feed(sha, getattr(item, f.name))
    else:
        sha.update(repr(item).encode() + b";")


def _problems(program: Program) -> Iterator[str]:
    dt = program.dt
    if not (np.isfinite(dt) and dt > 0):
        yield f"time step is {dt} s, must be positive and finite: give --dt in seconds"
    for name, times in Counter(p.name for p in program.populations).items():
        if times > 1:
            yield f"population '{name}' appears {times} times, names must be unique"
    for name in program.outputs:
        if name not in program._by_name:  # pyright: ignore[reportPrivateUsage]
            yield f"output '{name}' names no population"
    if not program.outputs:
        yield "the program has no output"
    if not program.inputs:
        yield "the program has no input"
    for population in program.populations:
        yield from (f"{population.name}: {why}" for why in _rule_problems(program, population))
    order = {p.name: k for k, p in enumerate(program.populations)}
    for projection in program.projections:
        missing = [n for n in (projection.source, projection.target) if n not in order]
        if missing:
            yield f"{projection.name}: population {', '.join(missing)} is missing"
            continue
        if order[projection.source] >= order[projection.target]:
            yield f"{projection.name}: leads backwards, only feed-forward networks are stepped"
        shape = program.population(projection.source).shape
        wrong = None
        for op in projection.ops:
            wrong = list(op.problems(shape))
            if wrong:
                yield from (f"{projection.name}, {type(op).__name__}: {why}" for why in wrong)
                break
            shape = op.out_shape(shape)
        end = program.population(projection.target).shape
        if not wrong and shape != end:
            yield f"{projection.name}: brings {shape}, the population has {end}"
        for op in projection.ops:
            if not all(np.isfinite(a).all() for a in _arrays(op)):
                yield f"{projection.name}, {type(op).__name__}: weights hold NaN or infinity"


def _rule_problems(program: Program, population: Population) -> Iterator[str]:
    rule = population.rule
    if not population.shape or min(population.shape) < 1:
        yield f"shape {population.shape} must name at least one neuron"
        return
    if isinstance(rule, Neuron | LoihiNeuron):
        expected = "float32" if isinstance(rule, Neuron) else "loihi"
        if program.numbers != expected:
            yield f"{type(rule).__name__} does not belong in a {program.numbers} program"
        for f in fields(rule):
            value = getattr(rule, f.name)
            if not isinstance(value, np.ndarray):
                continue
            if not _broadcasts(value.shape, population.shape):
                yield f"{f.name} has shape {value.shape}, the population {population.shape}"
            if not np.isfinite(value).all():
                yield f"{f.name} holds NaN or infinity"
    if isinstance(rule, Neuron) and rule.spiking and rule.reset == "zero" and rule.v_reset is None:
        yield "reset to a value needs v_reset"
    if isinstance(rule, Input):
        if any(p.target == population.name for p in program.projections):
            yield "an input cannot be the target of a projection"
    elif not program.into(population.name):
        yield "nothing leads here"
