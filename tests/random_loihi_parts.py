"""Parts of random programs for Loihi: weights, connections and neurons, in integers or floats.

Integers are what a synapse and a neuron of the chip hold, to the ends of their ranges. Floats are
k / 16 with dyadic decays, so that float32 and float64 agree, or (to be quantised) anything.
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from sltdeploy.program import (
    Array,
    Conv,
    Linear,
    LoihiNeuron,
    Neuron,
    Op,
    Pool,
    Reshape,
    Scale,
    Shape,
)

Kind: TypeAlias = Literal["integers", "quantised", "floats"]

TOP = 2**23 - 1  # of u and v
MANTISSA = -4096, 4095
MOST = 2**22  # what one projection may bring: Lava shifts sums by 6 in 32 bits


@dataclass(frozen=True)
class Draw:
    """Where random numbers come from, and what they are for."""

    rng: np.random.Generator
    kind: Kind

    def chance(self, p: float) -> bool:
        """Whether something of probability ``p`` happens."""
        return bool(self.rng.random() < p)

    def one(self, *choices: Any) -> Any:
        """One of ``choices``."""
        return choices[int(self.rng.integers(len(choices)))]

    def between(self, low: int, high: int) -> int:
        """A whole number from low to high."""
        return int(self.rng.integers(low, high + 1))

    def weight(self, *shape: int) -> Array:
        """Weights, of which some are pruned; integers of one sign, or even ones of both."""
        rng = self.rng
        kept = rng.random(shape) < self.one(1, 1, 0.5, 0.2)
        if self.kind == "integers":
            size = np.abs(np.rint(rng.normal(scale=self.one(20, 60, 150), size=shape))) * kept
            match self.one("both", "both", "positive", "positive", "negative"):
                case "both":
                    signed = size * rng.choice([-1, 1], shape, p=[0.3, 0.7])
                    # -256 fits only beside weights above 0, and a delay may part the two.
                    return (np.clip(signed, -254, 255) // 2 * 2).astype(np.int16)
                case sign:
                    one_sided = np.minimum(size, 255) * (1 if sign == "positive" else -1)
                    return one_sided.astype(np.int16)
        # Weights of one sign take other integers.
        weight = rng.normal(0.2, 0.6, shape)
        weight = np.abs(weight) if self.chance(0.25) else weight
        return self.number(weight * kept)

    def number(self, values: Any) -> Array:
        """``values`` in float32, in dyadic programs rounded to 1/16."""
        values = np.asarray(values, np.float64)
        dyadic = np.rint(values * 16) / 16 + 0.0
        return np.asarray(dyadic if self.kind == "floats" else values, np.float32)

    def bias(self, size: int) -> Array | None:
        """Biases of a layer; the chip has none there."""
        if self.kind == "integers" or self.chance(0.5):
            return None
        return self.number(self.rng.normal(scale=0.3, size=size))


def trunk(d: Draw, shape: Shape) -> tuple[Op, ...]:
    """Draw a connection from ``shape`` to wherever it leads."""
    ops: tuple[Op, ...]
    if len(shape) == 1:
        if d.chance(0.15):
            return (Reshape((1, 1, *shape)), *_conv(d, (1, 1, *shape)))
        goal = d.one((d.between(1, 7),), (d.between(1, 7),), (d.between(1, 2), 3, 4))
        ops = (_linear(d, shape[0], int(np.prod(goal))), Reshape(goal))
        ops = ops if len(goal) > 1 or d.chance(0.1) else ops[:1]
    elif d.chance(0.3):
        size = int(np.prod(shape))
        ops = (Reshape((size,)), _linear(d, size, d.between(1, 7)))
    elif d.chance(0.35):
        pool = _pool(d, shape)
        between = () if pool is None else (pool,)
        middle = pool.out_shape(shape) if pool else shape
        ops = between if between and d.chance(0.4) else (*between, *_conv(d, middle))
    else:
        ops = _conv(d, shape)
    if d.kind != "integers" and d.chance(0.15):
        # In dyadic programs factors are powers of two: products then stay short.
        ops = (Scale(np.asarray(d.one(0.5, 1, 2), np.float32)), *ops)
    return ops


def bridge(d: Draw, shape: Shape, goal: Shape) -> tuple[Op, ...]:
    """Draw a connection from ``shape`` to ``goal``."""
    if shape == goal and d.chance(0.4):
        return ()
    pre, post = int(np.prod(shape)), int(np.prod(goal))
    into = () if len(shape) == 1 else (Reshape((pre,)),)
    out = () if len(goal) == 1 else (Reshape(goal),)
    return (*into, _linear(d, pre, post), *out)


def _linear(d: Draw, pre: int, post: int) -> Linear:
    return Linear(d.weight(post, pre), d.bias(post))


def _conv(d: Draw, shape: Shape) -> tuple[Op, ...]:
    """Draw a convolution: not square, grouped, strided, dilated, padded as it comes."""
    groups = d.one(1, 1, shape[0])
    outs = groups * d.between(1, 2)
    for _ in range(9):
        kernel = d.one(1, 2, 3), d.one(1, 2, 3)
        stride, dilation = (d.one(1, 2), d.one(1, 1, 3)), (d.one(1, 1, 2), d.one(1, 1, 2))
        pad = d.between(0, 2), d.between(0, 1)
        padding = (*pad, *(pad if d.chance(0.7) else (d.between(0, 2), d.between(0, 2))))
        weight = d.weight(outs, shape[0] // groups, *kernel)
        conv = Conv(weight, d.bias(outs), stride, padding, dilation, groups)
        if not list(conv.problems(shape)):
            return (conv,)
    return (Conv(d.weight(2, shape[0], 1, 1), d.bias(2)),)


def _pool(d: Draw, shape: Shape) -> Pool | None:
    """Draw a pool; in integers a sum over windows that share nothing, as the quantiser leaves."""
    floats = d.kind != "integers"
    kernel = d.one((2, 2), (1, 2), (2, 1))
    stride = d.one(kernel, kernel, (1, 1)) if floats else (kernel[0], kernel[1] + d.between(0, 1))
    padding = d.one((0, 0, 0, 0), (0, 0, 0, 0), (1, 0, 0, 1))
    pool = Pool(kernel, stride, padding, "average" if floats and d.chance(0.5) else "sum")
    return None if list(pool.problems(shape)) else pool


def exponent(d: Draw, ops: tuple[Op, ...], largest: float, *, shifts: bool) -> int:
    """Draw a weight exponent; sources send at most ``largest``. Without ``shifts``: 0 or more."""
    if d.kind != "integers":
        return 0
    e = d.one(0, 0, 0, 1, 2, 5, 7, *[-1, -2, -4] * shifts)
    while bound(ops, largest) * 2.0**e > MOST:
        e -= 1
    return e


def bound(ops: tuple[Op, ...], largest: float) -> float:
    """What arrives at a place at most."""
    for op in ops:
        match op:
            case Linear() | Conv():
                size = np.abs(op.weight).reshape(len(op.weight), -1).sum(axis=1).max(initial=0)
                bias = 0 if op.bias is None else np.abs(op.bias).max()
                largest = float(largest * size + bias)
            case Pool():
                largest *= op.kernel[0] * op.kernel[1] if op.kind == "sum" else 1
            case Scale():
                largest *= float(np.abs(op.factor).max())
            case Reshape():
                pass
    return largest


def integer_neuron(d: Draw, shape: Shape, arriving: float, *, readout: bool) -> LoihiNeuron:
    """Draw Loihi's neuron; at most ``arriving`` reaches it in a step."""
    du = d.one(4095, 4095, d.between(0, 4095), d.between(0, 400), 0)
    dv = d.one(0, d.between(0, 4095), d.between(0, 600), 4095)
    grown = (
        arriving
        * min(4, 4096 / (du + 1))
        * min(4, 4096 / max(dv, 1))
        * 10 ** d.rng.uniform(-2.5, -0.6)
    )
    vth = int(np.clip(grown, 1, 2**17 - 1))
    vth = d.one(0, 2**17 - 1, d.between(0, 500)) if d.chance(0.1) else vth
    mantissa, shift = np.zeros(shape, np.int16), d.between(0, 7)
    if d.chance(0.4):
        loud = min(64 * vth / 2**shift * 0.4, 4096) if d.chance(0.7) else 4096
        values = np.rint(d.rng.normal(scale=loud, size=d.one(shape, (1,) * len(shape))))
        mantissa = np.broadcast_to(np.clip(values, *MANTISSA), shape).astype(np.int16)
    return LoihiNeuron(
        du,
        dv,
        mantissa,
        shift,
        64.0 * d.one(1, 100, 12.5),
        None if readout else vth,
        _start(d, shape, 64 * vth),
        _start(d, shape, 64 * vth),
    )


