"""Energy of one inference, from exact counts and a target's published prices.

No number is invented: a term without a price is listed with the reason, never as 0, and a
target that refuses an estimate gets none.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path

import numpy as np

from sltdeploy.baselines import baselines, break_even
from sltdeploy.counts import Counts
from sltdeploy.errors import raise_all
from sltdeploy.estimate import Baseline as Baseline
from sltdeploy.estimate import BreakEven as BreakEven
from sltdeploy.estimate import Estimate as Estimate
from sltdeploy.estimate import Spread as Spread
from sltdeploy.estimate import Status as Status
from sltdeploy.estimate import Term as Term
from sltdeploy.machine import Cost, Range, Target
from sltdeploy.ops import Array
from sltdeploy.target import load

# Not every target prices these apart: where it is silent, they are part of another price.
OPTIONAL = ("spike", "memory_access")
UNMAPPED = "one destination core for each population that a spike goes to: not mapped"
MAPPED = "each spike to every core on which the predicted placement has a synapse for it"
INACTIVE = "low: every neuron inactive"
ZEROS = "the runtime multiplies zeros: pruning saves no energy here"
DENSE_PRICE = "priced as dense work: what the artifact skips, silent or pruned, is not credited"
SKIPPING = ("c",)  # exporters whose artifacts skip zeros
MEASURE = (
    "measure the time of one inference on the device and give it as latency_s, for an estimate "
    "by power and time"
)


@dataclass(frozen=True, eq=False)
class _Work:
    """Events of one kind per sample, (B,); seconds for powers."""

    name: str
    event: str
    counts: Array
    unit: str
    note: str = ""


def energy(
    counts: Counts,
    target: str | Path | Target,
    rate_hz: float,
    *,
    latency_s: float | None = None,
) -> Estimate:
    """Estimate the energy of one inference of ``counts.steps`` steps on ``target``.

    Each term is E [J/inference] = n [events/inference] * e [J/event]; static power is
    P [W] / rate [inferences/s].

    Parameters
    ----------
    counts
        What the program did, `sltdeploy.counting.count`; with messages, if it was given the
        placement.
    target
        The machine and its prices: a name, the path of a TOML, or `sltdeploy.target.load`'s.
    rate_hz
        Inferences per second: at a robot's rates static power dominates.
    latency_s
        Time of one inference measured on the device, in s; makes a dense target's estimate
        active power * latency + static power * rest of the period.

    Raises
    ------
    InputError
        Where the rate or the latency is not positive, or the latency exceeds the period.
    """
    raise_all(_problems(rate_hz, latency_s))
    machine = target if isinstance(target, Target) else load(target)
    works = list(_works(counts, machine, rate_hz, latency_s))
    priced = [_term(work, machine, counts.numbers) for work in works]
    # An event that never happens needs no price.
    terms = tuple(t for t in priced if t.energy is not None or t.count)
    parts = [t.energy for t in terms if t.energy is not None]
    refused = machine.refuses is not None
    total = sum(parts[1:], parts[0]) if parts and not refused else None
    compared, points = tuple(baselines(counts, machine)), tuple(break_even(counts))
    status: Status = "complete"
    if refused:
        status = "refused"
    elif any(t.energy is None for t in terms) or not parts:
        status = "priced terms only"
    return Estimate(
        target=machine.name,
        title=machine.title,
        rate_hz=rate_hz,
        steps=counts.steps,
        samples=counts.samples,
        status=status,
        total=total,
        # W = J/inference * inferences/s
        average_power=None if total is None else total * rate_hz,
        spread=None if total is None else _spread(works, machine, counts.numbers),
        refusal=machine.refuses,
        terms=terms,
        baselines=compared,
        break_even=points,
        anchors=machine.anchors,
        grades={t.event: t.price.grade for t in terms if t.price is not None},
        references=tuple(dict.fromkeys(_references(terms, compared, points, counts, machine))),
        notes=tuple(_notes(counts, machine, rate_hz, latency_s, terms)),
    )


def _problems(rate_hz: float, latency_s: float | None) -> Iterator[str]:
    if not (isfinite(rate_hz) and rate_hz > 0):
        yield f"rate is {rate_hz} Hz, must be positive and finite: give inferences per second"
    elif latency_s is not None and not (isfinite(latency_s) and latency_s > 0):
        yield f"latency is {latency_s} s, must be positive and finite"
    # s * 1/s = 1: share of the period
    elif latency_s is not None and latency_s * rate_hz > 1:
        yield (
            f"latency {latency_s:g} s does not fit into the period of {1 / rate_hz:g} s: "
            f"the rate must be at most {1 / latency_s:g} Hz, is {rate_hz:g} Hz"
        )


def _works(
    counts: Counts, target: Target, rate_hz: float, latency_s: float | None
) -> Iterator[_Work]:
    one = np.ones(counts.samples)
    # s/inference = 1 / (inferences/s)
    period = 1 / rate_hz
    if target.pricing == "events":
        yield from _events(counts)
    elif latency_s is not None and target.cost("active_power", counts.numbers):
        yield _Work("active power", "active_power", latency_s * one, "s")
        period -= latency_s
    else:
        yield _Work(
            "multiply-accumulates, zeros included",
            "mac",
            counts.synops_dense * one,
            "multiply-accumulates",
        )
        yield _Work("neuron updates", "neuron_update", counts.updates * one, "updates")
    yield _Work("static power", "static_power", period * one, "s")


def _events(counts: Counts) -> Iterator[_Work]:
    one = np.ones(counts.samples)
    fired = sum((p.spikes for p in counts.populations if p.updates), np.zeros(counts.samples))
    yield _Work("synaptic operations (AC)", "synop", counts.ac, "accumulations")
    yield _Work("synaptic operations (MAC)", "mac", counts.mac, "multiply-accumulates")
    yield _Work("neuron updates", "neuron_update", counts.updates * one, "updates")
    yield _Work("spikes of neurons", "spike", fired, "spikes")
    if counts.messages:
        yield _Work("messages", "message", counts.sent, "messages", MAPPED)
    else:
        events = {p.name: p.events for p in counts.populations}
        pairs = dict.fromkeys((p.source, p.target) for p in counts.projections)
        sent = sum((events[source] for source, _ in pairs), np.zeros(counts.samples))
        yield _Work("messages", "message", sent, "messages", UNMAPPED)
    # One weight is read for each operation, one state is read and written in each update.
    accesses = counts.synops + 2 * counts.updates
    note = "a weight for each operation, a state read and written for each update"
    yield _Work("memory accesses", "memory_access", accesses, "accesses", note=note)


def _term(work: _Work, target: Target, numbers: str) -> Term:
    cost, note = target.cost(work.event, numbers), work.note
    count = float(work.counts.mean())
    if cost is None:
        if work.event in OPTIONAL and work.event not in target.unpriced:
            count = 0.0  # part of another price
        default = f"{target.name} states no price for it"
        reason = target.unpriced.get(work.event, default)
        return Term(work.name, work.event, count, work.unit, None, None, reason=reason)
    # J/inference = events/inference * J/event (or s/inference * W)
    found = _price(cost, target, numbers) * count
    inactive = work.event == "neuron_update" and target.cost("neuron_update_inactive", numbers)
    notes = (note, INACTIVE if inactive else "", cost.note)
    note = "; ".join(n for n in notes if n)
    return Term(work.name, work.event, count, work.unit, found, cost, note=note)


def _price(cost: Cost, target: Target, numbers: str) -> Range:
    inactive = target.cost("neuron_update_inactive", numbers)
    if cost.event == "neuron_update" and inactive is not None:
        return replace(cost.range, low=inactive.range.low)
    return cost.range


def _spread(works: list[_Work], target: Target, numbers: str) -> Spread:
    priced = ((w.counts, target.cost(w.event, numbers)) for w in works)
    # J/inference = sum of events/inference * J/event, sample by sample
    samples = sum(n * c.range.nominal for n, c in priced if c is not None)
    return Spread(
        mean=float(np.mean(samples)),
        sd=float(np.std(samples)),
        p5=float(np.percentile(samples, 5)),
        p95=float(np.percentile(samples, 95)),
    )


def _references(
    terms: tuple[Term, ...],
    compared: tuple[Baseline, ...],
    points: tuple[BreakEven, ...],
    counts: Counts,
    target: Target,
) -> Iterator[str]:
    yield from (t.price.reference for t in terms if t.price is not None)
    inactive = target.cost("neuron_update_inactive", counts.numbers)
    if inactive is not None and any(t.event == "neuron_update" for t in terms):
        yield inactive.reference
    yield from (cost.reference for row in compared for cost in row.prices)
    yield from (p.reference for p in points)
    yield from (a.reference for a in target.anchors)


def _notes(
    counts: Counts,
    target: Target,
    rate_hz: float,
    latency_s: float | None,
    terms: tuple[Term, ...],
) -> Iterator[str]:
    yield from target.notes
    powered = any(t.event == "active_power" for t in terms)
    if target.pricing == "dense":
        yield DENSE_PRICE if target.exporter in SKIPPING else ZEROS
        if not powered and target.cost("active_power", counts.numbers):
            yield MEASURE
    if latency_s is not None and not powered:
        yield f"{target.name} states no active power: the latency of {latency_s:g} s is not used"
    # s/inference = steps/inference * s/step
    real_time = counts.steps * counts.dt
    if real_time * rate_hz > 1:
        yield (
            f"{counts.steps} steps of {counts.dt:g} s take {real_time:g} s in real time, longer "
            f"than the period of {1 / rate_hz:g} s: steps must run faster than dt"
        )
    grades = {t.price.grade for t in terms if t.price is not None and t.event != "static_power"}
    if grades and "measured" not in grades:
        yield f"no price of work was measured on this machine: {', '.join(sorted(grades))}"
