"""Our end of the pipe to worker.py: starts it, asks it, ends it."""

import contextlib
import json
import os
import tempfile
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sltdeploy.lava_host.processes import Finished, Guarded, Lines, OnLine, decoded

WORKER = Path(__file__).with_name("worker.py")
PATIENCE_S = 2.0  # an idle worker ends at once when its pipe closes


@dataclass(frozen=True)
class Request:
    """One run of ``network`` in ``folder``, as ``python network.py ARGUMENTS``."""

    network: Path
    arguments: Sequence[str]
    folder: Path

    def to_bytes(self) -> bytes:
        """One line for worker.py."""
        said = {
            "network": str(self.network),
            "arguments": list(self.arguments),
            "folder": str(self.folder),
        }
        return json.dumps(said).encode() + b"\n"


class Connection:
    """A running worker in the interpreter ``python``; ends when this object or process does."""

    def __init__(self, python: Path) -> None:
        reading, self._requests = os.pipe()
        try:
            self._guarded = Guarded(
                [str(python), str(WORKER), str(reading)],
                cwd=Path(tempfile.gettempdir()),
                left_open=(reading,),
            )
        except BaseException:
            os.close(self._requests)
            raise
        finally:
            os.close(reading)
        self._owner = os.getpid()
        self._end = weakref.finalize(self, _end, self._guarded, self._requests, self._owner)

    @property
    def usable(self) -> bool:
        """Whether it runs, and is ours: a fork of the one who started it must start its own."""
        return self._end.alive and self._owner == os.getpid() and self._guarded.code is None

    def ask(self, request: Request, *, timeout_s: float, on_line: OnLine | None) -> Finished | None:
        """Have ``request`` run, handing on each line that the network prints.

        None where the worker had ended, without a word, before it began.

        Unless it ends well the worker ends with it: at the time limit, on an exit code other than
        0, where it leaves a process behind, and on any exception here.
        """
        deadline = time.monotonic() + timeout_s
        lines = Lines(on_line)
        try:
            with contextlib.suppress(BrokenPipeError):  # it has died, and may have said why
                os.write(self._requests, request.to_bytes())
            return self._follow(deadline, lines)
        except BaseException:
            self._kill()
            raise

    def _follow(self, deadline: float, lines: Lines) -> Finished | None:
        while time.monotonic() < deadline:
            code = self._guarded.code
            raw = self._guarded.next_line()
            if raw is None and code is not None:
                self._kill()
                return lines.finished(code or 1) if lines.any else None
            if raw is None:
                continue
            answer = _answer(raw)
            if "done" in answer:
                if answer["done"] != 0 or not answer["clean"]:
                    self._kill()
                return lines.finished(answer["done"])
            lines.add(answer["line"])
        self._kill()
        return lines.finished(None)

    def _kill(self) -> None:
        self._guarded.end()
        self._end()

    def close(self) -> None:
        """Let the worker end; what it has begun gets a short time."""
        self._end()


def _answer(raw: bytes) -> dict[str, Any]:
    """What worker.py says; a line of another kind is what its interpreter prints."""
    try:
        answer = json.loads(raw)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and ("line" in answer or "done" in answer):
        return answer
    return {"line": decoded(raw)}


def _end(guarded: Guarded, requests: int, owner: int) -> None:
    if os.getpid() != owner:
        return
    os.close(requests)
    guarded.end(PATIENCE_S)
