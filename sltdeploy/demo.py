"""The whole path on scikit-learn's digits: a ticket, its artifacts, the proof and the report.

Everything is written under one folder; running it again takes up an interrupted search, and a
finished one is not searched again.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from sltdeploy import reference
from sltdeploy.assessment import Assessed, Fed, Priced, assess, price
from sltdeploy.atomic import write_bytes
from sltdeploy.errors import CheckError, MissingComponentError
from sltdeploy.exporting import PROGRAM, export
from sltdeploy.program import Array, Program
from sltdeploy.program_file import from_bytes
from sltdeploy.report import Verified, report_data, to_html, to_json
from sltdeploy.resolving import resolve
from sltdeploy.target import load as load_target
from sltdeploy.ticket import Ticket
from sltdeploy.trace import decision
from sltdeploy.verification import Verification, compare, proving_engine, verify

Show: TypeAlias = Callable[[int, int, str, str], None]  # done, total, what, line to keep

RECIPE = "digits"
QUICK = ("training.epochs=4", "training.rewind_epoch=1", "pruning.rounds=2")
PRICED = ("loihi2", "loihi1", "raspberry-pi-4", "cortex-m7", "cmos-45nm")
RATE_HZ = 100.0  # inferences per second, a robot's control rate


@dataclass(frozen=True)
class Plan:
    """One artifact of the demo: its folder and the options of `sltdeploy.exporting.export`."""

    folder: str
    title: str
    target: str | None = None
    format: str | None = None
    quantize: Any = "none"


PLANS = (
    Plan("nir", "NIR", format="nir"),
    Plan("raspberry-pi-4", "ONNX, Raspberry Pi 4", target="raspberry-pi-4"),
    Plan("loihi2-float", "Lava, floating point", target="loihi2"),
    Plan("loihi2", "Lava, Loihi 2 integers", target="loihi2", quantize="int8"),
)


@dataclass(frozen=True)
class Held:
    """One artifact, or Norse, held against the reference; ``result`` is None where it cannot be."""

    title: str
    path: Path | None
    engine: str
    accuracy: float
    result: Verification | None
    latency: int  # steps
    missing: tuple[str, ...] = ()  # how to get what it needs
    failed: tuple[str, ...] = ()  # why it gave no result, though nothing is missing


@dataclass(frozen=True, eq=False)
class Demonstration:
    """All that the demo found, and where it lies."""

    folder: Path
    ticket: Ticket
    found: Assessed
    priced: tuple[Priced, ...]
    held: tuple[Held, ...]

    @property
    def ok(self) -> bool:
        """Whether everything for which nothing is missing ran and agrees with the reference."""
        return all(h.missing or (h.result is not None and h.result.ok) for h in self.held)

    @property
    def missing(self) -> tuple[str, ...]:
        """What was left out for want of a component, and how to get it."""
        return tuple(dict.fromkeys(line for h in self.held for line in h.missing))


def demonstrate(ticket: Ticket, out: Path, show: Show) -> Demonstration:
    """Export ``ticket``, hold each artifact against the reference, price it, write the report.

    Writes ticket.safetensors, artifacts/, report.html and report.json under ``out``.
    """
    from sltdeploy.digits import held_out_input

    ticket.save(out / "ticket.safetensors")
    resolved = resolve(ticket)
    program = resolved.program
    x, labels = held_out_input(ticket.steps)
    fed = Fed(x, f"the {len(labels)} held-out digits", labels, resolved.span)
    total = len(PLANS) + len(PRICED) + 2
    show(0, total, "Norse against the reference", "")
    held = [_held_norse(ticket, program, x, labels)]
    for done, plan in enumerate(PLANS, 1):
        show(done, total, plan.title, "")
        held.append(_held_artifact(ticket, plan, out / "artifacts" / plan.folder, x, labels))
    priced: list[Priced] = []
    for done, name in enumerate(PRICED, len(PLANS) + 1):
        show(done, total, f"energy on {name}", "")
        priced.append(price(program, load_target(name), fed, RATE_HZ))
    show(total - 1, total, "report", "")
    found = assess(program, fed)
    _write_report(ticket, found, priced, held, out)
    show(total, total, "done", "")
    return Demonstration(out, ticket, found, tuple(priced), tuple(held))


def search_folder(facts: object) -> str:
    """Name of the folder of one search; another recipe or torch makes another search."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return f"search-{digest[:8]}"


def _held_norse(ticket: Ticket, program: Program, x: Array, labels: Array) -> Held:
    from sltdeploy.search.recording import record

    got = record(*ticket.deployed(), ticket.dt, x)
    result = compare(program, reference.run(program, x), got)
    return Held("Norse", None, "norse", _share(got[program.outputs[0]], labels), result, 0)


def _held_artifact(ticket: Ticket, plan: Plan, out: Path, x: Array, labels: Array) -> Held:
    artifact = export(
        ticket,
        plan.target,
        out,
        format=plan.format,
        quantize=plan.quantize,
    )
    program = from_bytes((out / PROGRAM).read_bytes())
    accuracy = _share(reference.run(program, x).output, labels)
    latency = artifact.manifest["latency_steps"]
    try:
        engine = proving_engine(out)
        result = verify(out, x, engine=engine)
    except MissingComponentError as error:
        return Held(plan.title, out, "none", accuracy, None, latency, missing=error.violations)
    except CheckError as error:  # Lava hung or broke off: the report is still worth having
        return Held(plan.title, out, "none", accuracy, None, latency, failed=error.violations)
    return Held(plan.title, out, engine, accuracy, result, latency)


def _share(output: Array, labels: Array) -> float:
    return float((decision(output) == labels).mean())


def _write_report(
    ticket: Ticket, found: Assessed, priced: Sequence[Priced], held: Sequence[Held], out: Path
) -> None:
    unverified = [(h.title, line) for h in held for line in (*h.missing, *h.failed)]
    data = report_data(
        title="Digits, a winning spiking ticket",
        program=found.program,
        ticket=ticket,
        counts=found.counts,
        estimates=[p.estimate for p in priced],
        fits=[p.fit for p in priced],
        verifications=[
            Verified(h.title, h.engine, h.latency, h.result) for h in held if h.result is not None
        ],
        accuracy=found.accuracy,
        caveats=[
            *(f"{title} was not verified: {line}" for title, line in unverified),
            *(line for p in priced for line in p.caveats),
        ],
    )
    text = json.dumps(to_json(data), indent=1, sort_keys=True) + "\n"
    write_bytes(out / "report.json", text.encode())
    write_bytes(out / "report.html", to_html(data))
