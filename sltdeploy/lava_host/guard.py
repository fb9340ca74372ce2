"""Runs a command and ends its whole process group when the one who asked goes away.

Usage: ``python guard.py COMMAND...`` in a session of its own, with a pipe as stdin. When the
other end of the pipe closes, even because its owner was killed, every process of the group ends:
first SIGTERM, so that shared memory is given back, then SIGKILL. The command gets what else its
owner left open for it. Standard library only, and no import from here: any Python 3 runs this file.
"""

import os
import signal
import subprocess
import sys
import threading
import time

GRACE_S = 1.0


def main() -> int:
    """Run the command; return its exit code, or 128 + the signal that ended it."""
    # A handler, not SIG_IGN, which the command would inherit.
    signal.signal(signal.SIGTERM, stay)
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, close_fds=False)
    watcher = threading.Thread(target=end_when_alone, daemon=True)
    watcher.start()
    code = child.wait()
    if ending.is_set():
        watcher.join()
    os.killpg(0, signal.SIGTERM)  # what the command left behind
    return code if code >= 0 else 128 - code


ending = threading.Event()


def stay(signum: int, frame: object) -> None:
    """Outlive the signal that ends the others."""


def end_when_alone() -> None:
    """Wait until stdin closes, then end the group, this process last."""
    while os.read(0, 1):  # not sys.stdin: its lock would abort the exit of the main thread
        pass
    ending.set()
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_S)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
