"""One command for every figure of "on the robot": what a step costs, beside others and a limit.

Networks: S = 64-256-10, M = 784-512-512-10, L = 2312-2048-2048-10, C = convolutions of
2x34x34 to 16, 32 and 64 channels with average pools; "sparse" has 97 % of the weights pruned, the
rest on a grid of 8 bits. Batch 1, one thread, 5 % of the inputs spike. What stands in one line is
measured in one run, in turns; a figure is the median over all steps. Before that all spikes are
held against the reference, and the program ends where one differs.

    python benchmarks/robot.py                        # the tables
    python benchmarks/robot.py --out docs/benchmarks.md
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from onnx_forms import Net, convolutional, dense, program
from robot_page import Row, Tail, page, shown
from robot_rivals import Bound, Norse, Sequences, Torch

from sltdeploy import reference
from sltdeploy.atomic import write_bytes
from sltdeploy.benching.contenders import Bare, Opened, bare_onnx
from sltdeploy.benching.measuring import Contender, durations, sent, statistics
from sltdeploy.benching.surroundings import surroundings
from sltdeploy.exporting import Form, Quantization, export
from sltdeploy.program import Array
from sltdeploy.quantize import snap
from sltdeploy.runtime import open_artifact
from sltdeploy.runtime.c_engine import CEngine
from sltdeploy.runtime.manifest import read, read_files
from sltdeploy.stimulus import example

SIZES: Mapping[str, Sequence[int]] = {
    "S": (64, 256, 10),
    "M": (784, 512, 512, 10),
    "L": (2312, 2048, 2048, 10),
    "tail": (128, 256, 10),
}
KEPT, RATE, SEED = 0.03, 0.05, 1
FRAMES = 100
PART = 25  # steps of one sequence
ROUNDS, STEPS = 11, 200
TAIL_STEPS = 50_000
CLOCK = time.perf_counter_ns


class Bench:
    """Artifacts under ``root``, made when asked for, and the contenders on them."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self._root, self._stack = root, stack

    def artifact(
        self,
        name: str,
        net: Net,
        format_: str,
        quantize: Quantization = "none",
        form: Form = "step",
        *,
        snapped: bool = False,
    ) -> Path:
        """Path of the artifact of ``net``."""
        folder = self._root / "-".join((name, format_, quantize, form, str(snapped)))
        if not folder.exists():
            whole = snap(program(net)) if snapped else program(net)
            export(whole, None, folder, format=format_, quantize=quantize, form=form)
        return folder

    def opened(self, folder: Path, frames: Mapping[str, Array], name: str = "opened") -> Opened:
        """Step it as a user does."""
        return Opened(name, self._stack.enter_context(open_artifact(folder)), frames)

    def run(self, folder: Path, frames: Array) -> Sequences:
        """Run it as a user does."""
        return Sequences.opened(self._stack.enter_context(open_artifact(folder)), frames, PART)


def sparse(*sizes: int) -> Net:
    """Random k / 8; what the neurons get, 0.75 of it, is 3 k / 32 and fits 8 bits.

    Of the hidden neurons 3 (S) to 9 % spike.
    """
    rng = np.random.default_rng(0)
    weights: list[Array] = []
    for pre, post in pairwise(sizes):
        w = rng.normal(0, 4 / np.sqrt(pre * KEPT), (post, pre))
        w[rng.random(w.shape) >= KEPT] = 0
        weights.append((np.clip(np.rint(w * 8), -42, 42) / 8).astype(np.float32))
    return Net(tuple(sizes[:1]), ((),) * len(weights), tuple(weights))


def bare_c(folder: Path, frames: Mapping[str, Array]) -> Bare:
    """The C code through ctypes, without the runner."""
    manifest = read(folder)
    return Bare("C", CEngine(manifest, read_files(manifest)), frames, manifest.spiking)


def drawn(net: Net) -> dict[str, Array]:
    """Frames for ``net``."""
    return example(program(net), steps=FRAMES, batch=1, rate=RATE, seed=SEED)


def silent(done: int, total: int, what: str) -> None:
    """Show no progress."""


