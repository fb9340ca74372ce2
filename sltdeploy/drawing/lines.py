"""Edges as SVG paths, and their arrowheads."""

from collections.abc import Iterator

from sltdeploy.drawing.layout import Layout, Point, Route
from sltdeploy.drawing.style import escaped, px
from sltdeploy.inspection import Edge, Inspection

ROUND = 6.0  # radius of a line's corners


def line(edge: Edge, route: Route) -> str:
    """Draw an edge; its tooltip says from where to where."""
    if route.shape == "loop":
        (x, y), (_, end) = route.points
        path = f"M{px(x)} {px(y)}c20 6 20 {px(end - y - 6)} 0 {px(end - y)}"
    elif route.shape == "curve":
        (x, y), (to, end) = route.points
        half = px((y + end) / 2)
        path = f"M{px(x)} {px(y)}C{px(x)} {half} {px(to)} {half} {px(to)} {px(end)}"
    else:
        path = _rounded(route.points)
    what = ", one step later" if edge.recurrent else ""
    title = escaped(f"{edge.source} \u2192 {edge.target}{what}")
    return f'<path class="{kind_of(edge)}" d="{path}"><title>{title}</title></path>'


def kind_of(edge: Edge) -> str:
    """Class of an edge: late, back or edge."""
    return "late" if edge.recurrent else "back" if edge.back else "edge"


def _rounded(points: tuple[Point, ...]) -> str:
    """Straight lines along the corners, with the corners rounded."""
    corners = [p for k, p in enumerate(points) if k == 0 or p != points[k - 1]]
    parts = [f"M{px(corners[0][0])} {px(corners[0][1])}"]
    for before, at, after in zip(corners, corners[1:], corners[2:], strict=False):
        radius = min(ROUND, _far(before, at) / 2, _far(at, after) / 2)
        (x0, y0), (x1, y1) = _toward(at, before, radius), _toward(at, after, radius)
        parts.append(f"L{px(x0)} {px(y0)}Q{px(at[0])} {px(at[1])} {px(x1)} {px(y1)}")
    return "".join((*parts, f"L{px(corners[-1][0])} {px(corners[-1][1])}"))


def _far(a: Point, b: Point) -> float:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])  # one of the two is 0


def _toward(start: Point, end: Point, by: float) -> Point:
    share = by / max(_far(start, end), 1e-9)
    return (start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share)


def tips(view: Inspection, layout: Layout) -> Iterator[str]:
    """Arrowheads, one where several lines end in one point."""
    found = {
        (r.points[-1], r.shape == "loop", kind_of(e)): None
        for e, r in zip(view.edges, layout.routes, strict=True)
    }
    for (x, y), loop, kind in found:
        wings = "l7 -4.5v9z" if loop else "l-4.5 -7h9z"
        yield f'<path class="tip {kind}" d="M{px(x)} {px(y)}{wings}"/>'
