"""Artifacts that are damaged: each fault is named with its file, nothing is run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import programs
import pytest

import sltdeploy as slt
from sltdeploy.errors import InputError, MissingComponentError

PROGRAM = programs.branches()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Lay down the ONNX artifact of `PROGRAM`."""
    slt.export(PROGRAM, None, tmp_path / "artifact", format="onnx")
    return tmp_path / "artifact"


def test_every_changed_file_is_named(folder: Path) -> None:
    model = bytearray((folder / "model.onnx").read_bytes())
    model[len(model) // 2] ^= 1
    (folder / "model.onnx").write_bytes(model)
    (folder / "program.safetensors").unlink()
    with pytest.raises(InputError) as caught:
        slt.open(folder)
    lines = sorted(caught.value.violations)
    assert lines[0].startswith(f"{folder / 'model.onnx'}: was changed after export: sha256 ")
    assert lines[1].startswith(f"{folder / 'program.safetensors'}: No such file")
    assert len(lines) == 2


def test_without_verify_a_changed_file_is_opened(folder: Path) -> None:
    with (folder / "program.safetensors").open("ab") as file:
        file.write(b" ")
    with slt.open(folder, verify=False) as runner:
        assert set(runner.run(programs.stimulus(PROGRAM)).outputs) == set(PROGRAM.outputs)


def test_a_model_that_does_not_load_is_named(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"\x08\x07 not a model")
    with pytest.raises(InputError, match=r"ONNX Runtime .* cannot load the model"):
        slt.open(folder, verify=False)


@pytest.mark.parametrize("version", ["1.14.1", "1.9.0", "0.5"])
def test_an_onnx_runtime_too_old_is_a_missing_component(
    folder: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxruntime.__version__", version)
    with pytest.raises(MissingComponentError) as caught:
        slt.open(folder)
    (line,) = caught.value.violations
    assert line.startswith(f"ONNX Runtime {version} is too old, artifacts need 1.15 or newer: pip")


@pytest.mark.parametrize("version", ["1.15.0", "1.20.0.dev20240901", "2.0"])
def test_a_newer_onnx_runtime_is_not(
    folder: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxruntime.__version__", version)
    slt.open(folder).close()


def test_a_model_of_another_network_is_refused(folder: Path, tmp_path: Path) -> None:
    slt.export(programs.each_rule()["lif"], None, tmp_path / "other", format="onnx")
    (folder / "model.onnx").write_bytes((tmp_path / "other/model.onnx").read_bytes())
    with pytest.raises(InputError, match=r"the model's inputs are \{'in': .*the manifest names"):
        slt.open(folder, verify=False)


def test_what_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such folder"):
        slt.open(tmp_path / "nowhere")
    with pytest.raises(InputError, match="No such file or directory: this folder is no artifact"):
        slt.open(tmp_path)
    for text in ("", "{", "[" * 100_000, '"sltdeploy-artifact"', "[]", '{"format": "zip"}', "\0"):
        (tmp_path / "manifest.json").write_text(text, "utf8")
        with pytest.raises(InputError, match=r"manifest\.json: (not JSON|no manifest of an art)"):
            slt.open(tmp_path)


DAMAGE: Mapping[str, tuple[dict[str, Any], str]] = {
    "schema": ({"schema": 2}, "schema 2, this sltdeploy reads 1: update"),
    "exporter": ({"exporter": "abacus"}, "made by exporter 'abacus', this sltdeploy runs"),
    "no exporter": ({"exporter": None}, "'exporter' is missing: export the artifact again"),
    "inputs": ({"inputs": {}}, "'inputs' is {}, must be list: export"),
    "latency": ({"latency_steps": True}, "'latency_steps' is True, must be int"),
    "input entries": ({"inputs": [{"name": "image"}]}, "entry 'shape' is missing"),
    "input kind": (
        {"inputs": [{"name": "touch", "shape": [5], "kind": "x", "low": None, "high": None}]},
        "input 'touch' is of kind 'x', must be spikes or graded",
    ),
    "input text": ({"inputs": ["image"]}, "export the artifact again"),
    "output": (
        {"outputs": [{"name": "none", "shape": [3], "kind": "values", "unit": None}]},
        "'none' (3,) is none of the populations",
    ),
    "shape": (
        {"populations": [{"name": "a", "shape": [0], "spiking": True, "latency": 0}]},
        "'a' has shape [0], must be positive integers",
    ),
    "states": ({"states": None}, "the manifest's states are damaged ('states')"),
    "state shape": ({"states": [{"input": "a", "output": "b", "shape": "x", "init": 0}]}, "states"),
    "state names": ({"states": []}, "the model's inputs are"),
    "model": ({"model": "other.onnx"}, "the model 'other.onnx' is none of the files"),
    "climbing": ({"files": {"../secret": "0" * 64}}, "file '../secret' leads out of the folder"),
    "climbing elsewhere": ({"files": {"..\\secret": "0" * 64}}, "leads out of the folder"),
    "absolute": ({"files": {"/etc/passwd": "0" * 64}}, "'/etc/passwd' leads out of the folder"),
    "hash": ({"files": {"model.onnx": "abc"}}, "hash of 'model.onnx' is 'abc', must be a sha256"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_manifest_is_refused(folder: Path, case: str) -> None:
    changes, line = DAMAGE[case]
    programs.edit_manifest(folder, changes)
    with pytest.raises(InputError) as caught:
        slt.open(folder)
    assert line in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
