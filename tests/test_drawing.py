"""The drawing is read back as XML: who stands where, which line leads where, what it says."""

import os
import re
import subprocess
import sys
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from drawings import CASES, SVG, boxes, chain, lines, network
from test_inspection import graph, image, lif, nested, recurrent, view

from sltdeploy.drawing import draw
from sltdeploy.drawing.layout import lay_out
from sltdeploy.drawing.rows import BOX_H, BOX_W, Link
from sltdeploy.drawing.style import STYLE, shortened
from sltdeploy.inspection import Edge, Inspection, Node

HOSTILE = "a<b>&\"'</text><script>x</script>\x1b[31m\u202e]]>"


# ----------------------------------------------------------------------------- everything is there


@pytest.mark.parametrize("name", CASES)
def test_every_node_stands_once_and_alone(name: str) -> None:
    text = draw(CASES[name])
    found = boxes(text)
    assert Counter(b.tip.split("\n")[0] for b in found) == Counter(
        n.name for n in CASES[name].nodes
    )
    rows = sorted(found, key=lambda b: (b.y, b.x))
    assert not any(a.meets(b) for a, b in pairwise(rows))
    if len(found) < 200:
        assert not any(a.meets(b) for a, b in combinations(found, 2))


@pytest.mark.parametrize("name", CASES)
def test_every_edge_is_drawn_once(name: str) -> None:
    expected = Counter(
        (
            "late" if e.recurrent else "edge",
            f"{e.source} \u2192 {e.target}" + ", one step later" * e.recurrent,
        )
        for e in CASES[name].edges
    )
    assert Counter(lines(draw(CASES[name]))) == expected


@pytest.mark.parametrize("name", CASES)
def test_nothing_leaves_the_page(name: str) -> None:
    text = draw(CASES[name], "title")
    root = ElementTree.fromstring(text)
    width, height = float(root.get("width", "")), float(root.get("height", ""))
    assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
    shift = re.search(r"translate\(([\d.]+) ([\d.]+)\)", text)
    assert shift is not None
    left, top = float(shift[1]), float(shift[2])
    drawn = next(g for g in root.iter(f"{SVG}g") if g.get("transform"))
    corners = [
        (float(x), float(y))
        for path in drawn.iter(f"{SVG}path")
        for x, y in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", path.get("d", ""))
    ]
    corners += [(b.x, b.y) for b in boxes(text)]
    corners += [(b.x + BOX_W, b.y + BOX_H) for b in boxes(text)]
    assert all(0 <= x + left <= width and 0 <= y + top <= height for x, y in corners)


# ----------------------------------------------------------------------------- lines


@pytest.mark.parametrize("name", CASES)
def test_lines_stay_clear_of_boxes(name: str) -> None:
    """Straight lines cross no box; curves stay in the gap between two rows."""
    found = CASES[name]
    layout = lay_out(
        [n.name for n in found.nodes],
        [Link(e.source, e.target, e.back) for e in found.edges],
        {n.name: n.within[0] for n in found.nodes if n.within},
    )
    low = np.array([(p.x, p.y) for p in layout.boxes.values()])
    high = low + np.array((BOX_W, BOX_H))
    for edge, route in zip(found.edges, layout.routes, strict=True):
        a, b = layout.boxes[edge.source], layout.boxes[edge.target]
        if route.shape == "curve":
            assert (b.row, b.column) == (a.row + 1, a.column)
            assert route.points == ((a.x + BOX_W / 2, a.y + BOX_H), (b.x + BOX_W / 2, b.y))
        elif route.shape == "loop":
            assert edge.source == edge.target
        else:
            assert route.points[0][1] == a.y + BOX_H
            assert route.points[-1][1] == b.y
            assert a.x < route.points[0][0] < a.x + BOX_W
            assert b.x < route.points[-1][0] < b.x + BOX_W
            for ends in pairwise(route.points):
                start, end = np.min(ends, axis=0), np.max(ends, axis=0)
                assert (start == end).any()
                inside = (start < high - 1e-9) & (end > low + 1e-9)
                assert not inside.all(axis=1).any()


@pytest.mark.parametrize("name", ["chain of 500", "fan of 300", "tangle of 500", "wild tangle"])
def test_lines_of_strangers_do_not_run_on_one_another(name: str) -> None:
    """Two lines that share a stretch share a source or a target."""
    found = CASES[name]
    layout = lay_out(
        [n.name for n in found.nodes], [Link(e.source, e.target, e.back) for e in found.edges], {}
    )
    along: dict[tuple[int, float], list[tuple[float, float, Edge]]] = {}
    for edge, route in zip(found.edges, layout.routes, strict=True):
        if route.shape != "corners":
            continue
        for a, b in list(pairwise(route.points))[1:-1]:  # between the stubs at the boxes
            axis = 0 if a[0] == b[0] else 1
            low, high = sorted((a[1 - axis], b[1 - axis]))
            if high > low:
                along.setdefault((axis, a[axis]), []).append((low, high, edge))
    assert along
    for stretches in along.values():
        for (low, high, e), (low2, high2, f) in combinations(stretches, 2):
            if low < high2 and low2 < high:
                assert e.source == f.source or e.target == f.target
                assert e.back == f.back


