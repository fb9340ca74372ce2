"""Colours and type of a drawing, how long a text may be, and how text and numbers are written."""

from unicodedata import combining, east_asian_width
from xml.sax.saxutils import escape

from sltdeploy.report.text import clean

LIGHT = {
    "page": "#ffffff",
    "ink": "#16191d",
    "muted": "#59626d",
    "wire": "#7d8791",
    "wash": "#f6f7f9",
    "rule": "#c9cfd6",
    "weights": "#a9c8e8",
    "weights-rule": "#5f8fbf",
    "neuron": "#fbe6c8",
    "neuron-rule": "#c58a2e",
    "delay": "#e3d9f5",
    "delay-rule": "#8a6cc4",
    "late": "#b8452a",
}
DARK = {
    "page": "#121518",
    "ink": "#e9ecef",
    "muted": "#a7b0ba",
    "wire": "#7b858f",
    "wash": "#1d2227",
    "rule": "#444c55",
    "weights": "#35597d",
    "weights-rule": "#5f8fbf",
    "neuron": "#4a3a1e",
    "neuron-rule": "#c5923f",
    "delay": "#3a3054",
    "delay-rule": "#9a80cf",
    "late": "#f0896a",
}
# Not as CSS variables: some programs that show SVG know none.
RULES = """
.slt text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;\
font-size:11px;fill:$muted;unicode-bidi:isolate}
.slt .title{font-size:15px;font-weight:650;fill:$ink}
.slt .said{font-size:12px}
.slt .name{font-size:13px;font-weight:600;fill:$ink}
.slt .kind{fill:$ink}
.slt .page{fill:$page}
.slt .box{fill:$wash;stroke:$rule;stroke-width:1.2}
.slt .end .box{fill:$page;stroke:$ink;stroke-width:1.6}
.slt .weights .box{fill:$weights;stroke:$weights-rule}
.slt .neuron .box{fill:$neuron;stroke:$neuron-rule}
.slt .delay .box{fill:$delay;stroke:$delay-rule}
.slt .label{stroke:$page;stroke-width:3;paint-order:stroke}
.slt .frame{fill:none;stroke:$rule;stroke-width:1.2;stroke-dasharray:2 3}
.slt path{fill:none;stroke:$wire;stroke-width:1.4;stroke-linejoin:round}
.slt .late,.slt .back{stroke:$late;stroke-width:1.6}
.slt .late{stroke-dasharray:5 3}
.slt path:hover{stroke:$ink;stroke-width:2.4}
.slt .tip{stroke:none;fill:$wire}
.slt .tip.late,.slt .tip.back{fill:$late}
"""
WIDE = frozenset("mwMW@%&<>+=#~^_")
NARROW = frozenset("iljtfrI.,:;|!'()[] \u00b7")


def _rules(colours: dict[str, str]) -> str:
    text = RULES
    for name in sorted(colours, key=len, reverse=True):  # weights-rule before weights
        text = text.replace(f"${name}", colours[name])
    return text


STYLE = f"{_rules(LIGHT)}@media (prefers-color-scheme:dark){{{_rules(DARK)}}}"


def shortened(words: str, room: float, size: float) -> str:
    """``words`` cut in the middle so that they are at most about ``room`` pixels wide."""
    if _width(words, size) <= room:
        return words
    left = room - size * 0.9  # of the ellipsis
    tail = ""
    for c in reversed(words):
        if _width(c + tail, size) > left / 3:
            break
        tail = c + tail
    head = ""
    for c in words:
        if _width(head + c + tail, size) > left:
            break
        head += c
    return f"{head}\u2026{tail}"


def _width(words: str, size: float) -> float:
    return size * sum(map(_share, words))


def _share(c: str) -> float:
    """Width of a character in a common bold face, in units of its size; rather too wide."""
    if combining(c):
        return 0.0
    if east_asian_width(c) in "WF" or ord(c) > 0x2E7F:
        return 1.1
    if c in NARROW:
        return 0.39
    if c in WIDE:
        return 0.95
    return 0.77 if c.isupper() else 0.66


def px(value: float) -> str:
    """A coordinate as SVG takes it."""
    return f"{value:.6g}"


def escaped(words: str) -> str:
    """``words`` on one line, fit for XML."""
    return escape(clean(words))
