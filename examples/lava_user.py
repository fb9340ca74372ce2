"""A network for Loihi, between a Lava user's own source and sink processes.

Exports a small network in Loihi's integers, and runs in_lava/own_processes.py, which is plain Lava,
on it. Then feeds the same spikes to the reference: what Lava sent is what the reference says, a
known number of steps later, since synapses on Loihi hold what arrives back by one step.

Needs ``sltdeploy`` and an interpreter with Lava: ``sltdeploy setup lava`` makes one.
"""

import subprocess
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np

import sltdeploy as slt
from sltdeploy import lava_host

OWN_PROCESSES = Path(__file__).with_name("in_lava") / "own_processes.py"
PIXELS, HIDDEN, DECISIONS, STEPS = 16, 12, 4, 50


def lif(neurons: int) -> nir.LIF:
    """Leaky integrate-and-fire neurons, 5 ms, threshold 1."""
    return nir.LIF(
        tau=np.full(neurons, 5e-3),
        r=np.full(neurons, 5.0),
        v_leak=np.zeros(neurons),
        v_threshold=np.ones(neurons),
        v_reset=np.zeros(neurons),
    )


def network() -> nir.NIRGraph:
    """16 pixels, 12 hidden neurons, 4 that decide; yours comes from training."""
    rng = np.random.default_rng(0)
    nodes: dict[str, Any] = {
        "pixels": nir.Input({"input": np.array([PIXELS])}),
        "see": nir.Linear(rng.normal(0.2, 0.5, (HIDDEN, PIXELS))),
        "hidden": lif(HIDDEN),
        "decide": nir.Linear(rng.normal(0.1, 0.6, (DECISIONS, HIDDEN))),
        "decision": lif(DECISIONS),
        "output": nir.Output({"output": np.array([DECISIONS])}),
    }
    return nir.NIRGraph(nodes, list(pairwise(nodes)))


def moving_bar() -> np.ndarray[Any, np.dtype[np.bool_]]:
    """What MovingBar in own_processes.py sends: (steps, 1 sample, pixels)."""
    steps, pixels = np.ogrid[:STEPS, :PIXELS]
    return ((pixels - steps) % PIXELS < 3)[:, None]


def main() -> None:
    """Export, run in Lava, compare."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = slt.export(
            network(),
            "loihi2",
            Path(folder) / "loihi",
            quantize="int8",
            dt=1e-3,
            input_kind="spikes",
        )
        seen = Path(folder) / "spikes.npy"
        python = lava_host.require().python
        subprocess.run([str(python), str(OWN_PROCESSES), str(artifact.path), str(seen)], check=True)
        spikes = np.load(seen)

        with slt.open(artifact) as runner:
            expected = runner.run(moving_bar()).outputs["decision"][:, 0]
        lag = next(
            p["latency"] for p in artifact.manifest["populations"] if p["name"] == "decision"
        )

    same = bool((spikes[lag:] == expected[: STEPS - lag]).all())
    print(f"{'identical' if same else 'DIFFERS'}: {spikes.sum()} spikes, {lag} steps behind")


if __name__ == "__main__":
    main()
