"""A process of its own that steps an artifact and prints by how many KiB it grew.

    python tests/soaking.py ARTIFACT STEPS [leak]

In a process that has done other things before, a leak hides in memory that was free.
"""

import gc
import sys
from pathlib import Path

import numpy as np

import sltdeploy as slt
from sltdeploy.program import Array

FRAMES = 20


def resident_kb() -> int:
    """Memory of this process that is in use, in KiB."""
    text = Path("/proc/self/status").read_text("ascii")
    return int(text.split("VmRSS:")[1].split()[0])


def growth(folder: str, steps: int, *, leak: bool) -> int:
    """KiB that this process has grown by in nine tenths of ``steps``, after the first."""
    held: list[int] = []
    kept: list[Array] = []
    with slt.open(folder, deadline_ms=1.0) as runner:
        (entry,) = runner.manifest.inputs
        rng = np.random.default_rng(0)
        rows = (rng.random((FRAMES, 1, *entry.shape)) < 0.2).astype(np.float32)
        for part in (steps // 10, steps - steps // 10):
            for k in range(part):
                sent = runner.step(rows[k % FRAMES])
                if leak:
                    kept += sent.values()
            gc.collect()
            held.append(resident_kb())
        assert runner.latency.steps == steps
    return held[1] - held[0]


if __name__ == "__main__":
    print(growth(sys.argv[1], int(sys.argv[2]), leak="leak" in sys.argv[3:]))
