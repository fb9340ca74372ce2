"""Time of one step of the C artifact against ONNX Runtime and Norse, sizes, and the cost model.

    python benchmarks/c_step.py              # the table: sparse S, M, L from Python
    python benchmarks/c_step.py --kernels    # what the constants of sltdeploy/c_source/costs.py fit
    python benchmarks/c_step.py --sizes      # bytes, also on a Cortex-M7

Batch 1, one thread, 97 % of the weights pruned, 5 % of the inputs spike. All run the same weights
on the same spikes in turns; each figure is the median over rounds. Spikes are compared first.
"""

import argparse
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Literal
from unittest.mock import Mock, patch

import numpy as np

import sltdeploy as slt
from sltdeploy import reference
from sltdeploy.c_source import costs
from sltdeploy.program import (
    Array,
    Conv,
    Convention,
    Input,
    Linear,
    Neuron,
    Op,
    Population,
    Program,
    Projection,
    Shape,
)
from sltdeploy.runtime.c_engine import CEngine
from sltdeploy.runtime.manifest import read, read_files

NETWORKS: Mapping[str, Sequence[int]] = {
    "S": (64, 256, 10),
    "M": (784, 512, 512, 10),
    "L": (2312, 2048, 2048, 10),
}
GOALS = {"S": 0.09, "M": 0.05, "L": 0.016}  # of a dense step of ONNX Runtime
KEPT, RATE = 0.03, 0.05
ROUNDS, STEPS = 15, 200
DT, TAU_INVERSE = 1e-3, 750.0  # s, 1/s: v <- 0.25 v + 0.75 x
CORTEX = ("-mcpu=cortex-m7", "-mthumb", "-mfpu=fpv5-d16", "-mfloat-abi=hard")
Numbers = Literal["int8", "dyadic", "real"]


def weights(sizes: Sequence[int], numbers: Numbers, kept: float = KEPT) -> list[Array]:
    """Random layers: k / 32 with abs(k) <= 127, k / 1024, or reals."""
    rng = np.random.default_rng(0)
    layers: list[Array] = []
    for pre, post in pairwise(sizes):
        w = rng.normal(0, 2.2 / np.sqrt(pre * kept), (post, pre))
        w[rng.random(w.shape) >= kept] = 0
        if numbers == "int8":
            w = np.clip(np.rint(w * 32), -127, 127) / 32
        elif numbers == "dyadic":
            w = np.rint(w * 1024) / 1024
        layers.append(w.astype(np.float32))
    return layers


def program(layers: Sequence[Array]) -> Program:
    """Build the layers with LIF neurons, threshold 1, reset to 0; what they get is as it is."""
    one, none = np.ones(()), np.zeros(())
    rule = Neuron(np.asarray(0.25), none, none, threshold=one, v_reset=none)
    names = ["in", *(f"lif{k}" for k in range(len(layers)))]
    return Program(
        Convention(DT),
        (
            Population("in", (layers[0].shape[1],), Input("spikes")),
            *(Population(n, (len(w),), rule) for n, w in zip(names[1:], layers, strict=True)),
        ),
        tuple(
            Projection(a, b, (Linear(w),))
            for (a, b), w in zip(pairwise(names), layers, strict=True)
        ),
        (names[-1],),
    )


def timed(work: Callable[[int], object]) -> float:
    """Microseconds a step, of this thread's own time: other processes do not count."""
    begin = time.thread_time()
    for t in range(STEPS):
        work(t)
    return (time.thread_time() - begin) / STEPS * 1e6


def engine(folder: Path) -> CEngine:
    """Open the artifact below the runner: nothing checks what goes in."""
    manifest = read(folder)
    return CEngine(manifest, read_files(manifest))


def by_onnx(folder: Path, x: Array) -> tuple[Callable[[int], object], Array]:
    """Step of the dense model by IO binding, states swapped; the buffer that holds its output."""
    import onnxruntime

    manifest = read(folder).data
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session: Any = onnxruntime.InferenceSession(
        str(folder / manifest["model"]), options, providers=["CPUExecutionProvider"]
    )
    states = manifest["states"]
    sets = [{s["input"]: np.zeros((1, *s["shape"]), np.float32) for s in states} for _ in range(2)]
    fed = np.zeros((1, x.shape[-1]), np.float32)
    out = manifest["outputs"][0]
    given = np.zeros((1, *out["shape"]), np.float32)
    bindings: list[Any] = []
    rows = list(x.astype(np.float32))
    for before, after in (sets, sets[::-1]):
        binding = session.io_binding()
        binding.bind_input("in", "cpu", 0, np.float32, fed.shape, fed.ctypes.data)
        binding.bind_output(out["name"], "cpu", 0, np.float32, given.shape, given.ctypes.data)
        for s in states:
            a, b = before[s["input"]], after[s["input"]]
            binding.bind_input(s["input"], "cpu", 0, np.float32, a.shape, a.ctypes.data)
            binding.bind_output(s["output"], "cpu", 0, np.float32, b.shape, b.ctypes.data)
        bindings.append(binding)

    def step(t: int, held: object = (sets, given)) -> None:
        del held  # a binding knows addresses only: its arrays must live as long
        fed[...] = rows[t]
        session.run_with_iobinding(bindings[t % 2])

    return step, given


