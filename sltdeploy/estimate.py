"""What `sltdeploy.pricing.energy` found: joules per inference, term by term."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from sltdeploy.machine import Anchor, Cost, Grade, Range, cited

Status: TypeAlias = Literal["complete", "priced terms only", "refused"]
Verdict: TypeAlias = Literal["below", "within", "above"]


@dataclass(frozen=True)
class Term:
    """One contribution in J per inference: ``count`` events at ``price`` each.

    ``energy`` is None where no price is known; then ``reason`` says why.
    """

    name: str  # e.g. "synaptic operations (AC)"
    event: str  # what is priced, one of `sltdeploy.machine.EVENTS`
    count: float  # events per inference, mean over samples; seconds for powers
    count_unit: str  # e.g. "accumulations", "s"
    energy: Range | None  # J per inference
    price: Cost | None
    reason: str = ""  # why it is unpriced
    note: str = ""  # assumption under which it is priced


@dataclass(frozen=True)
class Baseline:
    """Synaptic work per inference of a network to compare with, and the energy of that work in J.

    ``ratio`` is its nominal energy over that of the estimated network's synaptic work.
    """

    name: str
    ac: float
    mac: float
    energy: Range | None
    ratio: float | None
    note: str = ""
    prices: tuple[Cost, ...] = ()  # what `energy` was computed with


@dataclass(frozen=True)
class BreakEven:
    """A counted quantity against a published range in which spiking networks break even."""

    name: str
    value: float
    unit: str
    low: float
    high: float
    verdict: Verdict
    meaning: str
    source: str
    read: bool

    @property
    def reference(self) -> str:
        """The source, marked if it was not read."""
        return cited(self.source, self.read)


@dataclass(frozen=True)
class Spread:
    """Nominal energy of the priced terms over the samples, in J per inference."""

    mean: float
    sd: float
    p5: float
    p95: float


@dataclass(frozen=True)
class Estimate:
    """Energy per inference on one target; each term has its price, or the reason for none."""

    target: str
    title: str
    rate_hz: float
    steps: int
    samples: int
    status: Status  # what `total` means
    total: Range | None  # J per inference; None if refused or if nothing is priced
    average_power: Range | None  # W at rate_hz
    spread: Spread | None
    refusal: str | None
    terms: tuple[Term, ...]
    baselines: tuple[Baseline, ...]
    break_even: tuple[BreakEven, ...]
    anchors: tuple[Anchor, ...]
    grades: Mapping[str, Grade]  # event: grade of its price
    references: tuple[str, ...]  # sources of exactly the numbers used
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain types for `json.dumps`; energies in J per inference, powers in W."""
        return json.loads(json.dumps({**asdict(self), "units": {"energy": "J", "power": "W"}}))
