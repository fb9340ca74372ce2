"""Opened artifacts: what they give, what they refuse, and that a refusal leaves the state."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import programs
import pytest

import sltdeploy as slt
from sltdeploy import reference
from sltdeploy.errors import InputError
from sltdeploy.program import Array
from sltdeploy.runtime import open_artifact

PROGRAM = programs.branches()
FED = programs.stimulus(PROGRAM)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Lay down the ONNX artifact of `PROGRAM`."""
    slt.export(PROGRAM, None, tmp_path / "artifact", format="onnx")
    return tmp_path / "artifact"


def at(t: int) -> dict[str, Array]:
    """Input of step ``t``."""
    return {name: x[t] for name, x in FED.items()}


def assert_outputs(got: Mapping[str, Array], t: int) -> None:
    """The outputs of step ``t`` are the reference's."""
    records = reference.run(PROGRAM, FED).records
    assert list(got) == list(PROGRAM.outputs)
    for name in PROGRAM.outputs:
        assert got[name].dtype == records[name].dtype
        np.testing.assert_array_equal(got[name], records[name][t], f"{name} at {t}")


# ----------------------------------------------------------------------------- what it gives


def test_steps_are_the_reference_s(folder: Path) -> None:
    with slt.open(folder) as runner:
        assert runner.latency_steps == 0
        assert runner.info["program_digest"] == PROGRAM.digest()
        assert runner.folder == folder
        kept = [runner.step(at(t)) for t in range(12)]
    for t, outputs in enumerate(kept):  # compared late: nothing may be overwritten
        assert_outputs(outputs, t)


@pytest.mark.parametrize("record", [True, False])
def test_a_run_is_the_reference_s(folder: Path, record: bool) -> None:
    expected = reference.run(PROGRAM, FED).records
    with slt.open(str(folder)) as runner:
        runner.step(at(3))  # a run starts afresh
        result = runner.run(FED, record=record)
    assert set(result.outputs) == set(PROGRAM.outputs)
    spiking = {p.name for p in PROGRAM.populations if p.spiking}
    inputs = {p.name for p in PROGRAM.inputs}
    assert set(result.records) == ({*PROGRAM.outputs, *spiking, *inputs} if record else set())
    for name, values in (*result.outputs.items(), *result.records.items()):
        assert values.dtype == expected[name].dtype
        np.testing.assert_array_equal(values, expected[name], name)


def test_a_step_after_a_run_goes_on(folder: Path) -> None:
    with slt.open(folder) as runner:
        runner.run({name: x[:7] for name, x in FED.items()})
        assert_outputs(runner.step(at(7)), 7)


def test_a_run_of_no_steps(folder: Path) -> None:
    with slt.open(folder) as runner:
        result = runner.run({name: x[:0] for name, x in FED.items()}, record=True)
    expected = reference.run(PROGRAM, {name: x[:0] for name, x in FED.items()}).records
    assert [*result.outputs] == [*PROGRAM.outputs]
    for name, values in (*result.outputs.items(), *result.records.items()):
        assert values.shape == expected[name].shape
        assert values.dtype == reference.run(PROGRAM, FED).records[name].dtype


def test_reset_goes_to_the_first_state_and_frees_the_batch(folder: Path) -> None:
    with slt.open(folder) as runner:
        for t in range(3):
            runner.step(at(t))
        runner.reset()
        one = {name: x[:1] for name, x in at(0).items()}
        alone = runner.step(one)
        runner.reset(batch=3)
        with pytest.raises(InputError, match=r"has 1 samples, the state 3: call reset\(\)"):
            runner.step(one)
        whole = runner.step(at(0))
    assert_outputs(whole, 0)
    for name in PROGRAM.outputs:
        np.testing.assert_array_equal(alone[name], whole[name][:1])


