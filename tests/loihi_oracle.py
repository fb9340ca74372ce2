"""Loihi's integers written again: whole numbers of Python, spike by spike, synapse by synapse.

Shares no arithmetic with sltdeploy: each projection becomes a list of synapses, filled tap by
tap; what a neuron sends travels along each of them by itself. Slow, for small networks.
"""

from collections import defaultdict
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Row: TypeAlias = dict[int, int]  # weights of what reaches one place, by where they come from
Shape: TypeAlias = tuple[int, ...]

TOP = 2**23


@dataclass(eq=False)
class Cell:
    """u and v of one population, for one sample."""

    u: list[int]
    v: list[int]


class Oracle:
    """Runs a "loihi" program on integers x by input name, each (T, B, *shape).

    Afterwards ``sent`` and ``membranes`` (after the step, neurons only) hold (T, B, *shape) by
    name; ``wraps`` and ``clips`` count how often u went around and v was stopped.
    """

    def __init__(self, program: Any, x: dict[str, Array]) -> None:
        self.program = program
        self.wraps = self.clips = 0
        self.shapes: dict[str, Shape] = {p.name: p.shape for p in program.populations}
        self.synapses = [_by_source(q, self.shapes) for q in program.projections]
        self.neurons = {p.name for p in program.populations if _kind(p) == "LoihiNeuron"}
        steps, batch = next(iter(x.values())).shape[:2]
        self.sent: dict[str, Array] = {
            n: np.zeros((steps, batch, *shape), np.int64) for n, shape in self.shapes.items()
        }
        self.membranes = {n: np.zeros_like(self.sent[n]) for n in self.neurons}
        for b in range(batch):
            self._run({n: values[:, b] for n, values in x.items()}, steps, b)

    def _run(self, x: dict[str, Array], steps: int, b: int) -> None:
        # (step, projection) -> what it brings, by place in its target
        self.inbox: dict[tuple[int, int], Row] = defaultdict(lambda: defaultdict(int))
        # (step, line) -> what leaves a delay line, by place
        self.line: dict[tuple[int, str], Row] = defaultdict(dict)
        cells = {p.name: _cell(p) for p in self.program.populations if p.name in self.neurons}
        for t in range(steps):
            late: list[Any] = []
            for p in self.program.populations:
                match _kind(p):
                    case "Input":
                        values = [int(v) for v in x[p.name][t].flat]
                    case "DelayLine":
                        if (p.rule.steps > 0).all():
                            late.append(p)
                        else:
                            self._into_line(p, t)
                        out = self.line[t, p.name]
                        values = [out.get(k, 0) for k in range(_size(p.shape))]
                    case "LoihiNeuron":
                        values = self._neurons(p, cells[p.name], self._arrives(p, t))
                        self.membranes[p.name][t, b].flat = cells[p.name].v
                    case _:
                        values = self._arrives(p, t)
                self.sent[p.name][t, b].flat = values
                self._send(p.name, t, values)
            for p in late:
                self._into_line(p, t)

    def _send(self, name: str, t: int, values: list[int]) -> None:
        for k, projection in enumerate(self.program.projections):
            if projection.source == name:
                arrives = self.inbox[t + projection.recurrent, k]
                for pre, value in enumerate(values):
                    if value:
                        for post, weight in self.synapses[k][pre]:
                            arrives[post] += weight * value

    def _arrives(self, p: Any, t: int) -> list[int]:
        total = [0] * _size(p.shape)
        for k, projection in enumerate(self.program.projections):
            if projection.target == p.name:
                for post, value in self.inbox.pop((t, k), {}).items():
                    e = projection.weight_exponent
                    total[post] += value * 2**e if e >= 0 else value // 2**-e
        return total

    def _into_line(self, p: Any, t: int) -> None:
        steps = np.broadcast_to(p.rule.steps, p.shape).ravel().tolist()
        for k, value in enumerate(self._arrives(p, t)):
            self.line[t + steps[k], p.name][k] = int(bool(value)) if p.rule.spiking else value

    def _neurons(self, p: Any, cell: Cell, arrives: list[int]) -> list[int]:
        rule, sent = p.rule, list[int]()
        biases = np.broadcast_to(rule.bias_mantissa, p.shape).ravel().tolist()
        for k, a in enumerate(arrives):
            u = _decay(cell.u[k], rule.du + 1) + 64 * a
            if u > TOP:
                u, self.wraps = u - 2 * TOP, self.wraps + 1
            elif u <= -TOP:
                u, self.wraps = u + 2 * TOP, self.wraps + 1
            v = _decay(cell.v[k], rule.dv) + u + biases[k] * 2**rule.bias_exponent
            if abs(v) >= TOP:
                v, self.clips = (TOP - 1 if v > 0 else 1 - TOP), self.clips + 1
            fires = rule.vth is not None and v > 64 * rule.vth
            cell.u[k], cell.v[k] = u, 0 if fires else v
            sent.append(v if rule.vth is None else int(fires))
        return sent


