"""The energy report: what people hand around, as one HTML file and as JSON.

`report_data` builds a `ReportData` from the nouns, `to_html` and `to_json` write it. All three
are pure: no clock, no paths, no network, same bytes for the same input.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from sltdeploy import __version__
from sltdeploy.counts import Counts
from sltdeploy.estimate import Estimate
from sltdeploy.program import Program
from sltdeploy.report.counted import Verified as Verified
from sltdeploy.report.counted import count_section, ticket_section, verification_row
from sltdeploy.report.fitted import fit_section, fit_sources
from sltdeploy.report.headline import caveats as general_caveats
from sltdeploy.report.headline import facts, verdict
from sltdeploy.report.page import to_html as to_html
from sltdeploy.report.priced import break_even, energy_section, numbered
from sltdeploy.report.text import clean, sentence
from sltdeploy.report.view import Fact
from sltdeploy.report.view import ReportData as ReportData
from sltdeploy.resources import Fit
from sltdeploy.ticket import Ticket

FORMAT, SCHEMA = "sltdeploy-report", 1


def report_data(
    *,
    title: str,
    program: Program,
    ticket: Ticket | None = None,
    counts: Counts | None = None,
    estimates: Sequence[Estimate] = (),
    fits: Sequence[Fit] = (),
    verifications: Sequence[Verified] = (),
    accuracy: float | None = None,
    caveats: Sequence[str] = (),
    provenance: Mapping[str, str] | None = None,
) -> ReportData:
    """Collect what the report shows; what is not given is left out.

    Parameters
    ----------
    title
        Name of the network.
    program
        The program that was counted.
    ticket
        Where the network comes from, if it is a ticket.
    counts
        Counts of the program on held-out samples.
    estimates
        One for each target, in the order of the report.
    fits
        At most one for each target, joined to the estimates by the target's name.
    verifications
        One for each artifact.
    accuracy
        Share of the counted samples that are classified rightly, 0 to 1.
    caveats
        Further caveats, printed first.
    provenance
        Further entries: what, and its version or digest. No times and no paths of a machine.
    """
    references = numbered(
        [
            *(source for e in estimates for source in e.references),
            *(source for f in fits for source in fit_sources(f)),
        ]
    )
    energies = tuple(energy_section(e, references) for e in estimates)
    placed = tuple(fit_section(f, references) for f in fits)
    by_target = {f.target: f for f in placed}
    rows = tuple(map(verification_row, verifications))
    origin = None if ticket is None else ticket_section(ticket)
    work = None if counts is None else count_section(counts)
    silent = [
        (clean(p.name), p.silent, p.neurons)
        for p in (counts.populations if counts else ())
        if p.spiking and p.updates
    ]
    second_hand = sum(not r.read for r in references.values())
    return ReportData(
        title=clean(title),
        facts=tuple(
            facts(
                origin,
                work,
                accuracy,
                counts.steps if counts else ticket.steps if ticket else None,
                program.dt,
                estimates[0].rate_hz if estimates else None,
            )
        ),
        verdicts=tuple(verdict(e, by_target.get(e.target)) for e in energies),
        ticket=origin,
        counts=work,
        energies=energies,
        break_even=break_even(estimates, references),
        fits=placed,
        verifications=rows,
        caveats=(
            *map(sentence, caveats),
            *general_caveats(
                counts.samples if counts else None, energies, rows, silent, second_hand
            ),
        ),
        references=tuple(references.values()),
        provenance=tuple(
            Fact(clean(what), clean(value))
            for what, value in {
                "sltdeploy": __version__,
                "program": program.digest(),
                **({"ticket": ticket.id} if ticket else {}),
                "numbers": program.numbers,
                "time step": f"{program.dt:g} s",
                **({"steps": str(counts.steps), "samples": str(counts.samples)} if counts else {}),
                **(provenance or {}),
            }.items()
        ),
    )


def to_json(data: ReportData) -> dict[str, Any]:
    """The same content as plain types for `json.dumps`; numbers that JSON lacks become text."""
    return {"format": FORMAT, "schema": SCHEMA, **_plain(asdict(data))}


def _plain(item: Any) -> Any:
    match item:
        case dict():
            return {key: _plain(value) for key, value in item.items()}
        case list() | tuple():
            return [_plain(value) for value in item]
        case float() if not isfinite(item):
            return str(item)
        case _:
            return item
