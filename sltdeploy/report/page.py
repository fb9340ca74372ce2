"""The report as one HTML file: no script, no network, same bytes for the same data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from math import log10
from typing import TYPE_CHECKING, Any

from sltdeploy.errors import InputError, MissingComponentError
from sltdeploy.report import plots, units
from sltdeploy.report.core_plot import CoreRow, Strip, cores
from sltdeploy.report.view import (
    EnergySection,
    FitSection,
    Part,
    PlacedRow,
    ReportData,
    Span,
    Tone,
    Value,
)

if TYPE_CHECKING:
    from markupsafe import Markup

WIDE, NARROW = 880, 360  # pixels: the page on a desk, and on a phone
LIMIT = 1_000_000  # bytes
PARTS: tuple[Part, ...] = ("static", "dynamic", "active")
PICTURED = 40  # more layers than this make no picture
TONES: Mapping[str, Tone] = {"complete": "good", "priced terms only": "warn", "refused": "warn"}


@dataclass(frozen=True)
class Picture:
    """The same picture for two widths of the page."""

    wide: "Markup"
    narrow: "Markup"


@dataclass(frozen=True)
class Place:
    """Where a range lies on a log axis, in percent of its length."""

    left: str
    width: str
    tick: str


def to_html(data: ReportData) -> bytes:
    """Write ``data`` as one self-contained HTML file, UTF-8, at most 1 MB.

    Every string of ``data`` is escaped. Raises `MissingComponentError` without jinja2 and
    matplotlib, and `InputError` where the file would exceed its limit.
    """
    try:
        import jinja2
    except ImportError as error:
        raise MissingComponentError(
            f'the report needs {error.name}: pip install "sltdeploy[report]"'
        ) from error
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FunctionLoader(_template),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(FILTERS)
    page = environment.get_template("report.html.j2").render(
        data=data, pictures=_pictures(data), css=_css()
    )
    written = page.encode()
    if len(written) > LIMIT:
        raise InputError(
            f"report: {len(written)} bytes, the limit is {LIMIT}: report fewer targets at once"
        )
    return written


def _template(name: str) -> str:
    return (files("sltdeploy.report") / "templates" / name).read_text("utf8")


def _css() -> "Markup":
    from markupsafe import Markup

    return Markup(_template("report.css"))


def _text(value: Value) -> str:
    return units.text(value.number, value.unit)


def _counted(value: Value) -> bool:
    """Whether the text of ``value`` lacks its unit, as it is a thing counted."""
    return value.unit not in (*units.SI, "share", "times")


def _alone(span: Span) -> str:
    return units.text(span.nominal, span.unit)


def _tone(status: str) -> Tone:
    return TONES.get(status, "plain")


def _texts(span: Span) -> tuple[str, ...]:
    """Low, nominal and high; one text where the three read the same."""
    if units.si(span.low, span.unit) == units.si(span.high, span.unit):
        return (_alone(span),)
    return units.span(span.low, span.nominal, span.high, span.unit)


def _parts(section: EnergySection) -> Iterator[tuple[Part, Span]]:
    for name in PARTS:
        found: Span | None = getattr(section, name)
        if found is not None:
            yield name, found


def _axis(section: EnergySection) -> tuple[float, float]:
    """Ends of the log axis on which a target's terms are drawn, in J."""
    spans = [s for s in (section.total, *(t.energy for t in section.terms)) if s is not None]
    shown = [x for s in spans for x in (s.low, s.nominal, s.high) if x > 0]
    return min(shown, default=1e-12), max(shown, default=1e-12)


def _placed(span: Span, axis: tuple[float, float]) -> Place:
    first, last = (log10(end) for end in axis)
    reach = (last - first) or 1.0

    def at(x: float) -> float:
        return 100 * (log10(max(x, axis[0])) - first) / reach

    left = at(span.low)
    return Place(f"{left:.2f}", f"{at(span.high) - left:.2f}", f"{at(span.nominal):.2f}")


FILTERS: Mapping[str, Any] = {
    "alone": _alone,
    "axis": _axis,
    "counted": _counted,
    "parts": _parts,
    "placed": _placed,
    "text": _text,
    "texts": _texts,
    "tone": _tone,
}


def _pictures(data: ReportData) -> Mapping[str, Any]:
    return {
        "ranges": _ranges(data),
        "rounds": _rounds(data),
        "layers": _layers(data),
        "cores": {f.target: _cores(f) for f in data.fits},
    }


def _ranges(data: ReportData) -> Picture | None:
    if not any(v.total for v in data.verdicts):
        return None
    wide = [_range(v.title, v.total) for v in data.verdicts]
    narrow = [_range(v.target, v.total) for v in data.verdicts]
    return _picture(plots.ranges(wide, WIDE), plots.ranges(narrow, NARROW))


def _range(label: str, total: Span | None) -> plots.Range:
    if total is None:
        return plots.Range(label, None, None, None, "no total")
    return plots.Range(label, total.low, total.nominal, total.high)


def _rounds(data: ReportData) -> Picture | None:
    if data.ticket is None:
        return None
    known = [
        (r.sparsity.number, r.accuracy.number, i == data.ticket.winner)
        for i, r in enumerate(data.ticket.rounds)
        if r.accuracy is not None
    ]
    winner = next((i for i, (_, _, won) in enumerate(known) if won), None)
    if winner is None or len(known) < 2:
        return None
    points = [(sparsity, accuracy) for sparsity, accuracy, _ in known]
    return _picture(plots.rounds(points, winner, WIDE), plots.rounds(points, winner, NARROW))


def _layers(data: ReportData) -> Picture | None:
    if data.counts is None or not 0 < len(data.counts.layers) <= PICTURED:
        return None
    rows = [
        plots.Bars(row.name, row.dense.number, row.unpruned.number, row.effective.number)
        for row in data.counts.layers
    ]
    return _picture(plots.layers(rows, WIDE), plots.layers(rows, NARROW))


def _cores(fit: FitSection) -> Picture | None:
    """How full each core is, of what a target with cores limits."""
    known = {k: c.limit.number for k, c in enumerate(fit.per_core) if c.limit is not None}
    if not known or not 0 < len(fit.layers) <= PICTURED:
        return None
    names = [fit.per_core[k].resource for k in known]
    strips = [tuple(_strip(row, k, limit) for k, limit in known.items()) for row in fit.layers]
    wide = [CoreRow(_with_cores(p), s) for p, s in zip(fit.layers, strips, strict=True)]
    narrow = [CoreRow(p.name, s) for p, s in zip(fit.layers, strips, strict=True)]
    return _picture(cores(names, wide, WIDE, fit.target), cores(names, narrow, NARROW, fit.target))


def _with_cores(row: PlacedRow) -> str:
    number = int(row.cores.number)
    return f"{row.name}, {number} core{'s' * (number != 1)}"


def _strip(row: PlacedRow, resource: int, limit: float) -> Strip:
    return Strip(tuple((int(r.cores.number), r.held[resource].number / limit) for r in row.runs))


def _picture(wide: str, narrow: str) -> Picture:
    from markupsafe import Markup

    return Picture(Markup(wide), Markup(narrow))