def _kind(p: Any) -> str:
    return type(p.rule).__name__


def _size(shape: Shape) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


def _cell(p: Any) -> Cell:
    starts = (np.broadcast_to(a, p.shape).ravel().tolist() for a in (p.rule.u_init, p.rule.v_init))
    return Cell(*(list(map(int, values)) for values in starts))


def _decay(s: int, by: int) -> int:
    """Towards zero, whatever the sign."""
    size = abs(s) * (4096 - by) // 4096
    return size if s >= 0 else -size


def _by_source(projection: Any, shapes: dict[str, Shape]) -> list[list[tuple[int, int]]]:
    """Synapses (post, weight) of each place in the source."""
    shape = shapes[projection.source]
    rows: list[Row] = [{k: 1} for k in range(_size(shape))]
    for op in projection.ops:
        rows, shape = _through(op, rows, shape)
    found: list[list[tuple[int, int]]] = [[] for _ in range(_size(shapes[projection.source]))]
    for post, row in enumerate(rows):
        for pre, weight in row.items():
            found[pre].append((post, weight))
    return found


def _through(op: Any, rows: list[Row], shape: Shape) -> tuple[list[Row], Shape]:
    match type(op).__name__:
        case "Reshape":
            return rows, op.shape
        case "Linear":
            assert op.bias is None, "Loihi's biases lie in its neurons"
            return [_sum(rows, enumerate(line)) for line in op.weight.tolist()], (len(op.weight),)
        case "Pool":
            assert op.kind == "sum", "Loihi adds"
            ones = np.ones((shape[0], 1, *op.kernel), np.int64)
            return _taps(rows, shape, ones, op.stride, op.padding, (1, 1), shape[0])
        case "Conv":
            assert op.bias is None, "Loihi's biases lie in its neurons"
            return _taps(rows, shape, op.weight, op.stride, op.padding, op.dilation, op.groups)
        case other:
            raise AssertionError(f"Loihi has no {other}")


def _sum(rows: list[Row], terms: Any) -> Row:
    total: Row = defaultdict(int)
    for place, weight in terms:
        for pre, inner in rows[place].items() if weight else ():
            total[pre] += int(weight) * inner
    return total


def _taps(
    rows: list[Row],
    shape: Shape,
    kernel: Array,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
    groups: int,
) -> tuple[list[Row], Shape]:
    channels, height, width = shape
    outs, per_group, tall, wide = kernel.shape
    reach = dilation[0] * (tall - 1), dilation[1] * (wide - 1)
    h = (height + padding[0] + padding[2] - reach[0] - 1) // stride[0] + 1
    w = (width + padding[1] + padding[3] - reach[1] - 1) // stride[1] + 1
    assert channels == per_group * groups
    found: list[Row] = []
    for o, y, x in product(range(outs), range(h), range(w)):
        terms: list[tuple[int, int]] = []
        for c, i, j in product(range(per_group), range(tall), range(wide)):
            row = stride[0] * y + dilation[0] * i - padding[0]
            column = stride[1] * x + dilation[1] * j - padding[1]
            if 0 <= row < height and 0 <= column < width:
                channel = o // (outs // groups) * per_group + c
                place = (channel * height + row) * width + column
                terms.append((place, int(kernel[o, c, i, j])))
        found.append(_sum(rows, terms))
    return found, (outs, h, w)
