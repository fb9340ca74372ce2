"""Frames around nested graphs, wherever nothing else stands between their boxes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sltdeploy.drawing.layout import Place
from sltdeploy.drawing.rows import BOX_H, BOX_W

LABEL = 13.0  # height of its name
MARGIN, PAD = 8.0, 5.0  # from boxes to a frame, from one frame to the next around it


@dataclass(frozen=True)
class Frame:
    """A frame around the boxes of ``group`` in one column."""

    group: str
    label: str  # without what the frame around it says
    column: int
    x: float
    y: float
    width: float
    height: float


def frames_of(boxes: Mapping[str, Place], within: Mapping[str, Sequence[str]]) -> tuple[Frame, ...]:
    """Frames of the groups that each box is ``within``, outermost first; outer frames first."""
    rows: dict[tuple[int, int], list[str]] = defaultdict(list)
    members: dict[tuple[str, int], list[str]] = defaultdict(list)
    levels: dict[str, int] = {}  # how many frames lie in this one
    outer: dict[str, Sequence[str]] = {}  # the groups around this one
    for name, place in boxes.items():
        rows[place.column, place.row].append(name)
        for k, group in enumerate(within[name]):
            members[group, place.column].append(name)
            levels[group] = max(levels.get(group, 0), len(within[name]) - k - 1)
            outer[group] = within[name][:k]
    found: dict[tuple[str, int], Frame] = {}
    for group, column in sorted(members, key=lambda key: (len(outer[key[0]]), key)):
        names = members[group, column]
        around = next(iter(outer[group][::-1]), "")
        label = group[len(around) + 1 :] if (around, column) in found else group
        frame = _around(group, label, [boxes[n] for n in names], levels[group])
        own = set(names)
        span = range(min(boxes[n].row for n in names), max(boxes[n].row for n in names) + 1)
        others = (n for row in span for n in rows[column, row] if n not in own)
        if not any(_beside(boxes[n], frame) for n in others):
            found[group, column] = frame
    return tuple(found.values())


def room(depth: int) -> tuple[float, float]:
    """Height that frames of ``depth`` levels need above a row and below it."""
    return (MARGIN + LABEL + (PAD + LABEL) * (depth - 1), MARGIN + PAD * (depth - 1))


def _around(group: str, label: str, places: Sequence[Place], level: int) -> Frame:
    left, right = min(p.x for p in places), max(p.x for p in places) + BOX_W
    top, bottom = min(p.y for p in places), max(p.y for p in places) + BOX_H
    above, below = room(level + 1)
    return Frame(
        group,
        label,
        places[0].column,
        left - below,
        top - above,
        right - left + 2 * below,
        bottom - top + above + below,
    )


def _beside(place: Place, frame: Frame) -> bool:
    return place.x < frame.x + frame.width and place.x + BOX_W > frame.x
