"""What `sltdeploy.counting.count` found: exact integers per sample.

B is the number of samples, T the number of steps.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from sltdeploy.ops import Array
from sltdeploy.program import Numbers

Operation: TypeAlias = Literal["ac", "mac"]


@dataclass(frozen=True, eq=False)
class ProjectionCount:
    """One weighted op of a projection (or a projection without weights); counts per sample.

    ``synapses`` are unrolled connections of the op, those into zero padding excluded;
    ``synops_dense`` is every synapse in every step. Where a pool forwards several spikes to one
    site, ``synops_unpruned`` can exceed ``synops_dense``.
    """

    name: str
    source: str
    target: str
    ops: str  # in words, e.g. "Pool sum 2x2, Conv 3x3 8->16"
    operation: Operation
    weights: int
    nonzero: int
    synapses: int
    synapses_nonzero: int
    events: Array  # (B,) int64: spikes or non-zero values that enter the op
    synops: Array  # (B,) int64: events times non-zero fan-out
    synops_unpruned: Array  # (B,) int64: events times fan-out, as if no weight were 0
    synops_dense: int  # T * synapses

    def to_json(self) -> dict[str, Any]:
        """Plain types; arrays over samples as mean, SD, percentiles and exact total."""
        return _plain(self)


@dataclass(frozen=True, eq=False)
class PopulationCount:
    """What left one population; counts per sample.

    ``spikes`` is 0 where graded values leave; ``events`` counts non-zero values of either
    kind. ``silent`` neurons sent none in any sample; ``rate`` is events per neuron and step,
    ``updates`` is neurons * T, and 0 for inputs, relays and delays, which are no neurons.
    """

    name: str
    kind: str
    neurons: int
    spiking: bool
    spikes: Array  # (B,) int64
    events: Array  # (B,) int64
    updates: int
    silent: int
    rate: float

    def to_json(self) -> dict[str, Any]:
        """Plain types; arrays over samples as mean, SD, percentiles and exact total."""
        return _plain(self)


@dataclass(frozen=True, eq=False)
class MessageCount:
    """Messages of the spikes of ``source`` to the cores of ``target``, one to each; per sample.

    ``cores`` is the most that any neuron sends to. A graded value is a message as well.
    """

    source: str
    target: str
    cores: int
    messages: Array  # (B,) int64

    def to_json(self) -> dict[str, Any]:
        """Plain types; the array over samples as mean, SD, percentiles and exact total."""
        return _plain(self)


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts of one run of a program: T ``steps``, B ``samples``, ``dt`` in seconds.

    ``messages`` is empty where the program was not placed on cores.
    """

    steps: int
    samples: int
    dt: float
    numbers: Numbers
    projections: tuple[ProjectionCount, ...]
    populations: tuple[PopulationCount, ...]
    messages: tuple[MessageCount, ...] = ()

    @property
    def ac(self) -> Array:
        """Accumulations per sample, (B,) int64."""
        return self._total(p.synops for p in self.projections if p.operation == "ac")

    @property
    def mac(self) -> Array:
        """Multiply-accumulates per sample, (B,) int64."""
        return self._total(p.synops for p in self.projections if p.operation == "mac")

    @property
    def ac_unpruned(self) -> Array:
        """Accumulations per sample if no weight were 0 and the same spikes came, (B,) int64."""
        return self._total(p.synops_unpruned for p in self.projections if p.operation == "ac")

    @property
    def mac_unpruned(self) -> Array:
        """Multiply-accumulates per sample if no weight were 0, (B,) int64."""
        return self._total(p.synops_unpruned for p in self.projections if p.operation == "mac")

    @property
    def synops(self) -> Array:
        """Synaptic operations of both kinds per sample, (B,) int64."""
        return self.ac + self.mac

    @property
    def synops_unpruned(self) -> Array:
        """Synaptic operations per sample if no weight were 0, (B,) int64."""
        return self.ac_unpruned + self.mac_unpruned

    @property
    def synops_dense(self) -> int:
        """Operations per sample if every synapse worked in every step."""
        return sum(p.synops_dense for p in self.projections)

    @property
    def weights(self) -> int:
        """Number of weights."""
        return sum(p.weights for p in self.projections)

    @property
    def nonzero(self) -> int:
        """Number of weights that are not 0."""
        return sum(p.nonzero for p in self.projections)

    @property
    def sparsity(self) -> float:
        """Fraction of weights that are 0."""
        return 1 - self.nonzero / self.weights if self.weights else 0.0

    @property
    def synapses(self) -> int:
        """Number of unrolled connections."""
        return sum(p.synapses for p in self.projections)

    @property
    def synapses_nonzero(self) -> int:
        """Number of unrolled connections whose weight is not 0."""
        return sum(p.synapses_nonzero for p in self.projections)

    @property
    def updates(self) -> int:
        """Neuron updates per sample, every neuron in every step."""
        return sum(p.updates for p in self.populations)

    @property
    def spikes(self) -> Array:
        """Spikes per sample, those of spiking inputs included, (B,) int64."""
        return self._total(p.spikes for p in self.populations)

    @property
    def sent(self) -> Array:
        """Messages to cores per sample, (B,) int64; 0 where nothing was placed."""
        return self._total(m.messages for m in self.messages)

    def to_json(self) -> dict[str, Any]:
        """Plain types for `json.dumps`; arrays over samples as `summary`."""
        totals = ("ac", "mac", "synops", "synops_unpruned", "synops_dense", "spikes", "updates")
        sizes = ("weights", "nonzero", "sparsity", "synapses", "synapses_nonzero")
        return {
            "steps": self.steps,
            "samples": self.samples,
            "dt_s": self.dt,
            "numbers": self.numbers,
            "totals": {n: _plain_value(getattr(self, n)) for n in totals + sizes},
            "projections": [p.to_json() for p in self.projections],
            "populations": [p.to_json() for p in self.populations],
            "messages": [m.to_json() for m in self.messages],
        }

    def _total(self, parts: Iterable[Array]) -> Array:
        return sum(parts, np.zeros(self.samples, np.int64))


def summary(values: Array) -> dict[str, float | int]:
    """Mean, SD, 5th and 95th percentile over samples, and the exact total."""
    return {
        "mean": float(values.mean()),
        "sd": float(values.std()),
        "p5": float(np.percentile(values, 5)),
        "p95": float(np.percentile(values, 95)),
        "total": int(values.sum()),
    }


def _plain(item: Any) -> dict[str, Any]:
    return {name: _plain_value(value) for name, value in vars(item).items()}


def _plain_value(value: Any) -> Any:
    return summary(value) if isinstance(value, np.ndarray) else value
