"""Golden vectors: what an artifact carries, and a machine that computes something else."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import programs
import pytest
from test_engines import integers

import sltdeploy as slt
from sltdeploy import golden_file, reference
from sltdeploy.array_file import npz, read_npz
from sltdeploy.errors import CheckError, InputError
from sltdeploy.golden_file import GOLDEN, Golden
from sltdeploy.program import Array, Program
from sltdeploy.runtime import Runner, RunResult
from sltdeploy.runtime.golden import prove
from sltdeploy.runtime.manifest import Manifest, read
from sltdeploy.stimulus import example

PROGRAM = programs.branches()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Lay down the ONNX artifact of `PROGRAM`."""
    slt.export(PROGRAM, None, tmp_path / "a", format="onnx")
    return tmp_path / "a"


def held(folder: Path) -> Golden:
    """What the artifact carries."""
    return golden_file.from_bytes((folder / GOLDEN).read_bytes())


def lay(folder: Path, data: bytes) -> None:
    """Put other golden vectors in the artifact, with the hash of these."""
    (folder / GOLDEN).write_bytes(data)
    files = {**read(folder).hashes, GOLDEN: hashlib.sha256(data).hexdigest()}
    programs.edit_manifest(folder, {"files": files})


# ------------------------------------------------------------------- what an artifact carries


def test_they_are_eight_steps_of_the_example_and_the_reference_s_outputs(folder: Path) -> None:
    golden = held(folder)
    x = example(PROGRAM, steps=8, batch=1)
    records = reference.run(PROGRAM, x).records
    for got, expected in zip(
        (*golden.inputs, *golden.outputs),
        (*x.values(), *(records[n] for n in PROGRAM.outputs)),
        strict=True,
    ):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
    assert all(a.any() for a in golden.outputs)


def test_integers_are_kept_as_they_leave_the_machine(tmp_path: Path) -> None:
    slt.export(integers(), None, tmp_path / "a", format="c")
    (out,) = held(tmp_path / "a").outputs
    assert out.dtype == np.int32
    x = example(integers(), steps=8, batch=1)
    np.testing.assert_array_equal(out, reference.run(integers(), x).records["out"])


def test_equal_arrays_are_equal_bytes_in_any_order() -> None:
    arrays = {"b": np.arange(6.0).reshape(2, 3), "a": np.array([True, False])}
    data = npz(arrays)
    assert data == npz({name: arrays[name] for name in ("a", "b")})
    assert data == npz({n: a.astype(a.dtype.newbyteorder(">")) for n, a in arrays.items()})
    back = read_npz(data)
    assert sorted(back) == ["a", "b"]
    for name, a in back.items():
        assert a.dtype == arrays[name].dtype
        np.testing.assert_array_equal(a, arrays[name])


# --------------------------------------------------------------------- what opening finds out


def test_opening_goes_through_them_and_back_to_the_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    run = onnxruntime.InferenceSession.run_with_iobinding

    def counted(self: Any, binding: Any) -> None:
        calls.append(1)
        run(self, binding)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run_with_iobinding", counted)
    with slt.open(folder) as runner:
        assert len(calls) == 8
        assert runner.latency.steps == 0
        fed = programs.stimulus(PROGRAM)  # three samples
        for t in range(12):
            for name, values in runner.step({n: x[t] for n, x in fed.items()}).items():
                expected = reference.run(PROGRAM, fed).records[name]
                np.testing.assert_array_equal(values, expected[t])
    calls.clear()
    with slt.open(folder, verify=False):
        assert calls == []


def test_an_artifact_without_them_opens(folder: Path) -> None:
    (folder / GOLDEN).unlink()
    files = {name: sha for name, sha in read(folder).hashes.items() if name != GOLDEN}
    programs.edit_manifest(folder, {"files": files})
    with slt.open(folder) as runner:
        assert runner.latency.steps == 0


