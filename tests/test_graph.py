"""NIR files: read what is valid, refuse the rest in words, write without side effects."""

import io
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest

from sltdeploy.errors import InputError
from sltdeploy.graph import problems, read_nir, write_nir
from sltdeploy.loading import load


def graph(weight: Any = None, tau: float = 0.01) -> nir.NIRGraph:
    """Two inputs, one LIF, metadata of ours."""
    lif = nir.LIF(np.array([tau]), np.ones(1), np.zeros(1), np.ones(1))
    nodes: dict[str, Any] = {
        "input": nir.Input({"input": np.array([2])}),
        "fc": nir.Linear(np.ones((1, 2)) if weight is None else weight),
        "lif": lif,
        "output": nir.Output({"output": np.array([1])}),
    }
    edges = [("input", "fc"), ("fc", "lif"), ("lif", "output")]
    return nir.NIRGraph(nodes, edges, metadata={"dt": 1e-3, "reset": "zero"})


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A valid file."""
    path = tmp_path / "good.nir"
    path.write_bytes(write_nir(graph()))
    return path


def test_round_trip(good: Path) -> None:
    """What was written comes back, through us and through plain nir."""
    for again in (read_nir(good), load(good), nir.read(good)):
        assert isinstance(again, nir.NIRGraph)
        assert again.metadata["dt"] == 1e-3
        assert again.metadata["reset"] == "zero"
        assert sorted(again.nodes) == ["fc", "input", "lif", "output"]
        lif: Any = again.nodes["lif"]
        assert lif.tau.tolist() == [0.01]


def test_equal_graphs_give_equal_bytes() -> None:
    """Nothing of the moment goes into a file."""
    assert write_nir(graph()) == write_nir(graph())


def refused(path: Path) -> str:
    """The one-line error for ``path``."""
    with pytest.raises(InputError) as caught:
        load(path)
    assert all(line.startswith(str(path)) for line in caught.value.violations)
    return str(caught.value)


def test_what_is_no_nir_is_refused(tmp_path: Path) -> None:
    """Missing, a folder, text, truncated, HDF5 without a graph."""
    assert "no such file" in refused(tmp_path / "missing.nir")
    assert "a folder" in refused(tmp_path)
    text = tmp_path / "text.nir"
    text.write_text("hello")
    assert "neither a NIR file" in refused(text)
    cut = tmp_path / "cut.nir"
    cut.write_bytes(write_nir(graph())[:900])
    assert "not a NIR file" in refused(cut)
    other = tmp_path / "other.nir"
    with h5py.File(other, "w") as file:
        file["x"] = 1
    assert "it has no 'node'" in refused(other)


def test_wrong_values_are_named(tmp_path: Path) -> None:
    """File, node, field, value, limit; all at once."""
    path = tmp_path / "bad.nir"
    path.write_bytes(write_nir(graph(weight=np.array([[np.nan, 1.0]]), tau=-0.01)))
    said = refused(path)
    assert "node 'fc': Linear.weight is nan at (0, 0) (1 of 2), must be finite" in said
    assert "node 'lif': LIF.tau is -0.01 s, must be positive" in said


def rewrite(good: Path, change: Any) -> Path:
    """Change the HDF5 tree of a valid file."""
    with h5py.File(good, "r+") as file:
        change(file)
    return good


def external_link(file: h5py.File) -> None:
    """Put a link to another file in the place of the weights."""
    del file["node/nodes/fc/weight"]
    file["node/nodes/fc/weight"] = h5py.ExternalLink("other.h5", "/w")


def external_storage(file: h5py.File) -> None:
    """Take the weights from a file outside."""
    del file["node/nodes/fc/weight"]
    file["node/nodes/fc"].create_dataset(  # pyright: ignore[reportAttributeAccessIssue]
        "weight", (1, 2), "f8", external=[("secret", 0, 16)]
    )


def soft_cycle(file: h5py.File) -> None:
    """Let a group contain itself."""
    file["node/nodes/fc/self"] = h5py.SoftLink("/node")


def hard_cycle(file: h5py.File) -> None:
    """The same by a hard link."""
    file["node/nodes/fc/self"] = file["node"]


def bomb(file: h5py.File) -> None:
    """Declare a terabyte."""
    del file["node/nodes/fc/weight"]
    file["node/nodes/fc"].create_dataset(  # pyright: ignore[reportAttributeAccessIssue]
        "weight", (500_000, 500_000), "f4", chunks=(100, 100)
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (external_link, "is a link"),
        (external_storage, "stored outside the file"),
        (soft_cycle, "is a link"),
        (hard_cycle, "is linked twice"),
        (bomb, "the limit is"),
    ],
)
def test_files_hold_their_own_data(good: Path, change: Any, said: str) -> None:
    """Nothing outside the file is read, and nothing endless or huge is tried."""
    assert said in refused(rewrite(good, change))


def unknown_type(file: h5py.File) -> None:
    """Name a node type that nir does not have."""
    del file["node/nodes/lif/type"]
    file["node/nodes/lif/type"] = "Quantum"


def missing_field(file: h5py.File) -> None:
    """Drop a parameter."""
    del file["node/nodes/lif/tau"]


def dangling(file: h5py.File) -> None:
    """Lead an edge nowhere."""
    del file["node/edges"]
    file["node/edges"] = np.array([["input", "fc"], ["fc", "ghost"]], dtype="S")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (unknown_type, "has no type 'Quantum'"),
        (missing_field, "node 'lif': LIF: has no 'tau'"),
        (dangling, "edge fc -> ghost: node 'ghost' is missing"),
    ],
)
def test_wrong_structure_is_named(good: Path, change: Any, said: str) -> None:
    """Each stays one line, whatever nir raises."""
    assert said in refused(rewrite(good, change))


def test_metadata_is_checked() -> None:
    """A reset rule that nobody knows is not guessed."""
    bad = graph()
    bad.metadata["reset"] = "maybe"
    assert list(problems(bad)) == ["metadata reset is 'maybe', must be one of zero, subtract"]


def test_writing_goes_through_memory() -> None:
    """The bytes are a whole HDF5 file."""
    with h5py.File(io.BytesIO(write_nir(graph()))) as file:
        assert "node" in file
