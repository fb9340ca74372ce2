"""Targets from TOML, strictly: every violation in a file at once.

Each machine is one file in ``targets/``; a user's own is loaded by its path. Nothing is
believed without a unit and a source: a cost or a limit that lacks them does not load.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Any, TypeAlias, get_args

import sltdeploy
from sltdeploy.errors import InputError, located, raise_all
from sltdeploy.machine import EVENTS as EVENTS
from sltdeploy.machine import LIMITS as LIMITS
from sltdeploy.machine import UNITS as UNITS
from sltdeploy.machine import Anchor as Anchor
from sltdeploy.machine import Cost as Cost
from sltdeploy.machine import Grade as Grade
from sltdeploy.machine import Limit as Limit
from sltdeploy.machine import Placing as Placing
from sltdeploy.machine import Pricing as Pricing
from sltdeploy.machine import Range as Range
from sltdeploy.machine import Target as Target
from sltdeploy.ops import Op
from sltdeploy.program import Numbers
from sltdeploy.rules import Comparison, Reset

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Table: TypeAlias = Mapping[str, Any]
Check: TypeAlias = Callable[[Any], str | None]  # what the value must be, or None if it is


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) and value.strip() else "must be a text"


def _texts(value: Any) -> str | None:
    fine = isinstance(value, list) and not any(map(_text, value))
    return None if fine else "must be a list of texts"


def _number(value: Any) -> str | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return None if number and isfinite(value) and value >= 0 else "must be a number, 0 or more"


def _flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _whole(value: Any) -> str | None:
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    return None if whole else "must be a whole number, 1 or more"


def _named_texts(value: Any) -> str | None:
    fine = isinstance(value, dict) and not any(map(_text, value.values()))
    return None if fine else "must be a table of texts"


def _one_of(words: Any) -> Check:
    known = ", ".join(words)
    return lambda value: None if value in tuple(words) else f"must be one of {known}"


def _some_of(words: Any) -> Check:
    known = ", ".join(words)
    return lambda value: (
        None
        if isinstance(value, list) and value and all(v in tuple(words) for v in value)
        else f"must be a list from {known}"
    )


NEURONS = ("IF", "LIF", "CubaLIF", "I", "LI", "CubaLI", "Threshold", "relay", "delay")
NUMBERS = _some_of(get_args(Numbers))
SOURCE: Mapping[str, Check] = {"source": _text, "read": _flag}
COST: Mapping[str, Check] = {
    "event": _one_of(EVENTS),
    "unit": _one_of(UNITS),
    "low": _number,
    "nominal": _number,
    "high": _number,
    "grade": _one_of(get_args(Grade)),
    **SOURCE,
}
LIMIT: Mapping[str, Check] = {"value": _whole, **SOURCE}
ANCHOR: Mapping[str, Check] = {"workload": _text, "values": _named_texts, **SOURCE}
TARGET: Mapping[str, Check] = {
    "title": _text,
    "pricing": _one_of(get_args(Pricing)),
    "numbers": NUMBERS,
    "ops": _some_of([op.__name__ for op in get_args(Op)]),
    "neurons": _some_of(NEURONS),
    "inputs": _some_of(("spikes", "graded")),
    "resets": _some_of(get_args(Reset)),
    "comparisons": _some_of(get_args(Comparison)),
}
LISTS = ("numbers", "simulated", "ops", "neurons", "inputs", "resets", "comparisons")
PLACING = ("cores", "weight_bits")  # limits without which nothing is cut into cores
NOTE: Mapping[str, Check] = {"note": _text}
OPTIONAL: Mapping[str, Check] = {
    "exporter": _text,
    "simulated": NUMBERS,
    "placement": _one_of(get_args(Placing)),
    "hops_take_steps": _flag,
    "refuses": _text,
    "notes": _texts,
    "unpriced": _named_texts,
}


def load(name: str | Path) -> Target:
    """Read a target by its name, or by the path of a TOML file.

    Raises `InputError` for an unknown name, and for a file with every violation in it.
    """
    if isinstance(name, Path) or name.endswith(".toml"):
        return parse(Path(name))
    known = names()
    if name not in known:
        close = get_close_matches(name, known, n=2)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise InputError(
            f"unknown target '{name}': {hint}known targets are {', '.join(known)}; "
            "a file of your own is given by its path, ending in .toml"
        )
    return parse(next(f / f"{name}.toml" for f in _folders() if (f / f"{name}.toml").is_file()))


def names() -> list[str]:
    """Names of the targets that come with the package."""
    return sorted({file.stem for folder in _folders() for file in folder.glob("*.toml")})


def _folders() -> list[Path]:
    return [folder for p in sltdeploy.__path__ if (folder := Path(p) / "targets").is_dir()]


def parse(path: Path) -> Target:
    """Read the target in ``path``; its name is the file's.

    Raises `InputError` where the file is missing, is no TOML, or breaks a rule: unknown or
    missing keys, a value outside its vocabulary, a cost or limit without unit or source, or with
    low > nominal > high.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}: give a target's name or its TOML") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML: {error}") from None
    with located(path):
        raise_all(_problems(raw))
    lists: dict[str, Any] = {k: tuple(v) for k, v in raw.items() if k in LISTS}
    return Target(
        name=path.stem,
        title=raw["title"],
        exporter=raw.get("exporter"),
        pricing=raw["pricing"],
        **lists,
        limits={n: Limit(name=n, **t) for n, t in raw.get("limits", {}).items()},
        costs=tuple(_cost(**c) for c in raw.get("costs", [])),
        anchors=tuple(Anchor(**a) for a in raw.get("anchors", [])),
        unpriced=raw.get("unpriced", {}),
        placement=raw.get("placement"),
        hops_take_steps=raw.get("hops_take_steps", False),
        refuses=raw.get("refuses"),
        notes=tuple(raw.get("notes", ())),
    )


