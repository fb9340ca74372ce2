"""The short way of a step: which input takes it, and that it gives what the long way gives."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import programs
import pytest
from c_builds import need
from test_engines import integers

import sltdeploy as slt
from sltdeploy import reference
from sltdeploy.errors import InputError
from sltdeploy.program import Array, Input, Linear, Population, Program, Projection
from sltdeploy.runtime import Runner, stepping
from sltdeploy.runtime.engine import backed, backing
from sltdeploy.runtime.lean import short_way
from sltdeploy.runtime.manifest import read

N, M = 6, 5


def network(kind: str, *, outputs: int = 1, inputs: int = 1) -> Program:
    """One or two inputs of a kind, one or two outputs: spikes, then values."""
    rng = np.random.default_rng(3)
    entries = [
        Population(f"in{k}", (2, 3), Input("spikes" if kind == "spikes" else "graded"))
        for k in range(inputs)
    ]
    layers = [
        Population("fires", (M,), programs.neuron(0.5)),
        Population("value", (M,), programs.neuron(None, decay=0.5)),
    ]
    return Program(
        programs.CONVENTION,
        (*entries, *layers),
        tuple(
            Projection(p.name, q.name, (programs.Reshape((N,)), Linear(programs.dyadic(rng, M, N))))
            for p in entries
            for q in layers
        ),
        ("fires", "value")[:outputs],
    )


def values(kind: str, steps: int = 8, batch: int = 2) -> Array:
    """Input (T, B, 2, 3), float32; its spikes have some of both."""
    drawn = np.random.default_rng(5).integers(0, 17, (steps, batch, 2, 3)) / 16
    return (drawn > 0.5 if kind == "spikes" else drawn - 0.5).astype(np.float32)


@pytest.fixture(params=["onnx", "c"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Program], Runner]]:
    """Open artifacts of engines that hold their own memory."""
    if request.param == "c":
        need("cc", "gcc")
    runners: list[Runner] = []

    def open_(program: Program) -> Runner:
        slt.export(program, None, tmp_path / "a", format=request.param)
        runners.append(slt.open(tmp_path / "a"))
        return runners[-1]

    yield open_
    for runner in runners:
        runner.close()


def steps(runner: Runner, rows: list[Any]) -> dict[str, Array]:
    """Outputs of all rows."""
    sent = [runner.step(row) for row in rows]
    return {n: np.stack([s[n] for s in sent]) for n in sent[0]}


class LongWayError(Exception):
    """Taken where the short way was there."""


@pytest.fixture
def no_long_way(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it when the first step is over: the next ones must not need to be converted."""

    def forbid() -> None:
        def conform(*_: object) -> dict[str, Array]:
            raise LongWayError

        monkeypatch.setattr(stepping, "conform", conform)

    return forbid


USUAL: Mapping[str, tuple[str, Any]] = {
    "spikes as bool": ("spikes", np.bool_),
    "spikes as uint8": ("spikes", np.uint8),
    "spikes as float32": ("spikes", np.float32),
    "values as float32": ("graded", np.float32),
}


@pytest.mark.parametrize("case", USUAL)
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_usual_input_takes_it_and_gives_the_reference_s(
    opened: Callable[[Program], Runner],
    case: str,
    inputs: int,
    outputs: int,
    no_long_way: Callable[[], None],
) -> None:
    kind, dtype = USUAL[case]
    program = network(kind, inputs=inputs, outputs=outputs)
    x = values(kind)
    fed = {"in0": x} if inputs == 1 else {"in0": x, "in1": x[::-1]}
    expected = reference.run(program, fed).records
    rows: list[Any] = [{n: a[t].astype(dtype) for n, a in fed.items()} for t in range(len(x))]
    runner = opened(program)
    for given in (rows, [row["in0"] for row in rows] if inputs == 1 else rows):
        runner.reset(2)
        no_long_way()
        got = steps(runner, given)
        for name in program.outputs:
            assert got[name].dtype == expected[name].dtype
            np.testing.assert_array_equal(got[name], expected[name], name)


def strided(x: Array) -> Array:
    """The same values, apart in memory."""
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


class Named(np.ndarray[Any, Any]):
    """An array of another class."""


