"""``inspect`` and ``targets``: what a model is, what a machine can do."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sltdeploy.cli import options
from sltdeploy.cli.models import Flags, resolve_model
from sltdeploy.cli.outcome import Outcome, Table
from sltdeploy.errors import InputError

if TYPE_CHECKING:
    from sltdeploy.counts import Counts
    from sltdeploy.inspection import Inspection, Node
    from sltdeploy.machine import Target
    from sltdeploy.program import Program
    from sltdeploy.ticket import Ticket

SHOWN = 8  # loops that are listed; --json has all


def inspect(
    model: options.ModelPath,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.svg", help="Draw the graph.", show_default=False),
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
    """Show what a model holds, what each machine says to it, and the ticket's history."""
    if out is not None and out.suffix != ".svg":
        raise InputError(f"{out}: the drawing is written as .svg, name it so")
    import numpy as np

    from sltdeploy.atomic import write_bytes
    from sltdeploy.counting import count
    from sltdeploy.drawing import draw
    from sltdeploy.inspection import inspected
    from sltdeploy.reference import run

    resolved = resolve_model(model, Flags(dt, reset, compare, decay, input_kind, convention))
    program, ticket = resolved.program, resolved.ticket
    # One silent step: the sizes of a count do not depend on what happens.
    silence = {p.name: np.zeros((1, 1, *p.shape), np.float32) for p in program.inputs}
    counts = count(program, run(program, silence))
    view = inspected(resolved)
    data = {
        "model": str(model),
        **view.to_json(),
        **_program_data(program, counts),
        "source": resolved.source,
        "drawing": None if out is None else str(out),
    }
    text = (*_program_text(program, counts), *_view_text(view))
    if ticket is not None:
        data["ticket"] = _ticket_data(ticket)
        text = (*text, *_ticket_text(ticket))
    if out is not None:
        write_bytes(out, draw(view, model.name).encode())
        text = (*text, str(out))
    return Outcome(data, text)


def _view_text(view: "Inspection") -> tuple[str | Table, ...]:
    rest = len(view.loops) - SHOWN
    return (
        Table(("node", "kind", "sends", "weights", "parameters"), tuple(map(_row, view.nodes))),
        *(f"loop {' -> '.join(loop)}" for loop in view.loops[:SHOWN]),
        *((f"... and {rest} more loops",) if rest > 0 else ()),
        Table(("target", "says"), tuple((v.target, str(v)) for v in view.verdicts)),
    )


def _row(node: "Node") -> tuple[str, ...]:
    from sltdeploy.report.units import count as whole
    from sltdeploy.report.units import percent

    pruned = "" if not node.sparsity else f", {percent(node.sparsity)} pruned"
    weights = f"{whole(node.weights)}{pruned}" if node.weights else ""
    return (
        node.name,
        node.kind,
        _shape(node.shape),
        weights,
        ", ".join(map(str, node.parameters)),
    )


def _program_data(program: "Program", counts: "Counts") -> dict[str, Any]:
    convention = program.convention
    return {
        "convention": vars(convention),
        "numbers": program.numbers,
        "digest": program.digest(),
        "inputs": [p.name for p in program.inputs],
        "outputs": list(program.outputs),
        "populations": [
            {
                "name": p.name,
                "kind": type(p.rule).__name__,
                "shape": list(p.shape),
                "spiking": p.spiking,
            }
            for p in program.populations
        ],
        "projections": [
            {
                "name": p.name,
                "ops": p.ops,
                "weights": p.weights,
                "nonzero": p.nonzero,
                "synapses": p.synapses,
                "synapses_nonzero": p.synapses_nonzero,
            }
            for p in counts.projections
        ],
        "weights": counts.weights,
        "nonzero": counts.nonzero,
        "sparsity": counts.sparsity,
    }


