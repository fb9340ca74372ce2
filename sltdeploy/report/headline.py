"""The top of the report: the facts, a sentence for each target, and the general caveats."""

from collections.abc import Iterator, Sequence

from sltdeploy.report.units import count, percent, si
from sltdeploy.report.view import (
    CountSection,
    EnergySection,
    Fact,
    FitSection,
    TicketSection,
    Tone,
    Value,
    Verdict,
    VerificationRow,
)

ESTIMATE = (
    "Energies are estimates, exact counts times published prices. Nothing here was measured on "
    "your board."
)
UNMEASURED = ("simulated", "derived", "unstated")


def verdict(energy: EnergySection, fit: FitSection | None) -> Verdict:
    """What the sections on one target come to."""
    misfit = fit is not None and not fit.fits
    tone: Tone = "good" if energy.status == "complete" else "warn"
    sentences = [*_misfit(fit), *(_refused(energy) if energy.total is None else _priced(energy))]
    return Verdict(
        target=energy.target,
        title=energy.title,
        tone="bad" if misfit else tone,
        status="does not fit" if misfit else energy.status,
        sentence=" ".join(sentences),
        scope="per inference" if energy.status == "complete" else "priced terms, per inference",
        total=energy.total,
        power=energy.power,
    )


def _misfit(fit: FitSection | None) -> Iterator[str]:
    if fit is not None and not fit.fits:
        yield fit.summary


def _refused(energy: EnergySection) -> Iterator[str]:
    reason = energy.refusal or "No price is published for what this network does here"
    yield reason if reason.endswith(".") else f"{reason}."
    yield "This report gives counts, fit and published measurements, and no total in joules."


def _priced(energy: EnergySection) -> Iterator[str]:
    total, power = energy.total, energy.power
    assert total is not None
    if power is not None:
        low, nominal, high = (si(p, "W") for p in (power.low, power.nominal, power.high))
        reach = f" ({low} to {high})" if low != high else ""
        scope = "" if energy.status == "complete" else " by the priced terms"
        static = f", {_share(energy)}" if energy.static is not None else ""
        yield f"{nominal} on average at {si(energy.rate.number, 'Hz')}{reach}{scope}{static}."
    unpriced = [t.name for t in energy.terms if t.energy is None]
    if unpriced:
        yield f"Not priced, so not included: {', '.join(unpriced)}."
    grades = {t.grade for t in energy.terms if t.energy is not None}
    weak = [g for g in UNMEASURED if g in grades]
    if weak:
        every = "every price is" if "measured" not in grades else "some prices are"
        yield f"Not a measurement: {every} {' or '.join(weak)}."


def _share(energy: EnergySection) -> str:
    assert energy.static is not None
    assert energy.total is not None
    share = energy.static.nominal / energy.total.nominal if energy.total.nominal else 0.0
    return f"{percent(share)} of it static"


def facts(
    ticket: TicketSection | None,
    counts: CountSection | None,
    accuracy: float | None,
    steps: int | None,
    dt: float,
    rate_hz: float | None,
) -> Iterator[Fact]:
    """The few numbers at the top."""
    chosen = ticket.rounds[ticket.winner].accuracy if ticket and ticket.rounds else None
    if accuracy is not None:
        yield Fact("accuracy", Value(accuracy, "share"), "on the counted samples")
    elif chosen is not None:
        yield Fact("accuracy", chosen, "of the ticket's round")
    if counts is not None:
        total = counts.total
        if total.sparsity is not None:
            left = f"{count(total.nonzero.number)} of {count(total.weights.number)} left"
            yield Fact("weights pruned", total.sparsity, left)
        yield Fact("synaptic operations", total.effective, "effective, per inference")
    if steps is not None:
        yield Fact("steps T", Value(steps, "steps"), f"{si(steps * dt, 's')} per inference")
    yield Fact("time step dt", Value(dt, "s"))
    if rate_hz is not None:
        yield Fact("inference rate", Value(rate_hz, "Hz"))


def caveats(
    samples: int | None,
    energies: Sequence[EnergySection],
    verifications: Sequence[VerificationRow],
    silent: Sequence[tuple[str, int, int]],
    second_hand: int,
) -> Iterator[str]:
    """What holds for the whole report; ``silent`` is (population, silent neurons, neurons)."""
    if energies:
        yield ESTIMATE
    if samples is not None:
        yield (
            f"Counts are of {samples} sample{'s' * (samples != 1)}: work follows the input, and "
            "other inputs cost otherwise."
        )
    quiet = [f"{n} of {neurons} neurons of '{name}'" for name, n, neurons in silent if n]
    if quiet:
        yield f"Never spiked on these samples: {', '.join(quiet)}."
    if second_hand:
        yield (
            f"{second_hand} of the sources {'was' if second_hand == 1 else 'were'} not read "
            "but cited second-hand; the references mark them."
        )
    if any(not v.ok for v in verifications):
        yield "An artifact differs from the reference: its energy may differ as well."
    if not verifications:
        yield "No artifact was verified for this report."
