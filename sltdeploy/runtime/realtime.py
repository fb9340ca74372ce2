"""Asking the system for punctual steps: one core, real-time priority, memory that stays.

Each may be refused (another system, no right to it); then the loop still runs, and the report
says what was refused and what would help.
"""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MCL_CURRENT, MCL_FUTURE = 1, 2  # <sys/mman.h> on Linux
PRIORITY_TOP = 99  # sched(7): 1 (low) to 99 of SCHED_FIFO


@dataclass(frozen=True)
class Realtime:
    """What to ask for: a core to stay on, a SCHED_FIFO priority 1..99, locked memory."""

    cpu: int | None = None
    priority: int | None = None
    lock_memory: bool = False


def apply(wanted: Realtime) -> tuple[str, ...]:
    """Ask for ``wanted`` for this process and thread; return a line for each refusal."""
    return tuple(_refusals(wanted))


def _refusals(wanted: Realtime) -> Iterator[str]:
    if wanted.cpu is not None:
        cpu = wanted.cpu
        yield from _ask(
            f"pinning to core {cpu}",
            lambda: os.sched_setaffinity(0, {cpu}),
            f"the cores of this process are {_cores()}",
        )
    if wanted.priority is not None:
        priority = wanted.priority
        yield from _ask(
            f"SCHED_FIFO priority {priority}",
            lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority)),
            f"it takes 1 to {PRIORITY_TOP} and CAP_SYS_NICE or 'ulimit -r {priority}'",
        )
    if wanted.lock_memory:
        yield from _ask(
            "locking memory", _lock_memory, "it takes CAP_IPC_LOCK or 'ulimit -l unlimited'"
        )


def _ask(what: str, request: Callable[[], None], needs: str) -> Iterator[str]:
    if sys.platform != "linux":
        yield f"{what} was refused: {sys.platform} has no such call, Linux has"
        return
    try:
        request()
    except (OSError, ValueError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        yield f"{what} was refused ({why}): {needs}"


def _cores() -> str:
    return ", ".join(map(str, sorted(os.sched_getaffinity(0)))) if sys.platform == "linux" else ""


def _lock_memory() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(MCL_CURRENT | MCL_FUTURE) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
