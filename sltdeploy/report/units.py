"""Numbers as people read them: SI prefixes, few digits, a unit each."""

from math import floor, isfinite, log10

MINUS, THIN, TIMES = "\u2212", "\u202f", "\u00d7"
PREFIXES = {-5: "f", -4: "p", -3: "n", -2: "µ", -1: "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T"}
IN_FULL = 100_000  # counts below this are written in full
SMALLEST, LARGEST = 0.0995, 999.5  # what a number of a range may be beside a shared prefix
SI = ("J", "W", "s", "Hz")


def text(number: float, unit: str) -> str:
    """``number`` as its unit asks: SI prefix, percent for "share", times; no unit for counts."""
    if unit in SI:
        return si(number, unit)
    if unit == "share":
        return percent(number)
    if unit == "times":
        return f"{count(number)}{THIN}{TIMES}"
    return count(number)


def si(value: float, unit: str = "", digits: int = 3) -> str:
    """``value`` with an SI prefix and ``digits`` significant digits: ``si(2.4e-6, "J")`` 2.40 µJ.

    A thin no-break space stands before the unit.
    """
    if value == 0 or not isfinite(value):
        return _joined(f"{value:g}", unit)
    return _at(value, _step(value, digits), unit, digits)


def span(low: float, nominal: float, high: float, unit: str) -> tuple[str, str, str]:
    """Three texts; where one prefix suits all three they share it and the last has the unit."""
    steps = () if nominal <= 0 or not isfinite(high) else (_step(nominal, 3), _step(high, 3))
    for step in steps:
        if low / 1000.0**step >= SMALLEST and high / 1000.0**step < LARGEST:
            return _at(low, step, None, 3), _at(nominal, step, None, 3), _at(high, step, unit, 3)
    return si(low, unit), si(nominal, unit), si(high, unit)


def count(value: float) -> str:
    """A count or a mean of counts: 0.0412, 12.3, 1 234, 12 345, 1.23 M."""
    if not isfinite(value):
        return f"{value:g}"
    if abs(value) < 1000 and value != int(value):
        rounded = float(f"{value:.3g}")
        size = floor(log10(abs(rounded))) if rounded else 0
        return f"{rounded:.{max(0, 2 - size)}f}".replace("-", MINUS) if size > -5 else si(value)
    if abs(value) < IN_FULL:
        return f"{round(value):,}".replace(",", THIN).replace("-", MINUS)
    return si(value)


def percent(share: float, digits: int = 3) -> str:
    """``share`` of 1 in percent with ``digits`` significant digits, at most two decimals."""
    hundred = abs(share) * 100
    if hundred == 0 or not isfinite(share):
        return _joined(f"{share:g}", "%")
    decimals = min(2, max(0, digits - 1 - floor(log10(hundred) + 1e-9)))
    if round(hundred, decimals) == 0:
        return f"<{THIN}0.01{THIN}%"
    return _joined((MINUS if share < 0 else "") + f"{hundred:.{decimals}f}", "%")


def _step(value: float, digits: int) -> int:
    """Power of 1000 whose prefix suits ``value`` once it is rounded."""
    rounded = float(f"{abs(value):.{digits - 1}e}")  # 999.9 rounds to 1.00 k, not to 1000
    exponent = floor(log10(rounded) / 3 + 1e-9)
    return min(max(PREFIXES), max(min(PREFIXES), exponent))


def _at(value: float, step: int, unit: str | None, digits: int) -> str:
    """``value`` in units of 1000**step; ``unit`` None leaves prefix and unit out."""
    scaled = abs(value) / 1000.0**step
    shown = float(f"{scaled:.{digits - 1}e}")
    decimals = max(0, digits - 1 - floor(log10(shown) + 1e-9)) if shown else 0
    body = (MINUS if value < 0 else "") + f"{shown:.{decimals}f}"
    return body if unit is None else _joined(body, PREFIXES[step] + unit)


def _joined(body: str, unit: str) -> str:
    return body + THIN + unit if unit else body
