"""Whether Lava is there, for tests that run it."""

import os
from pathlib import Path

import pytest

from sltdeploy import lava_host


def need_lava() -> Path:
    """An interpreter with Lava; without one the test is skipped, in CI it fails."""
    host = lava_host.find()
    if host is None:
        why = lava_host.status().advice
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    return host.python
