"""Where a drawing puts boxes and lines, in pixels; what they mean is `sltdeploy.drawing`'s.

Boxes stand in rows by their longest path from the inputs; wide rows are split, and long graphs
wrap into columns like text. An edge to the next row is a curve in the gap between. Every other
edge runs in a lane beside its column, reached through the gaps, which hold no boxes: it leaves
and enters by horizontal tracks. Edges of one source (or into one target, where more meet there)
share lane and tracks. Time and space grow with n log n, and with the edges times the number of
rows in a column, which is about the root of their number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from sltdeploy.drawing.lanes import Lead, Track, Trunk, across, down, leads_of
from sltdeploy.drawing.rows import BOX_H, BOX_W, Link, cells_of

Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Place:
    """Row and column of a box, its place in the row, and its upper left corner."""

    column: int
    row: int
    x: float
    y: float


@dataclass(frozen=True)
class Route:
    """The line of one edge, in its order: corners, or the two ends of a ``curve``."""

    points: tuple[Point, ...]
    shape: Literal["curve", "corners", "loop"]


@dataclass(frozen=True)
class Layout:
    """Boxes by name, a route for each link, and the size of it all."""

    boxes: Mapping[str, Place]
    routes: tuple[Route, ...]
    width: float
    height: float


def lay_out(
    names: Sequence[str],
    links: Sequence[Link],
    groups: Mapping[str, str],
    frames: tuple[float, float] = (0.0, 0.0),
) -> Layout:
    """Place ``names``, given in an order in which all links but those back lead forward.

    Boxes of one of ``groups`` (name: group) stay together within their row. ``frames`` is the
    room to leave above and below rows.
    """
    cells = cells_of(names, links, groups)
    leads = leads_of(links, cells)
    columns, lanes, width = across(cells, leads.values())
    middle = {n: columns[c.column] + c.off for n, c in cells.items()}
    tracks, tops, height = down(cells, leads.values(), middle, lanes, frames)
    boxes = {
        n: Place(c.column, c.row, middle[n] - BOX_W / 2, tops[c.row]) for n, c in cells.items()
    }
    routes = tuple(_route(k, li, boxes, leads, lanes, tracks) for k, li in enumerate(links))
    return Layout(boxes, routes, width, height)


def _route(
    k: int,
    link: Link,
    boxes: Mapping[str, Place],
    leads: Mapping[int, Lead],
    lanes: Mapping[Trunk, float],
    tracks: Mapping[Track, float],
) -> Route:
    a, b = boxes[link.source], boxes[link.target]
    if link.source == link.target:
        right, y = a.x + BOX_W, a.y + BOX_H / 2
        return Route(((right, y + 12), (right, y - 12)), "loop")
    if k not in leads:
        return Route(((a.x + BOX_W / 2, a.y + BOX_H), (b.x + BOX_W / 2, b.y)), "curve")
    lead = leads[k]
    x = lanes[lead.trunk]
    out, into = (tracks[t] for t in lead.tracks)
    start, end = lead.port(a.x + BOX_W / 2), lead.port(b.x + BOX_W / 2)
    corners = ((start, a.y + BOX_H), (start, out), (x, out), (x, into), (end, into), (end, b.y))
    return Route(corners, "corners")
