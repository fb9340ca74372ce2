"""From a folder to a runner: which engine runs which artifact."""

from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sltdeploy.errors import InputError, raise_all
from sltdeploy.golden_file import GOLDEN
from sltdeploy.runtime import golden
from sltdeploy.runtime.deadline import Deadline, OnMiss
from sltdeploy.runtime.engine import Engine
from sltdeploy.runtime.lava_runner import LavaRunner
from sltdeploy.runtime.manifest import EXPORT_AGAIN, Manifest, read, read_files
from sltdeploy.runtime.onnx_engine import OnnxEngine
from sltdeploy.runtime.onnx_sequence import OnnxSequenceEngine
from sltdeploy.runtime.realtime import Realtime, apply
from sltdeploy.runtime.runner import Runner
from sltdeploy.runtime.stepping import StepRunner

if TYPE_CHECKING:
    from sltdeploy.exporting import Artifact

# Exporter: engines that run what it makes, the usual one first.
ENGINES: Mapping[str, tuple[str, ...]] = {
    "c": ("fast",),
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
    warmup: int = 0,
    deadline_ms: float | None = None,
    on_miss: OnMiss = "hold",
    realtime: Realtime = Realtime(),  # noqa: B008 - frozen
    timeout_s: float | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Runner:
    """Open the artifact in ``folder``, a path or what export returned.

    Nothing of it is imported but by engine "lava".

    ``engine`` "fast" (the default) is ONNX Runtime for an ONNX artifact, the machine's own code
    for a C artifact, `sltdeploy.integer_simulation` for a Lava artifact in integers, and the numpy
    reference for the others: on what the NIR file means, or on the program that a Lava artifact
    carries. "lava" runs a Lava artifact in Lava, each run within ``timeout_s`` seconds.
    ``on_line`` gets "step k of n" now and then in a run, and whatever else Lava prints. With
    ``verify`` every file is compared with its hash first, and the engine (but for "lava") steps
    through the artifact's golden vectors: what the reference made of them where it was exported
    must come out. ``threads`` is what one step of ONNX Runtime may use.

    For a control loop: ``warmup`` steps on zeros come first and leave no trace; ``deadline_ms``
    is what a step may take, ``on_miss`` what it gives where it took longer, see
    `sltdeploy.runtime.deadline.Deadline`; ``realtime`` is asked of the system for this process
    and thread, and stays; what is refused stands in ``runner.refusals``.

    Raises `InputError` for a folder that is no artifact, a file that is missing or was changed,
    an unknown engine, an option that is wrong; `CheckError` where the engine computes something
    else than the golden vectors say; `MissingComponentError` where it is not installed.
    """
    deadline = Deadline(deadline_ms, on_miss)
    raise_all(_option_problems(threads, warmup, timeout_s))
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
        raise_all(_lava_problems(manifest, warmup, deadline, realtime))
        return LavaRunner(manifest, timeout_s=timeout_s, on_line=on_line)
    machine = _engine(manifest, files, threads)
    try:
        if verify and GOLDEN in files:
            golden.prove(StepRunner(manifest, machine), golden.read_golden(manifest, files[GOLDEN]))
        refusals = apply(realtime)
        _warm_up(StepRunner(manifest, machine), warmup)
    except BaseException:
        machine.close()
        raise
    return StepRunner(manifest, machine, deadline=deadline, refusals=refusals, on_line=on_line)


def _option_problems(threads: int, warmup: int, timeout_s: float | None) -> Iterator[str]:
    if threads < 1:
        yield f"threads is {threads}, must be at least 1"
    if timeout_s is not None and not (isfinite(timeout_s) and timeout_s > 0):
        yield f"time limit is {timeout_s} s, must be a positive number of seconds"
    if warmup < 0:
        yield f"warmup is {warmup} steps, must be 0 or more"


def _lava_problems(
    manifest: Manifest, warmup: int, deadline: Deadline, realtime: Realtime
) -> Iterator[str]:
    asked = {
        "warmup": warmup != 0,
        "deadline_ms": deadline.ms is not None,
        "realtime": realtime != Realtime(),
    }
    for name in (n for n, given in asked.items() if given):
        yield (
            f"{manifest.folder}: engine 'lava' runs whole sequences only, in a process of its own: "
            f"leave {name} out, or open the artifact with engine='fast'"
        )


def _warm_up(runner: StepRunner, steps: int) -> None:
    """Step on zeros: the first steps are slower than all others.

    What is handed out is another runner, which begins at the first state.
    """
    manifest = runner.manifest
    zeros = {
        p.name: np.zeros((1, *p.shape), np.bool_ if p.spiking else np.float32)
        for p in manifest.inputs
    }
    for _ in range(steps):
        runner.step(zeros)


def _engine(manifest: Manifest, files: Mapping[str, bytes], threads: int) -> Engine:
    if manifest.exporter == "onnx":
        name = str(manifest.data.get("model"))
        if name not in files:
            raise InputError(
                f"{manifest.folder}: the model '{name}' is none of the files: {EXPORT_AGAIN}"
            )
        if manifest.data.get("form") == "sequence":
            return OnnxSequenceEngine(manifest, files[name], threads=threads)
        return OnnxEngine(manifest, files[name], threads=threads)
    if manifest.exporter == "c":
        from sltdeploy.runtime.c_engine import CEngine

        return CEngine(manifest, files)
    from sltdeploy.runtime import program_engine

    if manifest.exporter == "nir":
        return program_engine.ProgramEngine(program_engine.read_network(manifest))
    program = program_engine.read_program(manifest, files)
    if program.numbers == "loihi":
        return program_engine.IntegerEngine(program)
    return program_engine.ProgramEngine(program)
