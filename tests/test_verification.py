"""Verification finds what differs, names it, and does not pass on nothing."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import nir
import numpy as np
import programs
import pytest

import sltdeploy as slt
from sltdeploy import reference
from sltdeploy.errors import CheckError, InputError, MissingComponentError
from sltdeploy.exporting import export
from sltdeploy.program import (
    Array,
    Input,
    Linear,
    LoihiNeuron,
    Population,
    Program,
    Projection,
)
from sltdeploy.stimulus import example
from sltdeploy.trace import Trace
from sltdeploy.verification import compare, proving_engine

PROGRAM = programs.branches()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Lay down the ONNX artifact of `PROGRAM`."""
    slt.export(PROGRAM, None, tmp_path / "artifact", format="onnx")
    return tmp_path / "artifact"


def traced() -> tuple[Trace, dict[str, Array]]:
    """Trace of `PROGRAM` on a fixed input, and a copy of its records to change."""
    trace = reference.run(PROGRAM, programs.stimulus(PROGRAM))
    return trace, {name: record.copy() for name, record in trace.records.items()}


# ----------------------------------------------------------------------------- whole artifacts


def test_an_artifact_agrees_with_the_reference(folder: Path) -> None:
    found = slt.verify(folder)
    assert found.ok
    assert found.mismatches == found.missing == found.silent == found.lines() == ()
    assert found.first is None
    assert found.to_json()["first"] is None
    records = reference.run(PROGRAM, example(PROGRAM)).records
    assert {c.population: c.spikes for c in found.compared} == {
        "hidden/a": int(records["hidden/a"].sum()),
        "hidden/b": int(records["hidden/b"].sum()),
        "sum": None,
        "out": int(records["out"].sum()),
        "value": None,
    }
    assert {c.population: c.elements for c in found.compared}["out"] == 25 * 4 * 3
    assert found.worst == {"value": 0.0, "sum": 0.0, "out": 0.0, "hidden/a": 0.0}
    assert (found.steps, found.samples) == (25, 4)


def test_the_user_s_input_is_taken(folder: Path) -> None:
    fed = programs.stimulus(PROGRAM, steps=3, batch=2)
    found = slt.verify(str(folder), fed)
    assert found.ok
    assert (found.steps, found.samples) == (3, 2)
    with pytest.raises(InputError, match="input 'touch' is missing"):
        slt.verify(folder, {"image": fed["image"]})


def test_an_open_runner_is_taken(folder: Path) -> None:
    with slt.open(folder) as runner:
        assert slt.verify(runner).ok
        assert slt.verify(runner).ok


def changed(weight: float) -> Program:
    """`PROGRAM` with one weight of ``touch -> hidden/a`` replaced."""
    projections = list(PROGRAM.projections)
    (old,) = projections[1].ops
    assert isinstance(old, Linear)
    values = old.weight.copy()
    values[2, 4] = weight
    projections[1] = replace(projections[1], ops=(Linear(values),))
    return Program(PROGRAM.convention, PROGRAM.populations, tuple(projections), PROGRAM.outputs)