def test_a_single_input_needs_no_name(tmp_path: Path) -> None:
    program = programs.each_rule()["lif by neuron"]  # starts from values of its own
    slt.export(program, None, tmp_path / "a", format="onnx")
    x = programs.stimulus(program)["in"]
    expected = reference.run(program, x)
    for given in (x, x.astype(bool), x.astype(np.uint8), x.tolist()):
        with slt.open(tmp_path / "a") as runner:
            np.testing.assert_array_equal(runner.run(given).outputs["out"], expected.output)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_runtime_takes_the_threads_it_is_given(
    folder: Path, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Any] = []

    class Session(onnxruntime.InferenceSession):
        def __init__(self, model: bytes, options: Any, providers: list[str]) -> None:
            taken.append((options.intra_op_num_threads, options.inter_op_num_threads, providers))
            super().__init__(model, options, providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    opened = slt.open(folder) if threads == 1 else open_artifact(folder, threads=threads)
    with opened as runner:
        assert_outputs({n: x[11] for n, x in runner.run(FED).outputs.items()}, 11)
    assert taken == [(threads, 1, ["CPUExecutionProvider"])]


# ----------------------------------------------------------------------------- what it refuses

Change = Callable[[dict[str, Array]], Any]


def put(name: str, where: tuple[int, ...], value: float) -> Change:
    """Change one value of one input."""

    def change(fed: dict[str, Array]) -> dict[str, Array]:
        values = fed[name].astype(np.float64)
        values[where] = value
        return {**fed, name: values}

    return change


BAD: Mapping[str, tuple[Change, list[str]]] = {
    "a name is missing": (
        lambda fed: {"image": fed["image"]},
        ["input 'touch' is missing, the program has ['image', 'touch']"],
    ),
    "a name too many": (
        lambda fed: {**fed, "smell": fed["touch"]},
        ["input 'smell' is unknown, the program has ['image', 'touch']"],
    ),
    "one array for two inputs": (
        lambda fed: fed["image"],
        ["input 'touch' is missing, the program has ['image', 'touch']"],
    ),
    "wrong shape": (
        lambda fed: {**fed, "touch": fed["touch"][:, :4]},
        ["input 'touch' has shape (3, 4), must be (B, 5)"],
    ),
    "no batch": (
        lambda fed: {**fed, "image": fed["image"][0]},
        ["input 'image' has shape (1, 4, 4), must be (B, 1, 4, 4)"],
    ),
    "text": (
        lambda fed: {**fed, "touch": fed["touch"].astype(str)},
        ["input 'touch' has dtype <U32, must be real numbers"],
    ),
    "complex": (
        lambda fed: {**fed, "image": fed["image"] * 1j},
        ["input 'image' has dtype complex64, must be real numbers"],
    ),
    "NaN": (
        put("image", (1, 0, 2, 3), np.nan),
        ["input 'image' holds nan at (1, 0, 2, 3), must be finite in float32"],
    ),
    "infinity": (
        put("image", (0, 0, 0, 1), -np.inf),
        ["input 'image' holds -inf at (0, 0, 0, 1), must be finite in float32"],
    ),
    "too large for float32": (
        put("image", (2, 0, 0, 0), 1e300),
        ["input 'image' holds 1e+300 at (2, 0, 0, 0), must be finite in float32"],
    ),
    "no spike": (
        put("touch", (2, 4), 0.5),
        ["input 'touch' takes spikes (0 or 1), holds 0.5 at (2, 4)"],
    ),
    "a spike that is NaN": (
        put("touch", (0, 1), np.nan),
        ["input 'touch' holds nan at (0, 1), must be finite in float32"],
    ),
    "several at once": (
        lambda fed: {"image": fed["image"] * np.nan, "touch": fed["touch"] * 2, "smell": 1},
        [
            "input 'smell' is unknown, the program has ['image', 'touch']",
            "input 'image' holds nan at (0, 0, 0, 0), must be finite in float32",
            "input 'touch' takes spikes (0 or 1), holds 2.0 at (0, 3)",
        ],
    ),
    "batch sizes that differ": (
        lambda fed: {**fed, "touch": fed["touch"][:2]},
        ["inputs disagree in (B): [('image', (3,)), ('touch', (2,))]"],
    ),
    "a ragged list": (
        lambda fed: {**fed, "touch": [[0, 1], [1]]},
        ["input 'touch' has rows of different lengths"],
    ),
    "another batch size": (
        lambda fed: {name: x[:2] for name, x in fed.items()},
        ["the input has 2 samples, the state 3: call reset() first to change the batch size"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_and_the_state_stays(folder: Path, case: str) -> None:
    change, lines = BAD[case]
    with slt.open(folder) as runner:
        for t in range(5):
            runner.step(at(t))
        with pytest.raises(InputError) as caught:
            runner.step(change(at(5)))
        assert [*caught.value.violations] == lines
        for t in range(5, 12):
            assert_outputs(runner.step(at(t)), t)


def test_a_bad_run_is_refused_before_it_starts(folder: Path) -> None:
    bad = FED["image"].copy()
    bad[11, 2, 0, 3, 3] = np.inf
    with slt.open(folder) as runner:
        for t in range(5):
            runner.step(at(t))
        with pytest.raises(InputError, match=r"holds inf at \(11, 2, 0, 3, 3\)"):
            runner.run({**FED, "image": bad})
        assert_outputs(runner.step(at(5)), 5)


def test_a_step_that_fails_inside_leaves_the_state(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = onnxruntime.InferenceSession.run_with_iobinding

    def fail(self: Any, binding: Any) -> None:
        run(self, binding)  # everything is written before it fails
        raise RuntimeError("power cut")

    with slt.open(folder) as runner:
        for t in range(5):
            runner.step(at(t))
        with monkeypatch.context() as patch:
            patch.setattr(onnxruntime.InferenceSession, "run_with_iobinding", fail)
            with pytest.raises(RuntimeError, match="power cut"):
                runner.step(at(0))
        assert_outputs(runner.step(at(5)), 5)


@pytest.mark.parametrize("batch", [0, -1])
def test_an_empty_batch_is_refused(folder: Path, batch: int) -> None:
    with slt.open(folder) as runner:
        with pytest.raises(InputError, match=f"batch size is {batch}, must be at least 1"):
            runner.reset(batch)
        with pytest.raises(InputError, match="batch size is 0, must be at least 1"):
            runner.step({name: x[:0] for name, x in at(0).items()})
        assert_outputs(runner.step(at(0)), 0)


def test_a_closed_runner_says_so(folder: Path) -> None:
    with slt.open(folder) as runner:
        runner.step(at(0))
    for use in (lambda: runner.step(at(1)), lambda: runner.run(FED), runner.reset):
        with pytest.raises(InputError, match="this runner is closed"):
            use()
    runner.close()


def test_running_imports_numpy_and_onnxruntime_only(folder: Path) -> None:
    code = f"""
import sys
import numpy as np
from sltdeploy.runtime import open_artifact
with open_artifact({str(folder)!r}) as runner:
    runner.step({{"image": np.zeros((1, 1, 4, 4)), "touch": np.zeros((1, 5))}})
    runner.run({{"image": np.zeros((2, 1, 1, 4, 4)), "touch": np.zeros((2, 1, 5))}}, record=True)
foreign = ("h5py", "nir", "norse", "onnx", "safetensors", "scipy", "torch")
assert "onnxruntime" in sys.modules
print([n for n in foreign if n in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