@pytest.mark.parametrize("form", ["step", "sequence"])
def test_a_machine_that_computes_something_else_is_refused(form: Any, tmp_path: Path) -> None:
    """One spike, one value beyond the tolerance; not a value within it."""
    slt.export(PROGRAM, None, tmp_path / "a", format="onnx", form=form)
    folder = tmp_path / "a"
    golden = held(folder)
    names = list(PROGRAM.outputs)

    def changed(name: str, change: Callable[[Array], None]) -> Golden:
        outputs = [a.copy() for a in golden.outputs]
        change(outputs[names.index(name)])
        return replace(golden, outputs=tuple(outputs))

    def flip(a: Array) -> None:
        a[5, 0, 2] ^= True
        a[7, 0, 0] ^= True

    def shift(by: float) -> Callable[[Array], None]:
        def change(a: Array) -> None:
            a[3, 0, 1] += np.float32(by) * max(1, abs(a[3, 0, 1]))

        return change

    lay(folder, golden_file.to_bytes(changed("out", flip)))
    with pytest.raises(CheckError) as caught:
        slt.open(folder)
    spike = bool(changed("out", flip).outputs[names.index("out")][5, 0, 2])
    assert str(caught.value) == (
        f"{folder}: this machine computes something else than the reference did: golden step 5, "
        f"output 'out', neuron (2,): {int(spike)} expected, got {int(not spike)}; 1 of 3 differ: "
        "export the artifact again here, or open it with verify=False"
    )
    assert caught.value.exit_code == 1
    lay(folder, golden_file.to_bytes(changed("value", shift(2e-5))))
    with pytest.raises(CheckError, match=r"golden step 3, output 'value', neuron \(1,\): "):
        slt.open(folder)
    with slt.open(folder, verify=False) as runner:
        runner.run(programs.stimulus(PROGRAM))
    lay(folder, golden_file.to_bytes(changed("value", shift(5e-6))))
    slt.open(folder).close()


class Echo(Runner):
    """Gives what it was made with, step by step."""

    def __init__(self, manifest: Manifest, rows: Mapping[str, Array]) -> None:
        super().__init__(manifest)
        self.rows, self.at, self.resets = rows, 0, 0

    @property
    def latency_steps(self) -> int:
        """None."""
        return 0

    def step(self, x: Array | Mapping[str, Array]) -> dict[str, Array]:
        """Give the next row."""
        self.at += 1
        return {
            name: self.in_float_units(name, values[self.at - 1])
            for name, values in self.rows.items()
        }

    def run(self, x: Array | Mapping[str, Array], *, record: bool = False) -> RunResult:
        """Steps are asked for."""
        raise AssertionError

    def reset(self, batch: int | None = None) -> None:
        """Count it."""
        assert batch is None
        self.resets += 1

    def close(self) -> None:
        """Nothing is held."""


def echo(program: Program, folder: Path, change: Callable[[Array], None]) -> tuple[Echo, Golden]:
    """A runner of the outputs of the golden vectors, the last one changed."""
    slt.export(program, None, folder, format="c")
    golden = held(folder)
    rows = {n: a.copy() for n, a in zip(program.outputs, golden.outputs, strict=True)}
    change(rows[program.outputs[-1]])
    return Echo(read(folder), rows), golden


def test_integers_must_be_exact(tmp_path: Path) -> None:
    """One in a million is within the tolerance of values, and still wrong."""

    def change(a: Array) -> None:
        a[7, 0, 1] += 1

    runner, golden = echo(integers(), tmp_path / "a", lambda _: None)
    prove(runner, golden)
    assert (runner.at, runner.resets) == (8, 2)
    runner, golden = echo(integers(), tmp_path / "a", change)
    for a in (runner.rows["out"], golden.outputs[0]):
        a[...] += 1_000_000
    with pytest.raises(CheckError, match=r"golden step 7, output 'out', neuron \(1,\)"):
        prove(runner, golden)


def test_what_is_no_number_in_both_agrees(tmp_path: Path) -> None:
    program = replace(PROGRAM, outputs=("value",))

    def spoil(a: Array) -> None:
        a[2, 0, 0] = np.nan

    runner, golden = echo(program, tmp_path / "a", spoil)
    with pytest.raises(CheckError, match=r"golden step 2, .* got nan"):
        prove(runner, golden)
    runner.at = 0
    spoil(golden.outputs[0])
    prove(runner, golden)


def test_verify_tells_more_than_they_do(folder: Path) -> None:
    """It refuses files that were changed, and compares with the reference instead of them."""
    golden = held(folder)
    lay(
        folder, golden_file.to_bytes(replace(golden, outputs=tuple(~a for a in golden.outputs[2:])))
    )
    assert slt.verify(folder).ok
    (folder / GOLDEN).write_bytes(b"")
    with pytest.raises(InputError, match=r"golden\.npz: was changed after export"):
        slt.verify(folder)


