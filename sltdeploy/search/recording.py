"""What left each cell of a network as Norse itself steps it, to hold the reference against."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sltdeploy.layers import PARAMETERS, Arrays, Layer
from sltdeploy.program import Array
from sltdeploy.search.building import build


def record(layers: Sequence[Layer], arrays: Arrays, dt: float, x: Array) -> dict[str, Array]:
    """Run the network in Norse on x (T, B, *shape), float32.

    Returns by name of the cell's layer what left it, (T, B, ...): spikes as bool where the cell
    has a threshold, else values in float32.
    """
    network = build(layers, arrays, dt)
    sent: dict[str, list[Array]] = {}
    for layer in layers:
        if layer.kind in PARAMETERS:
            network.get_submodule(layer.name).register_forward_hook(_keep(sent, layer))
    state = None
    with torch.no_grad():
        for step in torch.from_numpy(x):
            _, state = network(step, state)
    return {name: np.stack(steps) for name, steps in sent.items()}


def _keep(sent: dict[str, list[Array]], layer: Layer) -> Any:
    spiking = "v_th" in PARAMETERS[layer.kind]

    def keep(_module: torch.nn.Module, _inputs: Any, outputs: Any) -> None:
        values = outputs[0].numpy().copy()
        sent.setdefault(layer.name, []).append(values != 0 if spiking else values)

    return keep