def _program_text(program: "Program", counts: "Counts") -> tuple[str | Table, ...]:
    from sltdeploy.report.units import count as whole
    from sltdeploy.report.units import percent

    convention = program.convention
    populations = tuple(
        (p.name, type(p.rule).__name__, _shape(p.shape), "spikes" if p.spiking else "values")
        for p in program.populations
    )
    projections = tuple(
        (p.name, p.ops, whole(p.weights), whole(p.nonzero), whole(p.synapses_nonzero))
        for p in counts.projections
    )
    return (
        f"time step {convention.dt:g} s, reset {convention.reset}, spike where v "
        f"{'>' if convention.comparison == 'gt' else '>='} threshold, decay {convention.decay}",
        f"inputs {', '.join(p.name for p in program.inputs)}; outputs {', '.join(program.outputs)}",
        Table(("population", "kind", "shape", "sends"), populations),
        Table(("projection", "ops", "weights", "non-zero", "synapses"), projections),
        f"{whole(counts.weights)} weights, {whole(counts.nonzero)} non-zero "
        f"({percent(counts.sparsity)} pruned)",
    )


def _ticket_data(ticket: "Ticket") -> dict[str, Any]:
    history = [dict(entry) for entry in ticket.history]
    return {"id": ticket.id, "recipe": dict(ticket.recipe), "history": history}


def _ticket_text(ticket: "Ticket") -> tuple[str | Table, ...]:
    from sltdeploy.report.units import percent

    rows = tuple(
        (
            str(entry["round"]),
            percent(entry["sparsity"]),
            percent(entry["test_accuracy"]),
            f"{entry['spikes_per_image']:.0f}",
        )
        for entry in ticket.history
    )
    columns = ("round", "pruned", "held-out accuracy", "spikes an image")
    return (f"ticket {ticket.id}", Table(columns, rows, "rounds of the search"))


def targets(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="One machine in full.", show_default=False),
    ] = None,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> Outcome:
    """List the machines, or show one: what it runs, its limits, what its operations cost."""
    from sltdeploy import target

    if name is not None:
        return _one(target.load(name))
    every = [target.load(each) for each in target.names()]
    rows = tuple((t.name, t.title, t.exporter or "none", _energy(t)) for t in every)
    data = [{"name": t.name, "title": t.title, "exporter": t.exporter} for t in every]
    return Outcome({"targets": data}, (Table(("target", "machine", "format", "energy"), rows),))


def _energy(target: "Target") -> str:
    if target.refuses:
        return "counts only"
    return ", ".join(sorted({cost.grade for cost in target.costs})) or "counts only"


def _one(target: "Target") -> Outcome:
    costs = tuple(
        (c.event, f"{c.low:g}", f"{c.nominal:g}", f"{c.high:g}", c.unit, c.grade, _source(c))
        for c in target.costs
    )
    limits = tuple(
        (limit.name, str(limit.value), _source(limit)) for limit in target.limits.values()
    )
    anchors = tuple((a.workload, _pairs(a.values), _source(a)) for a in target.anchors)
    can = (
        ("ops", target.ops),
        ("neurons", target.neurons),
        ("inputs", target.inputs),
        ("numbers", target.numbers),
        ("resets", target.resets),
        ("comparisons", target.comparisons),
    )
    text: list[str | Table] = [f"{target.name}: {target.title}"]
    text.append(f"format {target.exporter}" if target.exporter else "no format: prices only")
    text.append(Table(("can", ""), tuple((what, ", ".join(some)) for what, some in can)))
    if limits:
        text.append(Table(("limit", "at most", "source"), limits))
    if costs:
        header = ("cost of", "low", "nominal", "high", "unit", "grade", "source")
        text.append(Table(header, costs))
    if anchors:
        text.append(Table(("published workload", "values", "source"), anchors))
    text += [f"no price for {event}: {why}" for event, why in target.unpriced.items()]
    text += [target.refuses] if target.refuses else []
    return Outcome({"target": _data(target)}, (*text, *target.notes))


def _source(item: Any) -> str:
    return item.source if item.read else f"{item.source} (not read, cited second-hand)"


def _data(target: "Target") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(target)


def _pairs(values: Any) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