def replaced(folder: Path, name: str, data: bytes) -> None:
    """Put another file into an artifact, with the hash that makes it pass."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text("utf8"))
    manifest["files"][name] = hashlib.sha256(data).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf8")


def test_a_wrong_weight_is_found_and_the_first_difference_named(
    folder: Path, tmp_path: Path
) -> None:
    other = changed(1.0)
    slt.export(other, None, tmp_path / "other", format="onnx")
    replaced(folder, "model.onnx", (tmp_path / "other/model.onnx").read_bytes())

    found = slt.verify(folder)
    assert not found.ok
    fed = example(PROGRAM)
    expected = reference.run(PROGRAM, fed).records["hidden/a"]
    got = reference.run(other, fed).records["hidden/a"]
    first = next(m for m in found.mismatches if m.population == "hidden/a")
    t, b, neuron = next(
        (t, b, n)
        for t in range(25)
        for b in range(4)
        for n in range(4)
        if expected[t, b, n] != got[t, b, n]
    )
    assert neuron == 2  # the one that the weight leads to
    assert (first.step, first.sample, first.neuron) == (t, b, (neuron,))
    assert (first.expected, first.got) == (expected[t, b, neuron], got[t, b, neuron])
    assert (first.differing, first.elements) == (int((expected != got).sum()), expected.size)
    assert f"population 'hidden/a', step {t}, sample {b}, neuron (2,): " in found.lines()[0]


def layer(weight: float) -> nir.NIRGraph:
    """Build Input -> Affine -> LIF -> Output with one weight changed."""
    values = np.array([[0.5, 1.0], [0.25, 0.75]], np.float32)
    values[1, 0] = weight
    ones = np.ones(2, np.float32)
    return nir.NIRGraph(
        {
            "in": nir.Input({"input": np.array([2])}),
            "fc": nir.Affine(values, np.zeros(2, np.float32)),
            "lif": nir.LIF(ones * 0.004, ones, ones * 0, ones * 0.25, ones * 0),
            "out": nir.Output({"output": np.array([2])}),
        },
        [("in", "fc"), ("fc", "lif"), ("lif", "out")],
        metadata={"dt": 1e-3},
    )


def test_a_nir_artifact_is_read_back_and_lowered_anew(tmp_path: Path) -> None:
    slt.export(layer(0.25), None, tmp_path / "a", format="nir")
    found = slt.verify(tmp_path / "a")
    assert found.ok
    assert found.silent == ()
    slt.export(layer(2.0), None, tmp_path / "b", format="nir")
    replaced(tmp_path / "a", "network.nir", (tmp_path / "b/network.nir").read_bytes())
    found = slt.verify(tmp_path / "a")
    assert [(m.population, m.neuron) for m in found.mismatches] == [("lif", (1,))]


# ----------------------------------------------------------------------------- comparing records


def test_one_spike_too_many_is_a_mismatch() -> None:
    trace, got = traced()
    where = tuple(int(k) for k in np.argwhere(~trace.records["out"])[7])
    got["out"][where] = True
    found = compare(PROGRAM, trace, got)
    assert not found.ok
    (only,) = found.mismatches
    assert (only.population, only.step, only.sample, only.neuron) == ("out", *where[:2], where[2:])
    assert (only.expected, only.got, only.differing, only.elements) == (0.0, 1.0, 1, 12 * 3 * 3)
    assert found.worst["out"] == 1.0
    start, line = found.lines()
    assert start.startswith(f"first difference: population 'out', step {where[0]}, ")
    assert line == (
        f"population 'out', step {where[0]}, sample {where[1]}, neuron {where[2:]}: reference 0, "
        "artifact 1; 1 of 108 differ"
    )


@pytest.mark.parametrize(("factor", "ok"), [(0.9, True), (1.1, False)])
@pytest.mark.parametrize("value", [0.01, -1.0, 300.0])
def test_values_may_differ_by_the_tolerance(value: float, factor: float, ok: bool) -> None:
    trace, got = traced()
    expected = {**trace.records, "value": trace.records["value"].astype(np.float64)}
    got["value"] = expected["value"].copy()
    expected["value"][3, 1, 2] = value
    got["value"][3, 1, 2] = value + factor * 1e-5 * max(1, abs(value))
    found = compare(PROGRAM, Trace(PROGRAM, expected), got)
    assert found.ok == ok
    assert found.worst["value"] == pytest.approx(factor * 1e-5 * max(1, abs(value)))
    assert [(m.step, m.sample, m.neuron) for m in found.mismatches] == (
        [] if ok else [(3, 1, (2,))]
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_a_mismatch(value: float) -> None:
    trace, got = traced()
    got["value"][0, 0, 0] = value
    found = compare(PROGRAM, trace, got)
    assert [m.population for m in found.mismatches] == ["value"]
    text = json.dumps(found.to_json(), allow_nan=False)
    assert json.loads(text)["mismatches"][0]["got"] == str(value)


def test_the_same_infinity_is_equal() -> None:
    trace, _ = traced()
    records = {n: r.copy() for n, r in trace.records.items()}
    records["value"][0, 0, 0] = np.inf
    assert compare(PROGRAM, Trace(PROGRAM, records), records).ok


@pytest.mark.parametrize("name", ["hidden/b", "value"])
def test_a_record_that_is_missing_or_short_is_no_agreement(name: str) -> None:
    trace, got = traced()
    for records in (
        {n: r for n, r in got.items() if n != name},
        {**got, name: got[name][:-1]},
        {**got, name: got[name][..., :1]},
    ):
        found = compare(PROGRAM, trace, records)
        assert not found.ok
        assert found.missing == (name,)
        assert found.lines() == (
            f"population '{name}': the artifact has no record of the right shape",
        )


def test_a_relay_that_is_no_output_need_not_be_recorded() -> None:
    trace, got = traced()
    assert compare(PROGRAM, trace, {n: r for n, r in got.items() if n != "copy"}).ok


def test_a_silent_population_is_named() -> None:
    fed = {name: np.zeros_like(x) for name, x in programs.stimulus(PROGRAM).items()}
    trace = reference.run(PROGRAM, fed)
    found = compare(PROGRAM, trace, trace.records)
    assert found.ok
    assert found.silent == ("hidden/a", "hidden/b", "out")
    assert found.to_json()["silent"] == ["hidden/a", "hidden/b", "out"]


def test_nothing_compared_is_no_agreement(folder: Path) -> None:
    found = slt.verify(folder, programs.stimulus(PROGRAM, steps=0))
    assert not found.ok
    assert found.lines() == ("nothing was compared: the input has no steps or no samples",)


def test_the_result_goes_through_json() -> None:
    trace, got = traced()
    got["out"][0, 0, 0] ^= True
    found = compare(PROGRAM, trace, got)
    plain = json.loads(json.dumps(found.to_json()))
    assert plain["ok"] is False
    assert plain["mismatches"][0]["neuron"] == [0]
    assert [c["population"] for c in plain["compared"]] == [c.population for c in found.compared]
    assert plain["worst"] == dict(found.worst)


# ----------------------------------------------------------------------------- integers


def readout() -> Program:
    """Build a Loihi program of one integer readout; it takes values from -2 to 3.5."""
    return Program(
        programs.CONVENTION,
        (
            Population("in", (3,), Input("graded", scale=2.0, low=-4, high=7)),
            Population("out", (2,), LoihiNeuron(4095, 0, np.zeros(2, np.int64), 0, 64.0)),
        ),
        (Projection("in", "out", (Linear(np.array([[2, 4, 6], [8, -2, 0]])),)),),
        ("out",),
        "loihi",
    )


def test_integers_must_be_equal() -> None:
    trace = reference.run(readout(), example(readout()))
    got: Mapping[str, Array] = {"out": trace.records["out"].copy()}
    assert compare(readout(), trace, got).ok
    got["out"][24, 3, 1] += 1
    found = compare(readout(), trace, got)
    assert found.tolerance == 0
    assert [(m.step, m.sample, m.neuron) for m in found.mismatches] == [(24, 3, (1,))]
    assert found.worst == {"out": 1.0}


def test_lava_itself_is_asked_for_a_lava_artifact(tmp_path: Path) -> None:
    """The reference would only agree with itself."""
    artifact = export(programs.each_rule()["lif"], None, tmp_path / "lava", format="lava")
    assert proving_engine(artifact) == proving_engine(artifact.path) == "lava"
    network = artifact.path / "network.py"
    network.write_text("raise SystemExit('not a network')")
    manifest = json.loads((artifact.path / "manifest.json").read_text())
    manifest["files"]["network.py"] = hashlib.sha256(network.read_bytes()).hexdigest()
    (artifact.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises((CheckError, MissingComponentError)):
        slt.verify(artifact)
    assert slt.verify(artifact, engine="fast").ok


def test_the_result_is_a_list_of_mismatches(folder: Path) -> None:
    """Empty where all agrees."""
    found = slt.verify(folder)
    assert list(found) == []
    assert len(found) == 0
    assert not found