def test_rows_follow_the_longest_path() -> None:
    found = network([("a", "b"), ("b", "c"), ("a", "c"), ("c", "d"), ("x", "d")])
    links = [Link(e.source, e.target) for e in found.edges]
    layout = lay_out(["a", "b", "c", "x", "d"], links, {})
    rows = {n: p.row for n, p in layout.boxes.items()}
    assert rows == {"a": 0, "b": 1, "c": 2, "x": 2, "d": 3}  # x stands above what it leads to


def test_long_chains_wrap_into_columns() -> None:
    layout = lay_out(
        [f"n{k}" for k in range(500)], [Link(f"n{k}", f"n{k + 1}") for k in range(499)], {}
    )
    assert 0.8 < layout.width / layout.height < 2.5
    places = [layout.boxes[f"n{k}"] for k in range(500)]
    assert [(p.column, p.row) for p in places] == sorted((p.column, p.row) for p in places)
    assert places[-1].column > 8
    short = lay_out(["a", "b"], [Link("a", "b")], {})
    assert {p.column for p in short.boxes.values()} == {0}


def test_columns_are_cut_where_few_lines_pass() -> None:
    """Blocks of four with three shortcuts each: a cut within a block would meet them all."""
    straight = [(k, k + 1) for k in range(99)]
    blocks = [e for k in range(0, 97, 4) for e in ((k, k + 2), (k, k + 3), (k + 1, k + 3))]
    links = [Link(f"n{a}", f"n{b}") for a, b in straight + blocks]
    layout = lay_out([f"n{k}" for k in range(100)], links, {})
    first = [k for k in range(1, 100) if layout.boxes[f"n{k}"].row == 0]
    assert len(first) > 2
    assert all(k % 4 == 0 for k in first)


def test_size_grows_with_the_graph_and_no_faster() -> None:
    areas = [
        (layout.width * layout.height / n, len(draw(chain(n))) / n)
        for n in (250, 1000)
        for layout in [
            lay_out(
                [f"n{k}" for k in range(n)], [Link(f"n{k}", f"n{k + 1}") for k in range(n - 1)], {}
            )
        ]
    ]
    (area, size), (later_area, later_size) = areas
    assert later_area < 1.2 * area
    assert later_size < 1.1 * size


# ----------------------------------------------------------------------------- words and colours


def test_a_box_says_name_kind_shape_and_what_matters() -> None:
    found = {b.tip.split("\n")[0]: b for b in boxes(draw(view(image())))}
    assert found["conv"].words == ("conv", "Conv2d \u00b7 4\u00d78\u00d74", "24 weights")
    assert found["lif"].words == ("lif", "LIF \u00b7 4\u00d78\u00d74", "\u03c4 20 ms, \u03b8 1")
    assert found["output"].words == ("output", "Output \u00b7 5")
    assert found["lif"].tip.split("\n")[1:] == [
        "LIF 4\u00d78\u00d74",
        "tau 20 ms",
        "r 1 (potential per input)",
        "v_leak 1 (model's potential)",
        "v_threshold 1 (model's potential)",
        "v_reset 0 (model's potential)",
    ]
    assert "24 of 24 weights are not 0" in found["conv"].tip
    kinds = {name: b.kind for name, b in found.items()}
    assert (kinds["input"], kinds["conv"], kinds["lif"], kinds["pool"]) == (
        *("end", "weights", "neuron", "pass"),
    )


def test_pruned_weights_are_paler() -> None:
    nodes = tuple(Node(f"{n}", "Linear", (4,), (), 100, n) for n in (0, 3, 50, 100))
    found = boxes(draw(Inspection(nodes, (), (), (), 1e-3)))
    shades = [b.shade for b in sorted(found, key=lambda b: int(b.words[0]))]
    assert shades == [0.08, 0.11, 0.54, 1.0]
    assert [b.words[-1] for b in found if b.words[0] == "3"] == ["100 weights, 3.0 % left"]


def test_what_comes_late_looks_so_and_the_legend_says_it() -> None:
    text = draw(view(recurrent()))
    assert ("late", "rec \u2192 lif, one step later") in lines(text)
    assert ">one step later</text>" in text
    assert ">one step later</text>" not in draw(view(image()))
    waiting = network([("d", "n"), ("n", "d")])
    edges = (waiting.edges[0], Edge("n", "d", back=True))
    text = draw(Inspection(waiting.nodes, edges, (), (), 1e-3))
    assert ("back", "n \u2192 d") in lines(text)
    assert ">back into a delay</text>" in text


