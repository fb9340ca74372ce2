"""An artifact has its name only once it has agreed with the reference."""

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from commands import content, network, say

import sltdeploy as slt
from sltdeploy import delivery, exporting
from sltdeploy.errors import CheckError, InputError
from sltdeploy.exporting import JSON, Exported
from sltdeploy.lowering import lower
from sltdeploy.program import Program

Damage = Callable[[Exported, Exported], Exported]


def another_network(_: Exported, other: Exported) -> Exported:
    """The files of a network with another time constant."""
    return other


def broken_model(right: Exported, _: Exported) -> Exported:
    """A model that ONNX Runtime cannot load."""
    return replace(right, files={**right.files, "model.onnx": b"no model"})


def damage(monkeypatch: pytest.MonkeyPatch, how: Damage) -> None:
    """Let every exporter from now on give what ``how`` makes of the right and of other files."""
    load = exporting.load

    class Wrong:
        def __init__(self, name: str) -> None:
            self.right = load(name)

        def export(
            self, program: Program, header: Mapping[str, JSON], graph: nir.NIRGraph | None
        ) -> Exported:
            other = lower(network(tau=1.5e-3))
            return how(
                self.right.export(program, header, graph), self.right.export(other, header, graph)
            )

    monkeypatch.setattr(exporting, "load", Wrong)


@pytest.mark.parametrize("name", ["c", "nir", "onnx"])
def test_what_is_delivered_is_proven(tmp_path: Path, name: str) -> None:
    found = delivery.export(network(), None, tmp_path / "a", format=name)
    assert found.unproven == ""
    assert found.proof is not None
    assert found.proof.ok
    assert {c.population: bool(c.spikes) for c in found.proof.compared}["lif"]
    assert found.path == tmp_path / "a"
    assert found.manifest["exporter"] == name
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert slt.verify(found).ok


@pytest.mark.parametrize("name", ["c", "onnx"])
def test_a_wrong_artifact_does_not_get_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    damage(monkeypatch, another_network)
    with pytest.raises(CheckError) as caught:
        delivery.export(network(), None, tmp_path / "a", format=name)
    lines = caught.value.violations
    assert lines[0].startswith(f"{tmp_path / 'a'}: the artifact differs from the reference")
    assert lines[1].startswith("first difference: population 'lif', step ")
    assert any(line.startswith("population 'lif', step ") for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_the_old_artifact_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    delivery.export(network(), None, tmp_path / "a", format="onnx")
    before = content(tmp_path)
    damage(monkeypatch, another_network)
    with pytest.raises(CheckError):
        delivery.export(network(tau=3e-3), None, tmp_path / "a", format="onnx")
    assert content(tmp_path) == before
    monkeypatch.undo()
    delivery.export(network(tau=3e-3), None, tmp_path / "a", format="onnx")
    assert content(tmp_path) != before


def test_what_cannot_be_opened_is_told_by_its_final_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(monkeypatch, broken_model)
    with pytest.raises(CheckError) as caught:
        delivery.export(network(), None, tmp_path / "a", format="onnx")
    assert caught.value.violations[0].startswith(f"{tmp_path / 'a'}: ONNX Runtime ")
    assert ".part" not in str(caught.value)
    assert "--no-verify" in caught.value.violations[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_option_stays_the_callers_fault(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="format 'hdl' is unknown"):
        delivery.export(network(), None, tmp_path / "a", format="hdl")


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("onnx", 'pip install "sltdeploy[robot]"'),
        ("c", "C compiler"),
        ("lava", "lava"),
    ],
)
def test_without_the_machine_it_is_written_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, cure: str
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setenv("CC", str(tmp_path / "missing-compiler"))
    monkeypatch.setenv("SLTDEPLOY_LAVA_PYTHON", str(tmp_path / "missing-python"))
    found = delivery.export(network(), None, tmp_path / "a", format=name)
    assert found.proof is None
    assert cure in found.unproven
    assert (tmp_path / "a" / "manifest.json").is_file()


def test_proof_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damage(monkeypatch, another_network)
    found = delivery.export(network(), None, tmp_path / "a", format="onnx", verify=False)
    assert found.proof is None
    assert found.unproven == "verify is off"
    monkeypatch.undo()
    assert not slt.verify(found).ok


def test_every_option_is_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signatures agree, and so do the values."""
    inner = dict(inspect.signature(exporting.export).parameters)
    outer = dict(inspect.signature(delivery.export).parameters)
    del inner["prove"], outer["verify"]
    assert {n: (p.default, p.kind) for n, p in outer.items()} == {
        n: (p.default, p.kind) for n, p in inner.items()
    }
    got: dict[str, Any] = {}

    def spy(*places: Any, **named: Any) -> exporting.Artifact:
        got.update(zip(("model", "target", "out"), places, strict=True), **named)
        return exporting.Artifact(tmp_path, {})

    monkeypatch.setattr(exporting, "export", spy)
    sent: dict[str, Any] = {name: object() for name in outer if name not in ("model", "out")}
    delivery.export("model", sent.pop("target"), tmp_path, **sent)
    assert {n: got[n] for n in sent} == sent
    assert got["prove"] is not None


def test_the_public_export_proves() -> None:
    assert slt.export is delivery.export


# ----------------------------------------------------------------------------- command line


def test_the_command_says_what_was_proven(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert say("export net.nir --target raspberry-pi-4 --out new") == 0
    out, err = capfd.readouterr()
    assert err == ""
    proof = delivery.export("net.nir", "raspberry-pi-4", "again").proof
    assert proof is not None
    spikes = sum(c.spikes or 0 for c in proof.compared)
    assert spikes > 0
    line = f"proven: {spikes} spikes and 300 values equal, 4 samples of 25 steps"
    assert out.splitlines()[-1] == line


def test_the_command_does_not_call_close_values_equal(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    export = delivery.export

    def rounded(*places: Any, **options: Any) -> delivery.Delivered:
        found = export(*places, **options)
        assert found.proof is not None
        return replace(found, proof=replace(found.proof, worst={"out": 1e-7}))

    monkeypatch.setattr(delivery, "export", rounded)
    assert say("export net.nir --format onnx --out new") == 0
    out = capfd.readouterr().out
    assert " spikes equal and 300 values within 1e-05, 4 samples of 25 steps" in out


def test_the_command_says_where_nothing_spiked(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    nir.write("still.nir", network(weight=np.zeros((4, 6))))
    assert say("export still.nir --format onnx --out new") == 0
    last = capfd.readouterr().out.splitlines()[-1]
    assert last.startswith("proven: 0 spikes and 300 values equal, ")
    assert last.endswith("; no spike to compare in: lif")


def test_the_command_leaves_nothing_wrong_behind(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(here)
    damage(monkeypatch, another_network)
    assert say("export net.nir --format onnx --out new") == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("error: new: the artifact differs from the reference")
    assert "first difference: population 'lif'" in err
    assert content(here) == before
    assert say("export net.nir --format onnx --out new --no-verify") == 0
    assert "not proven: verify is off" in capfd.readouterr().err
    assert content(here) != before


def test_the_command_says_what_proof_lacks(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert say("export net.nir --format onnx --out new") == 0
    out, err = capfd.readouterr()
    assert 'not proven: running an ONNX artifact needs ONNX Runtime: pip install "sltdep' in err
    assert "proven" not in out
