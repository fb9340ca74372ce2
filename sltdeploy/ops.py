"""What lies along a projection: linear, convolution, pooling, scaling, reshaping.

Each op knows the shape that it gives and what does not fit; `sltdeploy.arithmetic` computes it.
Shapes are per sample, without batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Shape: TypeAlias = tuple[int, ...]
Pair: TypeAlias = tuple[int, int]


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
        if not broadcasts(self.factor.shape, shape):
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


def broadcasts(shape: Shape, onto: Shape) -> bool:
    """Whether an array of ``shape`` stretches to ``onto`` without widening it."""
    try:
        return np.broadcast_shapes(shape, onto) == onto
    except ValueError:
        return False
