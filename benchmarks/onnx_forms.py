"""Time of a step in each ONNX form (step, sequence, int8), and in Norse and torch in eager mode.

All run the same weights on the same spikes, batch 1, one thread, in turns; each figure is the
median over rounds of the time that the thread had the processor, which is the time that passes
where nothing else runs. Spikes are compared first, and the program ends where they differ.
"session" is the model in ONNX Runtime with all memory bound, "opened" what `sltdeploy.open` gives.

    python benchmarks/onnx_forms.py
"""

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import norse.torch as snn
import numpy as np
import onnxruntime
import torch

import sltdeploy as slt
from sltdeploy.onnx_model import integers
from sltdeploy.program import (
    Array,
    Conv,
    Convention,
    Input,
    Linear,
    Neuron,
    Op,
    Pool,
    Population,
    Program,
    Projection,
    Reshape,
    Shape,
)
from sltdeploy.quantize import snap

THREADS = 1
RATE = 0.05  # spikes per input and step
ROUNDS, STEPS = 21, 100
PART = 25  # steps of one sequence
LAYERS = ((64, 128), (64, 256), (128, 256), (256, 256), (512, 256), (784, 512))
DT, TAU_INVERSE = 1e-3, 750.0  # s, 1/s: v <- 0.25 v + 0.75 x
GAIN = np.float32(DT * TAU_INVERSE)

Run = Callable[[], Array]


@dataclass(frozen=True)
class Net:
    """Layers of weights, with LIF neurons behind each; ``ops`` stand before the weights."""

    shape: Shape
    ops: tuple[tuple[Op, ...], ...]
    weights: tuple[Array, ...]


def dense(*sizes: int) -> Net:
    """Random k / 256, scaled so that about one neuron in ten spikes."""
    rng = np.random.default_rng(0)
    drawn = [rng.normal(0, 10 / np.sqrt(pre), (post, pre)) for pre, post in pairwise(sizes)]
    weights = tuple((np.rint(w * 100) / 256).astype(np.float32) for w in drawn)
    return Net(sizes[:1], ((),) * len(weights), weights)


def convolutional() -> Net:
    """2x34x34, convolutions to 16, 32 and 64 channels with pools between, then 10."""
    rng = np.random.default_rng(0)
    channels = (2, 16, 32, 64)
    drawn = [
        rng.normal(0, 6 / np.sqrt(9 * pre), (post, pre, 3, 3)) for pre, post in pairwise(channels)
    ]
    drawn.append(rng.normal(0, 6 / np.sqrt(1024), (10, 1024)))
    pool = Pool((2, 2), (2, 2), kind="average")
    ops: tuple[tuple[Op, ...], ...] = ((), (pool,), (pool,), (pool, Reshape((1024,))))
    return Net((2, 34, 34), ops, tuple((np.rint(w * 64) / 64).astype(np.float32) for w in drawn))


def program(net: Net) -> Program:
    """Build the layers with LIF neurons, threshold 1, reset to 0."""
    rule = Neuron(
        decay=np.asarray(1 - GAIN),
        bias=np.zeros(()),
        v_init=np.zeros(()),
        threshold=np.ones(()),
        v_reset=np.zeros(()),
    )
    populations = [Population("in", net.shape, Input("spikes"))]
    projections: list[Projection] = []
    for k, (before, w) in enumerate(zip(net.ops, net.weights, strict=True)):
        weighted = Linear(w * GAIN) if w.ndim == 2 else Conv(w * GAIN, padding=(1, 1, 1, 1))
        shape = populations[-1].shape
        for op in (*before, weighted):
            shape = op.out_shape(shape)
        projections.append(Projection(populations[-1].name, f"lif{k}", (*before, weighted)))
        populations.append(Population(f"lif{k}", shape, rule))
    return Program(Convention(DT), tuple(populations), tuple(projections), (populations[-1].name,))


def module(before: Sequence[Op], w: Array) -> list[torch.nn.Module]:
    """Build what stands before the neurons of one layer in torch."""
    found: list[torch.nn.Module] = []
    for op in before:
        found.append(torch.nn.AvgPool2d(2) if isinstance(op, Pool) else torch.nn.Flatten())
    weighted = (
        torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
        if w.ndim == 2
        else torch.nn.Conv2d(w.shape[1], w.shape[0], 3, padding=1, bias=False)
    )
    weighted.weight.data = torch.from_numpy(w.copy())
    return [*found, weighted]


