"""How good the deployed network is: run by Norse's own cells on the held-out images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sltdeploy.layers import Arrays, Layer
from sltdeploy.program import Array
from sltdeploy.search.building import build
from sltdeploy.trace import decision


@dataclass(frozen=True)
class Score:
    """Share of images decided correctly, and spikes of all neurons per image over all steps."""

    accuracy: float
    spikes_per_image: float


def evaluate(layers: Sequence[Layer], arrays: Arrays, dt: float, x: Array, labels: Array) -> Score:
    """Run the network in Norse on x (T, B, *shape); the decision is `sltdeploy.trace.decision`."""
    network = build(layers, arrays, dt)
    spikes = 0.0

    def count(_module: torch.nn.Module, _inputs: Any, outputs: Any) -> None:
        nonlocal spikes
        spikes += float(outputs[0].sum())

    for layer in layers:
        if layer.kind in ("lif_box", "lif", "iaf"):
            network.get_submodule(layer.name).register_forward_hook(count)
    values: list[torch.Tensor] = []
    state = None
    with torch.no_grad():
        for step in torch.from_numpy(x):
            value, state = network(step, state)
            values.append(value)
    right = decision(torch.stack(values).numpy()) == labels
    return Score(float(right.mean()), spikes / len(labels))
