"""The sections on the ticket, the layers and the verification, from their nouns."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from sltdeploy.counts import Counts, PopulationCount, ProjectionCount, summary
from sltdeploy.report.text import clean
from sltdeploy.report.view import (
    CountSection,
    Fact,
    LayerRow,
    RoundRow,
    TicketSection,
    Value,
    VerificationRow,
)
from sltdeploy.ticket import Ticket
from sltdeploy.verification import Verification

OPERATIONS = "operations"
RATE = "spikes/neuron/step"
RECIPE_DEPTH = 3  # deeper nesting is shown as JSON


@dataclass(frozen=True)
class Verified:
    """One verification and what was verified; ``latency`` in steps."""

    artifact: str
    engine: str
    latency: int
    result: Verification


def ticket_section(ticket: Ticket) -> TicketSection:
    """Rounds and recipe of a ticket; the winner is the round of the ticket's own sparsity."""
    rounds = tuple(_round(i, e) for i, e in enumerate(ticket.history) if "sparsity" in e)
    nearest = min(
        range(len(rounds)),
        key=lambda i: (abs(rounds[i].sparsity.number - ticket.sparsity), -i),
        default=0,
    )
    return TicketSection(
        id=ticket.id,
        rounds=rounds,
        winner=nearest,
        recipe=tuple(Fact(clean(k), clean(v)) for k, v in _flat(ticket.recipe, "")),
    )


def count_section(counts: Counts) -> CountSection:
    """One row a weighted op, their total, and how the total varies over the samples."""
    populations = {p.name: p for p in counts.populations}
    spread = summary(counts.synops)
    return CountSection(
        layers=tuple(_layer(p, populations.get(p.target)) for p in counts.projections),
        total=_total(counts),
        samples=Value(counts.samples, "samples"),
        spread=tuple(
            Fact(label, Value(float(spread[key]), OPERATIONS))
            for label, key in (
                ("mean", "mean"),
                ("SD", "sd"),
                ("5th percentile", "p5"),
                ("95th percentile", "p95"),
            )
        ),
    )


def verification_row(verified: Verified) -> VerificationRow:
    """What was compared, and how much of it differs."""
    result = verified.result
    return VerificationRow(
        artifact=clean(verified.artifact),
        engine=clean(verified.engine),
        input=f"{result.samples} samples, {result.steps} steps",
        populations=Value(len(result.compared), "populations"),
        spikes=Value(sum(c.spikes or 0 for c in result.compared), "spikes"),
        elements=Value(sum(c.elements for c in result.compared), "elements"),
        differing=Value(sum(c.differing for c in result.compared), "elements"),
        worst=tuple(
            (clean(name), Value(worst, "program units")) for name, worst in result.worst.items()
        ),
        latency=Value(verified.latency, "steps"),
        ok=result.ok,
        verdict=_agreement(result),
        problems=tuple(map(clean, result.lines())),
        silent=tuple(map(clean, result.silent)),
    )


def _agreement(result: Verification) -> str:
    if not result.ok:
        return "differs"
    return "spikes identical" if any(result.worst.values()) else "identical"


def _round(index: int, entry: Mapping[str, Any]) -> RoundRow:
    accuracy, spikes = entry.get("test_accuracy"), entry.get("spikes_per_image")
    nonzero: Mapping[str, int] | None = entry.get("nonzero")
    return RoundRow(
        round=int(entry.get("round", index)),
        nonzero=None if nonzero is None else Value(sum(nonzero.values()), "weights"),
        sparsity=Value(float(entry["sparsity"]), "share"),
        accuracy=None if accuracy is None else Value(float(accuracy), "share"),
        spikes=None if spikes is None else Value(float(spikes), "spikes"),
    )


def _layer(count: ProjectionCount, target: PopulationCount | None) -> LayerRow:
    return LayerRow(
        name=clean(f"{count.source} → {count.target}"),
        ops=clean(count.ops),
        operation=count.operation.upper(),
        weights=Value(count.weights, "weights"),
        nonzero=Value(count.nonzero, "weights"),
        sparsity=_sparsity(count.nonzero, count.weights),
        neurons=Value(target.neurons if target else 0, "neurons"),
        rate=_rate(target),
        events=Value(float(count.events.mean()), "events"),
        dense=Value(count.synops_dense, OPERATIONS),
        unpruned=Value(float(count.synops_unpruned.mean()), OPERATIONS),
        effective=Value(float(count.synops.mean()), OPERATIONS),
    )


def _total(counts: Counts) -> LayerRow:
    return LayerRow(
        name="total",
        ops="",
        operation="",
        weights=Value(counts.weights, "weights"),
        nonzero=Value(counts.nonzero, "weights"),
        sparsity=_sparsity(counts.nonzero, counts.weights),
        neurons=Value(sum(p.neurons for p in counts.populations if p.updates), "neurons"),
        rate=_mean_rate(counts),
        events=Value(float(sum(p.events.mean() for p in counts.projections)), "events"),
        dense=Value(counts.synops_dense, OPERATIONS),
        unpruned=Value(float(counts.synops_unpruned.mean()), OPERATIONS),
        effective=Value(float(counts.synops.mean()), OPERATIONS),
    )


def _sparsity(nonzero: int, weights: int) -> Value | None:
    return Value(1 - nonzero / weights, "share") if weights else None


def _rate(population: PopulationCount | None) -> Value | None:
    """Spikes per neuron and step of the layer's neurons; None where values leave."""
    if population is None or not population.spiking:
        return None
    return Value(population.rate, RATE)


def _mean_rate(counts: Counts) -> Value | None:
    """Spikes per neuron and step over all spiking neurons."""
    spiking = [p for p in counts.populations if p.updates and p.spiking]
    neurons = sum(p.neurons for p in spiking)
    if not neurons:
        return None
    return Value(sum(p.rate * p.neurons for p in spiking) / neurons, RATE)


def _flat(item: Mapping[str, Any], prefix: str, depth: int = 1) -> Iterator[tuple[str, str]]:
    """Entries of nested mappings as ``outer.inner``, in order; lists as JSON."""
    for key, value in item.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and depth < RECIPE_DEPTH:
            yield from _flat(cast("Mapping[str, Any]", value), f"{name}.", depth + 1)
        elif isinstance(value, str):
            yield name, value
        else:
            yield name, json.dumps(value, sort_keys=True)