def by_norse(net: Net, x: Array) -> Run:
    """Step Norse through x (T, 1, *shape)."""
    parts: list[torch.nn.Module] = []
    for before, w in zip(net.ops, net.weights, strict=True):
        parameters = snn.LIFBoxParameters(tau_mem_inv=torch.tensor(TAU_INVERSE))
        parts += [*module(before, w), snn.LIFBoxCell(parameters, dt=DT)]
    whole, rows = snn.SequentialState(*parts), torch.from_numpy(x)

    def run() -> Array:
        sent: list[torch.Tensor] = []
        state = None
        with torch.inference_mode():
            for row in rows:
                out, state = whole(row, state)
                sent.append(out)
        return torch.stack(sent).numpy() != 0

    return run


def by_torch(net: Net, x: Array) -> Run:
    """Step the formulas of Norse's cell in plain torch through x (T, 1, *shape)."""
    layers = [
        torch.nn.Sequential(*module(before, w))
        for before, w in zip(net.ops, net.weights, strict=True)
    ]
    rows, gain = torch.from_numpy(x), torch.tensor(GAIN)
    leak, threshold, reset = torch.zeros(()), torch.ones(()), torch.zeros(())

    def run() -> Array:
        sent: list[torch.Tensor] = []
        potentials: list[torch.Tensor] = [leak] * len(layers)
        with torch.inference_mode():
            for row in rows:
                z = row
                for k, layer in enumerate(layers):
                    v = potentials[k]
                    v = v + gain * ((leak - v) + layer(z))
                    z = (v - threshold > 0).float()
                    potentials[k] = v - (v - reset) * z
                sent.append(z)
        return torch.stack(sent).numpy() != 0

    return run


def by_artifact(folder: Path, x: Array) -> Run:
    """Step an opened artifact through x (T, 1, *shape), as a user would."""
    runner = slt.open(folder)

    def run() -> Array:
        runner.reset(1)
        return np.stack([next(iter(runner.step(row).values())) for row in x])

    return run


