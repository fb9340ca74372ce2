"""The report: the same bytes, one file, everything escaped, every number with its unit."""

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from math import isclose
from pathlib import Path
from typing import Any

import pytest
import report_samples as samples
from report_reading import Page, quantities

from sltdeploy.errors import InputError, MissingComponentError
from sltdeploy.estimate import Spread
from sltdeploy.machine import Range
from sltdeploy.report import ReportData, page, plots, report_data, to_html, to_json, units
from sltdeploy.report.view import Fact, Value

if sys.version_info < (3, 11):  # Lava's environment need not have them
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")

DATA = samples.report()
HTML = to_html(DATA).decode()
COUNTERS = ("schema", "round", "winner", "number", "reference")  # not quantities
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=https://evil.example/x onerror=alert(1)>',
    "' onload='alert(1)",
    "</style></svg></title><iframe src=//evil.example>",
    "{{ 7 * 7 }}{% raw %}",
    "$\\frac{1}{2}$ & 漢字",
)
PRINT_DIGEST = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import report_samples
from sltdeploy.report import to_html
print(hashlib.sha256(to_html(report_samples.report())).hexdigest())
"""


PAGE = Page(HTML)


def row_of(found: Page, name: str) -> str:
    return next(row for row in found.rows if row.startswith(name))


# ------------------------------------------------------------------------------------ the file


def test_the_same_data_gives_the_same_bytes() -> None:
    assert to_html(samples.report()) == HTML.encode()


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_bytes_do_not_depend_on_the_hash_seed(seed: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRINT_DIGEST, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONHASHSEED": seed},
        timeout=120,
    )
    assert done.stdout.split()[-1] == hashlib.sha256(HTML.encode()).hexdigest()


def test_a_users_matplotlibrc_does_not_change_the_bytes() -> None:
    import matplotlib

    with matplotlib.rc_context({"font.size": 30.0, "axes.grid": True, "text.usetex": True}):
        assert to_html(DATA) == HTML.encode()


def test_the_file_is_small_and_a_huge_one_is_refused() -> None:
    assert len(HTML.encode()) < page.LIMIT // 5
    with pytest.raises(InputError, match="the limit is 1000000"):
        to_html(replace(DATA, caveats=("x" * page.LIMIT,)))


def test_nothing_is_fetched_and_nothing_runs() -> None:
    fetching = {"script", "link", "img", "iframe", "object", "embed", "base", "form", "image"}
    assert not PAGE.tags & fetching
    for name, value in PAGE.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "xlink:href", "action", "srcset"):
            assert value.startswith("#")
        if "url(" in value:
            assert "url(#" in value
    assert "://" not in HTML
    assert "@import" not in HTML
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in PAGE.attributes


def test_ids_are_unique_and_links_lead_somewhere() -> None:
    ids = [value for name, value in PAGE.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    links = {v.removeprefix("#") for n, v in PAGE.attributes if n == "href"}
    assert links <= set(ids)
    assert any(link.startswith("ref-") for link in links)


def test_nothing_of_this_machine_or_moment_is_inside() -> None:
    import matplotlib

    for trace in (str(Path.cwd()), matplotlib.__version__, "Date"):
        assert trace not in HTML


def test_dark_print_and_phone_are_styled() -> None:
    for rule in ("prefers-color-scheme: dark", "@media print", "size: A4", "max-width: 640px"):
        assert rule in HTML
    # Pictures take their colours from the page, so that they follow it.
    assert not set(plots.VARIABLES) & set(HTML.split('"'))
    assert "#000000" not in HTML[HTML.index("<body") :]


# ------------------------------------------------------------------------------------ escaping


@pytest.mark.parametrize("attack", HOSTILE)
def test_every_string_is_escaped(attack: str) -> None:
    text = to_html(samples.filled(DATA, attack)).decode()
    found = Page(text)
    assert found.tags <= PAGE.tags
    assert {name for name, _ in found.attributes} <= {name for name, _ in PAGE.attributes}
    assert all(v.startswith("#") for n, v in found.attributes if n in ("href", "src"))
    assert attack in found.text


def test_hostile_names_come_through_the_builder_escaped_and_printable() -> None:
    bad = "\x1b[31mred\x1b[0m \u202eevil <b>\n"
    counts = samples.counted(samples.lower(samples.ticket().graph()))[0]
    counts = replace(
        counts, projections=tuple(replace(p, source=bad, ops=bad) for p in counts.projections)
    )
    data = samples.report(
        title=bad,
        counts=counts,
        ticket=samples.ticket(bad),
        estimates=(samples.partial(bad),),
        provenance={bad: bad},
        caveats=(bad,),
    )
    text = to_html(data).decode()
    assert not [c for c in text if not c.isprintable() and c not in "\n\u202f\u2002"]
    assert "<b>\n" not in text
    assert "\\x1b[31mred\\x1b[0m \\u202eevil &lt;b&gt;" in text
    assert Page(text).tags <= PAGE.tags


def test_labels_in_pictures_are_text_without_mathematics() -> None:
    rows = [plots.Bars("$x_1$ <b>", 5.0, 3.0, 1.0)]
    assert "$x_1$ &lt;b&gt;" in plots.layers(rows, 880)
    long = plots.Bars("a" * 90, 5.0, 3.0, 1.0)
    assert "a" * 60 not in plots.layers([long], 360)


# ------------------------------------------------------------------------------------ contents


def test_a_term_without_a_price_is_not_priced_and_not_zero() -> None:
    row = row_of(PAGE, "messages")
    assert "not priced" in row
    assert "J" not in row
    assert "nobody has said" in HTML
    terms = to_json(DATA)["energies"][0]["terms"]
    assert [t["energy"] for t in terms if t["name"] == "messages"] == [None]
    verdict = to_json(DATA)["verdicts"][0]
    assert "Not priced, so not included: messages." in verdict["sentence"]
    assert verdict["scope"] == "priced terms, per inference"


def test_a_refusal_is_shown_instead_of_joules() -> None:
    verdict = DATA.verdicts[1]
    assert verdict.total is None
    assert "Nobody has published an energy per operation." in verdict.sentence
    head = HTML[: HTML.index("<main>")]
    assert "no total" in head
    assert "Nobody has published an energy per operation." in head
    only = samples.report(estimates=(samples.refused(),), fits=())
    alone = to_html(only).decode()
    assert "per inference, <" not in alone
    assert page._pictures(only)["ranges"] is None  # pyright: ignore[reportPrivateUsage]
    assert "0.679 W" in alone


def test_the_verdict_says_what_the_number_rests_on() -> None:
    chip, _, robot = (v.sentence for v in DATA.verdicts)
    static = 29e-3 * 0.01 / (29e-3 * 0.01 + 45_000 * 33.6e-12)
    assert f"{units.percent(static)} of it static" in chip
    assert "29.2\u202fmW on average at 100\u202fHz (20.1\u202fmW to 40.2\u202fmW)" in chip
    assert "some prices are simulated" in chip
    assert "every price is derived or unstated" in robot


def test_a_target_that_costs_nothing_is_written_too() -> None:
    nothing = Range(0.0, 0.0, 0.0)
    free = replace(samples.partial(), total=nothing, average_power=nothing)
    text = to_html(samples.report(estimates=(free,), fits=()))
    assert "0\u202fJ" in text.decode()


def test_a_misfit_is_the_verdict() -> None:
    data = samples.report(fits=samples.fits(cores=300))
    verdict = data.verdicts[0]
    assert (verdict.tone, verdict.status) == ("bad", "does not fit")
    assert "budget 'cores' at 234\u202f% of its limit" in verdict.sentence
    assert "meter over" in to_html(data).decode()
    assert "meter over" not in HTML
    assert [f.fits for f in DATA.fits] == [True, True]
    assert "no limit stated" in HTML


def test_every_number_in_json_has_a_unit() -> None:
    bare = [(k, n) for k, n, unit in quantities(to_json(DATA)) if not unit and k not in COUNTERS]
    assert [k for k, _ in bare if k != "references"] == []
    assert sum(unit for *_, unit in quantities(to_json(DATA))) > 150


def test_json_and_html_show_the_same_numbers() -> None:
    known = {n for _, n, unit in quantities(to_json(DATA)) if unit}
    assert set(PAGE.numbers) <= known
    data = to_json(DATA)
    for energy in data["energies"]:
        spans = [t["energy"] for t in energy["terms"]] + [energy["total"]]
        for span in filter(None, spans):
            assert span["nominal"] in PAGE.numbers
    for layer in data["counts"]["layers"]:
        for key in ("weights", "nonzero", "events", "dense", "unpruned", "effective"):
            assert layer[key]["number"] in PAGE.numbers


def test_what_is_read_is_what_the_number_says() -> None:
    row = row_of(PAGE, "synaptic operations (AC)")
    assert re.findall(r"1\.\d\d(?:\u202fµJ)?", row) == ["1.06", "1.51", "1.60\u202fµJ"]
    assert "simulated" in row
    layer = next(r for r in PAGE.rows if r.startswith("lif1 → lif2"))
    effective = DATA.counts.layers[1].effective.number if DATA.counts else 0
    assert effective > 0
    assert units.count(effective) in layer


def test_json_is_plain_and_finite() -> None:
    text = json.dumps(to_json(DATA), allow_nan=False, sort_keys=True)
    assert json.loads(text)["format"] == "sltdeploy-report"
    endless = replace(DATA, facts=(Fact("rate", Value(float("inf"), "Hz")),))
    assert to_json(endless)["facts"][0]["value"]["number"] == "inf"


def test_references_are_exactly_the_sources_used() -> None:
    used = [
        s for e in (samples.partial(), samples.refused(), samples.complete()) for s in e.references
    ]
    used += [r.reference for f in samples.fits() for r in f.resources]
    shown = {r.text: r.read for r in DATA.references}
    assert shown == {
        s.removesuffix(" [cited second-hand]"): not s.endswith("[cited second-hand]") for s in used
    }
    assert [r.number for r in DATA.references] == list(range(1, len(shown) + 1))
    assert "2 of the sources were not read" in HTML
    fewer = samples.report(estimates=(samples.complete(),), fits=())
    assert "Measured et al. 2019" not in to_html(fewer).decode()


def test_the_ticket_section_has_every_round_and_the_winner() -> None:
    section = DATA.ticket
    assert section is not None
    assert [r.accuracy.number for r in section.rounds if r.accuracy] == list(samples.ACCURACIES)
    assert section.winner == len(samples.ACCURACIES) - 1
    assert isclose(section.rounds[section.winner].sparsity.number, samples.ticket().sparsity)
    assert "pruning.fraction" in HTML
    assert samples.ticket().id in HTML


def test_verification_shows_what_differs() -> None:
    agrees, differs = DATA.verifications
    assert (agrees.verdict, differs.verdict) == ("identical", "differs")
    assert differs.differing.number == samples.SAMPLES * samples.STEPS * 256
    assert "population 'lif2', step 0" in PAGE.text
    assert "An artifact differs from the reference" in PAGE.text


def test_equal_samples_have_no_spread() -> None:
    noisy = replace(samples.complete(), spread=Spread(2.0, 1e-15, 2.0, 2.0))
    assert [f.value for f in samples.report(estimates=(noisy,)).energies[0].spread][1] == Value(
        0.0, "J"
    )


def test_silent_neurons_are_a_caveat_and_silent_inputs_are_not() -> None:
    program = samples.lower(samples.ticket().graph())
    counts = samples.counted(program)[0]
    quiet = replace(counts, populations=tuple(replace(p, silent=3) for p in counts.populations))
    data = samples.report(counts=quiet)
    assert (
        "Never spiked on these samples: 3 of 512 neurons of 'lif1', 3 of 256 neurons of 'lif2'."
        in data.caveats
    )


def test_break_even_points_stand_once_unless_counts_differ() -> None:
    assert len(DATA.break_even) == 1
    other = replace(samples.BREAK_EVEN, value=0.9)
    quantised = replace(samples.partial(), break_even=(other,))
    data = samples.report(estimates=(quantised, samples.complete()))
    assert [b.where for b in data.break_even] == ["chip1", "robot"]


def test_a_program_alone_makes_a_report() -> None:
    data = report_data(title="Plain", program=samples.lower(samples.ticket().graph()))
    text = to_html(data).decode()
    found = Page(text)
    for section in ("ticket", "layers", "energy", "fit", "verification", "references"):
        assert ("id", section) not in found.attributes
        assert ("id", section) in PAGE.attributes
    assert ("id", "provenance") in found.attributes
    assert "No artifact was verified" in text
    assert "svg" not in found.tags


@pytest.mark.parametrize("kept", [(), ("counts",), ("estimates",), ("ticket",), ("fits",)])
def test_sections_can_be_left_out(kept: tuple[str, ...]) -> None:
    parts: dict[str, Any] = {
        "ticket": None,
        "counts": None,
        "estimates": (),
        "fits": (),
        "verifications": (),
        "accuracy": None,
    }
    left = {name: value for name, value in parts.items() if name not in kept}
    Page(to_html(samples.report(**left)).decode())


def test_a_search_without_history_has_no_picture() -> None:
    data = samples.report(ticket=replace(samples.ticket(), history=()))
    assert page._pictures(data)["rounds"] is None  # pyright: ignore[reportPrivateUsage]
    to_html(data)


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_package_is_named_with_the_command(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [m for m in sys.modules if m.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        MissingComponentError, match=rf'{package}: pip install "sltdeploy\[report\]"'
    ):
        to_html(DATA)


def test_data_are_what_they_were() -> None:
    assert isinstance(DATA, ReportData)
    assert samples.report() == DATA
