"""Time of one step: the ONNX artifact through `sltdeploy.open` against Norse in eager mode.

Both run the same weights on the same spikes, batch 1, one thread, in turns; each figure is the
median over rounds. The spikes are compared first.

    python benchmarks/onnx_step.py
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

import norse.torch as snn
import numpy as np
import torch

import sltdeploy as slt
from sltdeploy.program import (
    Array,
    Convention,
    Input,
    Linear,
    Neuron,
    Population,
    Program,
    Projection,
)
from sltdeploy.runtime import Runner

NETWORKS: Mapping[str, Sequence[int]] = {
    "S = 64-256-10": (64, 256, 10),
    "M = 784-512-512-10": (784, 512, 512, 10),
}
THREADS = 1
RATE = 0.05  # spikes per input and step
ROUNDS, STEPS = 15, 100
DT, TAU_INVERSE = 1e-3, 750.0  # s, 1/s: v <- 0.25 v + 0.75 x


def weights(sizes: Sequence[int]) -> list[Array]:
    """Random k / 256, scaled so that about one neuron in ten spikes."""
    rng = np.random.default_rng(0)
    layers = [rng.normal(0, 10 / np.sqrt(pre), (post, pre)) for pre, post in pairwise(sizes)]
    return [(np.rint(w * 100) / 256).astype(np.float32) for w in layers]


def program(layers: Sequence[Array]) -> Program:
    """Build the layers with LIF neurons, threshold 1, reset to 0."""
    gain = np.float32(DT * TAU_INVERSE)
    rule = Neuron(
        decay=np.asarray(1 - gain),
        bias=np.zeros(()),
        v_init=np.zeros(()),
        threshold=np.ones(()),
        v_reset=np.zeros(()),
    )
    names = ["in", *(f"lif{k}" for k in range(len(layers)))]
    return Program(
        Convention(DT),
        (
            Population("in", (layers[0].shape[1],), Input("spikes")),
            *(Population(n, (len(w),), rule) for n, w in zip(names[1:], layers, strict=True)),
        ),
        tuple(
            Projection(a, b, (Linear(w * gain),))
            for a, b, w in zip(names, names[1:], layers, strict=False)
        ),
        (names[-1],),
    )


def eager(layers: Sequence[Array]) -> torch.nn.Module:
    """Build the same network in Norse."""
    parts: list[torch.nn.Module] = []
    for w in layers:
        linear = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
        linear.weight.data = torch.from_numpy(w.copy())
        parameters = snn.LIFBoxParameters(tau_mem_inv=torch.tensor(TAU_INVERSE))
        parts += [linear, snn.LIFBoxCell(parameters, dt=DT)]
    return snn.SequentialState(*parts)


def by_artifact(runner: Runner, x: Array) -> Array:
    """Step the artifact through x (T, 1, n)."""
    runner.reset(1)
    return np.stack([next(iter(runner.step(row).values())) for row in x])


def by_norse(net: torch.nn.Module, x: torch.Tensor) -> Array:
    """Step Norse through x (T, 1, n)."""
    rows: list[torch.Tensor] = []
    state = None
    with torch.inference_mode():
        for row in x:
            out, state = net(row, state)
            rows.append(out)
    return torch.stack(rows).numpy()


def timed(work: Callable[[], object]) -> float:
    """Microseconds a step."""
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) / STEPS * 1e6


def main() -> None:
    """Print the table."""
    torch.set_num_threads(THREADS)
    print(f"one step, batch 1, {THREADS} thread, median of {ROUNDS} rounds of {STEPS} steps\n")
    print(
        f"{'network':<20}{'artifact us':>12}{'Norse us':>10}{'ratio':>8}{'spikes':>8}{'differ':>8}"
    )
    for name, sizes in NETWORKS.items():
        layers = weights(sizes)
        x = (np.random.default_rng(1).random((STEPS, 1, sizes[0])) < RATE).astype(np.float32)
        tensor, net = torch.from_numpy(x), eager(layers)
        with tempfile.TemporaryDirectory() as folder:
            slt.export(program(layers), None, Path(folder, "artifact"), format="onnx")
            with slt.open(Path(folder, "artifact")) as runner:
                ours, theirs = by_artifact(runner, x), by_norse(net, tensor)
                rounds = [
                    (
                        timed(lambda: by_artifact(runner, x)),  # noqa: B023 - called at once
                        timed(lambda: by_norse(net, tensor)),  # noqa: B023
                    )
                    for _ in range(ROUNDS)
                ]
        a, b = (median(column) for column in zip(*rounds, strict=True))
        wrong = int((ours != theirs.astype(bool)).sum())
        print(f"{name:<20}{a:>12.1f}{b:>10.1f}{b / a:>8.1f}{int(ours.sum()):>8}{wrong:>8}")


if __name__ == "__main__":
    main()
