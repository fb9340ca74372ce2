"""What a model costs on a target: the program as it is deployed there, counted, fitted, priced."""

from collections.abc import Mapping
from dataclasses import dataclass

from sltdeploy import integer_simulation
from sltdeploy.checking import foreign_inputs, loops, too_big, unsupported
from sltdeploy.counting import count
from sltdeploy.counts import Counts
from sltdeploy.errors import InputError, located, raise_all
from sltdeploy.estimate import Estimate
from sltdeploy.inlining import inline
from sltdeploy.machine import Target
from sltdeploy.mapping import fit
from sltdeploy.pricing import energy
from sltdeploy.program import Array, Program
from sltdeploy.quantize import for_loihi
from sltdeploy.reference import run
from sltdeploy.resolving import Resolved
from sltdeploy.resources import Fit
from sltdeploy.stimulus import BATCH, STEPS, example
from sltdeploy.trace import Trace, decision


@dataclass(frozen=True, eq=False)
class Fed:
    """What a network is counted on: x (T, B, *shape), in words, and labels (B,) where known.

    ``span`` shows the range of the input where the model knows it; integers are scaled on it
    then, not on ``x``.
    """

    x: Array | Mapping[str, Array]
    what: str
    labels: Array | None = None
    span: Array | None = None


@dataclass(frozen=True, eq=False)
class Assessed:
    """One program counted on one input; accuracy is None where no labels are known."""

    program: Program
    counts: Counts
    accuracy: float | None


@dataclass(frozen=True, eq=False)
class Priced:
    """One target: what runs there, its price, whether it fits; ``exceeded`` says where not.

    ``caveats`` say what was priced otherwise than it would run there.
    """

    assessed: Assessed
    estimate: Estimate
    fit: Fit
    exceeded: tuple[str, ...]
    caveats: tuple[str, ...] = ()


def usual_input(resolved: Resolved) -> Fed:
    """Input where the user gives none: held-out images of a bundled ticket, else a seeded one."""
    ticket = resolved.ticket
    if ticket is not None and ticket.recipe.get("data", {}).get("name") == "digits":
        from sltdeploy.digits import HELD_OUT, held_out_input

        x, labels = held_out_input(ticket.steps)
        return Fed(x, f"the {HELD_OUT} held-out digits", labels, resolved.span)
    what = f"a SEEDED RANDOM input ({STEPS} steps, {BATCH} samples), which tells little: give yours"
    return Fed(example(resolved.program), what, span=resolved.span)


def assess(program: Program, fed: Fed, place: Fit | None = None) -> Assessed:
    """Run ``program`` on ``fed`` and count; decide by the first output where labels are known.

    With ``place`` messages between its cores are counted as well.
    """
    if program.numbers == "loihi":
        trace = Trace(program, integer_simulation.run(program, fed.x))
    else:
        trace = run(program, fed.x)
    accuracy = None
    if fed.labels is not None:
        accuracy = float((decision(trace.output) == fed.labels).mean())
    return Assessed(program, count(program, trace, place), accuracy)


def deployed(program: Program, target: Target, fed: Fed) -> tuple[Program, tuple[str, ...]]:
    """Give ``program`` the numbers that ``target`` holds; also what could not be had, in words.

    A network that cannot be quantised for Loihi is priced as its floats, an input that the chip
    does not take as if a host brought it, and loops that are too fast for it: all are said.
    Raises `InputError` with every other feature that the target lacks.
    """
    caveats: list[str] = []
    if target.exporter == "lava":
        program = inline(program)  # as it is exported
    with located(target.name):
        if program.numbers not in target.numbers and "loihi" in target.numbers:
            try:
                program = for_loihi(program, span=fed.x if fed.span is None else fed.span)
            except InputError as error:
                if program.numbers not in target.simulated:
                    raise
                caveats += [f"priced in floating point: {line}" for line in error.violations]
        foreign = [*foreign_inputs(program, target), *loops(program, target)]
        raise_all(line for line in unsupported(program, target) if line not in foreign)
    return program, tuple(f"{target.name}: {line}" for line in (*caveats, *foreign))


def price(
    program: Program, target: Target, fed: Fed, rate_hz: float, latency_s: float | None = None
) -> Priced:
    """Count the deployed ``program`` on ``fed`` and price it; weights as deployed.

    ``latency_s`` is what an inference takes on the target, in seconds, where it was measured.

    Raises `InputError` where the target lacks something or the rate is not positive.
    """
    ready, caveats = deployed(program, target, fed)
    place = fit(ready, target)
    found = assess(ready, fed, place)
    estimate = energy(found.counts, target, rate_hz, latency_s=latency_s)
    return Priced(found, estimate, place, tuple(too_big(ready, target)), caveats)
