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
LINE_LIMIT = 4096
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
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(GUARD), *command],
        cwd=cwd,
        env=dict(environment if environment is not None else clean_environment()),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    said: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(process, said), daemon=True)
    reader.start()
    kept: deque[str] = deque(maxlen=KEPT_LINES)
    try:
        in_time = _follow(process, said, kept, on_line, deadline)
    finally:
        _end(process)
        reader.join(END_S)
    if not in_time:  # what it says from here on is only that it is ended
        return Finished(None, tuple(kept))
    while not said.empty():
        _keep(said.get(), kept, on_line)
    return Finished(process.returncode, tuple(kept))


def _follow(
    process: subprocess.Popen[bytes],
    said: "queue.SimpleQueue[str | None]",
    kept: deque[str],
    on_line: OnLine | None,
    deadline: float | None,
) -> bool:
    """Hand on lines until the command ends; False where the deadline came first."""
    while process.poll() is None:
        if deadline is not None and time.monotonic() >= deadline:
            return False
        try:
            line = said.get(timeout=POLL_S)
        except queue.Empty:
            continue
        if line is None:  # all ends of its output are closed: it is about to end
            said = queue.SimpleQueue()
            continue
        _keep(line, kept, on_line)
    return True


def _keep(line: str | None, kept: deque[str], on_line: OnLine | None) -> None:
    if line is not None:
        kept.append(line)
        if on_line is not None:
            on_line(line)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let the guard end its group, then make sure."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
    finally:
        # of a group that is gone macOS says PermissionError
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _read(process: subprocess.Popen[bytes], said: "queue.SimpleQueue[str | None]") -> None:
    assert process.stdout is not None
    with process.stdout as pipe:
        for raw in iter(lambda: pipe.readline(LINE_LIMIT), b""):
            said.put(_printable(raw))
    said.put(None)


def _printable(raw: bytes) -> str:
    """Text without escape sequences or control characters."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", raw.decode("utf8", "replace")).rstrip()
    return "".join(c if c.isprintable() or c == "\t" else "?" for c in text)
