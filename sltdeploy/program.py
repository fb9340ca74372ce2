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
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from sltdeploy.errors import raise_all
from sltdeploy.ops import Array as Array
from sltdeploy.ops import Conv as Conv
from sltdeploy.ops import Linear as Linear
from sltdeploy.ops import Op as Op
from sltdeploy.ops import Pair as Pair
from sltdeploy.ops import Pool as Pool
from sltdeploy.ops import Reshape as Reshape
from sltdeploy.ops import Scale as Scale
from sltdeploy.ops import Shape as Shape
from sltdeploy.ops import broadcasts
from sltdeploy.rules import Comparison as Comparison
from sltdeploy.rules import DelayLine as DelayLine
from sltdeploy.rules import Input as Input
from sltdeploy.rules import LoihiNeuron as LoihiNeuron
from sltdeploy.rules import Neuron as Neuron
from sltdeploy.rules import Relay as Relay
from sltdeploy.rules import Reset as Reset
from sltdeploy.rules import Rule as Rule

Decay: TypeAlias = Literal["euler", "exponential"]
Numbers: TypeAlias = Literal["float32", "loihi"]


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

    A ``recurrent`` projection takes what left the source in the step before, at the first what
    stands there at rest: 0, from a relay the biases on the way (see `sltdeploy.resting`).
    In a "loihi" program the weights are the integers of one synapse format and what they bring
    is shifted left by ``weight_exponent`` (right where negative).
    """

    source: str
    target: str
    ops: tuple[Op, ...] = ()
    weight_exponent: int = 0
    recurrent: bool = False

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
    agree, arrays are finite, a projection leads from an earlier to a later population unless it
    is recurrent or ends in a delay line that ends loops.
    """

    convention: Convention
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    outputs: tuple[str, ...]
    numbers: Numbers = "float32"
    _by_name: dict[str, Population] = field(init=False, repr=False)
    _into: dict[str, tuple[Projection, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {p.name: p for p in self.populations})
        into: dict[str, list[Projection]] = {}
        for projection in self.projections:
            into.setdefault(projection.target, []).append(projection)
        object.__setattr__(self, "_into", {name: tuple(found) for name, found in into.items()})
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
        return self._into.get(name, ())

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
    c = program.convention
    for key, allowed in (("reset", Reset), ("comparison", Comparison), ("decay", Decay)):
        if getattr(c, key) not in get_args(allowed):
            yield f"{key} is {getattr(c, key)!r}, must be {' or '.join(get_args(allowed))}"
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
        later = program.population(projection.target).rule
        waits = projection.recurrent or (isinstance(later, DelayLine) and later.ends_loops)
        if order[projection.source] >= order[projection.target] and not waits:
            yield f"{projection.name}: leads backwards, such a projection must be recurrent"
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
            if not broadcasts(value.shape, population.shape):
                yield f"{f.name} has shape {value.shape}, the population {population.shape}"
            if not np.isfinite(value).all():
                yield f"{f.name} holds NaN or infinity"
    if isinstance(rule, LoihiNeuron):
        for name in ("u_init", "v_init"):
            value = getattr(rule, name)
            if value.dtype.kind not in "iu" or np.abs(value.astype(np.int64)).max() >= 2**23:
                yield f"{name} must be integers of 24 bits, -8388607 to 8388607"
    if isinstance(rule, Neuron) and rule.spiking and rule.reset == "zero" and rule.v_reset is None:
        yield "reset to a value needs v_reset"
    if isinstance(rule, DelayLine):
        if rule.steps.dtype.kind not in "iu" or (rule.steps < 0).any():
            yield f"delays must be whole numbers of 0 or more, are {rule.steps.dtype}"
        if not broadcasts(rule.steps.shape, population.shape):
            yield f"steps has shape {rule.steps.shape}, the population {population.shape}"
    if isinstance(rule, Input):
        if any(p.target == population.name for p in program.projections):
            yield "an input cannot be the target of a projection"
    elif not program.into(population.name):
        yield "nothing leads here"
