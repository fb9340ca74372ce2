"""Norse networks that tests share, with parameters that make every sum exact."""

import inspect
from collections.abc import Mapping
from typing import Any

import nir
import numpy as np
import pytest
import torch
from torch import nn

import sltdeploy as slt
from sltdeploy.program import Array
from sltdeploy.search.norse_modules import to_nir

norse = pytest.importorskip("norse.torch")  # by name: its import warns
BOX = pytest.importorskip("norse.torch.functional.lif_box")
RESET = pytest.importorskip("norse.torch.functional.reset")
DT = 2.0**-10


def exact(value: float) -> torch.Tensor:
    """A scalar in float64, so that Norse's own products are exact."""
    return torch.tensor(value, dtype=torch.float64)


BOXED = {"tau_mem_inv": 0.5 / DT, "v_leak": 0.125, "v_th": 0.5, "v_reset": -0.25}
CURRENT = {"tau_syn_inv": 0.25 / DT, **BOXED}


def box(dt: float = DT, **other: Any) -> nn.Module:
    """LIFBoxCell with parameters that are powers of two."""
    values = {key: exact(value) for key, value in BOXED.items()}
    return norse.LIFBoxCell(BOX.LIFBoxParameters(**values, **other), dt=dt)


def current() -> Any:
    """Parameters of a LIF with a synaptic current."""
    return norse.LIFParameters(**{key: exact(value) for key, value in CURRENT.items()})


def leaky() -> Any:
    """Parameters of a leaky integrator."""
    return norse.LIParameters(exact(0.25 / DT), exact(0.5 / DT), exact(0.125))


def dyadic(module: nn.Module, seed: int = 0) -> Any:
    """Set weights and biases to multiples of 1/8, so that sums are exact in any order."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            whole = torch.randint(-8, 12, parameter.shape, generator=draw)
            parameter.copy_(whole / 8)
    return module.eval()


def in_norse(network: nn.Module, x: Array, at_once: bool = False) -> Array:
    """Output of the network over x (T, B, ...)."""
    takes_state = len(inspect.signature(network.forward).parameters) > 1
    with torch.no_grad():
        if at_once:
            y = network(torch.from_numpy(x))
            while isinstance(y, tuple):
                y = y[0]
            return y.numpy()
        state, sent = None, []
        for step in torch.from_numpy(x):
            y = network(step, state) if takes_state else network(step)
            if takes_state:
                y, state = y
            while isinstance(y, tuple):
                y = y[0]
            sent.append(y.numpy())
        return np.stack(sent)


def spikes(shape: tuple[int, ...], seed: int = 1) -> Array:
    """Random spikes (T, B, ...)."""
    return (np.random.default_rng(seed).random(shape) < 0.4).astype(np.float32)


class ByHand(nn.Module):
    """Recurrence as many write it."""

    def __init__(self, bias: bool, zeros: bool, cell: nn.Module) -> None:
        super().__init__()
        self.zeros = zeros
        self.into, self.cell = nn.Linear(4, 5), cell
        self.back, self.out = nn.Linear(5, 5, bias=bias), nn.Linear(5, 3)
        self.readout = norse.LICell(leaky(), dt=DT)

    def forward(self, x: torch.Tensor, state: Any = None) -> Any:
        """One step."""
        current = self.into(x)
        if state is None:
            s = r = None
            if self.zeros:
                current = current + self.back(torch.zeros(x.shape[0], 5))
        else:
            z, s, r = state
            current = current + self.back(z)
        z, s = self.cell(current, s)
        y, r = self.readout(self.out(z), r)
        return y, (z, s, r)


def assert_same(network: nn.Module, shape: tuple[int, ...], at_once: bool = False) -> nir.NIRGraph:
    """Norse and the reference give the same on 30 steps: every spike, bit for bit; the graph.

    Values are equal bit for bit as long as float32 holds them, 8 steps.
    """
    x = spikes((30, 3, *shape))
    graph = to_nir(network, shape)
    y = slt.run(slt.lower(graph), x).output
    expected = in_norse(network, x, at_once)
    assert len(np.unique(expected)) > 1, "shows nothing"
    assert (expected[10:] != 0).any()
    exact_for = 30 if y.dtype == bool else 8
    np.testing.assert_array_equal(y[:exact_for].astype(np.float32), expected[:exact_for])
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    return graph


def kinds(graph: nir.NIRGraph) -> Mapping[str, str]:
    """Class of each node by name, ends left out."""
    return {
        name: type(node).__name__
        for name, node in graph.nodes.items()
        if name not in ("input", "output")
    }
