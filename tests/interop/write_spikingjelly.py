"""Run networks in SpikingJelly, export them with its own exporter, keep what came out.

``python write_spikingjelly.py FOLDER`` in the environment "spikingjelly".
"""

import copy
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from recording import inputs, save, stepped, weighted
from torch import nn

base: Any = import_module("spikingjelly.activation_based")
layer: Any = import_module("spikingjelly.activation_based.layer")
neuron: Any = import_module("spikingjelly.activation_based.neuron")
export_to_nir: Any = import_module("spikingjelly.activation_based.nir_exchange").export_to_nir


class Residual(nn.Module):
    """An edge past a layer; the addition becomes two edges into one node."""

    def __init__(self) -> None:
        super().__init__()
        self.first = layer.Linear(6, 6)
        self.fire = neuron.LIFNode(tau=2.0)
        self.second = layer.Linear(6, 6)
        self.last = neuron.LIFNode(tau=2.0)

    def forward(self, x: Any) -> Any:
        """(B, 6) to (B, 6)."""
        z = self.fire(self.first(x))
        return self.last(self.second(z) + z)


def networks() -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Modules and the shape of what enters."""
    chain = nn.Sequential(
        *(layer.Linear(6, 8), neuron.LIFNode(tau=2.0, v_reset=-0.1, v_threshold=0.4)),
        *(layer.Linear(8, 4, bias=False), neuron.LIFNode(tau=4.0, decay_input=False)),
    )
    image = nn.Sequential(
        *(layer.Conv2d(2, 3, 3, padding=1, bias=False), neuron.IFNode(v_threshold=2.0)),
        *(layer.AvgPool2d(2, stride=2), layer.Flatten(), layer.Linear(36, 4), neuron.IFNode()),
    )
    line = nn.Sequential(layer.Conv1d(2, 3, 3, padding=1), neuron.IFNode(v_threshold=2.0))
    return {
        "lif": (chain, (6,)),
        "exact": (nn.Sequential(layer.Linear(6, 8), neuron.IFNode()), (6,)),
        "plif": (nn.Sequential(layer.Linear(6, 8), neuron.ParametricLIFNode()), (6,)),
        "cuba": (
            nn.Sequential(layer.Linear(6, 8), neuron.CUBALIFNode(c_decay=0.5, v_decay=0.75)),
            (6,),
        ),
        "conv": (image, (2, 6, 8)),
        "conv1d": (line, (2, 9)),
        "residual": (Residual(), (6,)),
    }


def main(folder: Path) -> None:
    """Write NAME.nir and NAME.npz for each network."""
    for k, (name, (net, shape)) in enumerate(networks().items()):
        weighted(net, seed=k, scale=1.0 if name == "conv" else 2.0)
        if name == "exact":  # potentials meet the threshold exactly: >= shows
            for p in net.parameters():
                p.data = torch.round(p.data * 4) / 4
        x = inputs(*shape, seed=k)
        export_to_nir(copy.deepcopy(net), x[0, :1], save_path=folder / f"{name}.nir")
        save(folder, name, x, stepped(net, x))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
