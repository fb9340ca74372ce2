"""Every command as a user meets it: what it writes, what it prints, its exit code."""

import hashlib
import json
from pathlib import Path

import nir
import numpy as np
import pytest
from commands import WEIGHT, network, only_object, say

from sltdeploy import exporting, target
from sltdeploy.cli import call
from sltdeploy.lowering import lower
from sltdeploy.program_file import from_bytes, to_bytes
from sltdeploy.reference import run


def test_export_writes_what_run_and_verify_take(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert say("export net.nir --format onnx --quantize int8 --out new --json") == 0
    out, err = capfd.readouterr()
    assert "no --target" in err
    assert only_object(out)["manifest"]["exporter"] == "onnx"

    assert say("run new --input x.npy --out y.npz --record") == 0
    assert "output" in capfd.readouterr().out
    expected = run(from_bytes(Path("new", exporting.PROGRAM).read_bytes()), np.load("x.npy"))
    with np.load("y.npz") as y:
        assert set(y) == {"output", "out", "lif", "input"}
        np.testing.assert_array_equal(y["lif"], expected.records["lif"])
        np.testing.assert_allclose(y["output"], expected.output, rtol=1e-6)
        assert y["output"].shape == (10, 2, 3)

    assert say("run new --input x.npy --out plain.npz") == 0
    with np.load("plain.npz") as y:
        assert set(y) == {"output"}
    capfd.readouterr()

    assert say("verify new --input x.npy") == 0
    assert "identical" in capfd.readouterr().out
    assert say("verify new --json") == 0
    found = only_object(capfd.readouterr().out)
    assert found["ok"] is True
    assert found["compared"][0]["spikes"] > 0


def test_a_mismatch_exits_with_1(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = lower(network(tau=1.5e-3))
    folder = Path("artifact")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / exporting.PROGRAM).write_bytes(to_bytes(other))
    digest = hashlib.sha256(to_bytes(other)).hexdigest()
    manifest["files"][exporting.PROGRAM] = digest
    manifest["program_digest"] = other.digest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert say("verify artifact --input x.npy") == 1
    out, err = capfd.readouterr()
    assert "population 'lif', step " in out
    assert "artifact: differs" in out
    assert err == ""
    assert say("verify artifact --input x.npy --json") == 1
    assert only_object(capfd.readouterr().out)["ok"] is False


def test_a_nir_artifact_is_verified_through_its_own_file(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert say("export net.nir --format nir --out new") == 0
    assert say("verify new") == 0
    folder = Path("new")
    (name,) = (p.name for p in folder.glob("*.nir"))
    nir.write(str(folder / name), network(tau=1.5e-3))
    manifest = json.loads((folder / "manifest.json").read_text())
    changed = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(
        json.dumps({**manifest, "files": {**manifest["files"], name: changed}})
    )
    capfd.readouterr()
    assert say("verify new") == 1
    assert "differs" in capfd.readouterr().out


def test_a_lava_artifact_is_verified_in_lava(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert say("export net.nir --format lava --out new") == 0
    capfd.readouterr()
    monkeypatch.setenv("SLTDEPLOY_LAVA_PYTHON", str(here / "missing"))
    assert say("verify new") == 3
    assert "sltdeploy setup lava" in capfd.readouterr().err
    assert say("verify new --engine fast") == 0


def test_what_the_chip_does_not_have_is_said(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert say("export net.nir --format lava --reset subtract --out new") == 0
    said = capfd.readouterr().err
    assert "not available on the chip: lif: reset by subtraction\n" in said
    assert "None" not in said
    assert say("export net.nir --target loihi2 --out new") == 0
    assert "loihi2: the chip itself does not take float32" in capfd.readouterr().err


def test_flags_that_overrule_the_file_say_so(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert say("inspect net.nir --dt 0.002 --reset subtract --json") == 0
    out, err = capfd.readouterr()
    assert err == "net.nir: --dt 0.002 overrules the file's dt = 0.001\n"
    assert only_object(out)["convention"]["dt"] == 0.002
    assert only_object(out)["convention"]["reset"] == "subtract"
    assert say("inspect nodt.nir --dt 0.001 --compare ge --decay exponential --json") == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert only_object(out)["convention"]["comparison"] == "ge"
    assert only_object(out)["convention"]["decay"] == "exponential"


@pytest.mark.parametrize("command", ["export net.nir --format onnx --out new", "inspect net.nir"])
def test_every_model_command_obeys_the_flags(
    here: Path, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    flags = "--dt 0.0005 --reset subtract --compare ge --decay exponential --json"
    assert say(f"{command} {flags}") == 0
    found = only_object(capfd.readouterr().out)
    convention = found.get("convention") or found["manifest"]["convention"]
    expected = {"dt": 5e-4, "reset": "subtract", "comparison": "ge", "decay": "exponential"}
    assert convention == expected


def test_energy_prices_each_target_and_writes_the_report(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = "energy net.nir --target raspberry-pi-4 --target loihi2 --rate 50 --input x.npy"
    assert say(f"{command} --out r.html --json") == 0
    out, _ = capfd.readouterr()
    found = only_object(out)
    assert [e["target"] for e in found["estimates"]] == ["raspberry-pi-4", "loihi2"]
    assert found["estimates"][0]["total"]["nominal"] > 0
    assert found["estimates"][1]["total"] is None
    counted = exporting.resolve("net.nir").program
    spikes = run(counted, np.load("x.npy")).records["lif"].sum()
    by_name = {p["name"]: p["spikes"]["total"] for p in found["counts"]["populations"]}
    assert by_name["lif"] == spikes
    first = Path("r.html").read_bytes()
    assert b"x.npy" in first
    assert say(f"{command} --out r.html") == 0
    assert Path("r.html").read_bytes() == first
    assert "raspberry-pi-4" in capfd.readouterr().out
    assert say(f"{command} --out r.json") == 0
    assert json.loads(Path("r.json").read_text())["format"] == "sltdeploy-report"


def test_energy_says_that_its_own_input_is_made_up(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["energy", "net.nir", "--target", "raspberry-pi-4", "--rate", "50", "--out", "r.html"]
    assert call(command) == 0
    assert "SEEDED RANDOM" in capfd.readouterr().out
    assert b"SEEDED RANDOM" in Path("r.html").read_bytes()


def test_inspect_shows_populations_and_weights(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert say("inspect net.nir --json") == 0
    found = only_object(capfd.readouterr().out)
    first = found["projections"][0]
    assert (first["name"], first["weights"]) == ("input -> lif", 24)
    assert first["nonzero"] == np.count_nonzero(WEIGHT)
    assert say("inspect net.nir") == 0
    assert "input -> lif" in capfd.readouterr().out


def test_targets_are_listed_and_shown_in_full(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert say("targets --json") == 0
    found = only_object(capfd.readouterr().out)
    assert [t["name"] for t in found["targets"]] == target.names()
    for name in target.names():
        assert say(f"targets {name}") == 0
        out = capfd.readouterr().out
        assert [c.source for c in target.load(name).costs if c.source not in out] == []
        assert say(f"targets {name} --json") == 0
        assert only_object(capfd.readouterr().out)["target"]["name"] == name


def test_doctor_names_the_cure_of_what_is_missing(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLTDEPLOY_LAVA_PYTHON", str(here / "missing"))
    assert say("doctor") == 0
    out = capfd.readouterr().out
    assert "sltdeploy setup lava" in out
    assert say("doctor --json") == 0
    found = only_object(capfd.readouterr().out)
    assert found["packages"]["numpy"] == np.__version__
    assert found["lava"] is None


def test_removing_lava_where_there_is_none(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLTDEPLOY_LAVA_ENV", str(here / "lava"))
    assert say("setup lava --remove --json") == 0
    assert only_object(capfd.readouterr().out) == {"removed": False}
