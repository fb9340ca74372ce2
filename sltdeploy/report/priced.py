"""The sections on energy, from estimates; and the references of all numbers shown."""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import TypeAlias

from sltdeploy.estimate import Baseline, BreakEven, Estimate, Spread, Term
from sltdeploy.machine import UNITS, Anchor, Range, cited
from sltdeploy.report.text import clean, sentence
from sltdeploy.report.view import (
    AnchorRow,
    BaselineRow,
    BreakEvenRow,
    EnergySection,
    Fact,
    Part,
    Reference,
    Span,
    TermRow,
    Value,
)

Numbered: TypeAlias = Mapping[str, Reference]  # by source
SECOND_HAND = cited("", False)
SPREAD = ("mean", "SD", "5th percentile", "95th percentile")
PARTS: Mapping[str, Part] = {"static_power": "static", "active_power": "active"}


def numbered(sources: Iterable[str]) -> Numbered:
    """Sources as `sltdeploy.machine.cited` writes them, numbered from 1 in order of first use."""
    return {
        source: Reference(i, clean(source.removesuffix(SECOND_HAND)), SECOND_HAND not in source)
        for i, source in enumerate(dict.fromkeys(sources), 1)
    }


def energy_section(estimate: Estimate, references: Numbered) -> EnergySection:
    """Terms, totals, baselines, break-even points and published workloads of one target."""
    rows = tuple(_term(t, estimate, references) for t in estimate.terms)
    spread, power = estimate.spread, estimate.average_power
    return EnergySection(
        target=clean(estimate.target),
        title=clean(estimate.title),
        status=estimate.status,
        refusal=clean(estimate.refusal or ""),
        total=span(estimate.total, "J"),
        static=_sum(estimate, "static"),
        dynamic=_sum(estimate, "dynamic"),
        active=_sum(estimate, "active"),
        rate=Value(estimate.rate_hz, "Hz"),
        power=span(power, "W"),
        battery=_lasting(power.nominal) if power is not None and _standing(estimate) else None,
        spread=() if spread is None else _spread(spread),
        terms=rows,
        baselines=tuple(_baseline(b, references) for b in estimate.baselines),
        anchors=tuple(_anchor(a, references) for a in estimate.anchors),
        notes=tuple(map(sentence, estimate.notes)),
    )


def break_even(estimates: Sequence[Estimate], references: Numbered) -> tuple[BreakEvenRow, ...]:
    """Break-even points of all estimates; one row for the targets on which the counts agree."""
    found: dict[BreakEven, list[str]] = {}
    for estimate in estimates:
        for item in estimate.break_even:
            found.setdefault(item, []).append(clean(estimate.target))
    points = list(dict.fromkeys((item.name, item.meaning) for item in found))
    return tuple(
        _break_even(item, "" if len(on) == len(estimates) else ", ".join(on), references)
        for item, on in sorted(found.items(), key=lambda i: points.index((i[0].name, i[0].meaning)))
    )


def span(found: Range | None, unit: str) -> Span | None:
    """``found`` with its unit."""
    return None if found is None else Span(found.low, found.nominal, found.high, unit)


def part(term: Term) -> Part:
    """Whether a term is drawn while nothing happens, by work, or both in one."""
    return PARTS.get(term.event, "dynamic")


def _spread(spread: Spread) -> tuple[Fact, ...]:
    # Samples that cost the same differ in the last bits of a sum: that is no spread.
    sd = spread.sd if spread.sd > 1e-9 * abs(spread.mean) else 0.0
    numbers = (spread.mean, sd, spread.p5, spread.p95)
    return tuple(Fact(n, Value(v, "J")) for n, v in zip(SPREAD, numbers, strict=True))


def _standing(estimate: Estimate) -> bool:
    """Whether the total says what the machine draws: its idle power is in it."""
    return any(
        t.energy is not None and t.energy.nominal and part(t) != "dynamic" for t in estimate.terms
    )


def _lasting(watts: float) -> Value | None:
    """How long 1 Wh lasts, as people say it: in minutes, hours or days."""
    if watts <= 0:
        return None
    hours = 1 / watts  # Wh / W
    if hours < 2:
        return Value(hours * 60, "minutes")
    return Value(hours, "hours") if hours < 100 else Value(hours / 24, "days")


def _sum(estimate: Estimate, wanted: Part) -> Span | None:
    priced = [t.energy for t in estimate.terms if t.energy is not None and part(t) == wanted]
    return span(reduce(add, priced), "J") if priced else None


def _term(term: Term, estimate: Estimate, references: Numbered) -> TermRow:
    price, total = term.price, estimate.total
    share = None
    if term.energy is not None and total is not None and total.nominal > 0:
        share = Value(term.energy.nominal / total.nominal, "share")
    return TermRow(
        name=clean(term.name),
        part=part(term),
        count=Value(term.count, clean(term.count_unit)),
        price=None if price is None else span(price.range, UNITS[price.unit][0]),
        grade="" if price is None else price.grade,
        energy=span(term.energy, "J"),
        share=share,
        detail=clean(term.note if term.energy is not None else term.reason),
        reference=None if price is None else references[price.reference].number,
    )


def _baseline(baseline: Baseline, references: Numbered) -> BaselineRow:
    return BaselineRow(
        name=clean(baseline.name),
        ac=Value(baseline.ac, "accumulations"),
        mac=Value(baseline.mac, "multiply-accumulates"),
        energy=span(baseline.energy, "J"),
        ratio=None if baseline.ratio is None else Value(baseline.ratio, "times"),
        note=clean(baseline.note),
        references=tuple(dict.fromkeys(references[p.reference].number for p in baseline.prices)),
    )


def _break_even(item: BreakEven, where: str, references: Numbered) -> BreakEvenRow:
    unit = clean(item.unit)
    return BreakEvenRow(
        name=clean(item.name),
        value=Value(item.value, unit),
        low=Value(item.low, unit),
        high=Value(item.high, unit),
        verdict=item.verdict,
        meaning=clean(item.meaning),
        where=where,
        reference=references[item.reference].number,
    )


def _anchor(anchor: Anchor, references: Numbered) -> AnchorRow:
    return AnchorRow(
        workload=clean(anchor.workload),
        values=tuple(
            (clean(what).replace("_", " "), clean(value)) for what, value in anchor.values.items()
        ),
        note=clean(anchor.note),
        reference=references[anchor.reference].number,
    )
