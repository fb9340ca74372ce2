"""Files that are valid although nir 1.0.8 rejects them, all errors at once, and linear work."""

import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from network_oracle import Convention, Oracle
from random_parts import DT, Array

from sltdeploy.errors import InputError
from sltdeploy.exporting import export
from sltdeploy.graph import read_nir, write_nir
from sltdeploy.lowering import lower
from sltdeploy.reference import run

RNG = np.random.default_rng(17)


def weight(*shape: int) -> Array:
    """Multiples of 1/8."""
    return RNG.integers(-6, 9, shape) / 8


def fires(n: int) -> nir.LIF:
    """Decays by half a step, from parameters of one shape."""
    one = np.ones(n)
    return nir.LIF(2 * DT * one, 2 * one, 0 * one, one / 2, -one / 4)


def conv(shape: tuple[int, int, int], node: Any, size: int) -> nir.NIRGraph:
    """Input -> ``node`` -> Flatten -> LIF -> Output."""
    open_: Any = {"input": None}
    nodes: dict[str, Any] = {
        "input": nir.Input({"input": np.array(shape)}),
        "conv": node,
        "flatten": nir.Flatten(open_, 0, -1),
        "lif": fires(size),
        "output": nir.Output({"output": np.array([size])}),
    }
    return chained(nodes)


def chained(nodes: dict[str, Any]) -> nir.NIRGraph:
    """Put nodes one behind the other."""
    return nir.NIRGraph(nodes, list(pairwise(nodes)), metadata={"dt": DT}, type_check=False)


def written(graph: nir.NIRGraph, tmp_path: Path, *removed: str, **added: Any) -> Path:
    """Write a file, remove what ``removed`` names below node/nodes, replace what ``added`` does."""
    path = tmp_path / "net.nir"
    path.write_bytes(write_nir(graph))
    with h5py.File(path, "r+") as file:
        for name in removed:
            del file[f"node/nodes/{name}"]
        for name, value in added.items():
            at = f"node/nodes/lif/{name}"
            if at in file:
                del file[at]
            file[at] = value
    return path


def assert_runs(path: Path, graph: nir.NIRGraph) -> None:
    """The file runs here with the spikes that ``graph`` has by the oracle."""
    entry: Any = next(n for n in graph.nodes.values() if isinstance(n, nir.Input))
    x = RNG.integers(-3, 6, (12, 2, *entry.input_type["input"])) / 4
    oracle = Oracle(graph, Convention(DT, "zero", "gt"), {"input": x}, only_exact=True)
    records = run(lower(read_nir(path), DT), x).records
    assert oracle.exact
    assert oracle.spikes
    for name, spikes in oracle.spikes.items():
        assert 0 < spikes.mean() < 1
        assert np.array_equal(records[name], spikes)


GROUPED = nir.Conv2d((5, 5), weight(4, 1, 3, 3), 1, 0, 1, 2, weight(4))
OBLONG = nir.Conv2d((5, 7), weight(3, 2, 3, 5), 1, (1, 2), 1, 1, weight(3))
REJECTED = {
    "grouped": conv((2, 5, 5), GROUPED, 36),
    "3x5 kernel": conv((2, 5, 7), OBLONG, 105),
}


@pytest.mark.parametrize("case", REJECTED)
def test_convolutions_that_nir_gets_wrong(case: str, tmp_path: Path) -> None:
    """Groups, and kernels that are not square, break nir's own types."""
    path = written(graph := REJECTED[case], tmp_path)
    with pytest.raises(ValueError, match="mismatch"):
        nir.read(path)
    assert_runs(path, graph)


def test_a_nested_graph_is_not_type_checked_either(tmp_path: Path) -> None:
    """A grouped convolution inside one."""
    inner: Any = conv((2, 5, 5), GROUPED, 36)
    nodes: dict[str, Any] = {
        "input": nir.Input({"input": np.array([2, 5, 5])}),
        "block": inner,
        "output": nir.Output({"output": np.array([36])}),
    }
    graph = chained(nodes)
    path = written(graph, tmp_path)
    with pytest.raises(ValueError, match="mismatch"):
        nir.read(path, type_check=False)
    assert_runs(path, graph)


def test_a_convolution_without_its_input_size(tmp_path: Path) -> None:
    """The size is taken from what arrives."""
    graph = conv((2, 5, 5), nir.Conv2d(None, weight(4, 2, 3, 3), 1, 0, 1, 1, weight(4)), 36)
    path = written(graph, tmp_path)
    with pytest.raises(TypeError, match="input_shape"):
        nir.read(path)
    assert_runs(path, graph)


