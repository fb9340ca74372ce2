"""Loihi's integers: the fast simulation against Lava's fixed point and the numpy reference.

Time per sample and step. The fast path steps many samples at once, Lava one after the other, so
its batch is 1. Every figure is a median over rounds, in each of which all take their turn; Lava's
own time is split by two lengths of a run: what it takes to start, and each further step. The
spikes of all three are compared first and must be the same.

Lava runs each of its processes in an operating system's process of its own; OMP_NUM_THREADS is
what each of these, and each of the others, may use.

    OMP_NUM_THREADS=1 python benchmarks/loihi_simulation.py [--rounds N] [NETWORK ...]

Needs Lava: sltdeploy setup lava.
"""

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np

import sltdeploy as slt
from sltdeploy import lava_host, reference
from sltdeploy.program import (
    Array,
    Conv,
    Convention,
    Input,
    Linear,
    LoihiNeuron,
    Op,
    Population,
    Program,
    Projection,
    Reshape,
    Shape,
)
from sltdeploy.runtime import Runner

RATE = 0.05  # spikes per input and step
KEPT = 0.03  # of the weights between layers of neurons; a convolution keeps all
BATCH, STEPS = 128, 64
REFERENCE_BATCH, REFERENCE_STEPS = 16, 4
LAVA_STEPS = 50, 450  # of one sample
DV = 1024  # v <- 0.75 v + x
GOAL = 0.003  # of Lava's time


def linear(rng: np.random.Generator, post: int, pre: int) -> Linear:
    """Even weights of 8 bits, `KEPT` of them."""
    return Linear(rng.integers(-127, 128, (post, pre)) * 2 * (rng.random((post, pre)) < KEPT))


def chain(source: Shape, layers: list[tuple[Op, ...]]) -> Program:
    """Layers of LIF neurons on an input of spikes, thresholds so that about one in ten spikes."""
    populations = [Population("in", source, Input("spikes"))]
    projections: list[Projection] = []
    for k, ops in enumerate(layers):
        shape = populations[-1].shape
        weight = next(op.weight for op in ops if isinstance(op, Linear | Conv))
        for op in ops:
            shape = op.out_shape(shape)
        drive = np.sqrt((weight.reshape(len(weight), -1) ** 2).sum(axis=1).mean() * RATE)
        rule = LoihiNeuron(4095, DV, np.zeros((), np.int64), 0, 64.0, vth=int(2 * drive))
        populations.append(Population(f"lif{k}", shape, rule))
        projections.append(Projection(populations[-2].name, f"lif{k}", ops))
    return Program(
        Convention(1e-3),
        tuple(populations),
        tuple(projections),
        (populations[-1].name,),
        "loihi",
    )


def sparse(*sizes: int) -> Program:
    """Linear layers that keep `KEPT` of their weights."""
    rng = np.random.default_rng(0)
    return chain((sizes[0],), [(linear(rng, post, pre),) for pre, post in pairwise(sizes)])


def convolutional() -> Program:
    """Two convolutions that keep all of their weights, and a sparse layer."""
    rng = np.random.default_rng(0)

    def conv(out: int, channels: int) -> Conv:
        weight = rng.integers(-127, 128, (out, channels, 3, 3)) * 2
        return Conv(weight, stride=(2, 2), padding=(1, 1, 1, 1))

    layers: list[tuple[Op, ...]] = [(conv(16, 1),), (conv(32, 16),)]
    return chain((1, 28, 28), [*layers, (Reshape((1568,)), linear(rng, 10, 1568))])


NETWORKS: Mapping[str, Callable[[], Program]] = {
    "64-256-10": lambda: sparse(64, 256, 10),
    "784-512-512-10": lambda: sparse(784, 512, 512, 10),
    "2312-2048-2048-10": lambda: sparse(2312, 2048, 2048, 10),
    "conv 28x28-16c3-32c3-10": convolutional,
}


@dataclass(frozen=True)
class Times:
    """Seconds: Lava's start and step, and a sample and step of the others by name."""

    start: float
    lava: float
    others: Mapping[str, float]


