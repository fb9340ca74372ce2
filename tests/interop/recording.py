"""What the scripts that run inside the frameworks' environments share: numpy and torch only."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

STEPS, BATCH = 50, 3


def inputs(*shape: int, rate: float = 0.5, seed: int = 0) -> Any:
    """Random 0/1 spikes (T, B, *shape)."""
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.random((STEPS, BATCH, *shape)) < rate, dtype=torch.float32)


def weighted(module: Any, seed: int, scale: float = 1.0) -> Any:
    """Seeded weights in scale * [-1.4, 2] / sqrt(fan-in), biases in scale * [-0.1, 0.1]."""
    rng = np.random.default_rng(seed)
    for p in module.parameters():
        if p.dim() > 1:
            values = rng.uniform(-1.4, 2, tuple(p.shape)) / np.sqrt(p[0].numel())
        else:
            values = rng.uniform(-0.1, 0.1, tuple(p.shape))
        p.data = torch.tensor(scale * values, dtype=torch.float32)
    return module


def stepped(call: Callable[[Any], Any], x: Any) -> Any:
    """Outputs (T, B, ...) of ``call``, which keeps its own state, step by step."""
    with torch.no_grad():
        return torch.stack([call(step) for step in x])


def save(folder: Path, name: str, x: Any, output: Any) -> None:
    """Write what went in and what came out to ``name``.npz, time first."""
    np.savez(folder / f"{name}.npz", x=x.numpy(), output=output.detach().numpy())
