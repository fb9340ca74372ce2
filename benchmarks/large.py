"""Reading, lowering and simplifying networks of up to 10^7 synapses: is it linear, how big.

Three layers of LIF neurons, fully connected in the file, nine weights in ten pruned to 0. Each
row is one NIR file. Times are the best of three; memory is the highest that Python's allocators
held at once, in the weights' own bytes (float32), the graph from the file included throughout.

    python benchmarks/large.py
"""

import tempfile
import time
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import nir
import numpy as np

import sltdeploy as slt
from sltdeploy.graph import read_nir, write_nir

T = TypeVar("T")

SYNAPSES = (10**4, 10**5, 10**6, 10**7)  # stored weights, zeros included
KEPT = 0.1
LAYERS = 3
DT = 1e-3  # s
ROUNDS = 3


def graph(width: int) -> nir.NIRGraph:
    """`LAYERS` layers of ``width`` neurons; weights float32, as most frameworks write them."""
    rng = np.random.default_rng(0)
    one = np.ones(width, np.float32)
    nodes: dict[str, nir.NIRNode] = {"input": nir.Input({"input": np.array([width])})}
    for k in range(LAYERS):
        weight = rng.standard_normal((width, width), np.float32)
        weight[rng.random(weight.shape, np.float32) >= KEPT] = 0
        nodes[f"fc{k}"] = nir.Linear(weight)
        nodes[f"lif{k}"] = nir.LIF(2 * DT * one, one, 0 * one, one)
    nodes["output"] = nir.Output({"output": np.array([width])})
    names = list(nodes)
    edges = list(pairwise(names))
    return nir.NIRGraph(nodes, edges, metadata={"dt": DT}, type_check=False)


def best(work: Callable[[], T]) -> tuple[float, T]:
    """Shortest time of `ROUNDS` in seconds, and what came out."""
    times: list[float] = []
    while True:
        begin = time.perf_counter()
        found = work()
        times.append(time.perf_counter() - begin)
        if len(times) == ROUNDS:
            return min(times), found


def peaks(path: Path) -> list[float]:
    """Highest memory in bytes while the file is read, lowered, simplified, one after the other."""
    found: list[float] = []
    tracemalloc.start()
    read = read_nir(path)
    found.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.reset_peak()
    program = slt.lower(read)
    found.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.reset_peak()
    slt.simplify(program)
    found.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    return found


def main() -> None:
    """Print the table."""
    print(f"{'':>10}{'ns a synapse':>30}{'memory / weights':>34}")
    stages = ("read", "lower", "simplify")
    print(f"{'synapses':>10}" + "".join(f"{s:>10}" for s in stages) + "    ", end="")
    print("".join(f"{s:>10}" for s in stages))
    for wanted in SYNAPSES:
        width = round((wanted / LAYERS) ** 0.5)
        count = LAYERS * width**2
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "network.nir")
            path.write_bytes(write_nir(graph(width)))
            reading, read = best(lambda: read_nir(path))  # noqa: B023 - called at once
            lowering, program = best(lambda: slt.lower(read))  # noqa: B023
            simplifying, _ = best(lambda: slt.simplify(program))  # noqa: B023
            memory = peaks(path)
        times = (reading, lowering, simplifying)
        print(f"{count:>10}" + "".join(f"{t / count * 1e9:>10.1f}" for t in times) + "    ", end="")
        print("".join(f"{m / (4 * count):>10.2f}" for m in memory))


if __name__ == "__main__":
    main()
