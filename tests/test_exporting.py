"""From a model to a folder: what it holds, and that a failure leaves nothing."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

from sltdeploy import exporting
from sltdeploy.errors import CheckError, InputError
from sltdeploy.exporting import export
from sltdeploy.graph import write_nir
from sltdeploy.lowering import lower
from sltdeploy.program_file import from_bytes
from sltdeploy.runtime import open_artifact


def network(inputs: int = 4, **metadata: Any) -> nir.NIRGraph:
    """A linear layer, a LIF, a readout."""
    rng = np.random.default_rng(0)
    one = np.ones(3)
    nodes: dict[str, Any] = {
        "input": nir.Input({"input": np.array([inputs])}),
        "fc": nir.Affine(rng.integers(-8, 8, (3, inputs)) / 8, one / 4),
        "lif": nir.LIF(2e-3 * one, one, 0 * one, one / 2),
        "out": nir.Linear(rng.integers(-8, 8, (2, 3)) / 8),
        "li": nir.LI(np.full(2, 4e-3), np.ones(2), np.zeros(2)),
        "output": nir.Output({"output": np.array([2])}),
    }
    names = list(nodes)
    edges = list(pairwise(names))
    return nir.NIRGraph(nodes, edges, metadata=metadata)


@pytest.mark.parametrize("name", exporting.names())
def test_every_exporter_is_deterministic(tmp_path: Path, name: str) -> None:
    """The same model gives the same bytes, file by file; a new exporter is tested too."""
    one = export(network(dt=1e-3), None, tmp_path / "one", format=name)
    two = export(network(dt=1e-3), None, tmp_path / "two", format=name)
    files = sorted(p.relative_to(one.path) for p in one.path.rglob("*") if p.is_file())
    assert len(files) >= 3
    for file in files:
        assert (one.path / file).read_bytes() == (two.path / file).read_bytes(), file


@pytest.mark.parametrize("name", exporting.names())
def test_the_manifest_says_what_lies_there(tmp_path: Path, name: str) -> None:
    """Hashes of all files, convention, inputs, outputs, populations; the program itself."""
    artifact = export(network(dt=1e-3, reset="subtract"), None, tmp_path / "a", format="onnx")
    assert artifact.manifest["convention"]["reset"] == "subtract"
    artifact = export(network(dt=1e-3), None, tmp_path / "a", format=name)
    manifest = json.loads((artifact.path / "manifest.json").read_text())
    assert manifest == artifact.manifest
    there = {str(p.relative_to(artifact.path)) for p in artifact.path.rglob("*") if p.is_file()}
    assert there == {*manifest["files"], "manifest.json"}
    assert manifest["exporter"] == name
    assert manifest["convention"]["dt"] == 1e-3
    assert [p["name"] for p in manifest["populations"]] == ["input", "lif", "li"]
    assert manifest["inputs"][0]["shape"] == [4]
    assert manifest["outputs"] == [{"name": "li", "shape": [2], "kind": "values", "unit": None}]
    program = from_bytes((artifact.path / "program.safetensors").read_bytes())
    assert program.digest() == manifest["program_digest"] == lower(network(dt=1e-3)).digest()


def test_nir_comes_back_through_plain_nir(tmp_path: Path) -> None:
    """`nir.read` loads it; dt, reset and comparison are in it; it lowers to the same program."""
    artifact = export(
        network(), None, tmp_path / "a", format="nir", dt=5e-4, reset="subtract", comparison="ge"
    )
    graph = nir.read(artifact.path / "network.nir")
    assert graph.metadata["dt"] == 5e-4
    assert graph.metadata["reset"] == "subtract"
    assert graph.metadata["comparison"] == "ge"
    assert lower(graph).digest() == artifact.manifest["program_digest"]


def test_nir_is_refused_after_quantisation(tmp_path: Path) -> None:
    """NIR holds real numbers in continuous time."""
    with pytest.raises(InputError, match="--quantize none"):
        export(network(dt=0.3e-3), None, tmp_path / "a", format="nir", quantize="int8")
    with pytest.raises(InputError, match="give the graph"):
        export(lower(network(dt=1e-3)), None, tmp_path / "a", format="nir")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "neither target nor format"),
        ({"format": "jpeg"}, "format 'jpeg' is unknown"),
        ({"format": "onnx", "quantize": "int3"}, "quantize is 'int3'"),
        ({"format": "onnx", "form": "spiral"}, "form is 'spiral'"),
        ({"format": "onnx", "dt": -1}, "time step is -1"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    """And nothing is written."""
    with pytest.raises(InputError) as caught:
        export(network(dt=1e-3), None, tmp_path / "a", **options)
    assert said in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_file_is_named_in_the_message(tmp_path: Path) -> None:
    """A NIR file without a time step: file, what, fix."""
    path = tmp_path / "net.nir"
    path.write_bytes(write_nir(network()))
    with pytest.raises(InputError) as caught:
        export(path, "raspberry-pi-4", tmp_path / "a")
    assert str(caught.value).startswith(f"{path}: no time step")
    assert "--dt" in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["net.nir"]


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    """Only an artifact or an empty folder is replaced."""
    goal = tmp_path / "a"
    goal.mkdir()
    export(network(dt=1e-3), None, goal, format="onnx")
    export(network(dt=2e-3), None, goal, format="onnx")
    assert json.loads((goal / "manifest.json").read_text())["convention"]["dt"] == 2e-3
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "chapter1.tex").write_text("years of work")
    for manifest in (None, "{}", (goal / "manifest.json").read_text()):
        if manifest is not None:
            (mine / "manifest.json").write_text(manifest)
        with pytest.raises(InputError, match="holds more than an artifact"):
            export(network(dt=1e-3), None, mine, format="onnx")
        assert (mine / "chapter1.tex").read_text() == "years of work"


def test_what_does_not_fit_is_not_written(tmp_path: Path) -> None:
    """Every violated limit with its number; exit code 1."""
    wide = 1_200_000
    one = np.ones(wide)
    nodes: dict[str, Any] = {
        "input": nir.Input({"input": np.array([wide])}),
        "lif": nir.LIF(2e-3 * one, one, 0 * one, one / 2),
        "output": nir.Output({"output": np.array([wide])}),
    }
    graph = nir.NIRGraph(
        nodes,
        [("input", "lif"), ("lif", "output")],
        metadata={"dt": 1e-3, "input_kind": "spikes"},
        type_check=False,
    )
    with pytest.raises(CheckError) as caught:
        export(graph, "loihi2", tmp_path / "a")
    assert caught.value.exit_code == 1
    assert "128" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_what_the_target_lacks_is_bad_input(tmp_path: Path) -> None:
    """Reset by subtraction does not exist on Loihi."""
    with pytest.raises(InputError, match="subtract"):
        export(network(dt=1e-3, reset="subtract"), "loihi2", tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_model_that_knows_its_range_needs_no_calibration(tmp_path: Path) -> None:
    """The metadata of a ticket's graph give range and grid of the input."""
    known = network(dt=1e-3, input_kind="graded", steps=4, input_max=1.0, input_bits=4)
    artifact = export(known, "loihi2", tmp_path / "a", quantize="int8")
    entry = artifact.manifest["inputs"][0]
    assert (entry["scale"], entry["low"], entry["high"]) == (16.0, 0, 16)
    unknown = network(dt=1e-3, input_kind="graded")
    with pytest.raises(InputError, match="--calibrate"):
        export(unknown, "loihi2", tmp_path / "b", quantize="int8")


def test_what_export_returns_can_be_opened(tmp_path: Path) -> None:
    """Not only its path."""
    artifact = export(network(dt=1e-3), None, tmp_path / "a", format="nir")
    with open_artifact(artifact) as runner:
        assert runner.folder == artifact.path
