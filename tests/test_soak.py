"""Many steps: what the process holds does not grow. ``benchmarks/soak.py`` takes millions."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import programs
import pytest
from c_builds import need

import sltdeploy as slt
from sltdeploy.program import Linear

STEPS = 50_000
LIMIT_KB = 300  # 7 bytes a step: no object of Python's is that small
SOAKING = Path(__file__).with_name("soaking.py")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def growth(format_: str, folder: Path, *flags: str) -> int:
    """KiB by which a process grows that steps a small artifact."""
    layer = Linear(programs.dyadic(np.random.default_rng(0), 16, 32))
    program = programs.chain((32,), [layer], programs.neuron(1.0))
    slt.export(program, None, folder / "a", format=format_)
    command = [sys.executable, str(SOAKING), str(folder / "a"), str(STEPS), *flags]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("format_", ["onnx", "c"])
def test_memory_stays_where_it_was(format_: str, tmp_path: Path) -> None:
    if format_ == "c":
        need("cc", "gcc")
    assert growth(format_, tmp_path) < LIMIT_KB


def test_a_leak_of_one_small_array_a_step_would_be_seen(tmp_path: Path) -> None:
    assert growth("onnx", tmp_path, "leak") > LIMIT_KB
