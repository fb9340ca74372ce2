"""The nodes of NIR for which Norse has no module: I and Threshold."""

import torch
from norse.torch.functional.heaviside import heaviside
from torch import nn


class Integrator(nn.Module):
    """``v <- v + x``, from 0; v leaves. dt in seconds says what a step means in NIR."""

    def __init__(self, dt: float) -> None:
        super().__init__()
        self.dt = dt

    def forward(
        self, x: torch.Tensor, state: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Make one step; returns v twice, as output and as state."""
        v = x if state is None else state + x
        return v, v


class Threshold(nn.Module):
    """``z = x > v_th``, no state; v_th broadcasts to a sample."""

    v_th: torch.Tensor

    def __init__(self, v_th: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("v_th", v_th)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return 1 where x exceeds the threshold, else 0."""
        return heaviside(x - self.v_th)


class Scale(nn.Module):
    """``y = factor x``; the factor broadcasts to a sample."""

    factor: torch.Tensor

    def __init__(self, factor: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("factor", factor)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x by the factor."""
        return x * self.factor