def spikes(p: Program, steps: int, batch: int) -> Array:
    """Random input."""
    return np.random.default_rng(1).random((steps, batch, *p.inputs[0].shape)) < RATE


def in_lava(python: Path, artifact: Path, x: Array) -> tuple[Array, float]:
    """What the last layer sends, and the seconds of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder, "x.npy"), Path(folder, "y.npz")
        np.save(given, x)
        command = [str(python), str(artifact / "network.py"), str(given), str(found), "--record"]
        begin = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=600)
        seconds = time.perf_counter() - begin
        with np.load(found) as sent:
            return sent[max(sent.files)], seconds


def timed(work: Callable[[], object], share: int) -> float:
    """Seconds for each of ``share``."""
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) / share


def compare(p: Program, runner: Runner, python: Path, artifact: Path) -> int:
    """Assert that all send the same spikes; their number in what Lava ran."""
    x = spikes(p, LAVA_STEPS[0], 1)
    theirs, _ = in_lava(python, artifact, x)
    ours = runner.run(x).outputs[p.outputs[0]]
    np.testing.assert_array_equal(ours, theirs)
    wide = spikes(p, REFERENCE_STEPS, REFERENCE_BATCH)
    expected = reference.run(p, wide).records
    for name, values in runner.run(wide, record=True).records.items():
        np.testing.assert_array_equal(values, expected[name])
    return int(ours.sum())


def once(p: Program, runner: Runner, python: Path, artifact: Path) -> Times:
    """One round."""
    short, long = (in_lava(python, artifact, spikes(p, n, 1))[1] for n in LAVA_STEPS)
    step = (long - short) / (LAVA_STEPS[1] - LAVA_STEPS[0])
    x, one = spikes(p, STEPS, BATCH), spikes(p, STEPS, 1)
    some = spikes(p, REFERENCE_STEPS, REFERENCE_BATCH)
    row = one[0]
    runner.reset(1)
    return Times(
        short - step * LAVA_STEPS[0],
        step,
        {
            "batch": timed(lambda: runner.run(x), STEPS * BATCH),
            "one": timed(lambda: runner.run(one), STEPS),
            "step": timed(lambda: [runner.step(row) for _ in range(STEPS)], STEPS),
            "reference": timed(lambda: reference.run(p, some), some.shape[0] * some.shape[1]),
        },
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Fast simulation against Lava.")
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(NETWORKS))
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    python = lava_host.require().python
    threads = os.environ.get("OMP_NUM_THREADS", f"up to {os.cpu_count()}")
    print(
        f"per sample and step, {threads} thread, median of {given.rounds} rounds; input rate "
        f"{RATE}, {KEPT:.0%} of the weights of linear layers\nfast: batch {BATCH}, {STEPS} steps; "
        f"reference: batch {REFERENCE_BATCH}; Lava: one sample of {LAVA_STEPS[0]} and "
        f"{LAVA_STEPS[1]} steps\n"
    )
    titles = ("Lava start s", "Lava us", "reference us", "fast us", "batch 1 us", "step() us")
    print(f"{'network':<24}" + "".join(f"{t:>14}" for t in (*titles, "fast / Lava", "spikes")))
    for name in given.networks or NETWORKS:
        p = NETWORKS[name]()
        with tempfile.TemporaryDirectory() as folder:
            artifact = Path(folder, "artifact")
            slt.export(p, None, artifact, format="lava")
            with slt.open(artifact) as runner:
                count = compare(p, runner, python, artifact)
                rounds = [once(p, runner, python, artifact) for _ in range(given.rounds)]
        start, lava = median(r.start for r in rounds), median(r.lava for r in rounds)
        others = {k: median(r.others[k] for r in rounds) for k in rounds[0].others}
        ratio = median(r.others["batch"] / r.lava for r in rounds)
        row = (lava, *(others[k] for k in ("reference", "batch", "one", "step")))
        figures = f"{start:>14.2f}" + "".join(f"{seconds * 1e6:>14.1f}" for seconds in row)
        print(f"{name:<24}{figures}{ratio:>14.5f}{count:>14}")
    print(f"\ngoal on 784-512-512-10: fast / Lava at most {GOAL}")


if __name__ == "__main__":
    main()
