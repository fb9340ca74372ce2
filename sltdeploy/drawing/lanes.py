"""Lanes beside columns and tracks between rows: how the longer lines run."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np

from sltdeploy.drawing.rows import AWAY, BOX_H, BOX_W, GAP, Cell, Link

LANE, TRACK = 8.0, 7.0  # from one to the next
STUB, TIP = 9.0, 16.0  # from a box to its first track, below and above it
PORT, BACK_PORT = 20.0, 40.0  # off the middle of a box: where lines of lanes go in and out

_T = TypeVar("_T")
Side: TypeAlias = Literal[-1, 1]
Gap: TypeAlias = int  # gap r lies above row r


class Trunk(NamedTuple):
    """A lane at one side of a column for all that leaves ("s") or enters ("t") a node."""

    column: int
    side: Side
    back: bool
    end: Literal["s", "t"]
    node: str


class Track(NamedTuple):
    """A horizontal line in a gap, from boxes to a trunk's lane or from there to boxes."""

    gap: Gap
    trunk: Trunk
    leaving: bool


@dataclass(frozen=True)
class Lead:
    """How one link runs: its trunk, and the gaps where it leaves and enters."""

    link: Link
    trunk: Trunk
    leaves: Gap
    enters: Gap

    @property
    def tracks(self) -> tuple[Track, Track]:
        """Where it leaves and where it enters: one track, where both ends meet in one gap."""
        out = Track(self.leaves, self.trunk, True)
        return out, (out if self.enters == self.leaves else Track(self.enters, self.trunk, False))

    def port(self, middle: float) -> float:
        """Where the line meets a box whose middle is at x = ``middle``."""
        return middle + self.trunk.side * (BACK_PORT if self.link.back else PORT)


def leads_of(links: Sequence[Link], cells: Mapping[str, Cell]) -> dict[int, Lead]:
    """How the links run that are neither to the next row nor to themselves, by place in links."""
    long = {
        k: link
        for k, link in enumerate(links)
        if link.source != link.target and not _next(link, cells)
    }
    out = Counter((link.source, link.back) for link in long.values())
    into = Counter((link.target, link.back) for link in long.values())
    leads: dict[int, Lead] = {}
    for k, link in long.items():
        a, b = cells[link.source], cells[link.target]
        many = into[link.target, link.back] > out[link.source, link.back]
        node = link.target if many else link.source
        beside = cells[node].off if a.column == b.column else 0.0
        side: Side = 1 if b.column > a.column or (b.column == a.column and beside > 0) else -1
        if a.column == b.column and link.back and beside == 0:
            side = 1  # loops on the right, unless their box stands on the left
        trunk = Trunk(a.column, side, link.back, "t" if many else "s", node)
        leads[k] = Lead(link, trunk, a.row + 1, b.row)
    return leads


def _next(link: Link, cells: Mapping[str, Cell]) -> bool:
    a, b = cells[link.source], cells[link.target]
    return not link.back and a.column == b.column and b.row == a.row + 1


def across(
    cells: Mapping[str, Cell], leads: Iterable[Lead]
) -> tuple[list[float], dict[Trunk, float], float]:
    """Middle of each column, x of each lane, and the width of it all."""
    spans: dict[Trunk, list[int]] = defaultdict(list)
    for lead in leads:
        spans[lead.trunk] += [_height(track) for track in lead.tracks]
    beside: dict[tuple[int, Side], dict[Trunk, list[int]]] = defaultdict(dict)
    for trunk, heights in spans.items():
        beside[trunk.column, trunk.side][trunk] = heights
    standing: dict[int, list[Cell]] = defaultdict(list)
    for c in cells.values():
        standing[c.column].append(c)
    rows = max(c.row for c in cells.values()) + 1
    columns: list[float] = []
    lanes: dict[Trunk, float] = {}
    x = 0.0
    for column in sorted(standing):
        reach = {side: _reach(standing[column], side, rows) for side in (-1, 1)}
        off = {side: _off(beside.get((column, side), {}), reach[side]) for side in (-1, 1)}
        wide = {s: max([*reach[s], *(o + AWAY for o in off[s].values())]) for s in (-1, 1)}
        x += wide[-1]
        columns.append(x)
        lanes |= {t: x - o for t, o in off[-1].items()} | {t: x + o for t, o in off[1].items()}
        x += wide[1]
    return columns, lanes, x


