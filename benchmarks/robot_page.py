"""The figures of `robot.py` as tables, for the terminal and as a page of the docs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sltdeploy.runtime.latency import Latency


@dataclass(frozen=True)
class Row:
    """One line: what was measured beside what, and how much is allowed.

    ``ours`` is the machine alone, its memory bound, ``opened`` the same through `sltdeploy.open`;
    ``found`` is ours by theirs, or their difference, and must be at most ``limit``.
    """

    work: str
    against: str
    ours: float
    opened: float | None
    theirs: float
    unit: str
    found: float
    limit: float | None

    @property
    def verdict(self) -> str:
        """Whether the limit is kept."""
        return "" if self.limit is None else "kept" if self.found <= self.limit else "MISSED"


@dataclass(frozen=True)
class Tail:
    """Percentiles of one artifact alone, and what is allowed in microseconds: percentile, limit."""

    work: str
    latency: Latency
    limits: Mapping[str, float]

    @property
    def verdict(self) -> str:
        """Whether every limit is kept."""
        found = vars(self.latency)
        return "kept" if all(found[k] <= us for k, us in self.limits.items()) else "MISSED"


def cells(row: Row) -> tuple[str, ...]:
    """A line as text."""
    wide = "" if row.opened is None else f"{row.opened:.2f}"
    limit = "" if row.limit is None else f"{row.limit:g}"
    numbers = (f"{row.ours:.2f}", wide, f"{row.theirs:.2f}", row.unit, f"{row.found:.3f}")
    return (row.work, row.against, *numbers, limit, row.verdict)


HEAD = ("work", "against", "ours", "opened", "theirs", "", "found", "limit", "")
TAIL_HEAD = ("work", "p50 us", "p95", "p99", "p99.9", "worst", "limit", "")
TITLES = {"p99_us": "p99", "p999_us": "p99.9"}


def tail_cells(tail: Tail) -> tuple[str, ...]:
    """A line as text."""
    found = tail.latency
    times = (found.p50_us, found.p95_us, found.p99_us, found.p999_us, found.worst_us)
    limits = ", ".join(f"{TITLES[name]} {us:g}" for name, us in tail.limits.items())
    return (tail.work, *(f"{us:.1f}" for us in times), limits, tail.verdict)


def shown(rows: Sequence[Row], tail: Sequence[Tail]) -> str:
    """Both tables for the terminal."""
    ratios = plain(HEAD, [cells(r) for r in rows])
    return f"{ratios}\n\n{plain(TAIL_HEAD, [tail_cells(t) for t in tail])}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Render a table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Render a table for the terminal."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in (head, *rows)
    )


PAGE = """# Benchmarks

What one time step costs on a robot's computer. Networks: S = 64-256-10, M = 784-512-512-10,
L = 2312-2048-2048-10, C = convolutions of 2x34x34 to 16, 32 and 64 channels with average pools;
"sparse" has 97 % of the weights pruned, the rest on a grid of 8 bits. Batch 1, one thread, 5 % of
the inputs spike, of the hidden neurons about 3 (S) to 9 %. What stands in one line is measured
in one run, in turns; a figure is the median over {rounds} rounds of {steps} steps. Before that
every output spike is held against the reference: none differs.

"ours" is the machine alone (the session with all memory bound, the C code through ctypes),
"opened" the same through `sltdeploy.open`, which checks each input and measures each step. "found"
is ours by theirs, or, in the last line, their difference in microseconds.

{table}

Tails: {tail_steps} steps of one artifact alone. They say as much about the system as about the
artifact: give it a quiet machine, and see `realtime` of `sltdeploy.open`.

{tails}

Measured on {date}: {cpu} ({machine}), {cores} cores, load {load}, {system};
Python {python}, {versions}.

```
python benchmarks/robot.py --out docs/benchmarks.md    # repeats it, in about a minute
sltdeploy bench ARTIFACT --against norse,torch,compile,onnxruntime    # your own artifact
```

Norse is stepped here as one writes it, `SequentialState` of layers and `LIFBoxCell`; `sltdeploy
bench` puts Norse's and torch's formulas into one module for any network, up to a tenth slower.
"""


def page(
    rows: Sequence[Row], tail: Sequence[Tail], about: Mapping[str, Any], counts: Mapping[str, str]
) -> str:
    """Render the page for the docs; ``counts``: rounds, steps, tail_steps."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return PAGE.format(
        **{**about, **counts, "versions": versions},
        table=markdown(HEAD, [cells(r) for r in rows]),
        tails=markdown(TAIL_HEAD, [tail_cells(t) for t in tail]),
    )
