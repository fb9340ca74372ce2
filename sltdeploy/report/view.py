"""What the report shows, as plain strings and numbers; HTML and JSON are two forms of this.

Every number is a `Value` or a `Span` and so carries its unit. Units: SI ("J", "W", "s", "Hz"),
"share" (of 1, shown in percent), or the thing counted ("weights", "spikes"). ``reference`` is a
number in the list of references, or None.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Tone: TypeAlias = Literal["good", "plain", "warn", "bad"]
Part: TypeAlias = Literal["static", "dynamic", "active"]  # active: both, while an inference runs


@dataclass(frozen=True)
class Value:
    """One number and its unit."""

    number: float
    unit: str


@dataclass(frozen=True)
class Span:
    """A number known to lie between ``low`` and ``high``."""

    low: float
    nominal: float
    high: float
    unit: str


@dataclass(frozen=True)
class Fact:
    """A labelled number or text."""

    label: str
    value: Value | str
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """What one target's sections come to, in a sentence."""

    target: str
    title: str
    tone: Tone
    status: str
    sentence: str
    scope: str  # what the total is of
    total: Span | None
    power: Span | None


@dataclass(frozen=True)
class RoundRow:
    """One round of the search."""

    round: int
    nonzero: Value | None
    sparsity: Value
    accuracy: Value | None
    spikes: Value | None  # per image


@dataclass(frozen=True)
class TicketSection:
    """Where the network comes from; ``winner`` is an index into ``rounds``."""

    id: str
    rounds: tuple[RoundRow, ...]
    winner: int
    recipe: tuple[Fact, ...]


@dataclass(frozen=True)
class LayerRow:
    """One weighted op; operations and events are means per inference."""

    name: str
    ops: str
    operation: str  # AC or MAC
    weights: Value
    nonzero: Value
    sparsity: Value | None
    neurons: Value
    rate: Value | None
    events: Value
    dense: Value
    unpruned: Value
    effective: Value


@dataclass(frozen=True)
class CountSection:
    """Work per layer and in all; ``spread`` describes the effective total over samples."""

    layers: tuple[LayerRow, ...]
    total: LayerRow
    samples: Value
    spread: tuple[Fact, ...]


@dataclass(frozen=True)
class TermRow:
    """One contribution to a target's energy; ``energy`` None means not priced, not zero."""

    name: str
    part: Part
    count: Value
    price: Span | None
    grade: str
    energy: Span | None
    share: Value | None
    detail: str  # why it is not priced, or under which assumption it is
    reference: int | None


@dataclass(frozen=True)
class BaselineRow:
    """A network to compare with; ``ratio`` is its synaptic energy over this network's."""

    name: str
    ac: Value
    mac: Value
    energy: Span | None
    ratio: Value | None
    note: str
    references: tuple[int, ...]


@dataclass(frozen=True)
class BreakEvenRow:
    """A measured quantity against a published range."""

    name: str
    value: Value
    low: Value
    high: Value
    verdict: str
    meaning: str
    where: str  # as deployed on which targets, where they differ
    reference: int


@dataclass(frozen=True)
class AnchorRow:
    """A published measurement of a whole workload."""

    workload: str
    values: tuple[tuple[str, str], ...]
    note: str
    reference: int


@dataclass(frozen=True)
class EnergySection:
    """Energy of one inference on one target."""

    target: str
    title: str
    status: str
    refusal: str
    total: Span | None
    static: Span | None
    dynamic: Span | None
    active: Span | None
    rate: Value
    power: Span | None
    battery: Value | None  # time on 1 Wh
    spread: tuple[Fact, ...]
    terms: tuple[TermRow, ...]
    baselines: tuple[BaselineRow, ...]
    anchors: tuple[AnchorRow, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class UseRow:
    """A resource of the machine: what the network uses of it, and how much there is."""

    resource: str
    kind: str  # wall or budget
    where: str
    used: Value
    limit: Value
    share: Value
    reference: int


@dataclass(frozen=True)
class CoreRun:
    """So many cores one after another that hold the same, in the order of `FitSection.per_core`."""

    cores: Value
    held: tuple[Value, ...]


@dataclass(frozen=True)
class PlacedRow:
    """A population on its cores; ``fullest`` is the most that one core holds of each."""

    name: str
    cut: str
    neurons: Value
    cores: Value
    fullest: CoreRun
    runs: tuple[CoreRun, ...]


@dataclass(frozen=True)
class CoreLimit:
    """What one core holds at most, if the target says."""

    resource: str
    limit: Value | None


@dataclass(frozen=True)
class FitSection:
    """Whether the network fits one target: walls stop it, budgets can be met with more chips."""

    target: str
    title: str
    fits: bool
    checked: bool  # whether the target states any limit
    summary: str
    uses: tuple[UseRow, ...]
    layers: tuple[PlacedRow, ...]
    per_core: tuple[CoreLimit, ...]
    unchecked: tuple[str, ...]
    basis: str


@dataclass(frozen=True)
class VerificationRow:
    """One artifact against the reference; ``silent`` populations never spiked."""

    artifact: str
    engine: str
    input: str
    populations: Value
    spikes: Value
    elements: Value
    differing: Value
    worst: tuple[tuple[str, Value], ...]
    latency: Value
    ok: bool
    verdict: str
    problems: tuple[str, ...]
    silent: tuple[str, ...]


@dataclass(frozen=True)
class Reference:
    """A source of numbers used in the report; ``read`` says whether it was read itself."""

    number: int
    text: str
    read: bool


@dataclass(frozen=True)
class ReportData:
    """Everything the report says; empty sections are left out."""

    title: str
    facts: tuple[Fact, ...]
    verdicts: tuple[Verdict, ...]
    ticket: TicketSection | None
    counts: CountSection | None
    energies: tuple[EnergySection, ...]
    break_even: tuple[BreakEvenRow, ...]
    fits: tuple[FitSection, ...]
    verifications: tuple[VerificationRow, ...]
    caveats: tuple[str, ...]
    references: tuple[Reference, ...]
    provenance: tuple[Fact, ...]
