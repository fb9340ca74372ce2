"""Rows and columns of boxes: who stands where, before there are any lines."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isqrt, sqrt

import numpy as np

from sltdeploy.program import Array

BOX_W, BOX_H = 176.0, 60.0
BESIDE = 32.0  # between boxes of a row
STEP = BOX_W + BESIDE
GAP = 36.0  # between rows, where no track runs
AWAY = 22.0  # from a column to its first lane
ROWS = 12  # graphs of fewer rows are one column
ASPECT = 1.5


@dataclass(frozen=True)
class Link:
    """An edge to lay; ``back`` edges do not move their target down."""

    source: str
    target: str
    back: bool = False


@dataclass(frozen=True)
class Cell:
    """Column and row of a box; ``off`` is its middle, from the middle of its column."""

    column: int
    row: int
    off: float


def cells_of(
    names: Sequence[str], links: Sequence[Link], groups: Mapping[str, str]
) -> dict[str, Cell]:
    """Find the cell of each name; see `sltdeploy.drawing.layout.lay_out`."""
    rows = _rows(names, links, groups)
    starts = _columns(rows, links)
    offs = _offs(rows, links)
    return {
        name: Cell(column, k, offs[name])
        for column, (start, end) in enumerate(zip(starts, [*starts[1:], len(rows)], strict=True))
        for k, row in enumerate(rows[start:end])
        for name in row
    }


def _rows(
    names: Sequence[str], links: Sequence[Link], groups: Mapping[str, str]
) -> list[list[str]]:
    before: dict[str, list[str]] = {n: [] for n in names}
    after: dict[str, list[str]] = {n: [] for n in names}
    for link in links:
        if not link.back:
            before[link.target].append(link.source)
            after[link.source].append(link.target)
    rank: dict[str, int] = {}
    for name in names:
        rank[name] = max((rank[s] + 1 for s in before[name]), default=0)
    for name in names:  # what starts a branch stands just above it
        if not before[name] and after[name]:
            rank[name] = min(rank[t] for t in after[name]) - 1
    layers: list[list[str]] = [[] for _ in range(max(rank.values()) + 1)]
    for name in names:
        layers[rank[name]].append(name)
    _untangle(layers, before, after, groups)
    widest = max(8, isqrt(len(names)) // 2)
    return [
        layer[k : k + widest] for layer in layers if layer for k in range(0, len(layer), widest)
    ]


def _untangle(
    layers: list[list[str]],
    before: Mapping[str, Sequence[str]],
    after: Mapping[str, Sequence[str]],
    groups: Mapping[str, str],
) -> None:
    """Order each layer by the mean place of its neighbours: fewer lines cross."""
    at = {n: k - (len(layer) - 1) / 2 for layer in layers for k, n in enumerate(layer)}
    for near, sweep in ((before, layers), (after, layers[::-1]), (before, layers)):
        for layer in sweep:
            if len(layer) < 2:
                continue
            mean = {
                n: sum(at[s] for s in near[n]) / len(near[n]) if near[n] else at[n] for n in layer
            }
            together: dict[str, list[str]] = defaultdict(list)
            for n in layer:
                together[groups.get(n, "") or n].append(n)
            blocks = [
                (sum(mean[n] for n in block) / len(block), k, sorted(block, key=mean.__getitem__))
                for k, block in enumerate(together.values())
            ]
            layer[:] = [n for _, _, block in sorted(blocks) for n in block]
            at |= {n: k - (len(layer) - 1) / 2 for k, n in enumerate(layer)}


def _offs(rows: list[list[str]], links: Sequence[Link]) -> dict[str, float]:
    """Middle of each box: below its sources where that is possible; a lone box in the middle."""
    number = {n: k for k, row in enumerate(rows) for n in row}
    near: dict[tuple[str, int], list[str]] = defaultdict(list)
    for link in links:
        if not link.back and number[link.target] == number[link.source] + 1:
            near[link.target, -1].append(link.source)
            near[link.source, 1].append(link.target)
    offs = {n: (k - (len(row) - 1) / 2) * STEP for row in rows for k, n in enumerate(row)}
    half = (max(map(len, rows)) - 1) / 2 * STEP
    for toward in (-1, 1, -1):
        for row in rows[::-toward]:
            if len(row) > 1:
                wish = [_mean([offs[s] for s in near[n, toward]] or [offs[n]]) for n in row]
                offs |= dict(zip(row, _apart(wish, half), strict=True))
    return offs


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _apart(wish: Sequence[float], half: float) -> list[float]:
    """Nearest values to ``wish`` (least squares) that keep its order and `STEP` between them.

    They stay within ``half`` of 0, where there is room for all.
    """
    blocks: list[tuple[float, int]] = []  # mean wish of boxes that touch, their number
    for k, x in enumerate(wish):
        mean, size = x - k * STEP, 1
        while blocks and blocks[-1][0] >= mean:
            other, many = blocks.pop()
            mean, size = (mean * size + other * many) / (size + many), size + many
        blocks.append((mean, size))
    flat = [mean for mean, size in blocks for _ in range(size)]
    most = half - (len(wish) - 1) * STEP
    return [min(max(x, -half), most) + k * STEP for k, x in enumerate(flat)]


def _columns(rows: list[list[str]], links: Sequence[Link]) -> list[int]:
    """First row of each column: about `ASPECT` in all, cut where few lines pass."""
    if len(rows) <= ROWS:
        return [0]
    widest = max(map(len, rows)) * STEP + AWAY
    most = max(ROWS, ceil(sqrt(len(rows) * widest / (ASPECT * (BOX_H + GAP)))))
    number = {n: k for k, row in enumerate(rows) for n in row}
    reach = {n: (k, k) for n, k in number.items()}  # rows that lines from a box span
    passing = np.zeros((len(rows) + 1, 2), int)  # sources and lines that a cut here would meet
    for link in links:
        (low, high), k = reach[link.source], number[link.target]
        reach[link.source] = (min(low, k), max(high, k))
        _span(passing, 1, *sorted((number[link.source], k)))
    for low, high in reach.values():
        _span(passing, 0, low, high)
    passing = passing.cumsum(axis=0)
    starts = [0]
    while starts[-1] + most < len(rows):
        cuts = range(starts[-1] + most - most // 4, starts[-1] + most + 1)
        starts.append(min(cuts, key=lambda k: (*passing[k], -k)))
    return starts


def _span(changes: Array, kind: int, low: int, high: int) -> None:
    """Note where something that reaches from row ``low`` to ``high`` begins and ends."""
    changes[low + 1, kind] += 1
    changes[high + 1, kind] -= 1
