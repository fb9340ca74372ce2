"""How the report writes numbers and strings."""

import pytest

from sltdeploy.report import units
from sltdeploy.report.text import clean, sentence


def test_text_from_outside_is_one_printable_line() -> None:
    assert clean("a\tb\r\nc\x00\x9b\u2028") == "a b  c\\x00\\x9b "
    assert sentence("no price: simulated") == "No price: simulated."
    assert sentence("Fine.") == "Fine."


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0 J"),
        (2.4e-6, "2.40 µJ"),
        (9.999e-7, "1.00 µJ"),
        (999.4, "999 J"),
        (1e-3, "1.00 mJ"),
        (-3e-9, "−3.00 nJ"),  # noqa: RUF001
        (1.5e3, "1.50 kJ"),
        (23.6e-12, "23.6 pJ"),
    ],
)
def test_si(value: float, shown: str) -> None:
    assert units.si(value, "J").replace("\u202f", " ") == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (12, "12"),
        (999, "999"),
        (12345, "12 345"),
        (1234.4, "1 234"),
        (99_999, "99 999"),
        (100_000, "100 k"),
        (1_234_567, "1.23 M"),
        (0.0412, "0.0412"),
        (12.34, "12.3"),
    ],
)
def test_count(value: float, shown: str) -> None:
    assert units.count(value).replace("\u202f", " ") == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.9, "90.0 %"),
        (0.98765, "98.8 %"),
        (0.0567, "5.67 %"),
        (1e-6, "< 0.01 %"),
    ],
)
def test_percent(value: float, shown: str) -> None:
    assert units.percent(value).replace("\u202f", " ") == shown


@pytest.mark.parametrize(
    ("numbers", "shown"),
    [
        ((0.9e-6, 2.4e-6, 5e-6), ("0.900", "2.40", "5.00 µJ")),
        ((497e-9, 995e-9, 9.95e-6), ("0.497", "0.995", "9.95 µJ")),
        ((70e-6, 124e-6, 1.03e-3), ("70.0 µJ", "124 µJ", "1.03 mJ")),
        ((1e-9, 2.4e-6, 5e-3), ("1.00 nJ", "2.40 µJ", "5.00 mJ")),
        ((0.0, 1e-6, 2e-6), ("0 J", "1.00 µJ", "2.00 µJ")),
        ((0.0, 0.0, 0.0), ("0 J", "0 J", "0 J")),
    ],
)
def test_a_range_shares_its_prefix_where_one_suits_all(
    numbers: tuple[float, float, float], shown: tuple[str, str, str]
) -> None:
    assert tuple(t.replace("\u202f", " ") for t in units.span(*numbers, "J")) == shown
