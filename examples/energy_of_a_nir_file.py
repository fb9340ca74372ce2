"""What a network in a NIR file costs: exact counts of synaptic operations, priced with ranges.

Any tool that writes NIR will do; here nir itself does. A NIR file has no time step, so it is
given. Needs ``sltdeploy`` alone.
"""

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np

import sltdeploy as slt
from sltdeploy.target import load as load_target

RATE_HZ = 50.0  # inferences per second


def write_network(path: Path) -> None:
    """Write 64 inputs, 32 LIF neurons, 10 leaky readouts; three quarters of the weights pruned."""
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 0.8, (32, 64)) * (rng.random((32, 64)) < 0.25)
    nodes: dict[str, Any] = {
        "input": nir.Input({"input": np.array([64])}),
        "hidden_weights": nir.Linear(weight),
        "hidden": nir.LIF(
            tau=np.full(32, 5e-3),
            r=np.full(32, 5.0),
            v_leak=np.zeros(32),
            v_threshold=np.ones(32),
            v_reset=np.zeros(32),
        ),
        "out_weights": nir.Linear(rng.normal(0, 0.5, (10, 32))),
        "out": nir.LI(tau=np.full(10, 5e-3), r=np.ones(10), v_leak=np.zeros(10)),
        "output": nir.Output({"output": np.array([10])}),
    }
    names = list(nodes)
    nir.write(str(path), nir.NIRGraph(nodes, list(pairwise(names))))


def main() -> None:
    """Load, lower, run, count, price."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.nir"
        write_network(path)
        graph = slt.load(path)
    assert isinstance(graph, nir.NIRGraph)  # or it were a ticket

    program = slt.lower(graph, dt=1e-3, input_kind="spikes")
    spikes = np.random.default_rng(1).random((25, 40, 64)) < 0.2  # 25 steps, 40 samples
    counts = slt.count(program, slt.run(program, spikes))
    print(f"{counts.nonzero} of {counts.weights} weights are left")
    print(f"{counts.synops.mean():.0f} of {counts.synops_dense} synaptic operations per sample")

    for name in ("cmos-45nm", "loihi2"):
        estimate = slt.energy(counts, load_target(name), RATE_HZ)
        total = estimate.total
        if total is None:
            print(f"{name}: {estimate.refusal}")
        else:
            span = f"{total.nominal:.3g} J ({total.low:.3g} to {total.high:.3g} J)"
            print(f"{name}: {span} an inference, {estimate.status}")


if __name__ == "__main__":
    main()
