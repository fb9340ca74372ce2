"""Requests to the scheduler: what is granted holds, what is refused is said."""

import subprocess
import sys

import pytest

from sltdeploy.runtime.realtime import Realtime, apply

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux has these calls")


def in_a_process(code: str) -> str:
    """What ``code`` prints in a process of its own: requests last as long as their process."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_nothing_asked_nothing_refused() -> None:
    assert apply(Realtime()) == ()


def test_a_core_that_is_there_is_kept_to() -> None:
    code = (
        "import os; from sltdeploy.runtime.realtime import Realtime, apply\n"
        "cpu = max(os.sched_getaffinity(0))\n"
        "print(apply(Realtime(cpu=cpu)), os.sched_getaffinity(0) == {cpu})"
    )
    assert in_a_process(code) == "() True"


def test_priority_and_memory_are_granted_or_refused_in_words() -> None:
    """As root all is granted; without rights each says what it takes. Nothing raises."""
    code = (
        "import os; from sltdeploy.runtime.realtime import Realtime, apply\n"
        "for line in apply(Realtime(priority=10)): print(line)\n"
        "print(os.sched_getscheduler(0) == os.SCHED_FIFO)"
    )
    *refused, granted = in_a_process(code).splitlines()
    assert (granted == "True") == (not refused)
    assert all("CAP_SYS_NICE" in line for line in refused)
    code = (
        "from sltdeploy.runtime.realtime import Realtime, apply\n"
        "for line in apply(Realtime(lock_memory=True)): print(line)\n"
        "locked = next(x for x in open('/proc/self/status') if x.startswith('VmLck'))\n"
        "print(int(locked.split()[1]) > 0)"
    )
    *refused, granted = in_a_process(code).splitlines()
    assert (granted == "True") == (not refused)
    assert all("CAP_IPC_LOCK" in line for line in refused)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Realtime(cpu=4095), "pinning to core 4095 was refused"),
        (Realtime(priority=100), "SCHED_FIFO priority 100 was refused (Invalid argument)"),
    ],
)
def test_the_impossible_is_refused_in_one_line(wanted: Realtime, said: str) -> None:
    (line,) = apply(wanted)
    assert line.startswith(said)
    assert "\n" not in line
