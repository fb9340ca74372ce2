"""Run networks in snnTorch, export them with its own exporter, keep what came out.

``python write_snntorch.py FOLDER`` in the environment "snntorch".
"""

import copy
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from recording import inputs, save, stepped, weighted
from torch import nn

nir: Any = import_module("nir")
snn: Any = import_module("snntorch")
export_to_nir: Any = import_module("snntorch.export_nir").export_to_nir


def leaky(*shape: int, beta: float = 0.9, **options: Any) -> Any:
    """Parameters need the population's shape: a scalar beta ends the export in a type error."""
    return snn.Leaky(
        beta=torch.full(shape, beta), threshold=torch.ones(shape), init_hidden=True, **options
    )


def synaptic(*shape: int, **options: Any) -> Any:
    alpha, beta = torch.full(shape, 0.7), torch.full(shape, 0.9)
    return snn.Synaptic(
        alpha=alpha, beta=beta, threshold=torch.ones(shape), init_hidden=True, **options
    )


def rleaky(**options: Any) -> Any:
    """Eight neurons, all to all."""
    return snn.RLeaky(beta=0.9, linear_features=8, init_hidden=True, **options)


def rsynaptic() -> Any:
    """With its defaults: reset_delay=False ends in a TypeError."""
    return snn.RSynaptic(alpha=0.7, beta=0.9, linear_features=8, init_hidden=True)


def networks() -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Modules and the shape of what enters."""
    zero: dict[str, Any] = {"reset_mechanism": "zero"}
    image = nn.Sequential(
        *(nn.Conv2d(2, 3, 3, stride=(1, 2), padding=1), leaky(3, 6, 4, **zero)),
        *(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(18, 4), leaky(4, **zero)),
    )
    two = nn.Sequential(nn.Linear(6, 8), leaky(8, **zero), nn.Linear(8, 4), leaky(4, **zero))
    soft = nn.Sequential(nn.Linear(6, 8), leaky(8), nn.Linear(8, 4), leaky(4, beta=0.8))
    return {
        "leaky": (two, (6,)),
        "leaky_subtract": (soft, (6,)),
        "synaptic": (nn.Sequential(nn.Linear(6, 8), synaptic(8, reset_delay=False, **zero)), (6,)),
        "synaptic_delayed": (nn.Sequential(nn.Linear(6, 8), synaptic(8, **zero)), (6,)),
        "synaptic_subtract": (nn.Sequential(nn.Linear(6, 8), synaptic(8)), (6,)),
        "conv": (image, (2, 6, 8)),
        "rleaky": (nn.Sequential(nn.Linear(6, 8), rleaky(reset_delay=False, **zero)), (6,)),
        "rleaky_subtract": (nn.Sequential(nn.Linear(6, 8), rleaky()), (6,)),
        "rsynaptic_subtract": (nn.Sequential(nn.Linear(6, 8), rsynaptic()), (6,)),
    }


def main(folder: Path) -> None:
    """Write NAME.nir and NAME.npz for each network."""
    for k, (name, (net, shape)) in enumerate(networks().items()):
        weighted(net, seed=k, scale=0.6)
        x = inputs(*shape, seed=k)
        # A copy, since the exporter runs a step; ignore_dims leaves the batch out of Input.
        graph = export_to_nir(copy.deepcopy(net), x[0, :1], ignore_dims=[0])
        nir.write(folder / f"{name}.nir", graph)
        save(folder, name, x, stepped(net, x))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
