"""The section on fit: what the network needs of a machine."""

from collections.abc import Iterator
from itertools import groupby

from sltdeploy.report.priced import Numbered
from sltdeploy.report.text import clean, sentence
from sltdeploy.report.units import percent
from sltdeploy.report.view import CoreLimit, CoreRun, FitSection, PlacedRow, UseRow, Value
from sltdeploy.resources import CoreUse, Fit, LayerFit, Resource

PER_CORE = {  # field of `CoreUse`: the resource in words, its unit
    "neurons": ("neurons", "neurons"),
    "synapse_words": ("synapse memory", "64-bit words"),
    "axons_in": ("axons in", "axons"),
    "axons_out": ("axons out", "axons"),
}


def fit_sources(fit: Fit) -> Iterator[str]:
    """The source of each limit that the section shows."""
    yield from (r.reference for r in fit.resources)


def fit_section(fit: Fit, references: Numbered) -> FitSection:
    """Walls, budgets and cores of one target."""
    return FitSection(
        target=clean(fit.target),
        title=clean(fit.title),
        fits=fit.fits,
        checked=bool(fit.resources),
        summary=_summary(fit),
        uses=tuple(_use(r, references) for r in fit.resources),
        layers=tuple(map(_placed, fit.layers)),
        per_core=tuple(
            CoreLimit(words, Value(fit.limits[name], unit) if name in fit.limits else None)
            for name, (words, unit) in PER_CORE.items()
        ),
        unchecked=tuple(map(clean, fit.unchecked)),
        basis=sentence(fit.basis) if fit.resources else "",
    )


def _summary(fit: Fit) -> str:
    """Sentences: whether it fits, what is nearest to its limit, and how many cores it takes."""
    if fit.exceeded:
        over = [
            f"{r.kind} '{clean(r.name)}' at {percent(r.share)} of its limit" for r in fit.exceeded
        ]
        return f"Does not fit: {', '.join(over)}.{_cores(fit)}"
    if fit.worst is None:
        return "This machine states no limit, so nothing was checked."
    worst, share = clean(fit.worst.name), percent(fit.worst.share)
    return f"Fits as far as checked; worst resource: {worst}, {share} of its limit.{_cores(fit)}"


def _cores(fit: Fit) -> str:
    """How many cores are predicted, where a machine has some."""
    if fit.chips is None:
        return ""
    cores = sum(fit.cores.values())
    chips = "" if fit.chips == 1 else f" on {fit.chips} chips of {fit.chip}"
    least = f", at least {fit.lower_bound} however it is cut" if fit.lower_bound else ""
    return f" Predicted: {cores} core{'s' * (cores != 1)}{chips}{least}."


def _placed(layer: LayerFit) -> PlacedRow:
    return PlacedRow(
        name=clean(layer.name),
        cut=clean(layer.cut),
        neurons=Value(layer.neurons, "neurons"),
        cores=Value(layer.cores, "cores"),
        fullest=_run(layer.fullest, 1),
        runs=tuple(_run(use, len(list(same))) for use, same in groupby(layer.used)),
    )


def _run(use: CoreUse, cores: int) -> CoreRun:
    held = (Value(getattr(use, name), unit) for name, (_, unit) in PER_CORE.items())
    return CoreRun(Value(cores, "cores"), tuple(held))


def _use(resource: Resource, references: Numbered) -> UseRow:
    unit = clean(resource.unit)
    return UseRow(
        resource=clean(resource.name),
        kind=resource.kind,
        where=clean(resource.where),
        used=Value(resource.used, unit),
        limit=Value(resource.limit, unit),
        share=Value(resource.share, "share"),
        reference=references[resource.reference].number,
    )
