"""``--convention`` on the command line: what it sets, what it overrules, what it refuses."""

from pathlib import Path

import nir
import numpy as np
import pytest
from commands import only_object, say

from sltdeploy.graph import write_nir


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file without metadata, plain.nir, and one with, said.nir."""
    monkeypatch.chdir(tmp_path)
    one = np.ones(3)
    nodes: dict[str, nir.NIRNode] = {
        "input": nir.Input({"input": np.array([3])}),
        "fc": nir.Linear(np.eye(3)),
        "lif": nir.LIF(2e-4 * one, 2 * one, 0 * one, one),
        "output": nir.Output({"output": np.array([3])}),
    }
    edges = [("input", "fc"), ("fc", "lif"), ("lif", "output")]
    for name, metadata in (("plain", {}), ("said", {"dt": 2e-4, "comparison": "gt"})):
        graph = nir.NIRGraph(nodes, edges, metadata=metadata)
        (tmp_path / f"{name}.nir").write_bytes(write_nir(graph))
    return tmp_path


def test_a_convention_says_what_a_file_leaves_out(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert say("inspect plain.nir --json") == 2
    capfd.readouterr()
    assert say("inspect plain.nir --convention spikingjelly --json") == 0
    out, err = capfd.readouterr()
    assert err == ""
    convention = only_object(out)["convention"]
    assert (convention["dt"], convention["comparison"]) == (1e-4, "ge")


def test_a_convention_overrules_the_file_and_says_so(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert say("inspect said.nir --convention spikingjelly --json") == 0
    out, err = capfd.readouterr()
    assert only_object(out)["convention"]["dt"] == 1e-4
    assert err.splitlines() == [
        "said.nir: --convention spikingjelly (dt 0.0001) overrules the file's dt = 0.0002",
        "said.nir: --convention spikingjelly (comparison ge) overrules the file's comparison = gt",
    ]
    assert say("inspect said.nir --convention snntorch --dt 0.0004 --json") == 0
    out, err = capfd.readouterr()
    assert only_object(out)["convention"]["dt"] == 4e-4
    assert err == "said.nir: --dt 0.0004 overrules the file's dt = 0.0002\n"


def test_what_has_no_equal_is_refused(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert say("export plain.nir --format onnx --out new --convention sinabs") == 2
    err = capfd.readouterr().err
    assert err.startswith("error: plain.nir: node 'lif': LIF of sinabs sends floor(")
    assert not (folder / "new").exists()


def test_every_model_command_takes_it(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lava = "--dt 0.0001 --convention lava"
    assert say(f"export plain.nir --format onnx --out new {lava}") == 0
    assert say("verify new") == 0
    assert say(f"energy plain.nir --target cmos-45nm --rate 100 {lava} --json") == 0
    capfd.readouterr()
    assert say(f"inspect plain.nir {lava} --json") == 0
    assert "input.late" in capfd.readouterr().out