def by_norse(layers: Sequence[Array], x: Array) -> Callable[[int], object]:
    """Step of Norse in eager mode on one thread."""
    import norse.torch as snn
    import torch

    torch.set_num_threads(1)
    parts: list[torch.nn.Module] = []
    for w in layers:
        linear = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
        linear.weight.data = torch.from_numpy(w / np.float32(DT * TAU_INVERSE))
        parameters = snn.LIFBoxParameters(tau_mem_inv=torch.tensor(TAU_INVERSE))
        parts += [linear, snn.LIFBoxCell(parameters, dt=DT)]
    net = snn.SequentialState(*parts)
    rows = torch.from_numpy(x.astype(np.float32))
    held: list[Any] = [None]

    def step(t: int) -> None:
        with torch.inference_mode():
            _, held[0] = net(rows[t], held[0])

    return step


def table(names: str) -> None:
    """Compare the steps, and what they cost."""
    print(f"one step, batch 1, 1 thread, median of {ROUNDS} rounds of {STEPS} steps, us\n")
    head = ("net", "weights", "C", "C engine", "ONNX", "Norse", "C/ONNX", "goal", "C/Norse")
    print("".join(f"{h:>10}" for h in (*head, "spikes", "differ")))
    for name in names:
        for numbers in ("int8", "dyadic", "real"):
            layers = weights(NETWORKS[name], numbers)
            whole = program(layers)
            x = np.random.default_rng(1).random((STEPS, 1, NETWORKS[name][0])) < RATE
            with tempfile.TemporaryDirectory() as folder:
                here = Path(folder)
                slt.export(whole, None, here / "c", format="c")
                slt.export(whole, None, here / "onnx", format="onnx")
                row = compared(whole, layers, x, here)
            c, checked, onnx, norse, spikes, wrong = row
            shown = (c, checked, onnx, norse, c / onnx, GOALS[name], c / norse)
            print(f"{name:>10}{numbers:>10}" + "".join(f"{v:>10.3f}" for v in shown), end="")
            print(f"{spikes:>10}{wrong:>10}")


def compared(
    whole: Program, layers: Sequence[Array], x: Array, here: Path
) -> tuple[float, float, float, float, int, int]:
    """Medians of the C step, the engine's step, ONNX Runtime's and Norse's; spikes; differing."""
    ours = engine(here / "c")
    ours.begin(1)
    fed, given = (next(iter(b.values())) for b in ours.buffers)
    onnx, sent = by_onnx(here / "onnx", x)
    norse = by_norse(layers, x)

    def tick(t: int) -> None:
        fed[...] = rows[t]
        ours.tick()

    rows = list(x)
    trace = reference.run(whole, x)
    expected = trace.records[whole.outputs[0]]
    spikes = sum(int(r.sum()) for r in trace.records.values())
    wrong = 0
    for t in range(STEPS):
        tick(t)
        onnx(t)
        wrong += int((given != expected[t]).sum()) + int(((sent != 0) != expected[t]).sum())
    rounds = [
        (
            timed(tick),
            timed(lambda t: ours.advance({"in": rows[t]}, record=False)),
            timed(onnx),
            timed(norse),
        )
        for _ in range(ROUNDS)
    ]
    c, checked, dense, eager = (median(column) for column in zip(*rounds, strict=True))
    return c, checked, dense, eager, spikes, wrong


# ------------------------------------------------------------------------------- kernels


def one_layer(shape: Shape, op: Op, folder: Path, *, sparse: bool) -> CEngine:
    """Open a program of one op, its kernel forced: events and columns, or rows."""
    one, none = np.ones(()) * 1e6, np.zeros(())
    rule = Neuron(np.asarray(0.5), none, none, threshold=one, v_reset=none)
    end = op.out_shape(shape)
    whole = Program(
        Convention(DT),
        (Population("in", shape, Input("spikes")), Population("out", end, rule)),
        (Projection("in", "out", (op,)),),
        ("out",),
    )
    with (
        patch.object(costs, "linear_by_columns", Mock(return_value=sparse)),
        patch.object(costs, "conv_by_events", Mock(return_value=sparse)),
    ):
        slt.export(whole, None, folder, format="c")
    return engine(folder)