OTHER: Mapping[str, tuple[str, Callable[[Array], Any]]] = {
    "spikes as float64": ("spikes", lambda x: x.astype(np.float64)),
    "spikes as int64": ("spikes", lambda x: x.astype(np.int64)),
    "spikes, of the other end": ("spikes", lambda x: x.astype(">f4")),
    "spikes with minus 0": ("spikes", lambda x: np.where(x == 0, np.float32(-0.0), x)),
    "spikes apart": ("spikes", strided),
    "bool apart": ("spikes", lambda x: strided(x.astype(np.bool_))),
    "spikes in a list": ("spikes", lambda x: x.tolist()),
    "spikes of another class": ("spikes", lambda x: x.view(Named)),
    "values apart": ("graded", strided),
    "values as float64": ("graded", lambda x: x.astype(np.float64)),
    "values as whole numbers": ("graded", lambda x: (x > 0).astype(np.int32)),
    "values as bool": ("graded", lambda x: x > 0),
}


@pytest.mark.parametrize("case", OTHER)
def test_other_input_gives_the_reference_s_too(
    opened: Callable[[Program], Runner], case: str
) -> None:
    kind, change = OTHER[case]
    program = network(kind, outputs=2)
    rows = [change(row) for row in values(kind)]
    expected = reference.run(program, np.stack([np.asarray(row) for row in rows])).records
    runner = opened(program)
    got = steps(runner, rows)
    for name in program.outputs:
        np.testing.assert_array_equal(got[name], expected[name], name)


def put(x: Array, value: float, dtype: Any = np.float32) -> Array:
    """One value of the last sample is another."""
    wrong = x.astype(dtype)
    wrong[1, 1, 2] = value
    return wrong


REFUSED: Mapping[str, tuple[str, Callable[[Array], Any], str]] = {
    "half a spike": (
        "spikes",
        lambda x: put(x, 0.5),
        r"spikes \(0 or 1\), holds 0.5 at \(1, 1, 2\)",
    ),
    "nearly a spike": ("spikes", lambda x: put(x, 1 + 2**-23), "takes spikes"),
    "hardly a spike": ("spikes", lambda x: put(x, 1e-45), "takes spikes"),
    "minus a spike": ("spikes", lambda x: put(x, -1), "takes spikes"),
    "seven in a byte": ("spikes", lambda x: put(x, 7, np.uint8), "takes spikes .* holds 7 at"),
    "256 spikes": ("spikes", lambda x: put(x, 256, np.int16), "holds 256 at"),
    "NaN for a spike": ("spikes", lambda x: put(x, np.nan), "holds nan at .* finite"),
    "infinite spikes": ("spikes", lambda x: put(x, np.inf), "holds inf at .* finite"),
    "half a spike apart": ("spikes", lambda x: strided(put(x, 0.5)), "takes spikes"),
    "two spikes apart": ("spikes", lambda x: strided(put(x, 2, np.uint8)), "takes spikes"),
    "NaN apart": ("graded", lambda x: strided(put(x, np.nan)), "holds nan at"),
    "NaN": ("graded", lambda x: put(x, np.nan), r"holds nan at \(1, 1, 2\), must be finite"),
    "minus infinity": ("graded", lambda x: put(x, -np.inf), "holds -inf at"),
    "too wide": ("graded", lambda x: put(x, 1e39, np.float64), "must be finite in float32"),
    "flat": ("graded", lambda x: x.reshape(2, 6), r"has shape \(2, 6\), must be \(B, 2, 3\)"),
    "one sample": ("graded", lambda x: x[:1], "has 1 samples, the state 2"),
    "another name": ("graded", lambda x: {"in1": x}, "input 'in0' is missing"),
    "a name too many": ("graded", lambda x: {"in0": x, "in1": x}, "input 'in1' is unknown"),
    "nothing": ("graded", lambda _: {}, "input 'in0' is missing"),
}


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_refused_and_nothing_moves(
    opened: Callable[[Program], Runner], case: str, outputs: int
) -> None:
    kind, change, said = REFUSED[case]
    program = network(kind, outputs=outputs)
    x = values(kind)
    runner = opened(program)
    rows: list[Any] = list(x)
    before = steps(runner, rows[:4])
    with pytest.raises(InputError, match=said):
        runner.step(change(x[4]))
    after = steps(runner, rows[4:])
    for name, expected in reference.run(program, x).records.items():
        if name in program.outputs:
            got = np.concatenate([before[name], after[name]])
            np.testing.assert_array_equal(got, expected)


