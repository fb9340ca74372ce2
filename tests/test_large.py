"""Networks of many synapses: memory stays a small multiple of the weights, arrays stay apart."""

import tracemalloc
from itertools import pairwise
from pathlib import Path

import nir
import numpy as np
import pytest

from sltdeploy.graph import read_nir, write_nir
from sltdeploy.lowering import lower
from sltdeploy.program import Array, Linear
from sltdeploy.simplification import simplify

DT = 2.0**-10  # s


def graph(weight: Array, tau: float) -> nir.NIRGraph:
    """Two layers of ``weight`` with LIF neurons."""
    one = np.ones(len(weight), np.float32)
    nodes: dict[str, nir.NIRNode] = {
        "input": nir.Input({"input": np.array([len(weight)])}),
        "fc": nir.Linear(weight),
        "lif": nir.LIF(tau * one, one, 0 * one, one),
        "out": nir.Affine(weight[:5], np.zeros(5, np.float32)),
        "li": nir.LI(tau * one[:5], one[:5], 0 * one[:5]),
        "output": nir.Output({"output": np.array([5])}),
    }
    names = list(nodes)
    edges = list(pairwise(names))
    return nir.NIRGraph(nodes, edges, metadata={"dt": DT}, type_check=False)


def test_memory_is_at_most_four_times_the_weights(tmp_path: Path) -> None:
    """The graph that was read is held while its program is made and simplified."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((700, 700), np.float32)
    weight[rng.random(weight.shape, np.float32) > 0.1] = 0
    path = tmp_path / "large.nir"
    path.write_bytes(write_nir(graph(weight, 2 * DT)))
    lower(read_nir(path))  # loads modules
    tracemalloc.start()
    read = read_nir(path)
    program = lower(read)
    small = simplify(program)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * weight.nbytes
    assert small.kept["lif"].size < 700


@pytest.mark.parametrize("tau", [DT, 2 * DT], ids=["gain 1", "gain 1/2"])
@pytest.mark.parametrize("kind", ["f4", "f8", "i8"])
def test_a_program_shares_no_weights_with_its_graph(tau: float, kind: str) -> None:
    weight = np.arange(36).reshape(6, 6).astype(kind)
    source = graph(weight, tau)
    program = lower(source)
    (op,) = program.into("lif")[0].ops
    assert isinstance(op, Linear)
    assert op.weight.dtype == np.float32
    assert np.array_equal(op.weight, weight * DT / tau)
    held = source.nodes["fc"]
    assert isinstance(held, nir.Linear)
    assert held.weight.flags.writeable
    assert not np.shares_memory(op.weight, held.weight)


def test_weights_are_rounded_once() -> None:
    """The product is taken in float64: 0.1 as float32, times 0.3, and only then rounded."""
    weight = np.full((6, 6), 0.1, np.float32)
    (op,) = lower(graph(weight, DT / 0.3)).into("lif")[0].ops
    assert isinstance(op, Linear)
    exact = np.float32(weight.astype(np.float64) * (DT / np.float64(np.float32(DT / 0.3))))
    assert np.array_equal(op.weight, exact)
