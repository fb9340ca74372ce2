"""What a measurement must be read with: the machine, versions, how busy it was, the date."""

import os
import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sltdeploy import __version__

PACKAGES = ("numpy", "onnxruntime", "torch", "norse")


def surroundings(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Facts about this machine and moment; JSON takes them. Of absent packages it says nothing."""
    found = {name: got for name in packages if (got := _version(name)) is not None}
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "system": " ".join((platform.system(), *platform.libc_ver())).strip(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "threads": 1,
        "python": platform.python_version(),
        "versions": {"sltdeploy": __version__, **found},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    """Name of the processor, as Linux or Python has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf8", errors="replace").splitlines()
    except OSError:
        lines = []
    pairs = (line.partition(":") for line in lines)
    told = {key.strip(): value.strip() for key, _, value in pairs}
    return told.get("model name") or told.get("Model") or platform.processor() or "unknown"
