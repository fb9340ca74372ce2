"""Time and memory to read and lower NIR files, over their sizes: both must grow linearly.

Chains of single neurons show what a node costs, one layer of many synapses what a weight costs.
Peak memory is what Python and numpy hold above what was held before, in multiples of the weights.

    python benchmarks/reading.py
"""

import tempfile
import time
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np

from sltdeploy.graph import read_nir, write_nir
from sltdeploy.lowering import lower

NODES = (500, 1000, 2000, 4000, 8000)
SYNAPSES = (10**5, 10**6, 10**7)
ROUNDS = 3  # the least of them counts
DT = 1e-3  # s


def neurons(n: int) -> nir.LIF:
    """Build LIF neurons of 10 ms."""
    one = np.ones(n, np.float32)
    return nir.LIF(10 * DT * one, one, 0 * one, one)


def chained(shape: int, nodes: dict[str, Any], out: int) -> nir.NIRGraph:
    """Put ``nodes`` one behind the other between an input and an output."""
    whole: dict[str, Any] = {
        "input": nir.Input({"input": np.array([shape])}),
        **nodes,
        "output": nir.Output({"output": np.array([out])}),
    }
    return nir.NIRGraph(whole, list(pairwise(whole)), metadata={"dt": DT}, type_check=False)


def chain(n: int) -> nir.NIRGraph:
    """Build n nodes, a weight and a neuron in turn."""
    nodes: dict[str, Any] = {}
    for k in range(n // 2):
        nodes[f"fc{k}"] = nir.Linear(np.ones((1, 1), np.float32))
        nodes[f"lif{k}"] = neurons(1)
    return chained(1, nodes, 1)


def layer(synapses: int) -> nir.NIRGraph:
    """Build one dense layer of 1,000 inputs."""
    post = synapses // 1000
    weight = np.random.default_rng(0).normal(size=(post, 1000)).astype(np.float32)
    return chained(1000, {"fc": nir.Linear(weight), "lif": neurons(post)}, post)


def seconds(work: Callable[[], object]) -> float:
    """Least CPU time of `ROUNDS` rounds."""
    found: list[float] = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def peak(work: Callable[[], object]) -> int:
    """Bytes held at the worst moment of ``work``."""
    tracemalloc.start()
    work()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def row(path: Path, graph: nir.NIRGraph, size: int) -> str:
    """Seconds to read and to lower, and the same in us for each of ``size``."""
    path.write_bytes(write_nir(graph))
    read, lowered = seconds(lambda: read_nir(path)), seconds(lambda: lower(graph))
    each = 1e6 / size
    return f"{size:8} {read:8.3f} {read * each:9.3f} {lowered:9.3f} {lowered * each:9.3f}"


def main() -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.nir"
        print("   nodes   read s   us/node   lower s   us/node")
        for n in NODES:
            print(row(path, chain(n), n))
        print("\nsynapses   read s us/synapse  lower s us/synapse peak memory / weights")
        for n in SYNAPSES:
            text = row(path, layer(n), n)
            print(f"{text} {peak(lambda: lower(read_nir(path))) / (4 * n):21.2f}")


if __name__ == "__main__":
    main()