def cost_of(shape: Shape, op: Op, *, sparse: bool) -> dict[float, float]:
    """Nanoseconds a step for several rates of spikes."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        ours = one_layer(shape, op, Path(folder, "a"), sparse=sparse)
    ours.begin(1)
    fed = next(iter(ours.buffers[0].values()))
    found: dict[float, float] = {}
    for rate in (0.0, 0.05, 0.1, 0.2):
        x = rng.random((STEPS, *fed.shape)) < rate

        def tick(t: int, x: Array = x) -> None:
            fed[...] = x[t]
            ours.tick()

        found[rate] = min(timed(tick) for _ in range(ROUNDS)) * 1e3
    return found


def kernels() -> None:
    """Measured and modelled nanoseconds a step, without what a silent step costs."""
    rng = np.random.default_rng(0)
    print(f"{'op':<44}{'kernel':<9}{'rate':>6}{'measured':>10}{'model':>8}  ns")
    linear = [
        (pre, post, kept)
        for pre, post in ((784, 512), (512, 10), (2048, 2048))
        for kept in (0.03, 0.1, 0.3, 1.0)
    ]
    for pre, post, kept in linear:
        k = rng.integers(1, 127, (post, pre)) * (rng.random((post, pre)) < kept)
        op = Linear((k / 64).astype(np.float32))
        shown(f"linear {pre} x {post}, {kept:.0%}", (pre,), op)
    for shape, out, kept in (
        ((2, 34, 34), 16, 1.0),
        ((16, 17, 17), 32, 1.0),
        ((16, 17, 17), 32, 0.1),
        ((32, 8, 8), 64, 1.0),
    ):
        k = rng.integers(1, 127, (out, shape[0], 3, 3)) * (rng.random((out, shape[0], 3, 3)) < kept)
        op = Conv((k / 64).astype(np.float32), padding=(1, 1, 1, 1))
        shown(f"conv {shape} to {out}, {kept:.0%}", shape, op)


def shown(title: str, shape: Shape, op: Linear | Conv) -> None:
    """Print the lines of one op."""
    for sparse in (True, False):
        found = cost_of(shape, op, sparse=sparse)
        for rate, ns in found.items():
            if not rate:
                continue
            model = costs.estimate(op, shape, rate, 5, sparse=sparse)
            kind = "sparse" if sparse else "rows"
            print(
                f"{title:<44}{kind:<9}{rate:>6}{ns - found[0.0] * (not dense(op, sparse)):>10.0f}"
                f"{model:>8.0f}"
            )


def dense(op: Op, sparse: bool) -> bool:
    """Whether the kernel does not depend on who spikes."""
    return isinstance(op, Conv) and not sparse


def sizes() -> None:
    """Bytes of constants and state; of code, where arm-none-eabi-gcc is installed."""
    compiler = shutil.which("arm-none-eabi-gcc")
    print(f"{'net':>4}{'weights':>9}{'constants':>11}{'state':>8}{'of dense float':>16}", end="")
    print(f"{'M7 text+const':>15}{'M7 code':>9}{'M7 state':>10}")
    for name, layout in NETWORKS.items():
        for numbers in ("int8", "dyadic", "real"):
            with tempfile.TemporaryDirectory() as folder:
                here = Path(folder, "c")
                artifact = slt.export(program(weights(layout, numbers)), None, here, format="c")
                memory = artifact.manifest["memory"]
                share = sum(memory.values()) / sum(4 * a * b for a, b in pairwise(layout))
                print(
                    f"{name:>4}{numbers:>9}{memory['constant_bytes']:>11}"
                    f"{memory['state_bytes']:>8}{share:>16.4f}",
                    end="",
                )
                print("" if compiler is None else _on_cortex(compiler, here))


def _on_cortex(compiler: str, folder: Path) -> str:
    """Sizes of the sections, by the compiler's own ``size``."""
    (folder / "main.c").write_text('#include "network.h"\nnetwork_state state;\n', "utf8")
    command = (compiler, *CORTEX, "-std=c99", "-Os", "-ffp-contract=off", "-ffunction-sections")
    subprocess.run((*command, "-c", "network.c", "main.c"), cwd=folder, check=True)
    tool = compiler.removesuffix("gcc") + "size"
    lines = subprocess.run(
        (tool, "-A", "network.o", "main.o"), cwd=folder, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    rows = [line.split() for line in lines if line.startswith(".")]
    code = sum(int(r[1]) for r in rows if r[0].startswith(".text"))
    constant = sum(int(r[1]) for r in rows if r[0].startswith(".rodata"))
    state = sum(int(r[1]) for r in rows if r[0].startswith(".bss"))
    return f"{code + constant:>15}{code:>9}{state:>10}"


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernels", action="store_true")
    parser.add_argument("--sizes", action="store_true")
    parser.add_argument("--networks", default="SML")
    chosen = parser.parse_args()
    if chosen.kernels:
        kernels()
    elif chosen.sizes:
        sizes()
    else:
        table(chosen.networks)


if __name__ == "__main__":
    main()