def test_frames_hold_their_graph_and_nothing_else() -> None:
    text = draw(view(nested()))
    root = ElementTree.fromstring(text)
    frames = [r for r in root.iter(f"{SVG}rect") if r.get("class") == "frame"]
    names = [r.findtext(f"{SVG}title") or "" for r in frames]
    assert names == ["outer", "outer.inner"]
    labels = [t.text for t in root.iter(f"{SVG}text") if t.get("class") == "label"]
    assert labels == ["outer", "inner"]
    for name, rect in zip(names, frames, strict=True):
        x, y, w, h = (float(rect.get(k, "")) for k in ("x", "y", "width", "height"))
        for b in boxes(text):
            member = b.tip.startswith(f"{name}.")
            inside = x < b.x and b.x + BOX_W < x + w and y < b.y and b.y + BOX_H < y + h
            outside = b.x > x + w or b.x + BOX_W < x or b.y > y + h or b.y + BOX_H < y
            assert inside if member else outside
    words = {b.tip.split("\n")[0]: b.words[0] for b in boxes(text)}
    assert words["outer.inner.w"] == "w"
    assert words["last.one"] == "last.one"


def test_a_graph_that_cannot_be_framed_keeps_its_full_names() -> None:
    """What stands between the two boxes of a group is in the way of a frame."""
    nodes = (
        Node("in", "Input", (1,)),
        Node("g.a", "LIF", (1,), within=("g",)),
        Node("x", "LIF", (1,)),
        Node("g.b", "LIF", (1,), within=("g",)),
    )
    edges = (Edge("in", "g.a"), Edge("g.a", "x"), Edge("x", "g.b"))
    text = draw(Inspection(nodes, edges, (), (), 1e-3))
    assert 'class="frame"' not in text
    assert {b.words[0] for b in boxes(text)} == {"in", "g.a", "x", "g.b"}


def test_hostile_names_are_text() -> None:
    net = graph({HOSTILE: lif(3)}, shape=3)
    net.edges = [("input", HOSTILE), (HOSTILE, "output")]
    text = draw(view(net), HOSTILE)
    root = ElementTree.fromstring(text)
    assert {e.tag.removeprefix(SVG) for e in root.iter()} == {
        *("svg", "title", "style", "rect", "text", "g", "path")
    }
    shown = HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
    assert shown in {b.tip.split("\n")[0] for b in boxes(text)}
    assert root.findtext(f"{SVG}title") == shown
    assert not set(map(ord, text)) & {*range(32)} - {10}
    assert {a for e in root.iter() for a in e.attrib} <= {
        *("class", "role", "width", "height", "viewBox", "x", "y", "rx", "d", "transform"),
        "fill-opacity",
    }


def test_light_and_dark() -> None:
    assert STYLE.count("@media (prefers-color-scheme:dark)") == 1
    assert "$" not in STYLE
    light, dark = STYLE.split("@media")
    assert light.count("#") == dark.count("#") > 10
    assert set(re.findall("#[0-9a-f]{6}", light)) != set(re.findall("#[0-9a-f]{6}", dark))


@pytest.mark.parametrize("words", ["", "short", "W" * 40, "i" * 90, "名前" * 20, "e\u0301" * 40])
def test_text_is_cut_in_the_middle_where_it_is_too_long(words: str) -> None:
    shown = shortened(words, 100, 12)
    if shown != words:
        head, tail = shown.split("\u2026")
        assert words.startswith(head)
        assert words.endswith(tail)
        assert head
        assert tail
    widest = 100 / 12 / 0.95  # so many W fit
    assert (shown == words) == (words in ("", "short"))
    assert shown.count("W") <= widest
    assert shortened(shown, 100, 12) == shown


def test_the_head_counts() -> None:
    text = draw(view(recurrent()), "my net")
    assert ">my net</text>" in text
    assert ">4 nodes, 4 edges, 9 weights, 55.6 % pruned, 1 loop</text>" in text


def test_the_same_bytes_whatever_the_hash_seed() -> None:
    code = (
        "import sys; from drawings import CASES; from sltdeploy.drawing import draw\n"
        "sys.stdout.buffer.write(''.join(draw(v, 'x') for v in CASES.values()).encode())"
    )
    here = Path(__file__).parent
    texts = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={
                **os.environ,
                "PYTHONHASHSEED": seed,
                "PYTHONPATH": os.pathsep.join((str(here), str(here.parent))),
            },
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert texts[0] == texts[1]
    assert texts[0].decode() == "".join(draw(v, "x") for v in CASES.values())
