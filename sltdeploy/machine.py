"""A machine: what it runs, its limits, and what its operations cost, each with its source."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Grade: TypeAlias = Literal["measured", "simulated", "derived", "unstated"]
Pricing: TypeAlias = Literal["events", "dense"]
Placing: TypeAlias = Literal["nengo-loihi", "lava-2022", "lava-2024"]

EVENTS: Mapping[str, str] = {  # what a cost can price: its dimension
    "synop": "J",  # one spike through one synapse: an accumulation
    "mac": "J",  # one graded value through one synapse: a multiply-accumulate
    "neuron_update": "J",  # one neuron in one step
    "neuron_update_inactive": "J",  # the same where nothing arrived; the lower end
    "spike": "J",  # one neuron firing
    "message": "J",  # one spike to one destination core
    "memory_access": "J",  # one weight read or one state read or write
    "static_power": "W",  # drawn while nothing runs
    "active_power": "W",  # drawn while an inference runs, static part included
}
UNITS: Mapping[str, tuple[str, float]] = {
    **{f"{p}J": ("J", f) for p, f in (("f", 1e-15), ("p", 1e-12), ("n", 1e-9), ("u", 1e-6))},
    **{f"{p}{q}": (q, f) for q in "JW" for p, f in (("", 1.0), ("m", 1e-3))},
    "uW": ("W", 1e-6),
}
LIMITS: Mapping[str, str] = {  # what can be limited: its unit
    "cores": "cores",  # of a chip
    "chips": "chips",  # that stand together; 1 where nothing is said
    "neurons_per_core": "neurons",
    "axons_in_per_core": "axons",
    "axons_out_per_core": "axons",
    "synapse_words_per_core": "64-bit words",
    "weight_bits": "bits",
    "index_bits": "bits",  # beside each weight of a linear layer
    "weight_exponent": "in magnitude",
    "delay_steps": "steps",  # that a synapse can wait
    "decay_bits": "bits",
    "threshold_bits": "bits",
    "bias_bits": "bits, sign included",
    "bias_exponent": "",
    "fan_in": "synapses a neuron",
    "flash_bytes": "bytes",
    "ram_bytes": "bytes",
}


@dataclass(frozen=True)
class Range:
    """A quantity between ``low`` and ``high``, in J or W."""

    low: float
    nominal: float
    high: float

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.nominal + other.nominal, self.high + other.high)

    def __mul__(self, factor: float) -> "Range":
        return Range(self.low * factor, self.nominal * factor, self.high * factor)


@dataclass(frozen=True)
class Cost:
    """Energy of one ``event`` (or a power), low <= nominal <= high in ``unit``, as published."""

    event: str  # one of EVENTS
    unit: str  # one of UNITS
    low: float
    nominal: float
    high: float
    grade: Grade
    source: str  # paper and table, or address
    read: bool  # whether the source itself was read; else it is cited second-hand
    numbers: tuple[str, ...] = ()  # number formats that it holds for; empty: any
    note: str = ""

    @property
    def range(self) -> Range:
        """The price in J or W."""
        return Range(self.low, self.nominal, self.high) * UNITS[self.unit][1]

    @property
    def reference(self) -> str:
        """The source, marked if it was not read."""
        return cited(self.source, self.read)


@dataclass(frozen=True)
class Limit:
    """At most ``value`` of the resource ``name``; LIMITS has its unit."""

    name: str
    value: int
    source: str
    read: bool
    note: str = ""


@dataclass(frozen=True)
class Anchor:
    """A published measurement of a whole workload, to hold an estimate against."""

    workload: str
    values: Mapping[str, str]  # quantity: value with unit, as published
    source: str
    read: bool
    note: str = ""

    @property
    def reference(self) -> str:
        """The source, marked if it was not read."""
        return cited(self.source, self.read)


@dataclass(frozen=True)
class Target:
    """One machine, as its TOML describes it."""

    name: str
    title: str
    exporter: str | None  # module in exporters/; None: a pricing model, nothing to export
    pricing: Pricing  # events: work follows spikes; dense: the runtime multiplies zeros
    numbers: tuple[str, ...]
    ops: tuple[str, ...]
    neurons: tuple[str, ...]
    inputs: tuple[str, ...]
    resets: tuple[str, ...]
    comparisons: tuple[str, ...]
    simulated: tuple[str, ...] = ()  # number formats that its simulator runs and it does not
    placement: Placing | None = None  # by whose rules layers are cut into cores
    hops_take_steps: bool = False  # whether a spike arrives a step later, as between cores
    limits: Mapping[str, Limit] = field(default_factory=dict[str, Limit])
    costs: tuple[Cost, ...] = ()
    anchors: tuple[Anchor, ...] = ()
    unpriced: Mapping[str, str] = field(default_factory=dict[str, str])  # event: why
    refuses: str | None = None  # why no total is given
    notes: tuple[str, ...] = ()

    def cost(self, event: str, numbers: str) -> Cost | None:
        """The price of ``event`` in a program of ``numbers``; a specific price goes first."""
        fitting = [c for c in self.costs if c.event == event and numbers in (c.numbers or numbers)]
        return max(fitting, key=lambda c: bool(c.numbers), default=None)

    def limit(self, name: str) -> int | None:
        """The limit called ``name``, or None where the target states none."""
        return self.limits[name].value if name in self.limits else None


def cited(source: str, read: bool) -> str:
    """``source``, with a mark if it was not read itself."""
    return source if read else f"{source} [cited second-hand]"
