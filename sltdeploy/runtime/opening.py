"""From a folder to a runner: which engine runs which artifact."""

from collections.abc import Callable, Mapping
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from sltdeploy.errors import InputError
from sltdeploy.runtime.lava_runner import LavaRunner
from sltdeploy.runtime.manifest import EXPORT_AGAIN, Manifest, read, read_files
from sltdeploy.runtime.onnx_engine import OnnxEngine
from sltdeploy.runtime.runner import Engine, Runner, StepRunner

if TYPE_CHECKING:
    from sltdeploy.exporting import Artifact

# Exporter: engines that run what it makes, the usual one first.
ENGINES: Mapping[str, tuple[str, ...]] = {
    "lava": ("fast", "lava"),
    "nir": ("fast",),
    "onnx": ("fast",),
}


def open_artifact(
    folder: "str | Path | Artifact",
    *,
    engine: str | None = None,
    verify: bool = True,
    threads: int = 1,
    timeout_s: float | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Runner:
    """Open the artifact in ``folder``, a path or what export returned.

    Nothing of it is imported but by engine "lava".

    ``engine`` "fast" (the default) is ONNX Runtime for an ONNX artifact,
    `sltdeploy.integer_simulation` for a Lava artifact in integers, and the numpy reference for the
    others: on what the NIR file means, or on the program that a Lava artifact carries. "lava" runs
    a Lava artifact in Lava, each run within ``timeout_s`` seconds. ``on_line`` gets "step k of n"
    now and then in a run, and whatever else Lava prints. With ``verify`` every file is compared
    with its hash first. ``threads`` is what one step of ONNX Runtime may use.

    Raises `InputError` for a folder that is no artifact, a file that is missing or was changed,
    an unknown engine; `MissingComponentError` where the engine is not installed.
    """
    if timeout_s is not None and not (isfinite(timeout_s) and timeout_s > 0):
        raise InputError(f"time limit is {timeout_s} s, must be a positive number of seconds")
    manifest = read(Path(folder) if isinstance(folder, str | Path) else folder.path)
    known = ENGINES.get(manifest.exporter)
    if known is None:
        raise InputError(
            f"{manifest.folder}: made by exporter '{manifest.exporter}', this sltdeploy runs "
            f"{', '.join(ENGINES)}: update sltdeploy"
        )
    chosen = known[0] if engine is None else engine
    if chosen not in known:
        raise InputError(
            f"engine '{chosen}' cannot run {manifest.folder}, an artifact of exporter "
            f"'{manifest.exporter}': choose from {', '.join(known)}"
        )
    files = read_files(manifest, verify=verify)
    if chosen == "lava":
        return LavaRunner(manifest, timeout_s=timeout_s, on_line=on_line)
    return StepRunner(manifest, _engine(manifest, files, threads), on_line=on_line)


def _engine(manifest: Manifest, files: Mapping[str, bytes], threads: int) -> Engine:
    if manifest.exporter == "onnx":
        name = str(manifest.data.get("model"))
        if name not in files:
            raise InputError(
                f"{manifest.folder}: the model '{name}' is none of the files: {EXPORT_AGAIN}"
            )
        return OnnxEngine(manifest, files[name], threads=threads)
    from sltdeploy.runtime import program_engine

    if manifest.exporter == "nir":
        return program_engine.ProgramEngine(program_engine.read_network(manifest))
    program = program_engine.read_program(manifest, files)
    if program.numbers == "loihi":
        return program_engine.IntegerEngine(program)
    return program_engine.ProgramEngine(program)
