"""A picture of a network as SVG: plain text written by hand, same bytes for the same network.

Text is escaped, what cannot be printed is shown as its code, colours follow the reader's light or
dark scheme, and every box and line tells its details when pointed at.
"""

from collections.abc import Container, Iterator

from sltdeploy.drawing.frames import LABEL, Frame, frames_of, room
from sltdeploy.drawing.layout import Place, lay_out
from sltdeploy.drawing.lines import line, tips
from sltdeploy.drawing.rows import BOX_H, BOX_W, Link
from sltdeploy.drawing.style import STYLE, escaped, px, shortened
from sltdeploy.inspection import Inspection, Node
from sltdeploy.report.text import clean
from sltdeploy.report.units import count, percent

MARGIN = 28.0
HEAD, FOOT = 64.0, 58.0
LEAST = 560.0  # width that the legend needs
INSET = 11.0  # of text in a box
BOLD, PLAIN = 13.0, 9.9  # sizes of type in a box; plain type of 11 is as wide as bold of 9.9

NEURONS = ("LIF", "LI", "IF", "I", "CubaLIF", "CubaLI", "Threshold")
ENDS = ("Input", "Output", "graded input", "spike input")


def draw(view: Inspection, title: str = "") -> str:
    """SVG text of the graph in ``view``, under ``title``.

    Boxes hold name, kind, shape and what matters most of a node; the fewer weights are left, the
    paler. Lines lead down; those that close a loop lead up at the side.
    """
    names = [n.name for n in view.nodes]
    links = [Link(e.source, e.target, e.back) for e in view.edges]
    within = {n.name: n.within for n in view.nodes}
    depth = max(map(len, within.values()))
    outermost = {name: groups[0] for name, groups in within.items() if groups}
    layout = lay_out(names, links, outermost, room(depth) if depth else (0.0, 0.0))
    frames = frames_of(layout.boxes, within)
    framed = {(f.group, f.column) for f in frames}
    width = max(layout.width, LEAST) + 2 * MARGIN
    height = layout.height + HEAD + FOOT
    left = (width - layout.width) / 2
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="slt" role="img" width="{px(width)}" '
            f'height="{px(height)}" viewBox="0 0 {px(width)} {px(height)}">',
            f"<title>{escaped(title or 'network')}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="page" width="{px(width)}" height="{px(height)}"/>',
            *_head(view, title),
            f'<g transform="translate({px(left)} {px(HEAD)})">',
            *map(_frame, frames),
            *(line(e, r) for e, r in zip(view.edges, layout.routes, strict=True)),
            *tips(view, layout),
            *map(_frame_label, frames),
            *(_box(n, layout.boxes[n.name], framed) for n in view.nodes),
            "</g>",
            *_legend(view, height),
            "</svg>\n",
        )
    )


def _head(view: Inspection, title: str) -> Iterator[str]:
    parts = [f"{count(len(view.nodes))} nodes", f"{count(len(view.edges))} edges"]
    if view.weights:
        pruned = "" if view.sparsity is None else f", {percent(view.sparsity)} pruned"
        parts.append(f"{count(view.weights)} weights{pruned}")
    if view.loops:
        parts.append(f"{count(len(view.loops))} loop{'s' * (len(view.loops) != 1)}")
    y = MARGIN
    if title:
        shown = escaped(shortened(clean(title), LEAST, 15))
        yield f'<text class="title" x="{px(MARGIN)}" y="{px(y)}">{shown}</text>'
        y += 18
    yield f'<text class="said" x="{px(MARGIN)}" y="{px(y)}">{escaped(", ".join(parts))}</text>'


# ----------------------------------------------------------------------------- boxes


def _box(node: Node, at: Place, framed: Container[tuple[str, int]]) -> str:
    kind = _class(node)
    x, y = at.x + INSET, at.y
    inner = node.within[-1] if node.within else ""
    # Within a frame that carries the group's name, a box need not repeat it.
    own = node.name[len(inner) + 1 :] if (inner, at.column) in framed else node.name
    said = " · ".join(filter(None, (node.kind, _shape(node))))
    details = "\n".join(map(escaped, _details(node)))
    shade = f' fill-opacity="{_shade(node)}"' if node.weights else ""
    lines = [
        f'<g class="{kind}"><title>{details}</title>',
        f'<rect class="box" x="{px(at.x)}" y="{px(y)}" width="{px(BOX_W)}" '
        f'height="{px(BOX_H)}" rx="7"{shade}/>',
    ]
    more = _main_point(node)
    first = y + (20 if more else 27)
    rows = (("name", own, BOLD), ("kind", said, PLAIN), ("more", more, PLAIN))
    lines += [
        f'<text class="{style}" x="{px(x)}" y="{px(first + 16 * k)}">'
        f"{escaped(shortened(clean(words), BOX_W - 2 * INSET, size))}</text>"
        for k, (style, words, size) in enumerate(rows)
        if words
    ]
    return "".join((*lines, "</g>"))


