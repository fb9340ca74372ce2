"""The network that is searched: three convolutions on 8x8 images, built from layers."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from sltdeploy.layers import Layer
from sltdeploy.program import Array
from sltdeploy.search.recipe import Network

CLASSES = 10
PRUNABLE = ("conv1.weight", "conv2.weight", "conv3.weight", "readout.weight")


def digits_layers(network: Network) -> tuple[Layer, ...]:
    """Lay out the network: 8x8, convolutions of 3x3 with batch normalisation, 2x2 pooling.

    conv1 8x8 - lif1 - conv2 8x8 - lif2 - pool - conv3 4x4 - lif3 - pool - readout 10 - values.
    """
    lif = {
        "tau_mem_inv": network.tau_mem_inv,
        "v_leak": 0.0,
        "v_th": network.v_th,
        "v_reset": 0.0,
        "reset": "zero",
    }
    half = {"kernel": [2, 2], "stride": [2, 2], "padding": [0, 0]}
    blocks: list[Layer] = []
    for k in (1, 2, 3):
        blocks += [
            Layer("conv2d", f"conv{k}", {"padding": [1, 1]}),
            Layer("batchnorm2d", f"norm{k}", {"eps": 1e-5}),
            Layer("lif_box", f"lif{k}", lif),
        ]
        blocks += [Layer("avgpool2d", f"pool{k}", half)] if k > 1 else []
    readout = {"tau_mem_inv": network.readout_tau_mem_inv, "v_leak": 0.0}
    return (
        *blocks,
        Layer("flatten", "flatten"),
        Layer("linear", "readout"),
        Layer("li_box", "values", readout),
    )


def digits_arrays(network: Network, seed: int) -> dict[str, Array]:
    """Draw the initial arrays: He initialisation by the number of outputs, as in Kim et al."""
    generator = torch.Generator().manual_seed(seed)
    arrays: dict[str, Array] = {}
    before = 1
    for k, width in enumerate(network.channels, start=1):
        weight = torch.empty(width, before, 3, 3)
        nn.init.kaiming_normal_(weight, mode="fan_out", generator=generator)
        arrays[f"conv{k}.weight"] = weight.numpy()
        arrays |= {f"norm{k}.{key}": value for key, value in _norm(width).items()}
        before = width
    weight = torch.empty(CLASSES, before * 4)
    nn.init.normal_(weight, std=0.05, generator=generator)
    arrays["readout.weight"] = weight.numpy()
    arrays["readout.bias"] = np.zeros(CLASSES, np.float32)
    return arrays


def _norm(width: int) -> Mapping[str, Array]:
    zeros, ones = np.zeros(width, np.float32), np.ones(width, np.float32)
    return {"running_mean": zeros, "running_var": ones, "weight": ones, "bias": zeros}