def _start(d: Draw, shape: Shape, usual: int) -> Array:
    if d.chance(0.7):
        return np.zeros((), np.int64)
    top = min(usual, TOP) if d.chance(0.8) else TOP
    return d.rng.integers(-top, top + 1, d.one(shape, (1,) * len(shape), ()))


def float_neuron(d: Draw, shape: Shape, arriving: float, *, readout: bool) -> Neuron:
    """Draw a neuron; dyadic ones may differ within a population, which Loihi's may not."""
    dyadic = d.kind == "floats"
    spread = d.one(shape, (shape[0], *[1] * (len(shape) - 1)), (), ()) if dyadic else ()

    def kept(*choices: float) -> Array:
        if dyadic:
            return np.asarray(d.rng.choice(choices, spread), np.float32)
        return np.asarray(d.one(choices[0], d.rng.uniform(0, 1), 0.9), np.float32)

    def some(low: float, high: float) -> Array:
        return d.number(d.rng.uniform(low, high, spread))

    zero = np.zeros((), np.float32)
    threshold = some(0.25, max(0.5, min(1.5, 0.6 * arriving)))
    v_reset = some(-0.5, 0.2) if d.chance(0.3) else zero
    soft = dyadic and not readout and d.chance(0.1)
    start = zero if readout or soft else v_reset
    # A decay of 0.5 takes a bit a step, which float32 has; one of 0.75 two, and rounding would
    # then meet a threshold now and again.
    return Neuron(
        kept(1, 0.5, 0.5, 0),
        some(-0.2, 0.5) if d.chance(0.4) else zero,
        some(-0.5, 0.4) if d.chance(0.3) else start,
        kept(0.5, 0.5) if d.chance(0.35) else None,
        None if readout else threshold,
        None if readout or soft else v_reset,
        "subtract" if soft else "zero",
    )
