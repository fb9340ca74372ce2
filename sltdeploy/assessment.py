"""What a model costs on a target: the program as it is deployed there, counted, fitted, priced."""

from collections.abc import Mapping
from dataclasses import dataclass

from sltdeploy.check import too_big, unsupported
from sltdeploy.counting import count
from sltdeploy.counts import Counts
from sltdeploy.errors import located, raise_all
from sltdeploy.estimate import Estimate
from sltdeploy.machine import Target
from sltdeploy.mapping import fit
from sltdeploy.pricing import energy
from sltdeploy.program import Array, Program
from sltdeploy.quantize import for_loihi
from sltdeploy.reference import run
from sltdeploy.resources import Fit
from sltdeploy.ticket import Ticket
from sltdeploy.trace import decision
from sltdeploy.verification import BATCH, STEPS, example


@dataclass(frozen=True, eq=False)
class Fed:
    """What a network is counted on: x (T, B, *shape), in words, and labels (B,) where known."""

    x: Array | Mapping[str, Array]
    what: str
    labels: Array | None = None


@dataclass(frozen=True, eq=False)
class Assessed:
    """One program counted on one input; accuracy is None where no labels are known."""

    program: Program
    counts: Counts
    accuracy: float | None


@dataclass(frozen=True, eq=False)
class Priced:
    """One target: what runs there, its price, whether it fits; ``exceeded`` says where not."""

    assessed: Assessed
    estimate: Estimate
    fit: Fit
    exceeded: tuple[str, ...]


def usual_input(program: Program, ticket: Ticket | None) -> Fed:
    """Input where the user gives none: held-out images of a bundled ticket, else a seeded one."""
    if ticket is not None and ticket.recipe.get("data", {}).get("name") == "digits":
        from sltdeploy.search.digits import HELD_OUT, held_out_input

        x, labels = held_out_input(ticket.steps)
        return Fed(x, f"the {HELD_OUT} held-out digits", labels)
    what = f"a SEEDED RANDOM input ({STEPS} steps, {BATCH} samples), which tells little: give yours"
    return Fed(example(program), what)


def assess(program: Program, fed: Fed) -> Assessed:
    """Run the reference on ``fed`` and count; decide by the first output where labels are known."""
    trace = run(program, fed.x)
    accuracy = None
    if fed.labels is not None:
        accuracy = float((decision(trace.output) == fed.labels).mean())
    return Assessed(program, count(program, trace), accuracy)


def deployed(program: Program, target: Target, fed: Fed) -> Program:
    """Give ``program`` the numbers that ``target`` holds, calibrated on ``fed``.

    Raises `InputError` with every feature that the target lacks.
    """
    with located(target.name):
        if program.numbers not in target.numbers and "loihi" in target.numbers:
            program = for_loihi(program, fed.x)
        raise_all(unsupported(program, target))
    return program


def price(
    program: Program, target: Target, fed: Fed, rate_hz: float, latency_s: float | None = None
) -> Priced:
    """Count the deployed ``program`` on ``fed`` and price it; weights as deployed.

    ``latency_s`` is what an inference takes on the target, in seconds, where it was measured.

    Raises `InputError` where the target lacks something or the rate is not positive.
    """
    ready = deployed(program, target, fed)
    found = assess(ready, fed)
    place = fit(ready, target)
    estimate = energy(found.counts, target, rate_hz, latency_s=latency_s, fit=place)
    return Priced(found, estimate, place, tuple(too_big(ready, target)))