def agree(contenders: Sequence[Contender], expected: Array, frames: int) -> None:
    """End the program where a spike differs from ``expected``, or where there is none."""
    for c in contenders:
        (got,) = sent(c, frames).values()
        wrong = int((got.reshape(expected.shape) != expected).sum())
        if wrong or not expected.any():
            raise SystemExit(f"{c.name}: {wrong} differ from the {int(expected.sum())} spikes")


def medians(contenders: Sequence[Contender], expected: Array) -> dict[str, float]:
    """Microseconds of a step by name, after a look at the spikes of every contender."""
    agree(contenders, expected, FRAMES)
    return in_turns(contenders)


def in_turns(contenders: Sequence[Contender]) -> dict[str, float]:
    """Microseconds of a step by name."""
    taken = durations(contenders, FRAMES, STEPS, ROUNDS, CLOCK, silent)
    return {name: statistics(ns).p50_us for name, ns in taken.items()}


def expected(net: Net, frames: Mapping[str, Array]) -> Array:
    """What the reference sends from the last layer, (T, 1, n)."""
    return reference.run(program(net), frames).output


def ratio(
    work: str, against: str, us: Mapping[str, float], theirs: str, limit: float | None, ours: str
) -> Row:
    """Line of a ratio."""
    found = us[ours] / us[theirs]
    return Row(work, against, us[ours], us.get("opened"), us[theirs], "us", found, limit)


def of_sizes(work: str, against: str, ours: float, theirs: float, limit: float) -> Row:
    """Line of a ratio of kB."""
    return Row(work, against, ours, None, theirs, "kB", ours / theirs, limit)


def of_c(bench: Bench) -> Iterator[Row]:
    """Sparse C artifacts against a dense step of ONNX Runtime, and Norse."""
    for name, limit in (("S", 0.09), ("M", 0.05), ("L", 0.016)):
        net = sparse(*SIZES[name])
        x = drawn(net)
        folder = bench.artifact(f"sparse-{name}", net, "c")
        dense_step = bare_onnx("onnx", bench.artifact(f"sparse-{name}", net, "onnx"), x)
        contenders: list[Contender] = [bare_c(folder, x), bench.opened(folder, x), dense_step]
        if name == "M":
            contenders.append(Norse(net, program(net).outputs[0], x["in"]))
        us = medians(contenders, expected(net, x))
        work = f"C step, sparse {name}, int8"
        yield ratio(work, "ONNX Runtime dense step, IO binding", us, "onnx", limit, "C")
        if name == "M":
            yield ratio(work, "Norse eager", us, Norse.name, 0.010, "C")
            memory = read(folder).data["memory"]
            ours = sum(memory.values()) / 1000
            theirs = sum(4 * w.size for w in net.weights) / 1000
            what = "C data, sparse M, int8: constants and state"
            yield of_sizes(what, "dense float32 weights", ours, theirs, 0.03)


def of_steps(bench: Bench) -> Iterator[Row]:
    """ONNX steps against eager frameworks."""
    for name, limits in (("M", (0.18, 0.38)), ("C", (0.18, 0.30))):
        net = convolutional() if name == "C" else dense(*SIZES[name])
        x = drawn(net)
        folder, out = bench.artifact(name, net, "onnx"), program(net).outputs[0]
        rivals = (Norse(net, out, x["in"]), Torch(net, out, x["in"]))
        contenders = (bare_onnx("onnx", folder, x), bench.opened(folder, x), *rivals)
        us = medians(contenders, expected(net, x))
        for rival, limit in zip(rivals, limits, strict=True):
            yield ratio(f"ONNX step, {name}", rival.name, us, rival.name, limit, "onnx")


