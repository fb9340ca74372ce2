"""Run networks in sinabs, export them with its own exporter, keep what came out.

``python write_sinabs.py FOLDER`` in the environment "sinabs".
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recording import BATCH, STEPS, inputs, save, weighted
from torch import nn

nir: Any = import_module("nir")
sl: Any = import_module("sinabs.layers")
activation: Any = import_module("sinabs.activation")
to_nir: Any = import_module("sinabs.nir").to_nir

SCALES = {"conv": 0.3, "many": 6.0}  # of the weights, so that neurons are busy
ONE = {"spike_fn": activation.SingleSpike}


def lif(n: int, **options: Any) -> Any:
    """Parameters need the population's shape, or NIR knows no size."""
    return sl.LIFSqueeze(
        tau_mem=torch.full((n,), 5.0),
        spike_threshold=torch.full((n,), 0.3),
        batch_size=BATCH,
        **options,
    )


def networks() -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Modules and the shape of what enters."""
    image = nn.Sequential(
        *(nn.Conv2d(2, 3, 3, padding=1), sl.IAFSqueeze(batch_size=BATCH, **ONE)),
        *(sl.SumPool2d(2), nn.Flatten(), nn.Linear(36, 4)),
        sl.IAFSqueeze(batch_size=BATCH, **ONE),
    )
    leak = sl.ExpLeakSqueeze(tau_mem=torch.full((4,), 5.0), batch_size=BATCH)
    return {
        "lif": (
            nn.Sequential(nn.Linear(6, 8), lif(8, **ONE), nn.Linear(8, 4), lif(4, **ONE)),
            (6,),
        ),
        "conv": (image, (2, 6, 8)),
        "leak": (nn.Sequential(nn.Linear(6, 4), leak), (6,)),
        "many": (nn.Sequential(nn.Linear(6, 8), lif(8)), (6,)),
        "whole": (nn.Sequential(nn.Linear(6, 8), lif(8, norm_input=False, **ONE)), (6,)),
    }


def main(folder: Path) -> None:
    """Write NAME.nir and NAME.npz for each network; sinabs takes (B * T, ...)."""
    for k, (name, (net, shape)) in enumerate(networks().items()):
        for layer in net:
            if isinstance(layer, nn.Linear | nn.Conv2d):
                weighted(layer, seed=k, scale=SCALES.get(name, 1.0))
        x = inputs(*shape, seed=k)
        rows = x.transpose(0, 1).reshape(-1, *shape)
        with torch.no_grad():
            out = net(rows).reshape(BATCH, STEPS, -1).transpose(0, 1)
        save(folder, name, x, out)
        graph = to_nir(net, rows)
        for node in graph.nodes.values():
            # sinabs leaves them open, and nir cannot write what is open.
            if isinstance(node, nir.Conv2d):
                node.input_shape = shape[1:]
            if isinstance(node, nir.Flatten):
                node.input_type = {"input": np.array([3, 3, 4])}
        nir.write(folder / f"{name}.nir", graph)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