def test_one_of_two_inputs_that_is_wrong_stops_both(opened: Callable[[Program], Runner]) -> None:
    program = network("spikes", inputs=2)
    x = values("spikes")
    runner = opened(program)
    before = steps(runner, [{"in0": row, "in1": row} for row in x[:4]])
    for wrong in ({"in0": x[4]}, {"in0": x[4], "in1": x[4] / 2}, {"in0": x[4], "in2": x[4]}, x[4]):
        with pytest.raises(InputError):
            runner.step(wrong)
    after = steps(runner, [{"in1": row, "in0": row} for row in x[4:]])
    expected = reference.run(program, {"in0": x, "in1": x}).records["fires"]
    np.testing.assert_array_equal(np.concatenate([before["fires"], after["fires"]]), expected)


def test_the_batch_size_may_change_back_and_forth(opened: Callable[[Program], Runner]) -> None:
    """Memory is new for each; a state that was refused has asked for memory too."""
    program = network("spikes")
    runner = opened(program)
    for batch in (2, 5, 1, 2):
        x = values("spikes", batch=batch)
        runner.reset(batch)
        np.testing.assert_array_equal(
            steps(runner, list(x))["fires"], reference.run(program, x).records["fires"]
        )
        state = runner.state
        runner.reset()
        with pytest.raises(InputError, match="unknown"):
            runner.state = {**{n: np.repeat(a, 3, 0) for n, a in state.items()}, "x": x}


def test_integers_are_converted_at_each_step(tmp_path: Path) -> None:
    need("cc", "gcc")
    slt.export(integers(), None, tmp_path / "a", format="c")
    x = np.random.default_rng(0).uniform(-1, 3, (20, 2, 3)).astype(np.float32)
    with slt.open(tmp_path / "a") as runner:
        got = steps(runner, list(x))["out"]
    assert got.dtype == np.float32
    expected = reference.run(integers(), x).records["out"] / np.float32(64)
    np.testing.assert_array_equal(got, expected)
    assert expected.any()


class Plain:
    """An engine whose arrays are numpy's own, and which sends back what it was fed."""

    def __init__(self) -> None:
        self.fed, self.given = np.zeros((2, 2, 3), np.float32), np.zeros((2, M), np.float32)

    @property
    def buffers(self) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
        """One array each."""
        return {"in0": self.fed}, {"fires": self.given}

    def tick(self) -> None:
        """Send the first ones."""
        self.given[...] = self.fed.reshape(2, N)[:, :M]


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.float32])
def test_any_memory_of_an_engine_will_do(dtype: Any, tmp_path: Path) -> None:
    slt.export(network("spikes"), None, tmp_path / "a", format="onnx")
    step = short_way(read(tmp_path / "a"), Plain())  # pyright: ignore[reportArgumentType]
    for row in values("spikes"):
        sent = step(row.astype(dtype))
        assert sent is not None
        np.testing.assert_array_equal(sent["fires"], row.reshape(2, N)[:, :M] == 1)


def test_bytes_are_those_of_the_whole_array_or_none() -> None:
    a, raw = backed((2, 3), np.dtype(np.float32))
    a[1, 2] = 1
    assert raw == a.tobytes()
    assert backing(a) is raw
    for other in (a[:1], a[:, ::2], a.T, np.zeros(3), np.frombuffer(bytes(4), np.uint8)):
        assert backing(other) is None


def test_outputs_are_the_caller_s(opened: Callable[[Program], Runner]) -> None:
    program = network("spikes", outputs=2)
    runner = opened(program)
    x = values("spikes")
    kept: list[dict[str, Array]] = []
    for row in x:
        sent = runner.step(row)
        kept.append({n: a.copy() for n, a in sent.items()})
        for a in sent.values():
            a[...] = 1
    for t, sent in enumerate(kept):
        for name, got in sent.items():
            np.testing.assert_array_equal(got, reference.run(program, x).records[name][t])


def test_a_step_leaves_nothing_behind_but_its_outputs(opened: Callable[[Program], Runner]) -> None:
    """Memory that Python still holds after 200 steps, outputs dropped, is what it held before."""
    import gc
    import tracemalloc

    program = network("spikes")
    runner = opened(program)
    rows: list[Any] = list(values("spikes"))
    for _ in range(5):
        steps(runner, rows)
    gc.collect()
    tracemalloc.start()
    for row in rows:
        runner.step(row)
    first = tracemalloc.get_traced_memory()[0]
    for _ in range(200):
        runner.step(rows[0])
    more = tracemalloc.get_traced_memory()[0] - first
    tracemalloc.stop()
    assert more < 4800  # numbers of the statistics; one array of this input has 48 bytes a step
