"""What a command gives back, and how it reaches the terminal: as lines, a table or JSON.

Results go to stdout; notes, progress and errors to stderr. Text from files (node names, paths)
is never taken for markup, and its control characters are shown, not obeyed.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO, TypeAlias
from unicodedata import category

from rich.console import Console

JSON: TypeAlias = Any  # what json.dumps takes

INTERRUPTED = 130  # exit code after Ctrl-C
INVISIBLE = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")  # Unicode categories


@dataclass(frozen=True)
class Table:
    """Rows under named columns; every cell is text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""


@dataclass(frozen=True)
class Outcome:
    """The result of one command: ``data`` for ``--json``, ``text`` for people, the exit code."""

    data: Mapping[str, JSON]
    text: tuple[str | Table, ...]
    code: int = 0


def visible(text: str) -> str:
    r"""``text`` on one line, each control or formatting character as its escape (``\x1b``)."""
    return "".join(
        c.encode("unicode_escape").decode() if category(c) in INVISIBLE else c for c in text
    )


def note(line: str) -> None:
    """Tell the user something beside the result, on stderr."""
    _print(Console(stderr=True, highlight=False), visible(line))


def show(outcome: Outcome, as_json: bool, to: TextIO | None = None) -> None:
    """Write ``outcome`` to stdout (or ``to``)."""
    stream = sys.stdout if to is None else to
    if as_json:
        stream.write(json.dumps(outcome.data, indent=2, sort_keys=True, allow_nan=False) + "\n")
    else:
        console = Console(file=stream, highlight=False)
        for item in outcome.text:
            if isinstance(item, str):
                _print(console, visible(item))
            elif console.is_terminal:
                _draw(console, item)
            else:
                for line in _aligned(item):
                    _print(console, line)
    stream.flush()


def failure(code: int, messages: Sequence[str]) -> Outcome:
    """Give an error the form of an outcome, for ``--json``."""
    return Outcome({"error": {"code": code, "messages": list(messages)}}, (), code)


def hang_up() -> Outcome:
    """End quietly after the reader of stdout has gone away; what is still buffered is dropped."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return Outcome({}, (), 1)


def _print(console: Console, line: str) -> None:
    console.print(line, markup=False, emoji=False, soft_wrap=True)


def _draw(console: Console, table: Table) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as Drawn
    from rich.text import Text

    title = Text(table.title, style="bold") if table.title else None
    drawn = Drawn(box=SIMPLE_HEAD, title=title, title_justify="left")
    for column in table.columns:
        drawn.add_column(Text(column), overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(visible(cell)) for cell in row))
    console.print(drawn)


def _aligned(table: Table) -> list[str]:
    """Plain lines: columns padded to their widest cell, no drawing."""
    grid = [table.columns, *(tuple(visible(cell) for cell in row) for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in grid
    ]
    return [table.title, *lines] if table.title else lines
