"""Your own Norse network, trained or not, as NIR and as ONNX, stepped as a robot would.

Needs ``sltdeploy[search,onnx]``; the loop at the end needs ``sltdeploy[robot]`` alone.
"""

import tempfile
from pathlib import Path

import norse.torch as norse
import numpy as np
import torch
from torch import nn

import sltdeploy as slt

DT = 1e-3  # s


def main() -> None:
    """Export, verify, step."""
    torch.manual_seed(0)
    lif = norse.LIFBoxParameters(tau_mem_inv=torch.tensor(400.0), v_th=torch.tensor(0.25))
    network = norse.SequentialState(
        nn.Conv2d(1, 8, 3, padding=1),
        norse.LIFBoxCell(lif, dt=DT),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
        norse.LICell(dt=DT),
    ).eval()

    graph = slt.to_nir(network, input_shape=(1, 8, 8), dt=DT)
    with tempfile.TemporaryDirectory() as folder:
        artifact = slt.export(graph, "raspberry-pi-4", Path(folder) / "robot")

        images = np.random.default_rng(0).random((20, 2, 1, 8, 8)).astype(np.float32)
        found = slt.verify(artifact.path, images)
        spikes = sum(c.spikes or 0 for c in found.compared)
        print(f"{'identical' if found.ok else 'DIFFERS'}: {spikes} spikes compared")

        with slt.open(artifact.path) as runner:
            for step, image in enumerate(images, 1):  # the state is kept inside
                (values,) = runner.step(image).values()
                if step % 10 == 0:
                    print(f"after {step} steps: {values[0].round(3)}")


if __name__ == "__main__":
    main()
