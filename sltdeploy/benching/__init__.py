"""How long a step of an artifact takes, and how long the same step takes others."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal, TypeAlias

from sltdeploy import exporting
from sltdeploy.benching.contenders import Opened, bare_onnx
from sltdeploy.benching.measuring import (
    Agreement,
    Clock,
    Contender,
    Show,
    agreement,
    durations,
    sent,
    statistics,
)
from sltdeploy.benching.surroundings import surroundings
from sltdeploy.errors import InputError, MissingComponentError, raise_all
from sltdeploy.program import Array, Program
from sltdeploy.runtime import open_artifact
from sltdeploy.runtime.latency import Latency
from sltdeploy.runtime.manifest import read_files
from sltdeploy.runtime.program_engine import read_program
from sltdeploy.stimulus import example

Rival: TypeAlias = Literal["norse", "torch", "compile", "onnxruntime"]

ARTIFACT = "artifact"
RIVALS: Mapping[Rival, str] = {
    "norse": "Norse eager",
    "torch": "torch eager",
    "compile": "torch.compile",
    "onnxruntime": "ONNX Runtime dense step, IO binding",
}
IN_TORCH: tuple[Rival, ...] = ("norse", "torch", "compile")
SEED = 7
FRAMES = 256  # at most; they repeat


@dataclass(frozen=True)
class Plan:
    """What to measure: ``steps`` in each of ``rounds``, on spikes of ``rate`` per input and step.

    ``deadline_ms`` is what a step may take, None for as long as it likes.
    """

    against: tuple[Rival, ...] = ()
    steps: int = 500
    rounds: int = 11
    rate: float = 0.05
    deadline_ms: float | None = None


@dataclass(frozen=True)
class Timed:
    """One contender: its steps, and how its outputs differ from the artifact's.

    ``ratio`` is the artifact's median by this one's: below 1 the artifact is faster.
    """

    name: str
    latency: Latency
    ratio: float
    agreement: Agreement


@dataclass(frozen=True)
class Bench:
    """What `bench` found; the artifact's own line is the first. ``refused``: rival, why."""

    timed: tuple[Timed, ...]
    refused: Mapping[str, str]
    frames: int
    surroundings: Mapping[str, Any]


def bench(
    folder: Path,
    plan: Plan,
    show: Show = lambda done, total, what: None,
    clock: Clock = time.perf_counter_ns,
) -> Bench:
    """Time the steps of the artifact in ``folder`` and of the rivals that ``plan`` names.

    All step the program that the artifact was made from, on the same spikes, batch 1, one thread,
    in turns; the outputs are compared first. A rival that cannot run the program, or is not
    installed, is left out and the reason told.

    Raises `InputError` for what is no artifact and for a wrong plan, `MissingComponentError`
    where the artifact itself cannot be run.
    """
    raise_all(_problems(plan))
    with ExitStack() as stack:
        runner = stack.enter_context(open_artifact(folder))
        program = read_program(runner.manifest, read_files(runner.manifest))
        count = min(plan.steps, FRAMES)
        frames = example(program, steps=count, batch=1, rate=plan.rate, seed=SEED)
        contenders: list[Contender] = [Opened(ARTIFACT, runner, frames)]
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        refused: dict[str, str] = {}
        for k, rival in enumerate(plan.against):
            show(k, len(plan.against), f"preparing {RIVALS[rival]}")
            try:
                stack.enter_context(_one_thread(rival))
                contenders.append(_rival(rival, program, frames, scratch))
            except (InputError, MissingComponentError) as error:
                refused[rival] = "; ".join(error.violations)
        sends = [sent(c, count) for c in contenders]
        taken = durations(contenders, count, plan.steps, plan.rounds, clock, show)
        found = {name: statistics(ns, plan.deadline_ms) for name, ns in taken.items()}
    own = found[ARTIFACT].p50_us
    timed = tuple(
        Timed(name, latency, own / latency.p50_us, agreement(sends[0], others))
        for (name, latency), others in zip(found.items(), sends, strict=True)
    )
    return Bench(timed, refused, count, surroundings())


def _rival(rival: Rival, program: Program, frames: Mapping[str, Array], scratch: Path) -> Contender:
    if rival == "onnxruntime":
        if program.numbers != "float32":
            raise InputError(f"the program holds {program.numbers} integers, ONNX takes floats")
        exporting.export(program, None, scratch / rival, format="onnx")
        return bare_onnx(rival, scratch / rival, frames)
    from sltdeploy.search.eager_stepping import EagerStepper

    cells = "norse" if rival == "norse" else "torch"
    return EagerStepper(rival, program, frames, cells, compiled=rival == "compile")


def _one_thread(rival: Rival) -> AbstractContextManager[None]:
    if rival not in IN_TORCH:
        return nullcontext()
    from sltdeploy.search.eager_stepping import one_thread

    return one_thread()


def _problems(plan: Plan) -> Iterator[str]:
    for name in plan.against:
        if name not in RIVALS:
            yield f"rival '{name}' is unknown: choose from {', '.join(RIVALS)}"
    if plan.steps < 1:
        yield f"steps is {plan.steps}, must be at least 1"
    if plan.rounds < 1:
        yield f"rounds is {plan.rounds}, must be at least 1"
    if not 0 <= plan.rate <= 1:
        yield f"rate is {plan.rate}, must be from 0 to 1: spikes per input and step"
    if plan.deadline_ms is not None and not (isfinite(plan.deadline_ms) and plan.deadline_ms > 0):
        yield f"deadline is {plan.deadline_ms} ms, must be a positive number"
