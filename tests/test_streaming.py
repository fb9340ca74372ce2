"""Frames in, frames out: equal to a run over the same input, and errors that name the frame."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from lava_nets import dyadic, lif, program, same_numbers, single

import sltdeploy as slt
from sltdeploy.cli.streaming import Stream, stream
from sltdeploy.errors import InputError
from sltdeploy.program import Array, Input, Linear, Neuron
from sltdeploy.runtime import Runner

STEPS = 12
RNG = np.random.default_rng(9)
X = {
    "events": RNG.random((STEPS, 1, 3)) < 0.5,
    "pixels": RNG.normal(size=(STEPS, 1, 2)).astype(np.float32),
}
same_numbers()
NETWORK = program(
    {
        "events": ((3,), Input("spikes")),
        "pixels": ((2,), Input("graded")),
        "n": ((4,), lif(threshold=single(0.5))),
        "li": ((2,), Neuron(single(0.5), single(0), single(0))),
    },
    {
        ("events", "n"): (Linear(dyadic(4, 3)),),
        ("pixels", "n"): (Linear(dyadic(4, 2)),),
        ("n", "li"): (Linear(dyadic(2, 4)),),
    },
    ("li", "n"),
)


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    """A network of two inputs and two outputs."""
    slt.export(NETWORK, None, tmp_path / "a", format="onnx")
    with slt.open(tmp_path / "a") as opened:
        yield opened


def frames(form: Stream) -> list[bytes]:
    """X, a step each."""
    if form == "ndjson":
        rows = [{n: a[t, 0].astype(float).tolist() for n, a in X.items()} for t in range(STEPS)]
        return [json.dumps(row).encode() + b"\n" for row in rows]
    return [X["events"][t].tobytes() + X["pixels"][t].tobytes() for t in range(STEPS)]


def read(form: Stream, data: bytes) -> dict[str, Array]:
    """What went out, (T, n) by name."""
    if form == "ndjson":
        rows = [json.loads(line) for line in data.splitlines()]
        return {n: np.array([row[n] for row in rows]) for n in rows[0]}
    whole = np.frombuffer(data, [("li", "<f4", 2), ("n", "u1", 4)])
    return {"li": whole["li"], "n": whole["n"]}


@pytest.mark.parametrize("form", ["ndjson", "raw"])
def test_a_stream_gives_what_a_run_gives(runner: Runner, form: Stream) -> None:
    sink = io.BytesIO()
    assert stream(runner, form, io.BytesIO(b"".join(frames(form))), sink) == STEPS
    expected = slt.run(NETWORK, X)
    for name, values in read(form, sink.getvalue()).items():
        np.testing.assert_array_equal(values, expected.records[name][:, 0])
        assert len(np.unique(values)) > 1


@pytest.mark.parametrize("form", ["ndjson", "raw"])
def test_each_frame_goes_out_before_the_next_comes_in(runner: Runner, form: Stream) -> None:
    """A controller answers step by step."""
    sink, seen = io.BytesIO(), list[int]()

    class Asking(io.RawIOBase):
        """Hands out a frame a read and notes how much has come back by then."""

        def __init__(self) -> None:
            self.left = frames(form)

        def read(self, size: int = -1) -> bytes:
            del size
            seen.append(len(sink.getvalue()))
            return self.left.pop(0) if self.left else b""

        def readline(self, size: int | None = -1) -> bytes:
            return self.read(-1 if size is None else size)

    asking = Asking()
    assert stream(runner, form, asking, sink) == STEPS  # pyright: ignore[reportArgumentType]
    assert seen == sorted(set(seen))
    assert seen[0] == 0


@pytest.mark.parametrize(
    ("form", "bad", "said"),
    [
        ("ndjson", b"{nonsense\n", "frame 3: is not JSON"),
        ("ndjson", b"[[1, 2], [3]]\n", "frame 3: input 'events' has rows of different lengths"),
        ("ndjson", b"[1, 0, 1]\n", "frame 3: input 'pixels' is missing"),
        ("ndjson", b'{"events": [1, 0, 2], "pixels": [0, 0]}\n', "takes spikes (0 or 1)"),
        ("ndjson", b'{"events": [1, 0, 1], "pixels": [NaN, 0]}\n', "must be finite"),
        ("raw", b"\x01\x00", "frame 3: ends after 2 of 11 bytes"),
        ("raw", b"\x01\x00\x07" + bytes(8), "frame 3: input 'events' takes spikes (0 or 1)"),
    ],
)
def test_a_bad_frame_is_named_and_the_state_kept(
    runner: Runner, form: Stream, bad: bytes, said: str
) -> None:
    sink = io.BytesIO()
    good = frames(form)
    with pytest.raises(InputError) as caught:
        stream(runner, form, io.BytesIO(b"".join([*good[:2], bad])), sink)
    assert said in str(caught.value)
    stream(runner, form, io.BytesIO(b"".join(good[2:])), sink)
    expected = slt.run(NETWORK, X)
    np.testing.assert_array_equal(read(form, sink.getvalue())["li"], expected.records["li"][:, 0])


def test_empty_lines_say_nothing(runner: Runner) -> None:
    sink = io.BytesIO()
    assert stream(runner, "ndjson", io.BytesIO(b"\n \n" + frames("ndjson")[0] + b"\n"), sink) == 1
