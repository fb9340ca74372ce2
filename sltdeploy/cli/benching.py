"""``bench``: how long a step of an artifact takes, alone and beside others."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from sltdeploy.cli import options
from sltdeploy.cli.outcome import Outcome, Table, note
from sltdeploy.cli.progress import bar

if TYPE_CHECKING:
    from sltdeploy.benching import Bench, Timed

TIMES = ("median us", "p95", "p99", "p99.9", "worst", "jitter")


def bench(
    artifact: options.ArtifactPath,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="A,B",
            help="Any of norse, torch, compile (torch.compile), onnxruntime (dense step).",
        ),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", metavar="N", help="Steps a round.")] = 500,
    rounds: Annotated[int, typer.Option("--rounds", metavar="N", help="Rounds, in turns.")] = 11,
    rate: Annotated[
        float, typer.Option("--rate", metavar="R", help="Spikes per input and step.")
    ] = 0.05,
    deadline: Annotated[
        float | None,
        typer.Option("--deadline-ms", metavar="MS", help="Count the steps that take longer."),
    ] = None,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> Outcome:
    """Time single steps, batch 1, one thread, on seeded spikes; outputs are compared first.

    Medians and their ratios hold on a busy machine. For tails (p99.9, worst) leave --against out
    and let nothing else run.
    """
    from sltdeploy import benching

    names = dict.fromkeys(part.strip() for part in (against or "").split(",") if part.strip())
    plan = benching.Plan(
        cast("tuple[benching.Rival, ...]", tuple(names)), steps, rounds, rate, deadline
    )
    with bar() as show:
        found = benching.bench(artifact, plan, show)
    for name, why in found.refused.items():
        note(f"{benching.RIVALS[cast('benching.Rival', name)]}: left out: {why}")
    titles = {benching.ARTIFACT: str(artifact), **benching.RIVALS}
    missed = () if deadline is None else ("misses",)
    head = found.surroundings
    return Outcome(
        _data(artifact, plan, found),
        (
            Table(
                ("what", *TIMES, *missed, "artifact / this", "differ"),
                tuple(_row(t, titles[t.name]) for t in found.timed),
            ),
            _compared(found),
            f"{rounds} rounds of {steps} steps, {found.frames} frames at {rate:g} spikes per input "
            "and step, batch 1, 1 thread",
            f"{head['cpu']}, {head['cores']} cores, load {head['load']}",
            ", ".join(f"{name} {version}" for name, version in head["versions"].items()),
        ),
    )


def _row(t: "Timed", title: str) -> tuple[str, ...]:
    found, same = t.latency, t.agreement
    times = (found.p50_us, found.p95_us, found.p99_us, found.p999_us, found.worst_us)
    differ = str(same.differing) if not same.worst else f"{same.differing}, by {same.worst:.1g}"
    return (
        title,
        *(f"{us:.2f}" for us in (*times, found.jitter_us)),
        *(() if found.misses is None else (str(found.misses),)),
        f"{t.ratio:.3f}",
        differ,
    )


def _compared(found: "Bench") -> str:
    own = found.timed[0].agreement
    if not own.elements:
        return f"compared: {own.values} values of the outputs"
    values = f" and {own.values} values" if own.values else ""
    quiet = "" if own.spikes else "; no output spiked, the comparison shows little"
    return f"compared: {own.spikes} spikes in {own.elements} elements{values} of the outputs{quiet}"


def _data(artifact: Path, plan: Any, found: "Bench") -> dict[str, Any]:
    return {
        "artifact": str(artifact),
        "plan": {**vars(plan), "against": list(plan.against)},
        "frames": found.frames,
        "timed": [
            {
                "name": t.name,
                "latency": t.latency.to_json(),
                "ratio": t.ratio,
                "agreement": t.agreement.to_json(),
            }
            for t in found.timed
        ],
        "refused": dict(found.refused),
        "surroundings": dict(found.surroundings),
    }