def _cost(numbers: tuple[str, ...] = (), **rest: Any) -> Cost:
    return Cost(**rest, numbers=tuple(numbers))


def _problems(raw: Table) -> Iterator[str]:
    parts: Mapping[str, Check] = {
        "limits": lambda v: None if _tables(v, dict) else "must be tables, [limits.NAME]",
        "costs": lambda v: None if _tables(v, list) else "must be tables, [[costs]]",
        "anchors": lambda v: None if _tables(v, list) else "must be tables, [[anchors]]",
    }
    broken = list(_breaches(raw, TARGET, {**OPTIONAL, **parts}, ""))
    yield from broken
    if any(line.startswith((*parts, "unpriced")) for line in broken):
        return
    for event in raw.get("unpriced", {}):
        if event not in EVENTS:
            yield f"unpriced: {event} is unknown, must be one of {', '.join(EVENTS)}"
    if "placement" in raw:
        missing = [name for name in PLACING if name not in raw.get("limits", {})]
        yield from (f"limits.{name} is missing, placement needs it" for name in missing)
    for name, table in raw.get("limits", {}).items():
        if name not in LIMITS:
            yield f"limits.{name}: unknown limit, must be one of {', '.join(LIMITS)}"
        yield from _breaches(table, LIMIT, NOTE, f"limits.{name}: ")
    for number, table in enumerate(raw.get("anchors", []), 1):
        yield from _breaches(table, ANCHOR, NOTE, f"anchors, entry {number}: ")
    seen: set[tuple[str, str]] = set()
    for number, table in enumerate(raw.get("costs", []), 1):
        where = f"costs, entry {number} ({table.get('event', 'no event')}): "
        breaches = list(_breaches(table, COST, {"numbers": NUMBERS, **NOTE}, where))
        yield from breaches
        if breaches:
            continue
        if not table["low"] <= table["nominal"] <= table["high"]:
            low, nominal, high = table["low"], table["nominal"], table["high"]
            yield f"{where}needs low <= nominal <= high, has {low}, {nominal}, {high}"
        if UNITS[table["unit"]][0] != EVENTS[table["event"]]:
            yield f"{where}unit {table['unit']} does not measure {EVENTS[table['event']]}"
        for numbers in table.get("numbers", ["any numbers"]):
            if (table["event"], numbers) in seen:
                yield f"{where}priced twice for {numbers}"
            seen.add((table["event"], numbers))


def _breaches(
    table: Table, needed: Mapping[str, Check], optional: Mapping[str, Check], where: str
) -> Iterator[str]:
    yield from (f"{where}{key} is missing, {needed[key]('')}" for key in needed if key not in table)
    for key, value in table.items():
        check = needed.get(key) or optional.get(key)
        if check is None:
            yield f"{where}{key} is unknown, known are {', '.join((*needed, *optional))}"
        elif why := check(value):
            yield f"{where}{key} is {value!r}, {why}"


def _tables(value: Any, kind: type) -> bool:
    if not isinstance(value, kind):
        return False
    entries: list[Any] = list(value.values() if isinstance(value, dict) else value)
    return all(isinstance(entry, dict) for entry in entries)
