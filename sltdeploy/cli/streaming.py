"""Frames from stdin through a runner to stdout, one time step each, as they come.

- ndjson: a line holds an array of the input's shape, or an object with one array for each input
  by name; each line that goes out is an object with one array for each output.
- raw: frames follow each other without anything between. A frame is the inputs in the manifest's
  order, in C order, little-endian float32 for graded values and one byte 0 or 1 for spikes; what
  goes out is the outputs, values as float32 and spikes as bytes.

The state lives on from frame to frame. Each frame that goes out is flushed at once.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

import numpy as np

from sltdeploy.cli.outcome import INTERRUPTED, Outcome, failure, hang_up, note
from sltdeploy.errors import InputError, SltError, located
from sltdeploy.feeding import as_array
from sltdeploy.program import Array, Input, Population
from sltdeploy.runtime import Runner, open_artifact
from sltdeploy.runtime.deadline import OnMiss
from sltdeploy.runtime.latency import Latency

Stream: TypeAlias = Literal["ndjson", "raw"]

WARMUP = 10  # steps before the first frame, so that it is not late for the machine's first time


def serve(
    artifact: Path, form: Stream, engine: str | None, deadline_ms: float | None, on_miss: OnMiss
) -> Outcome:
    """Step ``artifact`` through stdin until it ends; a summary goes to stderr."""
    with open_artifact(
        artifact, engine=engine, deadline_ms=deadline_ms, on_miss=on_miss, warmup=WARMUP
    ) as runner:
        ended = Outcome({}, ())
        try:
            stream(runner, form, *standard())
        except BrokenPipeError:  # the reader went away, as `head` does
            return hang_up()
        except KeyboardInterrupt:
            ended = failure(INTERRUPTED, ["interrupted: the stream ends here"])
        except SltError:
            note(summary(runner.latency))
            raise
        note(summary(runner.latency))
    return ended


def summary(found: Latency) -> str:
    """One line on how long the frames took."""
    if not found.steps:
        return "no frames"
    times = f"p50 {found.p50_us:.1f} us, p99 {found.p99_us:.1f} us, worst {found.worst_us:.1f} us"
    late = ""
    if found.misses is not None and found.deadline_us is not None:
        late = f", {found.misses} past the deadline of {found.deadline_us / 1000:g} ms"
    frames = "1 frame" if found.steps == 1 else f"{found.steps} frames"
    return f"{frames}: {times}{late}"


def stream(runner: Runner, form: Stream, source: BinaryIO, sink: BinaryIO) -> int:
    """Step ``runner`` through every frame of ``source``; returns how many went out.

    Raises `InputError` that names the frame (from 1) where one is not what the network takes;
    what came before it has gone out, and the state is that before it.
    """
    frames = _lines(runner, source) if form == "ndjson" else _raw(runner, source)
    write = _json if form == "ndjson" else _bytes
    done = 0
    while True:
        with located(f"frame {done + 1}"):
            frame = next(frames, None)
            if frame is None:
                return done
            sent = runner.step(frame)
        sink.write(write({name: values[0] for name, values in sent.items()}))
        sink.flush()
        done += 1


def _lines(runner: Runner, source: BinaryIO) -> Iterator[dict[str, Array]]:
    names = [p.name for p in runner.manifest.inputs]
    for line in source:
        if not line.strip():
            continue
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"is not JSON: {error}") from None
        given = data if isinstance(data, dict) else dict.fromkeys(names[:1], data)
        yield {name: as_array(name, values)[None] for name, values in given.items()}


def _raw(runner: Runner, source: BinaryIO) -> Iterator[dict[str, Array]]:
    layout = [(p, _dtype(spiking=_is_spikes(p))) for p in runner.manifest.inputs]
    size = sum(prod(p.shape) * dtype.itemsize for p, dtype in layout)
    while data := source.read(size):
        if len(data) < size:
            raise InputError(f"ends after {len(data)} of {size} bytes")
        frame: dict[str, Array] = {}
        at = 0
        for p, dtype in layout:
            values = np.frombuffer(data, dtype, prod(p.shape), at)
            frame[p.name] = values.reshape(1, *p.shape)
            at += values.nbytes
        yield frame


def _is_spikes(p: Population) -> bool:
    return isinstance(p.rule, Input) and p.rule.kind == "spikes"


def _dtype(*, spiking: bool) -> np.dtype[np.generic]:
    return np.dtype("u1" if spiking else "<f4")


def _json(sent: Mapping[str, Array]) -> bytes:
    plain = {
        name: values.astype(np.uint8 if values.dtype == bool else values.dtype).tolist()
        for name, values in sent.items()
    }
    return json.dumps(plain).encode() + b"\n"


def _bytes(sent: Mapping[str, Array]) -> bytes:
    return b"".join(
        np.ascontiguousarray(values, _dtype(spiking=values.dtype == bool)).tobytes()
        for values in sent.values()
    )


def standard() -> tuple[BinaryIO, BinaryIO]:
    """Stdin and stdout as bytes."""
    return sys.stdin.buffer, sys.stdout.buffer
