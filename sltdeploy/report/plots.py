"""The report's pictures: matplotlib SVG for use inside HTML, same bytes for the same input.

Each function returns ``<svg ...>...</svg>`` with text as text, no fonts, no ids but those it
refers to, and colours as CSS variables of the page, so that one picture serves light and dark.
Text goes through matplotlib's XML escaping, and ``$`` is an ordinary character.
"""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any

from sltdeploy.errors import MissingComponentError
from sltdeploy.report.units import count, percent, si

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that stand for CSS variables of the page until the SVG is written.
INK, MUTED, GRID = "#010000", "#020000", "#030000"
ACCENT, SOFT, FAINT = "#040000", "#050000", "#060000"
VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--rule)",
    ACCENT: "var(--accent)",
    SOFT: "var(--accent-soft)",
    FAINT: "var(--faint)",
}
STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 12.0,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 12.0,
    "axes.linewidth": 1.0,
    "axes.axisbelow": True,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.minor.visible": False,
    "lines.solid_capstyle": "butt",
    "text.color": INK,
}
DPI = 72.0  # one SVG unit is one CSS pixel
CHARACTER = 7.0  # pixels, about the widest mean of a label


@dataclass(frozen=True)
class Range:
    """One row of `ranges`: low, nominal, high in J; all None where nothing is priced."""

    label: str
    low: float | None
    nominal: float | None
    high: float | None
    note: str = ""


@dataclass(frozen=True)
class Bars:
    """One row of `layers`: operations per inference, dense, unpruned and effective."""

    label: str
    dense: float
    unpruned: float
    effective: float