def test_lava_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slt.export(integers(), None, tmp_path / "a", format="lava")

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("sltdeploy.lava_host.run_package", fail)
    slt.open(tmp_path / "a", engine="lava").close()
    slt.open(tmp_path / "a", engine="fast").close()


DAMAGE: Mapping[str, tuple[Callable[[Golden], bytes], str]] = {
    "no file of arrays": (lambda _: b"PK\3\4 nothing", "not an .npz of arrays"),
    "empty": (lambda _: b"", "not an .npz of arrays"),
    "cut off": (lambda g: golden_file.to_bytes(g)[:-30], "not an .npz of arrays"),
    "objects": (lambda _: pickled(), "not an .npz of arrays (Object arrays cannot be loaded"),
    "other names": (lambda _: npz({"x": np.zeros(3)}), "holds x, must be input_0 ..."),
    "a gap": (lambda g: npz({"input_1": g.inputs[0]}), "holds input_1, must be input_0 ..."),
    "an output less": (
        lambda g: golden_file.to_bytes(replace(g, outputs=g.outputs[:-1])),
        "the manifest names",
    ),
    "another shape": (
        lambda g: golden_file.to_bytes(replace(g, inputs=(g.inputs[0][..., :2], g.inputs[1]))),
        "the manifest names",
    ),
    "steps that are missing": (
        lambda g: golden_file.to_bytes(replace(g, outputs=tuple(a[:7] for a in g.outputs))),
        "for every step and sample",
    ),
    "no steps": (
        lambda g: golden_file.to_bytes(
            Golden(tuple(a[:0] for a in g.inputs), tuple(a[:0] for a in g.outputs))
        ),
        "for every step and sample",
    ),
    "damaged inside": (
        lambda g: spoilt(golden_file.to_bytes(g)),
        "not an .npz of arrays (Error -3 while decompressing data",
    ),
    "a header that does not end": (lambda _: endless(), "not an .npz of arrays"),
    "text": (
        lambda g: golden_file.to_bytes(
            replace(g, outputs=(*g.outputs[:-1], g.outputs[-1].astype("U9")))
        ),
        "holds <U9, not real numbers",
    ),
    "what cannot enter": (
        lambda g: golden_file.to_bytes(replace(g, inputs=tuple(a * np.nan for a in g.inputs))),
        "must be finite",
    ),
}


def pickled() -> bytes:
    """An .npz of an array of objects."""
    import io

    buffer = io.BytesIO()
    np.savez(buffer, input_0=np.array([{}], dtype=object))
    return buffer.getvalue()


def spoilt(data: bytes) -> bytes:
    """The same .npz, the compressed bytes of its first array all ones."""
    start = data.index(b".npy") + len(".npy")
    return data[:start] + b"\xff" * 20 + data[start + 20 :]


def endless() -> bytes:
    """An .npz of one array, the last bracket of its header gone."""
    import io
    import zipfile

    array, buffer = io.BytesIO(), io.BytesIO()
    np.save(array, np.zeros(3))
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("input_0.npy", array.getvalue().replace(b"}", b" "))
    return buffer.getvalue()


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_vectors_are_named_with_their_file(folder: Path, case: str) -> None:
    damage, said = DAMAGE[case]
    lay(folder, damage(held(folder)))
    with pytest.raises(InputError) as caught:
        slt.open(folder)
    assert said in str(caught.value)
    if case != "what cannot enter":
        assert str(caught.value).startswith(str(folder / GOLDEN))


def test_an_engine_that_is_refused_is_closed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sltdeploy.runtime.onnx_engine import OnnxEngine

    closed: list[int] = []
    close = OnnxEngine.close

    def counted(self: OnnxEngine) -> None:
        closed.append(1)
        close(self)

    monkeypatch.setattr(OnnxEngine, "close", counted)
    golden = held(folder)
    wrong = replace(golden, outputs=tuple(~a if a.dtype == bool else a + 1 for a in golden.outputs))
    lay(folder, golden_file.to_bytes(wrong))
    with pytest.raises(CheckError):
        slt.open(folder)
    assert closed == [1]