def test_a_1d_convolution_without_its_input_size(tmp_path: Path) -> None:
    """As in two dimensions, with groups."""
    nodes: dict[str, Any] = {
        "input": nir.Input({"input": np.array([2, 9])}),
        "conv": nir.Conv1d(None, weight(4, 1, 3), 2, 1, 1, 2, weight(4)),
        "flatten": nir.Flatten({"input": np.array([4, 5])}, 0, 1),
        "lif": fires(20),
        "output": nir.Output({"output": np.array([20])}),
    }
    graph = chained(nodes)
    assert_runs(written(graph, tmp_path), graph)


def test_sizes_may_stay_open_up_to_an_artifact(tmp_path: Path) -> None:
    """What was read without them is exported, and then has them for plain nir."""
    graph = conv((2, 5, 5), nir.Conv2d(None, weight(4, 2, 3, 3), 1, 0, 1, 1, weight(4)), 36)
    export(written(graph, tmp_path), None, tmp_path / "a", format="nir")
    whole = nir.read(tmp_path / "a" / "network.nir", type_check=False)
    again: Any = whole.nodes["conv"]
    assert tuple(again.input_shape) == (5, 5)
    assert lower(whole).digest() == lower(graph).digest()


def neurons(node: Any) -> nir.NIRGraph:
    """Input -> Linear -> ``node`` -> Output, three wide."""
    nodes: dict[str, Any] = {
        "input": nir.Input({"input": np.array([3])}),
        "fc": nir.Linear(weight(3, 3)),
        "lif": node,
        "output": nir.Output({"output": np.array([3])}),
    }
    return chained(nodes)


def test_scalars_beside_arrays(tmp_path: Path) -> None:
    """A parameter that is the same for all may be one number."""
    graph = neurons(fires(3))
    path = written(graph, tmp_path, tau=2 * DT, v_leak=np.zeros(1), v_threshold=np.float32(0.5))
    with pytest.raises(AssertionError, match="same shape"):
        nir.read(path)
    read: Any = read_nir(path).nodes["lif"]
    assert read.tau.shape == read.v_leak.shape == read.v_threshold.shape == (3,)
    assert_runs(path, graph)


def test_only_scalars(tmp_path: Path) -> None:
    """They hold for whatever arrives."""
    path = written(
        neurons(fires(3)), tmp_path, tau=2 * DT, r=2.0, v_leak=0.0, v_threshold=0.5, v_reset=-0.25
    )
    assert_runs(path, neurons_like(path))


def neurons_like(path: Path) -> nir.NIRGraph:
    """The graph of a file with the neuron of `fires` in it."""
    graph = read_nir(path)
    graph.nodes["lif"] = fires(3)
    return graph


@pytest.mark.parametrize("missing", [["v_reset"], ["w_in"], ["v_reset", "w_in"]])
def test_fields_that_nir_has_a_default_for(missing: list[str], tmp_path: Path) -> None:
    """v_reset is 0, w_in is 1."""
    one = np.ones(3)
    node = nir.CubaLIF(DT * one, 2 * DT * one, 2 * one, 0 * one, one / 2, 0 * one, one)
    graph = neurons(node)
    assert_runs(written(graph, tmp_path, *(f"lif/{m}" for m in missing)), graph)


def test_flatten_with_defaults_and_derived_types(tmp_path: Path) -> None:
    """start_dim 1, end_dim -1; types that older files hold are not read."""
    nodes: dict[str, Any] = {
        "input": nir.Input({"input": np.array([2, 3, 1])}),
        "flatten": nir.Flatten({"input": np.array([2, 3, 1])}, 1, -1),
        "lif": nir.LIF(*(np.full((2, 3), v) for v in (2 * DT, 2, 0, 0.5, 0))),
        "output": nir.Output({"output": np.array([2, 3])}),
    }
    graph = chained(nodes)
    path = written(graph, tmp_path, "flatten/start_dim", "flatten/end_dim", input_type=[2, 3])
    assert_runs(path, graph)


def test_types_that_lie_in_groups(tmp_path: Path) -> None:
    """Shapes may be written as a group of one entry."""
    graph = neurons(fires(3))
    path = written(graph, tmp_path, "input/shape")
    with h5py.File(path, "r+") as file:
        file["node/nodes/input/shape/input"] = np.array([3])
    assert_runs(path, graph)


