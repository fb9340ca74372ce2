"""Opened artifacts of form "sequence": runs in parts, steps in between, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import programs
import pytest
from commands import only_object, say
from late_programs import late_programs

import sltdeploy as slt
from sltdeploy import exporting, reference
from sltdeploy.errors import InputError
from sltdeploy.program import Program
from sltdeploy.program_file import from_bytes
from sltdeploy.runtime import onnx_sequence

STEPS = 23
PROGRAMS = {"branches": programs.branches(), "ring": late_programs()["ring"]}


def artifact(program: Program, folder: Path, **options: Any) -> Path:
    """Export ``program`` in form "sequence"."""
    slt.export(program, None, folder, format="onnx", form="sequence", **options)
    return folder


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> Program:
    """A feed-forward network and one with a loop."""
    return PROGRAMS[request.param]


@pytest.mark.parametrize("part", [1, 7, 30, 128])
@pytest.mark.parametrize("record", [True, False])
def test_a_run_is_the_reference_s_however_it_is_cut(
    program: Program, tmp_path: Path, part: int, record: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_sequence, "PART", part)
    fed = programs.stimulus(program, steps=STEPS)
    expected = reference.run(program, fed).records
    calls: list[int] = []
    run = onnxruntime.InferenceSession.run_with_iobinding

    def counted(self: Any, binding: Any) -> None:
        calls.append(1)
        run(self, binding)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run_with_iobinding", counted)
    with slt.open(artifact(program, tmp_path / "a")) as runner:
        assert runner.info["form"] == "sequence"
        calls.clear()  # opening has compared golden vectors
        result = runner.run(fed, record=record)
        assert len(calls) == -(-STEPS // max(1, part // 3))
        again = runner.run(fed, record=record)
    spiking = {p.name for p in program.populations if p.spiking}
    names = {*program.outputs, *spiking, *(p.name for p in program.inputs)}
    assert set(result.records) == (names if record else set())
    for got in (result, again):
        for name, values in (*got.outputs.items(), *got.records.items()):
            assert values.dtype == expected[name].dtype
            np.testing.assert_array_equal(values, expected[name], name)


def test_steps_are_the_reference_s_and_go_on_after_a_run(program: Program, tmp_path: Path) -> None:
    fed = programs.stimulus(program, steps=12)
    expected = reference.run(program, fed).records
    with slt.open(artifact(program, tmp_path / "a")) as runner:
        runner.run({name: x[:5] for name, x in fed.items()})
        kept = [runner.step({name: x[t] for name, x in fed.items()}) for t in range(5, 12)]
    for t, outputs in enumerate(kept, start=5):  # compared late: nothing may be overwritten
        for name in program.outputs:
            assert outputs[name].dtype == expected[name].dtype
            np.testing.assert_array_equal(outputs[name], expected[name][t], name)


def test_a_run_of_no_steps_and_another_batch(program: Program, tmp_path: Path) -> None:
    with slt.open(artifact(program, tmp_path / "a")) as runner:
        empty = runner.run(programs.stimulus(program, steps=0), record=True)
        for batch in (2, 100):  # more samples than a part has rows
            fed = programs.stimulus(program, steps=4, batch=batch)
            expected = reference.run(program, fed).records
            for name, values in runner.run(fed).outputs.items():
                np.testing.assert_array_equal(values, expected[name])
    for name in program.outputs:
        shape = program.population(name).shape
        assert empty.outputs[name].shape == (0, 3, *shape)


def test_a_run_that_fails_inside_leaves_the_state(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the first parts went through and wrote their states."""
    fed = programs.stimulus(program, steps=12)
    expected = reference.run(program, fed).records
    run = onnxruntime.InferenceSession.run_with_iobinding
    with slt.open(artifact(program, tmp_path / "a")) as runner:
        engine: Any = vars(runner)["_engine"]
        runner.run({name: x[:5] for name, x in fed.items()})
        monkeypatch.setattr(onnx_sequence, "PART", 3)
        calls: list[int] = []

        def fail(self: Any, binding: Any) -> None:
            run(self, binding)  # everything is written before it fails
            calls.append(1)
            if len(calls) == 3:
                raise RuntimeError("power cut")

        with monkeypatch.context() as patch:
            patch.setattr(onnxruntime.InferenceSession, "run_with_iobinding", fail)
            with pytest.raises(RuntimeError, match="power cut"):
                engine.advance_all({name: x[:9] for name, x in fed.items()}, record=True)
        outputs = runner.step({name: x[5] for name, x in fed.items()})
    for name in program.outputs:
        np.testing.assert_array_equal(outputs[name], expected[name][5])


def test_a_closed_runner_and_bad_input_are_refused(tmp_path: Path) -> None:
    program = PROGRAMS["branches"]
    fed = programs.stimulus(program)
    runner = slt.open(artifact(program, tmp_path / "a"))
    with pytest.raises(InputError, match="is missing"):
        runner.run({"image": fed["image"]})
    runner.close()
    with pytest.raises(InputError, match="closed"):
        runner.run(fed)