def by_session(folder: Path, x: Array) -> Run:
    """Run the model itself through x (T, 1, *shape), all memory bound, `PART` steps a sequence."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session: Any = onnxruntime.InferenceSession(
        (folder / "model.onnx").read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    info = json.loads((folder / "manifest.json").read_text())
    lead = (PART, 1) if info["form"] == "sequence" else (1,)
    shapes = {p["name"]: p["shape"] for p in info["populations"]}
    kept = {s["output"]: s for s in info["states"]}
    sent = {
        o.name: np.empty((*lead, *shapes[o.name]), np.float32)
        for o in session.get_outputs()
        if o.name not in kept
    }
    fed = np.empty((*lead, *x.shape[2:]), np.float32)
    sets = [{n: np.zeros((1, *s["shape"]), np.float32) for n, s in kept.items()} for _ in "ab"]
    bindings: list[Any] = []
    for before, after in (sets, sets[::-1]):
        binding = session.io_binding()
        for name, a in {"in": fed, **{kept[n]["input"]: a for n, a in before.items()}}.items():
            binding.bind_input(name, "cpu", 0, np.float32, a.shape, a.ctypes.data)
        for name, a in {**sent, **after}.items():
            binding.bind_output(name, "cpu", 0, np.float32, a.shape, a.ctypes.data)
        bindings.append(binding)
    parts = x.reshape(-1, *fed.shape)
    rows = np.empty((len(parts), *next(iter(sent.values())).shape), np.float32)

    def run() -> Array:
        output = next(iter(sent.values()))  # all of them stay alive: the bindings point there
        for a in sets[0].values():
            a[...] = 0
        for k, part in enumerate(parts):
            fed[...] = part
            session.run_with_iobinding(bindings[k % 2])
            rows[k] = output
        return (rows != 0).reshape(len(x), *output.shape[len(lead) - 1 :])

    return run


def interleaved(runs: Mapping[str, Run]) -> dict[str, float]:
    """Microseconds a step of each, after a look at the spikes; ends the program if they differ."""
    spikes = {name: run() for name, run in runs.items()}
    first = next(iter(spikes.values()))
    for name, got in spikes.items():
        if not np.array_equal(got, first) or not first.any():
            raise SystemExit(f"{name}: {(got != first).sum()} of {first.size} spikes differ")
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            begin = time.thread_time()
            run()
            times[name].append((time.thread_time() - begin) / STEPS * 1e6)
    return {name: median(found) for name, found in times.items()}


def line(
    what: str, ours: float, theirs: float, limit: float | None = None, unit: str = "us"
) -> None:
    """Print a row of the table."""
    bound = "" if limit is None else f"{limit:.2f}"
    print(f"{what:<40}{ours:>10.1f}{theirs:>10.1f} {unit:<3}{ours / theirs:>7.3f}{bound:>7}")


def main() -> None:
    """Print the table."""
    torch.set_num_threads(THREADS)
    nets = {"M": dense(784, 512, 512, 10), "L": dense(2312, 2048, 2048, 10), "C": convolutional()}
    print(f"batch 1, {THREADS} thread, median of {ROUNDS} rounds, spikes equal\n")
    print(f"{'':<40}{'ours':>10}{'theirs':>10}{'ratio':>11}{'limit':>7}")
    with tempfile.TemporaryDirectory() as root:

        def artifact(name: str, model: Program, **options: Any) -> Path:
            folder = Path(root, name)
            slt.export(model, None, folder, format="onnx", **options)
            return folder

        def x_for(net: Net) -> Array:
            drawn = np.random.default_rng(1).random((STEPS, 1, *net.shape))
            return (drawn < RATE).astype(np.float32)

        for name, limits in (("M", (0.18, 0.38)), ("C", (0.18, 0.30))):
            net, x = nets[name], x_for(nets[name])
            folder = artifact(f"{name} step", program(net))
            runs = {
                "session": by_session(folder, x),
                "opened": by_artifact(folder, x),
                "Norse": by_norse(net, x),
                "torch": by_torch(net, x),
            }
            us = interleaved(runs)
            for theirs, limit in zip(("Norse", "torch"), limits, strict=True):
                line(f"{name}: step, session, to {theirs}", us["session"], us[theirs], limit)
                line(f"{name}: step, opened, to {theirs}", us["opened"], us[theirs])
        for name, limit in (("M", 0.45), ("C", None)):
            whole = artifact(f"{name} sequence", program(nets[name]), form="sequence")
            x = x_for(nets[name])
            us = interleaved(
                {"whole": by_session(whole, x), "step": by_session(Path(root, f"{name} step"), x)}
            )
            line(f"{name}: sequence of {PART}, session, to step", us["whole"], us["step"], limit)
        for name, limit in (("M", 0.50), ("L", 0.15)):
            x = x_for(nets[name])
            whole = artifact(f"{name} int8", program(nets[name]), quantize="int8")
            same = artifact(f"{name} snapped", snap(program(nets[name])))
            us = interleaved({"int8": by_session(whole, x), "float": by_session(same, x)})
            line(f"{name}: int8 step, session, to float step", us["int8"], us["float"], limit)
            sizes = [(f / "model.onnx").stat().st_size / 1000 for f in (whole, same)]
            line(f"{name}: int8 file to float file", sizes[0], sizes[1], 0.26, "kB")
        x = x_for(nets["M"])
        both = artifact("M both", program(nets["M"]), quantize="int8", form="sequence")
        us = interleaved(
            {"both": by_session(both, x), "step": by_session(Path(root, "M snapped"), x)}
        )
        line(f"M: int8 sequence of {PART}, session, to float step", us["both"], us["step"])
        for pre, post in LAYERS:  # where integers begin to pay: onnx_model.integers.FASTER_FROM
            layer = snap(program(dense(pre, post)))
            x, name = x_for(dense(pre, post)), f"{pre}x{post}"
            with patch.object(integers, "FASTER_FROM", 1):
                whole = artifact(f"{name} int8", layer, quantize="int8")
            same = artifact(name, layer)
            us = interleaved({"int8": by_session(whole, x), "float": by_session(same, x)})
            line(f"{pre} x {post} = {pre * post}: int8 to float", us["int8"], us["float"])


if __name__ == "__main__":
    main()
