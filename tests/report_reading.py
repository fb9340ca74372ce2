"""Read a report back: HTML by a strict parser, JSON by its numbers."""

from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

VOID = ("meta", "br", "img", "link", "input", "hr", "base", "embed", "source")


class Page(HTMLParser):
    """Tags, attributes, ids, values of <data> and the text of rows; checks the nesting."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.numbers: list[float] = []
        self.rows: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag and its attributes."""
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag == "data":
            self.numbers.append(float(dict(attrs)["value"] or "nan"))
        if tag == "tr":
            self.rows.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag of SVG that closes itself."""
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        """Compare with what was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Collect the text, and that of the row if it stands in one."""
        self.text += data
        if "tr" in self.open:
            self.rows[-1] += data


def quantities(item: Any, inside: str = "") -> Iterator[tuple[str, float, bool]]:
    """Every number in JSON: its key, itself, and whether a unit stands beside it."""
    if isinstance(item, dict):
        for key, value in item.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield key, float(value), bool(item.get("unit"))
            else:
                yield from quantities(value, key)
    elif isinstance(item, list):
        for value in item:
            if isinstance(value, int | float):
                yield inside, float(value), False
            else:
                yield from quantities(value, inside)