def _height(track: Track) -> int:
    """Order from top to bottom: row r is 3 r + 2, in the gap above it lines leave, then enter."""
    return 3 * track.gap + (0 if track.leaving else 1)


def _reach(cells: Sequence[Cell], side: Side, rows: int) -> list[float]:
    """How far from the middle of its column a lane must stay, at each height."""
    reach = [AWAY] * (3 * rows + 2)
    for c in cells:
        for height in range(3 * c.row, 3 * c.row + 5):  # the row with the gaps around it
            reach[height] = max(reach[height], side * c.off + BOX_W / 2 + AWAY)
    return reach


def _off(spans: Mapping[Trunk, Sequence[int]], reach: Sequence[float]) -> dict[Trunk, float]:
    """How far from the middle of its column each lane runs; short ones are nearest."""
    free = np.array(reach)
    off: dict[Trunk, float] = {}
    for trunk in sorted(spans, key=lambda t: (max(spans[t]) - min(spans[t]), min(spans[t]))):
        low, high = min(spans[trunk]), max(spans[trunk]) + 1
        off[trunk] = float(free[low:high].max())
        free[low:high] = off[trunk] + LANE
    return off


def down(
    cells: Mapping[str, Cell],
    leads: Iterable[Lead],
    middle: Mapping[str, float],
    lanes: Mapping[Trunk, float],
    frames: tuple[float, float],
) -> tuple[dict[Track, float], list[float], float]:
    """Heights: of each track, of each row's upper edge, and of it all.

    ``frames`` is the room that frames need above rows and below them.
    """
    ends: dict[Track, list[float]] = defaultdict(list)
    for lead in leads:
        out, into = lead.tracks
        ends[out] += [lead.port(middle[lead.link.source]), lanes[lead.trunk]]
        ends[into] += [lead.port(middle[lead.link.target]), lanes[lead.trunk]]
    stacks: dict[tuple[Gap, bool], dict[Track, tuple[float, float]]] = defaultdict(dict)
    for track, xs in ends.items():
        stacks[track.gap, track.leaving][track] = (min(xs), max(xs))
    levels = {key: _stacked(some) for key, some in stacks.items()}
    rows = max(c.row for c in cells.values()) + 1
    tracks: dict[Track, float] = {}
    tops: list[float] = []
    y = 0.0
    for gap in range(rows + 1):
        out, into = levels.get((gap, True), {}), levels.get((gap, False), {})
        above = STUB + TRACK * max(out.values(), default=0) if out else 0.0
        below = TIP + TRACK * max(into.values(), default=0) if into else 0.0
        least = frames[0] if gap == 0 else frames[1] if gap == rows else max(GAP, sum(frames))
        height = max(least, above + below + (TRACK if out or into else 0.0))
        tracks |= {t: y + STUB + TRACK * k for t, k in out.items()}
        tracks |= {t: y + height - TIP - TRACK * k for t, k in into.items()}
        y += height
        if gap < rows:
            tops.append(y)
            y += BOX_H
    return tracks, tops, y


def _stacked(spans: Mapping[_T, tuple[float, float]]) -> dict[_T, int]:
    """Level of each span, so that those of one level are apart; short ones lie lowest."""
    stops = np.unique([end for span in spans.values() for end in span])
    floor = np.zeros(len(stops), int)
    levels: dict[_T, int] = {}
    for key in sorted(spans, key=lambda k: (spans[k][1] - spans[k][0], spans[k])):
        low, high = np.searchsorted(stops, spans[key])
        levels[key] = int(floor[low : high + 1].max())
        floor[low : high + 1] = levels[key] + 1
    return levels
