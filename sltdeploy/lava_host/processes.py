"""Running a command of which nothing stays behind, not on time-out, Ctrl-C or our own death."""

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

GUARD = Path(__file__).with_name("guard.py")
KEPT_LINES = 40
SHOWN_LINES = 3
POLL_S = 0.1
END_S = 5.0  # the guard's own grace and some more
LINE_LIMIT = 1 << 15  # bytes; six for a character is the worst that JSON makes of our 4096
UNSET = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")

OnLine = Callable[[str], None]


@dataclass(frozen=True)
class Finished:
    """How a command ended; ``code`` is None where it was stopped at the time limit."""

    code: int | None
    lines: tuple[str, ...]

    @property
    def last_words(self) -> str:
        """Its last lines in one."""
        spoken = [line.strip() for line in self.lines if line.strip()]
        return " | ".join(spoken[-SHOWN_LINES:]) or "it said nothing"


class Guarded:
    """A command that runs, in a session of its own; all of it ends when this process does.

    ``left_open`` are pipes of ours that it gets.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        environment: Mapping[str, str] | None = None,
        left_open: tuple[int, ...] = (),
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD), *command],
            cwd=cwd,
            env=dict(environment if environment is not None else clean_environment()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=left_open,
            start_new_session=True,
        )
        self._said: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(target=_read, args=(self._process, self._said), daemon=True)
        self._reader.start()
        self._ended = False

    @property
    def code(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._process.poll()

    def next_line(self) -> bytes | None:
        """Next line that it prints, or None where there was none for a while."""
        with contextlib.suppress(queue.Empty):
            return self._said.get(timeout=POLL_S)
        return None

    def end(self, patience_s: float = 0.0) -> list[bytes]:
        """End it and all that it started, after ``patience_s`` to end alone; return the last lines.

        The guard first sends SIGTERM and then kills.
        """
        if self._ended:
            return []
        self._ended = True
        assert self._process.stdin is not None
        try:
            if patience_s:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(patience_s)
            self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_S)
        finally:
            # of a group that is gone macOS says PermissionError
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._reader.join(END_S)
        rest: list[bytes] = []
        while not self._said.empty():
            rest.append(self._said.get())
        return rest


class Lines:
    """The last lines that were printed; each is handed on as it comes."""

    def __init__(self, on_line: OnLine | None) -> None:
        self._on_line = on_line
        self._kept: deque[str] = deque(maxlen=KEPT_LINES)

    def add(self, text: str) -> None:
        """Keep one line."""
        line = printable(text)
        self._kept.append(line)
        if self._on_line is not None:
            self._on_line(line)

    @property
    def any(self) -> bool:
        """Whether there was one."""
        return bool(self._kept)

    def finished(self, code: int | None) -> Finished:
        """How the command ended that printed them."""
        return Finished(code, tuple(self._kept))


def clean_environment() -> dict[str, str]:
    """Our environment without what would point another interpreter to our packages."""
    kept = {name: value for name, value in os.environ.items() if name not in UNSET}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def run(
    command: Sequence[str],
    *,
    cwd: Path,
    timeout_s: float | None,
    on_line: OnLine | None = None,
    environment: Mapping[str, str] | None = None,
) -> Finished:
    """Run ``command``, handing on each line that it prints.

    It and all its descendants in its session end with it, after ``timeout_s`` seconds, on any
    exception here, and when this process dies, however it dies.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    guarded = Guarded(command, cwd=cwd, environment=environment)
    lines, stopped, rest = Lines(on_line), False, list[bytes]()
    try:
        while guarded.code is None and not stopped:
            line = guarded.next_line()
            if line is not None:
                lines.add(decoded(line))
            stopped = deadline is not None and time.monotonic() >= deadline
    finally:
        rest = guarded.end()
    if stopped:  # what it says from here on is only that it is ended
        return lines.finished(None)
    for line in rest:
        lines.add(decoded(line))
    return lines.finished(guarded.code)


def decoded(raw: bytes) -> str:
    """Text of what was printed."""
    return raw.decode("utf8", "replace")


def printable(text: str) -> str:
    """Text without escape sequences or control characters."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).rstrip()
    return "".join(c if c.isprintable() or c == "\t" else "?" for c in plain)


def _read(process: subprocess.Popen[bytes], said: "queue.SimpleQueue[bytes]") -> None:
    assert process.stdout is not None
    with process.stdout as pipe:
        for raw in iter(lambda: pipe.readline(LINE_LIMIT), b""):
            said.put(raw)
