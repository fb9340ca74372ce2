"""``energy``: what a model costs on each target, and the report."""

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sltdeploy.cli import options
from sltdeploy.cli.models import Flags, resolve_model
from sltdeploy.cli.outcome import Outcome, Table
from sltdeploy.errors import InputError, located

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sltdeploy.assessment import Priced
    from sltdeploy.machine import Range


def energy(
    model: options.ModelPath,
    target: Annotated[
        list[str],
        typer.Option("--target", metavar="NAME", help="Machine, or its TOML; give it repeatedly."),
    ],
    rate: Annotated[float, typer.Option("--rate", metavar="HZ", help="Inferences per second.")],
    x: Annotated[
        Path | None,
        typer.Option(
            "--input",
            metavar="X.npy",
            help="Array (T, B, ...). Default: held-out images of a bundled ticket, else seeded.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="report.html", help="Write the report: .html or .json."),
    ] = None,
    latency: Annotated[
        float | None,
        typer.Option(
            "--latency", metavar="S", help="Measured seconds an inference takes on a CPU target."
        ),
    ] = None,
    dt: options.Dt = None,
    reset: options.Reset = None,
    compare: options.Compare = None,
    decay: options.Decay = None,
    input_kind: options.Kind = None,
    convention: options.Convention = None,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> Outcome:
    """Count synaptic operations and price them: each target's range, term by term."""
    if out is not None and out.suffix not in (".html", ".json"):
        raise InputError(f"{out}: the report is written as .html or .json, name it so")
    from sltdeploy import report
    from sltdeploy.assessment import Fed, assess, price, usual_input
    from sltdeploy.atomic import write_bytes
    from sltdeploy.cli import arrays
    from sltdeploy.target import load as load_target

    machines = [load_target(name) for name in dict.fromkeys(target)]
    resolved = resolve_model(model, Flags(dt, reset, compare, decay, input_kind, convention))
    if x is None:
        fed = usual_input(resolved)
    else:
        fed = Fed(arrays.read(x), f"{x.name}", span=resolved.span)
    with located(model if x is None else x):
        found = assess(resolved.program, fed)
    with located(model):
        priced = [price(resolved.program, machine, fed, rate, latency) for machine in machines]
    estimates, fits = [p.estimate for p in priced], [p.fit for p in priced]
    if out is not None:
        data = report.report_data(
            title=model.stem,
            program=resolved.program,
            ticket=resolved.ticket,
            counts=found.counts,
            estimates=estimates,
            fits=fits,
            accuracy=found.accuracy,
            caveats=(f"Counted on {fed.what}.", *(line for p in priced for line in p.caveats)),
            provenance={f"source, {kind}": value for kind, value in resolved.source.items()},
        )
        text = json_format.dumps(report.to_json(data), indent=1, sort_keys=True) + "\n"
        write_bytes(out, report.to_html(data) if out.suffix == ".html" else text.encode())
    return Outcome(
        {
            "model": str(model),
            "input": fed.what,
            "rate_hz": rate,
            "counts": found.counts.to_json(),
            "accuracy": found.accuracy,
            "estimates": [e.to_json() for e in estimates],
            "fits": [f.to_json() for f in fits],
            "caveats": [line for p in priced for line in p.caveats],
            "report": None if out is None else str(out),
        },
        (
            f"counted on {fed.what}",
            table(priced),
            *(f"{e.target}: {e.refusal}" for e in estimates if e.refusal),
            *(line for p in priced for line in (*p.exceeded, *p.caveats)),
            *((str(out),) if out is not None else ()),
        ),
        0 if all(f.fits for f in fits) else 1,
    )


def table(priced: "Sequence[Priced]") -> Table:
    """One row a target: energy of an inference as a range, power, fit."""
    rows = tuple(
        (
            p.estimate.target,
            _span(p.estimate.total, "J"),
            _span(p.estimate.average_power, "W"),
            p.estimate.status,
            "yes" if p.fit.fits else "no",
        )
        for p in priced
    )
    return Table(("target", "energy per inference", "average power", "priced", "fits"), rows)


def _span(value: "Range | None", unit: str) -> str:
    from sltdeploy.report.units import si

    if value is None:
        return "none"
    return f"{si(value.nominal, unit)} ({si(value.low, unit)} to {si(value.high, unit)})"