def _class(node: Node) -> str:
    if node.kind in NEURONS:
        return "neuron"
    if node.kind in ENDS:
        return "pass" if node.within else "end"
    if node.weights:
        return "weights"
    return "delay" if node.kind.lower() == "delay" else "pass"


def _shade(node: Node) -> str:
    """Opacity: 1 where no weight is 0, faint where nearly all are."""
    return f"{0.08 + 0.92 * node.nonzero / node.weights:.2f}"


def _shape(node: Node) -> str:
    return "\u00d7".join(map(str, node.shape))


def _main_point(node: Node) -> str:
    """The third line of a box."""
    if node.weights:
        share = node.nonzero / node.weights
        left = "" if share == 1 else f", {percent(share, 2)} left"
        return f"{count(node.weights)} weights{left}"
    said = {p.name: p.text for p in node.parameters}
    chosen = (
        ("\u03c4 ", said.get("tau") or said.get("tau_mem")),
        ("decay ", said.get("decay")),
        ("\u03b8 ", said.get("v_threshold") or said.get("threshold")),
        ("", said.get("delay")),
        ("steps ", said.get("steps")),
        ("", said.get("kernel_size")),
    )
    return ", ".join(f"{mark}{words}" for mark, words in chosen if words)


def _details(node: Node) -> list[str]:
    """Everything about a node, a line each; shown when it is pointed at."""
    lines = [node.name, " ".join(filter(None, (node.kind, _shape(node))))]
    if node.weights:
        lines.append(f"{node.nonzero} of {node.weights} weights are not 0")
    for p in node.parameters:
        unit = f" ({p.unit})" if p.unit not in ("", "s", "steps") else ""
        lines.append(f"{p}{unit}")
    return lines


def _frame(frame: Frame) -> str:
    return (
        f'<rect class="frame" x="{px(frame.x)}" y="{px(frame.y)}" width="{px(frame.width)}" '
        f'height="{px(frame.height)}" rx="10"><title>{escaped(frame.group)}</title></rect>'
    )


def _frame_label(frame: Frame) -> str:
    shown = escaped(shortened(clean(frame.label), frame.width / 2 - INSET - 9, PLAIN))
    x, y = px(frame.x + 9), px(frame.y + LABEL - 2)
    return f'<text class="label" x="{x}" y="{y}">{shown}</text>'


def _legend(view: Inspection, height: float) -> Iterator[str]:
    y = height - FOOT + 34
    x = MARGIN
    marks = [
        ("neuron", "neurons", any(_class(n) == "neuron" for n in view.nodes)),
        ("weights", "weights, paler where pruned", bool(view.weights)),
        ("delay", "delay", any(_class(n) == "delay" for n in view.nodes)),
        ("late", "one step later", any(e.recurrent for e in view.edges)),
        ("back", "back into a delay", any(e.back and not e.recurrent for e in view.edges)),
    ]
    for kind, words, there in marks:
        if not there:
            continue
        if kind in ("late", "back"):
            yield f'<path class="{kind}" d="M{px(x)} {px(y - 4)}h24"/>'
        else:
            yield f'<g class="{kind}">{_swatch(kind, x, y - 11)}</g>'
        yield f'<text class="said" x="{px(x + 30)}" y="{px(y)}">{words}</text>'
        x += 30 + 6.4 * len(words) + 24


def _swatch(kind: str, x: float, y: float) -> str:
    shades = (1.0, 0.5, 0.1) if kind == "weights" else (1.0,)
    width = 24 / len(shades)
    return "".join(
        f'<rect class="box" x="{px(x + width * k)}" y="{px(y)}" width="{px(width)}" height="14" '
        f'rx="2" fill-opacity="{shade:g}"/>'
        for k, shade in enumerate(shades)
    )