def test_everything_that_is_missing_or_unknown_at_once(tmp_path: Path) -> None:
    """Each with the path of its node."""
    block: Any = neurons(fires(3))
    graph = neurons(fires(3))
    graph.nodes["block"] = block
    path = written(graph, tmp_path, "lif/tau", "block/nodes/fc/weight", colour=3.0)
    with h5py.File(path, "r+") as file:
        file["node/nodes/block/nodes/odd"] = 1.0
        del file["node/nodes/block/edges"]
        del file["node/nodes/fc/type"]
        file["node/nodes/fc/type"] = "NIRNode"
        file["node/nodes/block/nodes/lif/r"][...] = 1  # pyright: ignore[reportIndexIssue]
        del file["node/nodes/block/nodes/lif/tau"]
        file["node/nodes/block/nodes/lif/tau"] = np.ones(2)
    with pytest.raises(InputError) as caught:
        read_nir(path)
    version = nir.version
    assert [line.removeprefix(f"{path}: ") for line in caught.value.violations] == [
        "nested graph 'block' has no edges",
        f"node 'block.fc': Linear: has no 'weight', nir {version} requires it",
        "node 'block.lif': LIF: parameters of different shapes: r (3,), tau (2,), v_leak (3,), "
        "v_reset (3,), v_threshold (3,)",
        "node 'block.odd' is no group of parameters",
        f"node 'fc': nir {version} has no type 'NIRNode'",
        f"node 'lif': LIF: has no 'tau', nir {version} requires it",
        f"node 'lif': LIF: has a field 'colour', which nir {version} does not know",
    ]


def test_a_dataset_without_data_is_named(tmp_path: Path) -> None:
    """HDF5 can declare that there is none."""
    path = written(neurons(fires(3)), tmp_path, tau=h5py.Empty("f8"))
    with pytest.raises(InputError, match=r"'/node/nodes/lif/tau' holds nothing at all"):
        read_nir(path)


@pytest.mark.parametrize("kind", [h5py.string_dtype(), h5py.string_dtype("ascii"), "S30"])
def test_text_of_every_kind(kind: Any, tmp_path: Path) -> None:
    """Names of nodes and types of fixed length and of any."""
    path = written(graph := neurons(fires(3)), tmp_path)
    with h5py.File(path, "r+") as file:
        del file["node/edges"], file["node/nodes/lif/type"]
        file.create_dataset("node/edges", data=graph.edges, dtype=kind)
        file.create_dataset("node/nodes/lif/type", data="LIF", dtype=kind)
    assert_runs(path, graph)


def test_what_nir_itself_refuses_is_named(tmp_path: Path) -> None:
    """A padding that nobody knows."""
    graph = conv((2, 5, 5), GROUPED, 36)
    path = written(graph, tmp_path)
    with h5py.File(path, "r+") as file:
        del file["node/nodes/conv/padding"]
        file["node/nodes/conv/padding"] = "around"
    with pytest.raises(InputError, match=r"node 'conv': Conv2d: padding must be .*around"):
        read_nir(path)


def chain(n: int) -> nir.NIRGraph:
    """Linear and LIF in turn, n nodes between input and output."""
    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array([1])})}
    for k in range(n // 2):
        nodes[f"fc{k}"] = nir.Linear(np.ones((1, 1)))
        nodes[f"lif{k}"] = fires(1)
    nodes["output"] = nir.Output({"output": np.array([1])})
    return chained(nodes)


def test_each_object_of_a_file_is_visited_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opened objects grow with the nodes, by the same number for each."""
    low: Any = h5py
    opened: list[bytes] = []
    real: Callable[..., Any] = low.h5o.open

    def counting(group: Any, key: bytes) -> Any:
        opened.append(key)
        return real(group, key)

    monkeypatch.setattr(low.h5o, "open", counting)
    counts: list[int] = []
    for n in (100, 200, 300):
        path = written(chain(n), tmp_path)
        opened.clear()
        read_nir(path)
        counts.append(len(opened))
    # A Linear: its group, type and weight. A LIF: its group, type and five parameters.
    assert np.diff(counts).tolist() == [500, 500]


def test_lowering_a_chain_is_linear_work() -> None:
    """Calls grow with the nodes: a search through all of them at each would show."""

    def calls(n: int) -> int:
        graph, count = chain(n), 0

        def note(*event: Any) -> None:
            nonlocal count
            count += event[1] == "call"

        before = sys.getprofile()
        sys.setprofile(note)
        try:
            lower(graph)
        finally:
            sys.setprofile(before)
        return count

    calls(10)  # imports
    small, middle, large = calls(100), calls(200), calls(400)
    assert (large - middle) / (middle - small) == pytest.approx(2, rel=0.02)
