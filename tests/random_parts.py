"""Random NIR nodes: neurons of every kind and connections of every shape.

In a dyadic network all numbers are k * 2**-n with few bits and time constants are 1/2, 1, 2 or 4
steps, so that float32 computes as real numbers do; in a float network they are anything.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import nir
import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Shape: TypeAlias = tuple[int, ...]

DT = 2.0**-10  # s
SPIKING = ("LIF", "IF", "CubaLIF")
READOUTS = ("LI", "I", "CubaLI")


@dataclass(frozen=True)
class Draw:
    """Where random numbers come from, and of which kind they are."""

    rng: np.random.Generator
    dyadic: bool
    pruned: float  # share of the weights that are 0

    def chance(self, p: float) -> bool:
        """Whether something of probability ``p`` happens."""
        return bool(self.rng.random() < p)

    def one(self, *choices: Any) -> Any:
        """One of ``choices``."""
        return choices[int(self.rng.integers(len(choices)))]

    def number(self, low: float, high: float, shape: Shape) -> Array:
        """Numbers in [low, high], in dyadic networks in steps of 1/4."""
        if self.dyadic:
            return self.rng.integers(round(4 * low), round(4 * high) + 1, shape) / 4
        return self.rng.uniform(low, high, shape)

    def among(self, choices: tuple[float, ...], low: float, high: float, shape: Shape) -> Array:
        """Some of ``choices`` in dyadic networks, else numbers in [low, high]."""
        if self.dyadic:
            return np.asarray(self.rng.choice(choices, shape))
        return self.rng.uniform(low, high, shape)

    def weight(self, *shape: int) -> Array:
        """Weights, of which some are pruned."""
        rng = self.rng
        found = rng.integers(-6, 9, shape) / 8 if self.dyadic else rng.normal(0.2, 0.6, shape)
        return found * (rng.random(shape) >= self.pruned)


def neuron(d: Draw, kind: str, shape: Shape) -> Any:
    """Build a neuron with parameters for each neuron, for each channel or for all."""
    spread = d.one(shape, (1,), (shape[0], *[1] * (len(shape) - 1)))

    def tau() -> Array:
        slow = (1, 1, 2, 2, 4) if d.chance(0.5) else (0.5, 1)
        return DT * d.among(slow, 0.6, 12, spread)

    def r(top: float = 2) -> Array:
        return d.among((0.5, 1, 1, 2, -1), 0.5, top, spread)

    def leak() -> Array:
        return d.number(-0.5, 1.5, spread) if d.chance(0.3) else np.zeros(spread)

    limit = d.number(-0.25, 1.5, spread) if d.chance(0.2) else d.number(0.25, 1, spread)
    reset = d.number(-0.5, 0.25, spread) if d.chance(0.4) else np.zeros(spread)
    match kind:
        case "LIF":
            return nir.LIF(tau(), r(), leak(), limit, reset)
        case "LI":
            return nir.LI(tau(), r(), leak())
        case "IF":
            return nir.IF(r() / DT, limit, reset)
        case "I":
            return nir.I(r() / DT)
        case "CubaLIF":
            w = r()
            return nir.CubaLIF(tau(), tau(), r(), leak(), limit, reset, w)
        case "CubaLI":
            return nir.CubaLI(tau(), tau(), r(), leak(), r())
        case _:
            return nir.Threshold(limit)


def delay(d: Draw, shape: Shape, least: int = 0) -> Any:
    """Build a delay of up to three steps, for all or by element."""
    steps = d.rng.integers(least, 4, shape)
    return nir.Delay(DT * (steps if d.chance(0.5) else np.full(shape, steps.flat[0])))


def linear(d: Draw, pre: int, post: int) -> Any:
    """Build a Linear or an Affine."""
    weight = d.weight(post, pre)
    if d.chance(0.5):
        return nir.Linear(weight)
    return nir.Affine(weight, d.number(-0.5, 0.5, (post,)))


def flatten(d: Draw, shape: Shape) -> tuple[Any, Shape]:
    """Build a Flatten of all dimensions, of the first or of the last two."""
    spans = [(0, -1), (0, 1), (1, 2)] if len(shape) == 3 else [(0, -1)]
    first, last = d.one(*spans)
    stop = len(shape) + last if last < 0 else last
    out = (*shape[:first], int(np.prod(shape[first : stop + 1])), *shape[stop + 1 :])
    return nir.Flatten({"input": np.array(shape)}, first, last), out


def conv1d(d: Draw, shape: Shape) -> tuple[Any, Shape]:
    """Build a Conv1d that fits (C, N)."""
    groups = d.one(1, shape[0])
    out = groups * d.one(1, 2)
    kernel, dilation = d.one(1, 2, 3), d.one(1, 1, 2)
    named = d.chance(0.3)
    stride = 1 if named else d.one(1, 2)
    padding = d.one("same", "valid") if named else d.one(0, 1, 2)
    before = {"same": dilation * (kernel - 1), "valid": 0}[padding] if named else 2 * padding
    length = (shape[1] + before - dilation * (kernel - 1) - 1) // stride + 1
    if length < 1:
        return nir.Scale(d.number(0.5, 1, (1,))), shape
    weight, bias = d.weight(out, shape[0] // groups, kernel), d.number(-0.5, 0.5, (out,))
    size = d.one(None, shape[1])
    return nir.Conv1d(size, weight, stride, padding, dilation, groups, bias), (out, length)


def conv2d(d: Draw, shape: Shape) -> tuple[Any, Shape]:
    """Build a Conv2d that fits (C, H, W); not square, grouped, dilated, padded as it comes."""
    groups = d.one(1, 1, shape[0])
    out = groups * d.one(1, 2)
    kernel = [d.one(1, 2, 3), d.one(1, 2, 3)]
    dilation = (d.one(1, 1, 2), d.one(1, 1, 2))
    named = d.chance(0.3)
    stride = (1, 1) if named else (d.one(1, 2), d.one(1, 2, 3))
    padding: Any = d.one("same", "valid") if named else (d.one(0, 1, 2), d.one(0, 1))
    reach = [g * (k - 1) for g, k in zip(dilation, kernel, strict=True)]
    around = {"same": reach, "valid": [0, 0]}[padding] if named else [2 * p for p in padding]
    size = [
        (n + a - g - 1) // s + 1
        for n, a, g, s in zip(shape[1:], around, reach, stride, strict=True)
    ]
    if min(size) < 1:
        return nir.Scale(d.number(0.5, 1, (shape[0], 1, 1))), shape
    weight = d.weight(out, shape[0] // groups, *kernel)
    bias: Any = None if d.chance(0.3) else d.number(-0.5, 0.5, (out,))
    given: Any = d.one(None, shape[1:])
    return nir.Conv2d(given, weight, stride, padding, dilation, groups, bias), (out, *size)


def pool(d: Draw, shape: Shape) -> tuple[Any, Shape]:
    """Build a pool that fits (C, H, W), with any stride and padding; averages by powers of two."""
    sums = d.chance(0.5)
    kernel = d.one((2, 2), (1, 2), (4, 1), *[(3, 2), (3, 3)] * sums)
    stride, padding = (d.one(1, 2), d.one(1, 2)), (d.one(0, 1), d.one(0, 1))
    padding = tuple(p if 2 * p <= k else 0 for p, k in zip(padding, kernel, strict=True))
    size = [
        (n + 2 * p - k) // s + 1
        for n, p, k, s in zip(shape[1:], padding, kernel, stride, strict=True)
    ]
    if min(size) < 1:
        return nir.Scale(d.number(0.5, 1, (1,))), shape
    make = nir.SumPool2d if sums else nir.AvgPool2d
    return make(np.array(kernel), np.array(stride), np.array(padding)), (shape[0], *size)


def connection(d: Draw, shape: Shape) -> tuple[Any, Shape]:
    """Build any connection that fits ``shape``, and the shape behind it."""
    if d.chance(0.12):
        factor = d.number(-1, 2, d.one(shape, (1,)))
        return nir.Scale(factor), shape
    match len(shape):
        case 1:
            post = int(d.rng.integers(1, 7))
            return linear(d, shape[0], post), (post,)
        case 2:
            return (flatten if d.chance(0.3) else conv1d)(d, shape)
        case _:
            return d.one(flatten, conv2d, conv2d, conv2d, pool)(d, shape)