def of_sequences(bench: Bench) -> Iterator[Row]:
    """An ONNX sequence against the steps; each sequence starts from the first state."""
    net = dense(*SIZES["M"])
    x = drawn(net)
    folder = bench.artifact("M", net, "onnx", form="sequence")
    parts = [x["in"][k : k + PART] for k in range(0, FRAMES, PART)]
    each = np.concatenate([expected(net, {"in": part}) for part in parts])
    runs = (Sequences.bare(folder, x["in"], PART), bench.run(folder, x["in"]))
    step = bare_onnx("step", bench.artifact("M", net, "onnx"), x)
    agree((step,), expected(net, x), FRAMES)
    agree(runs, each, len(parts))
    turns = per_step((*runs, step), {r.name: PART for r in runs})
    us = {"sequence": turns[runs[0].name], "opened": turns[runs[1].name], "step": turns["step"]}
    yield ratio(f"ONNX sequence of {PART}, M, per step", "ONNX step", us, "step", 0.45, "sequence")


def per_step(contenders: Sequence[Contender], length: Mapping[str, int]) -> dict[str, float]:
    """Microseconds of a time step, where a call of some takes ``length`` steps at once."""
    taken: dict[str, list[Array]] = {c.name: [] for c in contenders}
    for _ in range(ROUNDS):
        for c in contenders:
            n = length.get(c.name, 1)
            one = durations((c,), FRAMES // n, STEPS // n, 1, CLOCK, silent)
            taken[c.name].append(one[c.name] / n)
    return {name: statistics(np.concatenate(all_)).p50_us for name, all_ in taken.items()}


def of_int8(bench: Bench) -> Iterator[Row]:
    """Integer steps against float steps of the same weights, and their files."""
    for name, limit in (("M", 0.50), ("L", 0.15)):
        net = dense(*SIZES[name])
        x = drawn(net)
        small = bench.artifact(name, net, "onnx", "int8")
        whole = bench.artifact(name, net, "onnx", snapped=True)
        right = reference.run(snap(program(net)), x).output
        contenders = (
            bare_onnx("int8", small, x),
            bench.opened(small, x),
            bare_onnx("float", whole, x),
        )
        us = medians(contenders, right)
        yield ratio(f"ONNX int8 step, {name}", "float step", us, "float", limit, "int8")
        ours, theirs = ((f / "model.onnx").stat().st_size / 1000 for f in (small, whole))
        yield of_sizes(f"ONNX int8 file, {name}", "float file", ours, theirs, 0.26)


def of_runner(bench: Bench) -> Iterator[Row]:
    """What the runner adds to the session."""
    net = dense(*SIZES["M"])
    x = {"in": drawn(net)["in"].astype(np.float32)}
    folder = bench.artifact("M", net, "onnx")
    us = in_turns((bench.opened(folder, x), Bound(folder)))
    more = us["opened"] - us["session"]
    what = "opened step, M, float32 input, more"
    yield Row(what, "bare session", us["opened"], None, us["session"], "us", more, 3.0)


def tails(bench: Bench) -> Iterator[Tail]:
    """Percentiles of single steps, opened, one artifact at a time."""
    net = dense(*SIZES["tail"])
    x = drawn(net)
    for format_, limits in (("onnx", {"p99_us": 100, "p999_us": 250}), ("c", {"p999_us": 60})):
        one = bench.opened(bench.artifact("tail", net, format_), x)
        taken = durations((one,), FRAMES, TAIL_STEPS, 1, CLOCK, silent)
        work = f"{format_} step, 128-256-10, dense, opened"
        yield Tail(work, statistics(taken[one.name]), limits)


PARTS: tuple[Callable[[Bench], Iterator[Row]], ...] = (
    of_c,
    of_steps,
    of_sequences,
    of_int8,
    of_runner,
)


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, help="page to write, docs/benchmarks.md")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    about = surroundings()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as root:
        for part in PARTS:
            with ExitStack() as stack:
                rows += part(Bench(Path(root), stack))
        with ExitStack() as stack:
            tail = list(tails(Bench(Path(root), stack)))
    print(shown(rows, tail))
    if out is not None:
        counts = {"rounds": f"{ROUNDS}", "steps": f"{STEPS}", "tail_steps": f"{TAIL_STEPS:,}"}
        write_bytes(out, page(rows, tail, about, counts).encode())


if __name__ == "__main__":
    main()
