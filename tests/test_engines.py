"""Which engine runs which artifact, and what each says where it cannot."""

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import programs
import pytest

import sltdeploy as slt
from sltdeploy import reference
from sltdeploy.errors import InputError, MissingComponentError
from sltdeploy.program import Array, Input, Linear, LoihiNeuron, Population, Program, Projection
from sltdeploy.program_file import to_bytes
from sltdeploy.runtime import open_artifact

PROGRAM = programs.branches()
FED = programs.stimulus(PROGRAM)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Lay down the ONNX artifact of `PROGRAM`."""
    slt.export(PROGRAM, None, tmp_path / "artifact", format="onnx")
    return tmp_path / "artifact"


def test_an_engine_that_cannot_run_it(folder: Path) -> None:
    for engine in ("lava", "quantum"):
        with pytest.raises(InputError, match=f"engine '{engine}' cannot run .*choose from fast"):
            slt.open(folder, engine=engine)
    with slt.open(folder, engine="fast") as runner:
        got = runner.run(FED).outputs["value"]
    np.testing.assert_array_equal(got, reference.run(PROGRAM, FED).records["value"])


def test_without_onnxruntime_the_way_to_get_it_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingComponentError, match=r'pip install "sltdeploy\[robot\]"'):
        slt.open(folder)


def integers() -> Program:
    """Build a Loihi program of two populations; an input of 1 enters as 4, at most 7."""
    rng = np.random.default_rng(4)
    hidden = LoihiNeuron(4095, 1024, np.array([3, 0, -3, 5]), 2, 64.0, vth=4)
    readout = LoihiNeuron(2047, 512, np.zeros(2, np.int64), 0, 64.0)
    return Program(
        programs.CONVENTION,
        (
            Population("in", (3,), Input("graded", scale=4.0, low=0, high=7)),
            Population("hidden", (4,), hidden),
            Population("out", (2,), readout),
        ),
        (
            Projection("in", "hidden", (Linear(rng.integers(-9, 10, (4, 3)) * 2),), 1),
            Projection("hidden", "out", (Linear(rng.integers(-99, 100, (2, 4)) * 2),), -1),
        ),
        ("out",),
        "loihi",
    )


@pytest.fixture
def lava_folder(tmp_path: Path) -> Path:
    """Lay down what a Lava artifact of `integers` holds, but for the network itself."""
    program = integers()
    slt.export(PROGRAM, None, tmp_path / "lava", format="onnx")
    data = to_bytes(program)
    (tmp_path / "lava/program.safetensors").write_bytes(data)
    sizes = {p.name: list(p.shape) for p in program.populations}
    graded = {"kind": "graded", "scale": 4.0, "low": 0, "high": 7}
    programs.edit_manifest(
        tmp_path / "lava",
        {
            "exporter": "lava",
            "numbers": "loihi",
            "inputs": [{"name": "in", "shape": [3], **graded}],
            "outputs": [{"name": "out", "shape": [2], "kind": "values", "unit": 64.0}],
            "populations": [
                {"name": n, "shape": s, "spiking": n == "hidden", "latency": 0}
                for n, s in sizes.items()
            ],
            "latency_steps": 2,
            "program_digest": program.digest(),
            "files": {},
        },
    )
    return tmp_path / "lava"


def with_program(folder: Path) -> Path:
    """List the program file in the manifest."""
    digest = hashlib.sha256((folder / "program.safetensors").read_bytes()).hexdigest()
    programs.edit_manifest(folder, {"files": {"program.safetensors": digest}})
    return folder


def test_integers_are_stepped_fast_with_the_bits_of_the_reference(
    lava_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(0).uniform(-1, 3, (20, 2, 3))
    trace = reference.run(integers(), x)
    assert trace.records["hidden"].any()
    assert trace.records["out"].any()
    monkeypatch.delattr(reference, "step")
    with slt.open(with_program(lava_folder)) as runner:
        assert runner.latency_steps == 0
        result = runner.run(x, record=True)
        runner.reset()
        steps = [runner.step(x[t])["out"] for t in range(20)]
    entered = np.array([min(max(round(v), 0), 7) for v in (x * 4).flat]).reshape(x.shape)
    np.testing.assert_array_equal(result.records["in"], entered)
    for name in ("in", "hidden", "out"):
        assert result.records[name].dtype == trace.records[name].dtype
        np.testing.assert_array_equal(result.records[name], trace.records[name])
    assert result.outputs["out"].dtype == np.float32
    np.testing.assert_array_equal(result.outputs["out"], trace.records["out"] / np.float32(64))
    np.testing.assert_array_equal(np.stack(steps), result.outputs["out"])


def test_spikes_that_leave_an_integer_network_have_no_unit(tmp_path: Path) -> None:
    whole = replace(integers(), outputs=("hidden", "out"))
    x = np.random.default_rng(0).uniform(-1, 3, (20, 2, 3))
    artifact = slt.export(whole, None, tmp_path / "lava", format="lava")
    assert [output["unit"] for output in artifact.manifest["outputs"]] == [None, 64.0]
    with slt.open(artifact) as runner:
        got = runner.run(x).outputs
        runner.reset()
        first = runner.step(x[0])
    expected = reference.run(whole, x).records["hidden"]
    assert expected.any()
    assert got["hidden"].dtype == bool
    np.testing.assert_array_equal(got["hidden"], expected)
    np.testing.assert_array_equal(first["hidden"], expected[0])


def test_no_steps_in_integers_leave_integers(tmp_path: Path) -> None:
    artifact = slt.export(integers(), None, tmp_path / "lava", format="lava")
    with slt.open(artifact) as runner:
        records = runner.run(np.zeros((0, 2, 3)), record=True).records
    assert {name: (values.dtype.name, values.shape) for name, values in records.items()} == {
        "in": ("int32", (0, 2, 3)),
        "hidden": ("bool", (0, 2, 4)),
        "out": ("int32", (0, 2, 2)),
    }


def test_a_run_says_how_far_it_is(folder: Path, tmp_path: Path) -> None:
    said: list[str] = []
    with slt.open(folder, on_line=said.append) as runner:
        steps = len(runner.run(FED).outputs["value"])
    assert said == [f"step {k + 1} of {steps}" for k in range(steps)]
    artifact = slt.export(integers(), None, tmp_path / "lava", format="lava")
    said.clear()
    with slt.open(artifact, on_line=said.append) as runner:
        runner.run(np.zeros((12, 200, 3)))  # of 128 samples 4 steps at once, of 72 all
    assert said == [f"step {k} of 12" for k in (3, 5, 8, 10, 12)]


def test_a_lava_artifact_in_floats_is_stepped_by_the_reference(tmp_path: Path) -> None:
    whole = programs.each_rule()["cuba lif"]
    fed = programs.stimulus(whole)
    slt.export(whole, None, tmp_path / "lava", format="lava")
    with slt.open(tmp_path / "lava") as runner:
        got = runner.run(fed).outputs["out"]
    np.testing.assert_array_equal(got, reference.run(whole, fed).records["out"])


def test_a_run_of_no_steps_of_an_integer_network(lava_folder: Path) -> None:
    with slt.open(with_program(lava_folder)) as runner:
        assert runner.run(np.zeros((0, 2, 3))).outputs["out"].shape == (0, 2, 2)


def test_an_artifact_without_its_program_is_refused(lava_folder: Path) -> None:
    with pytest.raises(InputError, match=r"has no program\.safetensors: export"):
        slt.open(lava_folder)


def test_a_program_of_another_digest_is_refused(lava_folder: Path) -> None:
    programs.edit_manifest(with_program(lava_folder), {"program_digest": "f" * 64})
    with pytest.raises(InputError, match=r"program\.safetensors: digest .*says ffffffffffff\.\.\."):
        slt.open(lava_folder)


def test_lava_runs_sequences_only(lava_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = integers()
    x = np.random.default_rng(0).uniform(-1, 3, (20, 2, 3))
    records = reference.run(program, x).records

    def run_package(
        folder: Path,
        x: Mapping[str, Array],
        *,
        timeout_s: float | None,
        record: bool,
        potentials: bool,
        on_line: object,
    ) -> dict[str, Array]:
        assert (folder, timeout_s) == (lava_folder, 9.0)
        assert (potentials, on_line) == (False, None)
        np.testing.assert_array_equal(x["in"], records["in"])
        return {n: records[n] for n in (("hidden", "out") if record else ("out",))}

    monkeypatch.setattr("sltdeploy.lava_host.run_package", run_package)
    with open_artifact(lava_folder, engine="lava", timeout_s=9.0) as runner:
        assert runner.latency_steps == 2
        runner.reset()
        result = runner.run(x, record=True)
        assert runner.run(x).records == {}
        with pytest.raises(InputError, match="engine 'lava' runs whole sequences only"):
            runner.step(x[0])
    np.testing.assert_array_equal(result.outputs["out"], records["out"] / np.float32(64))
    assert set(result.records) == {"in", "hidden", "out"}
