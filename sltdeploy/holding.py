"""Which engine an artifact is held against the reference with, so that the check can fail."""

from collections.abc import Mapping
from pathlib import Path

from sltdeploy.program import Array
from sltdeploy.runtime import open_artifact
from sltdeploy.runtime.manifest import read
from sltdeploy.verification import Verification, verify


def hold(
    artifact: Path,
    x: Array | Mapping[str, Array] | None,
    engine: str | None = None,
    *,
    timeout_s: float | None = None,
) -> tuple[Verification, str]:
    """Hold ``artifact`` against the reference on ``x``; returns what was found and the engine.

    Engine "fast" steps a Lava artifact with the reference itself, so Lava runs it unless
    ``engine`` says otherwise; ``timeout_s`` is Lava's time limit in seconds.
    """
    used = engine or ("lava" if read(artifact).exporter == "lava" else "fast")
    with open_artifact(artifact, engine=used, timeout_s=timeout_s) as runner:
        return verify(runner, x), used