def rounds(points: Sequence[tuple[float, float]], winner: int, width: int) -> str:
    """Accuracy against sparsity (both shares of 1), one point a round; ``winner`` is marked."""

    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

        kept = [max(1 - sparsity, 1e-6) for sparsity, _ in points]
        heights = [accuracy * 100 for _, accuracy in points]
        axes.set_xscale("log")
        axes.plot(kept, heights, color=ACCENT, linewidth=1.6, marker="o", markersize=4.5)
        axes.plot(kept[winner], heights[winner], "o", markersize=11, mfc="none", mec=ACCENT)
        low, high = min(heights), max(heights)
        room = max(high - low, 1.0)
        axes.set_ylim(low - 0.36 * room, high + 0.2 * room)
        axes.set_xlim(max(kept) * 1.12, min(kept) / 1.35)
        sparsity, accuracy = points[winner]
        axes.annotate(  # below every point, so that no line runs through it
            f"ticket: {percent(sparsity)} pruned, {percent(accuracy)} correct",
            (kept[winner], low - 0.22 * room),
            xytext=(6, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            color=ACCENT,
        )
        ticks = [
            s for s in (0, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.999) if 1 - s >= min(kept) / 1.3
        ]
        axes.xaxis.set_major_locator(FixedLocator([1 - s for s in ticks]))
        axes.xaxis.set_major_formatter(FixedFormatter([percent(s) for s in ticks]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(_percent)
        axes.set_xlabel("weights pruned (log scale of what remains)")
        axes.set_ylabel("accuracy")
        axes.grid(color=GRID, linewidth=0.7)
        bare(axes, "left", "bottom")

    return drawn("rounds", width, 250, draw, left=64, right=14, top=12, bottom=46)


def layers(rows: Sequence[Bars], width: int) -> str:
    """Operations of each layer: dense, as if unpruned, and effective, on one linear axis."""
    margin = label_width([row.label for row in rows], width)

    def draw(axes: "Axes") -> None:
        places = range(len(rows))
        longest = max((max(r.dense, r.unpruned) for r in rows), default=0) or 1.0
        axes.barh(places, [r.dense for r in rows], height=0.66, color=FAINT)
        axes.barh(places, [r.unpruned for r in rows], height=0.66, color=SOFT)
        axes.barh(places, [r.effective for r in rows], height=0.66, color=ACCENT)
        for place, row in enumerate(rows):
            axes.text(
                max(row.dense, row.unpruned) + 0.012 * longest,
                place,
                count(row.effective),
                va="center",
                color=INK,
            )
        axes.set_xlim(0, longest * (1.0 + 68 / max(width - margin, 120)))
        axes.set_ylim(len(rows) - 0.4, -0.6)
        label_rows(axes, [r.label for r in rows], width, margin)
        axes.locator_params(axis="x", nbins=5 if width > 480 else 3)
        axes.xaxis.set_major_formatter(_count)
        axes.set_xlabel("operations per inference")
        axes.grid(axis="x", color=GRID, linewidth=0.7)
        bare(axes, "bottom")

    return drawn("layers", width, 52 + 27 * len(rows), draw, left=margin, right=6, top=4, bottom=44)


def ranges(rows: Sequence[Range], width: int) -> str:
    """Energies in J on a log axis: low to high as a bar, nominal as a line; else the note."""
    margin = label_width([row.label for row in rows], width)
    numbers = [x for r in rows for x in (r.low, r.nominal, r.high) if x is not None and x > 0]
    first = floor(log10(min(numbers, default=1e-9)) + 1e-9)
    last = max(first + 1, ceil(log10(max(numbers, default=1e-6)) - 1e-9))

    def draw(axes: "Axes") -> None:
        from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

        axes.set_xscale("log")
        axes.set_xlim(10.0**first / 1.15, 10.0**last * 1.15)
        for place, row in enumerate(rows):
            if row.nominal is None or row.low is None or row.high is None or row.nominal <= 0:
                axes.text(10.0**first, place, row.note, va="center", color=MUTED, style="italic")
                continue
            low = max(row.low, 10.0**first)
            axes.barh(place, row.high - low, left=low, height=0.42, color=SOFT)
            axes.plot([row.nominal] * 2, [place - 0.33, place + 0.33], color=ACCENT, linewidth=2.4)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        label_rows(axes, [r.label for r in rows], width, margin)
        every = ceil((last - first + 1) * 68 / max(width - margin, 120))
        decades = range(first, last + 1, every)
        axes.xaxis.set_major_locator(FixedLocator([10.0**d for d in decades]))
        axes.xaxis.set_major_formatter(FixedFormatter([si(10.0**d, "J", 1) for d in decades]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("energy per inference (log scale)")
        axes.grid(axis="x", color=GRID, linewidth=0.7)
        bare(axes, "bottom")

    return drawn(
        "ranges", width, 52 + 30 * len(rows), draw, left=margin, right=16, top=4, bottom=44
    )


def drawn(
    name: str,
    width: int,
    height: int,
    draw: Callable[["Axes"], None],
    *,
    left: float,
    right: float,
    top: float,
    bottom: float,
) -> str:
    """Draw on axes with margins in pixels; ids are salted so that pictures share none."""
    try:
        from matplotlib import style
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingComponentError(
            f'the report needs {error.name}: pip install "sltdeploy[report]"'
        ) from error
    context: dict[str, Any] = {**STYLE, "svg.hashsalt": f"sltdeploy-{name}-{width}"}
    # "default" first, so that a user's matplotlibrc does not change the bytes.
    with style.context(["default", context]), warnings.catch_warnings():
        # The reader's browser has the glyphs that the measuring font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
        axes = figure.add_axes(
            (
                left / width,
                bottom / height,
                (width - left - right) / width,
                (height - top - bottom) / height,
            )
        )
        figure.patch.set_visible(False)
        axes.patch.set_visible(False)
        draw(axes)
        return _for_html(_written(figure), width, height)


def _written(figure: "Figure") -> str:
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing)
    return buffer.getvalue()


def _for_html(svg: str, width: int, height: int) -> str:
    """Only what a page needs: no prolog, style sheet, namespaces, fonts or idle ids."""
    body = svg[svg.index("<g ") : svg.rindex("</svg>")]
    body = body.replace("xlink:href", "href")
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', body))
    body = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", body)
    body = re.sub(r" font-family: [^;\"]*;?", "", body)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, variable)
    body = re.sub(r"\s*\n\s*", " ", body).replace("> <", "><")
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}">{body}</svg>'


def _percent(tick: float, _: float) -> str:
    return percent(tick / 100)


def _count(tick: float, _: float) -> str:
    return count(tick)


def bare(axes: "Axes", *shown: str) -> None:
    """Leave only the axes that are ``shown``, without ticks."""
    for side in ("left", "right", "top", "bottom"):
        axes.spines[side].set_visible(side in shown)
    axes.tick_params(axis="x", length=0, pad=6)
    if "left" in shown:
        axes.tick_params(axis="y", length=0, pad=6)


def label_rows(axes: "Axes", labels: Sequence[str], width: int, margin: float) -> None:
    """Write row labels from the left edge of the picture on, in line with the page's text."""
    axes.set_yticks(range(len(labels)), [_short(label, width) for label in labels], ha="left")
    axes.tick_params(axis="y", length=0, pad=margin, labelcolor=INK)


def label_width(labels: Sequence[str], width: int) -> float:
    """Pixels for the labels at the left, at most 40 % of the picture."""
    longest = max((len(_short(label, width)) for label in labels), default=0)
    return min(0.42 * width, 14 + CHARACTER * longest)


def _short(label: str, width: int) -> str:
    """``label`` cut in the middle where it would fill more than its share of ``width``."""
    most = int((0.42 * width - 14) / CHARACTER)
    if len(label) <= most:
        return label
    head = (most - 1) // 2
    return f"{label[:head]}…{label[len(label) - (most - 1 - head) :]}"
