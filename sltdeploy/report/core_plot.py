"""How full the cores are: a strip for each layer and resource, its cores from left to right."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from sltdeploy.report.plots import (
    ACCENT,
    FAINT,
    INK,
    MUTED,
    bare,
    drawn,
    label_rows,
    label_width,
)
from sltdeploy.report.units import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW, HEAD, FOOT = 34, 30, 6  # pixels: a layer, the resources' names, and what is below
GAP, TEXT = 12, 46  # pixels between strips, and for the share behind one
HEIGHT = 0.62  # of a strip, in rows
LEAST = 1.5  # pixels that a bar of anything is high
NARROWEST = 1.0  # pixels that a core's bar always has
WIDEST = 14.0  # and what it has at most, so that one core is no wall


@dataclass(frozen=True)
class Strip:
    """One resource of one layer: runs of cores, each so many of the same share of the limit."""

    runs: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class CoreRow:
    """One layer: its name, and a strip for each resource."""

    label: str
    strips: tuple[Strip, ...]


def cores(resources: Sequence[str], rows: Sequence[CoreRow], width: int, name: str) -> str:
    """Used share of each core by layer and resource; a strip is as high as the limit.

    ``name`` tells the pictures of one page apart.
    """
    left = label_width([row.label for row in rows], width)
    text = TEXT if (width - left) / len(resources) > 2 * TEXT else 0
    pitch = (width - left + GAP) / len(resources)
    strip = pitch - GAP - text

    def draw(axes: "Axes") -> None:
        axes.set_xlim(0, width - left)
        axes.set_ylim(len(rows) - 0.5, -0.5 - HEAD / ROW)
        for column, resource in enumerate(resources):
            start = column * pitch
            axes.text(start, -0.55, resource if text else _initial(resource), color=MUTED)
            for place, row in enumerate(rows):
                _draw_strip(axes, row.strips[column], start, place, strip)
                if text:
                    most = max((share for _, share in row.strips[column].runs), default=0.0)
                    end = start + strip + 5
                    axes.text(end, place, percent(most, 2), va="center", color=INK)
        label_rows(axes, [r.label for r in rows], width, left)
        axes.set_xticks([])
        bare(axes)

    height = HEAD + ROW * len(rows) + FOOT
    return drawn(f"cores-{name}", width, height, draw, left=left, right=0, top=0, bottom=FOOT)


def _draw_strip(axes: "Axes", strip: Strip, start: float, place: int, length: float) -> None:
    number = sum(cores for cores, _ in strip.runs)
    each = min(WIDEST, length / max(number, 1))
    bottom = place + HEIGHT / 2
    axes.fill_between([start, start + length], bottom, bottom - HEIGHT, color=FAINT, linewidth=0)
    ends = [0, *accumulate(cores for cores, _ in strip.runs)]
    # With room enough a gap tells cores apart; else they join in one outline.
    gap = 1.0 if each >= 4 else 0.0
    for begin, (count, share) in zip(ends, strip.runs, strict=False):
        top = bottom - max(HEIGHT * min(share, 1.0), LEAST / ROW if share else 0.0)
        singles = range(begin, begin + count) if gap else (begin,)
        broad = each - gap if gap else max(each * count, NARROWEST)
        for core in singles:
            at = start + core * each
            axes.fill_between([at, at + broad], bottom, top, color=ACCENT, linewidth=0)


def _initial(resource: str) -> str:
    """The last word, where columns are narrow."""
    return resource.split()[-1]
