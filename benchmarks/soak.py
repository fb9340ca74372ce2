"""Millions of steps of an opened artifact: memory that grows, and the tail of the latency.

A network 128-256-10, batch 1, one thread, one input of 5 % spikes as float32, a new frame each
step. Memory is the resident set of the process, read after the first tenth of the steps and then
after each further one. The program ends with 1 where it has grown by more than LIMIT_KB.

    python benchmarks/soak.py [--steps 5000000] [--format onnx|c] [--cpu N] [--priority N]
"""

import argparse
import gc
import sys
import tempfile
import time
from pathlib import Path

from dense_nets import dense, frames

import sltdeploy as slt
from sltdeploy.runtime import Realtime, Runner, open_artifact

SIZES = (128, 256, 10)
LIMIT_KB = 1000
TENTHS = 10
FRAMES = 1000


def resident_kb() -> int:
    """Memory of this process that is in use, in kB of 1000 bytes."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 // 1000
    raise OSError("/proc/self/status has no VmRSS")


def soak(runner: Runner, steps: int, size: int) -> list[int]:
    """Step ``runner`` ``steps`` times; resident memory after each tenth, kB."""
    rows = list(frames(size, FRAMES))
    held: list[int] = []
    for _ in range(TENTHS):
        for k in range(steps // TENTHS):
            runner.step(rows[k % FRAMES])
        gc.collect()
        held.append(resident_kb())
    return held


def main() -> int:
    """Print memory and percentiles."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=5_000_000)
    parser.add_argument("--format", choices=("onnx", "c"), default="onnx")
    parser.add_argument("--cpu", type=int)
    parser.add_argument("--priority", type=int)
    asked = parser.parse_args()
    wanted = Realtime(cpu=asked.cpu, priority=asked.priority)
    with tempfile.TemporaryDirectory() as folder:
        slt.export(dense(SIZES), None, Path(folder, "a"), format=asked.format)
        with open_artifact(Path(folder, "a"), warmup=100, realtime=wanted) as runner:
            for line in runner.refusals:
                print(line)
            begin = time.perf_counter()
            held = soak(runner, asked.steps, SIZES[0])
            took, t = time.perf_counter() - begin, runner.latency
    growth = max(held) - held[0]
    sizes = "-".join(map(str, SIZES))
    print(f"{t.steps} steps of {sizes}, {asked.format}, in {took:.0f} s")
    print(f"resident kB after each tenth: {' '.join(map(str, held))}")
    print(f"growth after the first tenth: {growth} kB, at most {LIMIT_KB}")
    print("us: p50, p95, p99, p99.9, worst")
    print(f"{t.p50_us:.1f} {t.p95_us:.1f} {t.p99_us:.1f} {t.p999_us:.1f} {t.worst_us:.0f}")
    return int(growth > LIMIT_KB)


if __name__ == "__main__":
    sys.exit(main())
