"""What a spiking network has to beat: the same network otherwise, and published break-evens."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil, log2

from sltdeploy.counts import Counts
from sltdeploy.estimate import Baseline, BreakEven, Verdict
from sltdeploy.machine import Range, Target

INT8 = "loihi"  # the number format of 8-bit weights
INT8_BITS = 8


@dataclass(frozen=True)
class Published:
    """A published range in which a spiking and a conventional network cost the same."""

    quantity: str  # key of `_quantities`
    low: float
    high: float
    meaning: str
    source: str
    read: bool


PER_SYNAPSE = "spikes per synapse and inference"
PER_NEURON = "spikes per neuron and step"
PUBLISHED = (
    Published(
        PER_SYNAPSE,
        0.15,
        1.38,
        "spiking networks of IF neurons compete only below, where depends on the hardware",
        "Dampfhoffer et al. 2023, IEEE TETCI 7(3):731, abstract",
        False,
    ),
    Published(
        PER_SYNAPSE,
        1.72,
        1.72,
        "rate-coded spiking networks save energy below",
        "Davidson and Furber 2021, Frontiers in Neuroscience 15",
        False,
    ),
    Published(
        PER_NEURON,
        0.057,
        0.064,
        "a spiking network beats a quantised one below, for T of 5 to 10 steps",
        "Yan, Bai and Wong 2024, arXiv:2409.08290, abstracts of v2 and v4",
        False,
    ),
)


def baselines(counts: Counts, target: Target) -> Iterator[Baseline]:
    """Synaptic work of this network and of those it has to beat, this one first.

    A dense target multiplies zeros: there every network costs all of its synapses.
    """
    if target.pricing == "dense":
        own = unpruned = (0.0, float(counts.synops_dense))
        masked = counts.synapses
    else:
        own = float(counts.ac.mean()), float(counts.mac.mean())
        unpruned = float(counts.ac_unpruned.mean()), float(counts.mac_unpruned.mean())
        masked = counts.synapses_nonzero
    bits = ceil(log2(counts.steps + 1))
    rows = (
        ("this network", *own, ""),
        ("same network, unpruned", *unpruned, "the same spikes"),
        ("dense ANN", 0.0, counts.synapses, "the same synapses in one pass"),
        ("ANN with the same mask", 0.0, masked, "its non-zero synapses in one pass"),
    )
    priced = [_priced(target, counts.numbers, *row) for row in rows]
    priced.append(_quantised(target, counts, bits))
    reference = priced[0].energy
    for row in priced:
        if row.energy is not None and reference is not None and reference.nominal > 0:
            row = replace(row, ratio=row.energy.nominal / reference.nominal)
        yield row


def break_even(counts: Counts) -> Iterator[BreakEven]:
    """Counted quantities against the published ranges; none where no spike meets a synapse."""
    measured = _quantities(counts)
    for p in PUBLISHED:
        if p.quantity in measured:
            value = measured[p.quantity]
            verdict: Verdict = "below" if value < p.low else "above" if value > p.high else "within"
            yield BreakEven(
                name=p.quantity,
                value=value,
                unit=p.quantity,
                low=p.low,
                high=p.high,
                verdict=verdict,
                meaning=p.meaning,
                source=p.source,
                read=p.read,
            )


def _quantities(counts: Counts) -> dict[str, float]:
    found: dict[str, float] = {}
    synapses = sum(p.synapses_nonzero for p in counts.projections if p.operation == "ac")
    if synapses:
        # operations/inference / synapses = spikes / (synapse inference)
        found[PER_SYNAPSE] = float(counts.ac.mean()) / synapses
    spiking = [p for p in counts.populations if p.spiking and p.updates]
    neurons = sum(p.neurons for p in spiking)
    if neurons:
        # spikes/(neuron step), mean over neurons
        found[PER_NEURON] = sum(p.rate * p.neurons for p in spiking) / neurons
    return found


def _priced(target: Target, numbers: str, name: str, ac: float, mac: float, note: str) -> Baseline:
    """Baseline without ratio; without energy where one of its operations has no price."""
    works = [(n, target.cost(e, numbers)) for e, n in (("synop", ac), ("mac", mac)) if n]
    prices = tuple(cost for _, cost in works if cost is not None)
    if target.refuses is not None or len(prices) < len(works):
        return Baseline(name, ac, mac, None, None, note)
    total = Range(0.0, 0.0, 0.0)
    for count, cost in works:
        if cost is not None:
            # J/inference = operations/inference * J/operation
            total += cost.range * count
    return Baseline(name, ac, mac, total, None, note, prices)


def _quantised(target: Target, counts: Counts, bits: int) -> Baseline:
    """The conventional network whose activations hold as much as T spikes do."""
    name = f"quantised ANN, {bits} bits"
    note = f"b = ceil(log2(T + 1)), T = {counts.steps}; "
    cost = target.cost("mac", INT8)
    if cost is None or INT8 not in cost.numbers or bits > INT8_BITS:
        note += f"no source prices a {bits}-bit operation here"
        return Baseline(name, 0.0, counts.synapses, None, None, note)
    note += "at the price of int8, as none is published for fewer bits"
    return _priced(target, INT8, name, 0.0, counts.synapses, note)
