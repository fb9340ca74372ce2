"""The section on fit: what the network needs of a machine."""

from collections.abc import Iterator

from sltdeploy.report.priced import Numbered
from sltdeploy.report.text import clean, sentence
from sltdeploy.report.units import percent
from sltdeploy.report.view import FitSection, PlacedRow, UseRow, Value
from sltdeploy.resources import Fit, LayerFit, Resource


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
        unchecked=tuple(map(clean, fit.unchecked)),
        basis=sentence(fit.basis) if fit.resources else "",
    )


def _summary(fit: Fit) -> str:
    """A sentence: whether it fits, and what is nearest to its limit."""
    if fit.exceeded:
        over = [
            f"{r.kind} '{clean(r.name)}' at {percent(r.share)} of its limit" for r in fit.exceeded
        ]
        return f"Does not fit: {', '.join(over)}."
    if fit.worst is None:
        return "This machine states no limit, so nothing was checked."
    worst, share = clean(fit.worst.name), percent(fit.worst.share)
    return f"Fits as far as checked; worst resource: {worst}, {share} of its limit."


def _placed(layer: LayerFit) -> PlacedRow:
    return PlacedRow(
        name=clean(layer.name),
        cut=clean(layer.cut),
        neurons=Value(layer.neurons, "neurons"),
        cores=Value(layer.cores, "cores"),
        neurons_per_core=Value(layer.neurons_per_core, "neurons"),
        memory_per_core=Value(layer.synapse_bits_per_core, "bits"),
    )


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
