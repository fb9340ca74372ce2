"""Run networks in Rockpool, export them with its own exporter, keep what came out.

``python write_rockpool.py FOLDER`` in the environment "rockpool".
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recording import BATCH, inputs, save

nir: Any = import_module("nir")
modules: Any = import_module("rockpool.nn.modules.torch")
combinators: Any = import_module("rockpool.nn.combinators")
to_nir: Any = import_module("rockpool.nn.modules.torch.nir").to_nir

DT = 1e-3
MOST = {"max_spikes_per_dt": torch.tensor(1.0)}


def networks() -> dict[str, Any]:
    """Modules that take six inputs."""
    rng = np.random.default_rng(0)
    weight = torch.tensor(rng.uniform(-0.2, 0.4, (6, 8)), dtype=torch.float32)
    linear = [modules.LinearTorch((6, 8), weight=weight, has_bias=False) for _ in range(3)]
    lif = modules.LIFTorch((8, 8), tau_mem=torch.tensor(0.01), tau_syn=torch.tensor(0.005), **MOST)
    neuron = modules.LIFNeuronTorch((8,), tau_mem=torch.tensor(0.01), **MOST)
    leak = modules.ExpSynTorch((8,), tau=torch.tensor(0.01))
    pairs = zip(("cuba", "lif", "leak"), linear, (lif, neuron, leak), strict=True)
    return {name: combinators.Sequential(a, b) for name, a, b in pairs}


def main(folder: Path) -> None:
    """Write NAME.nir and NAME.npz for each network; Rockpool takes (B, T, ...)."""
    for k, (name, net) in enumerate(networks().items()):
        x = inputs(6, seed=k)
        graph = to_nir(net)
        for node in graph.nodes.values():
            if isinstance(node, nir.LI):  # a parameter, which nir cannot write
                node.tau = node.tau.detach()
        out, _, _ = net.reset_state()(x.transpose(0, 1))
        assert len(out) == BATCH
        save(folder, name, x, out.transpose(0, 1))
        nir.write(folder / f"{name}.nir", graph)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