@pytest.mark.parametrize(("made", "said"), [("step", "sequence"), ("sequence", "step")])
def test_a_manifest_that_names_another_form_is_refused(
    tmp_path: Path, made: Any, said: str
) -> None:
    slt.export(PROGRAMS["branches"], None, tmp_path / "a", format="onnx", form=made)
    programs.edit_manifest(tmp_path / "a", {"form": said})
    with pytest.raises(InputError, match=r"the model's inputs are .* the manifest names"):
        slt.open(tmp_path / "a")


def test_verify_takes_the_sequence(program: Program, tmp_path: Path) -> None:
    found = slt.verify(artifact(program, tmp_path / "a"), programs.stimulus(program))
    assert found.ok
    assert all(c.spikes != 0 for c in found.compared)


def test_other_exporters_have_no_sequence(tmp_path: Path) -> None:
    for name in ("lava", "nir"):
        with pytest.raises(InputError, match=f"exporter {name} has 'step' only.*--format onnx"):
            slt.export(PROGRAMS["ring"], None, tmp_path / "a", format=name, form="sequence")
    assert not list(tmp_path.iterdir())


def test_the_command_line_exports_and_runs_a_sequence(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = "--form sequence --quantize int8 --calibrate x.npy"
    assert say(f"export net.nir --format onnx {options} --out new --json") == 0
    manifest = only_object(capfd.readouterr().out)["manifest"]
    assert (manifest["form"], manifest["quantize"]) == ("sequence", "int8")
    assert say("run new --input x.npy --out y.npz") == 0
    assert say("verify new --input x.npy") == 0
    assert "identical" in capfd.readouterr().out
    x = np.load(here / "x.npy")
    expected = reference.run(from_bytes((here / "new" / exporting.PROGRAM).read_bytes()), x)
    np.testing.assert_array_equal(np.load(here / "y.npz")["output"], expected.output)


# ----------------------------------------------------------------------------- the state


@pytest.mark.parametrize("form", ["step", "sequence"])
@pytest.mark.parametrize("name", ["branches", "ring", "uneven delay", "input late"])
def test_a_state_taken_and_set_again_continues_exactly(
    tmp_path: Path, form: Any, name: str
) -> None:
    whole: Any = {**PROGRAMS, **late_programs()}[name]
    fed = programs.stimulus(whole, steps=12)
    slt.export(whole, None, tmp_path / "a", format="onnx", form=form)
    state = reference.initial_state(whole, 3)
    with slt.open(tmp_path / "a") as runner:
        engine: Any = vars(runner)["_engine"]
        runner.reset(3)
        begun = engine.state()
        for t in range(5):
            at = {n: x[t] for n, x in fed.items()}
            runner.step(at)
            entering = {n: x.astype(bool) if spikes(whole, n) else x for n, x in at.items()}
            _, state = reference.step(whole, state, entering)
        taken = engine.state()
        expected = {
            f"{p}.{key}": value
            for p, held in state.items()
            for key, value in vars(held).items()
            if value is not None
        }
        assert {*taken} == {*expected} == {*begun}
        for key, values in taken.items():
            assert values.dtype == expected[key].dtype
            np.testing.assert_array_equal(values, expected[key], key)
        rest = [runner.step({n: x[t] for n, x in fed.items()}) for t in range(5, 12)]
        engine.restore(begun)
        engine.restore(taken)
        for values in taken.values():
            values[...] = 1  # what was given is not held on to
        again = [runner.step({n: x[t] for n, x in fed.items()}) for t in range(5, 12)]
    for one, two in zip(rest, again, strict=True):
        for output in whole.outputs:
            np.testing.assert_array_equal(one[output], two[output])


def spikes(program: Program, name: str) -> bool:
    """Whether the input takes spikes."""
    return program.population(name).spiking


def test_a_tick_steps_on_what_stands_in_the_buffers(tmp_path: Path) -> None:
    program = PROGRAMS["branches"]
    fed = programs.stimulus(program, steps=6)
    expected = reference.run(program, fed).records
    slt.export(program, None, tmp_path / "a", format="onnx")
    with slt.open(tmp_path / "a") as runner:
        engine: Any = vars(runner)["_engine"]
        runner.reset(3)
        reads, writes = engine.buffers
        assert [*reads] == [p.name for p in program.inputs]
        assert [*writes] == [*program.outputs]
        for t in range(6):
            for name, x in fed.items():
                reads[name][...] = x[t]
            if t == 3:  # a recorded step in between goes on as well
                engine.advance({name: x[t] for name, x in fed.items()}, record=True)
            else:
                engine.tick()
            for name, values in writes.items():
                np.testing.assert_array_equal(values, expected[name][t].astype(np.float32))


def test_a_run_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_sequence, "PART", 30)  # ten steps of three samples
    fed = programs.stimulus(PROGRAMS["branches"], steps=STEPS)
    said: list[str] = []
    slt.export(PROGRAMS["branches"], None, tmp_path / "step", format="onnx")
    sequence = artifact(PROGRAMS["branches"], tmp_path / "a")
    with slt.open(sequence, verify=False, on_line=said.append) as runner:
        runner.run(fed)
    assert said == ["step 10 of 23", "step 20 of 23", "step 23 of 23"]
    said.clear()
    with slt.open(tmp_path / "step", on_line=said.append) as runner:
        runner.run(fed)
    assert said == [f"step {k + 1} of 23" for k in range(23)]
