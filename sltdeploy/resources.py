"""What a program needs of a machine: cores and memory, layer by layer."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from sltdeploy.machine import cited

Kind: TypeAlias = Literal["wall", "budget"]


@dataclass(frozen=True)
class Resource:
    """``used`` of ``limit``, in ``unit``.

    A wall stands in one neuron's or one core's way, more chips do not help; a budget is a sum
    over the machine, more chips do.
    """

    name: str
    kind: Kind
    used: int
    limit: int
    unit: str
    where: str  # population, or "network"
    source: str  # of the limit
    read: bool

    @property
    def share(self) -> float:
        """Used share of the limit; above 1 it does not fit."""
        return self.used / self.limit

    @property
    def reference(self) -> str:
        """The source of the limit, marked if it was not read."""
        return cited(self.source, self.read)


@dataclass(frozen=True)
class LayerFit:
    """Predicted cores of one population, and what the fullest of them holds."""

    name: str
    neurons: int
    cores: int
    neurons_per_core: int
    synapse_bits_per_core: int
    cut: str  # how it is cut, e.g. "tiles of 24 x 32 x 4"


@dataclass(frozen=True)
class Fit:
    """A prediction, not a compiler's answer: ``basis`` says what it rests on.

    ``unchecked`` lists what was not looked at; ``cores`` is None for a machine without cores.
    """

    target: str
    title: str
    layers: tuple[LayerFit, ...]
    resources: tuple[Resource, ...]
    unchecked: tuple[str, ...]
    basis: str

    @property
    def cores(self) -> Mapping[str, int]:
        """Predicted cores by population."""
        return {layer.name: layer.cores for layer in self.layers}

    @property
    def exceeded(self) -> tuple[Resource, ...]:
        """Resources of which more is used than there is."""
        return tuple(r for r in self.resources if r.used > r.limit)

    @property
    def worst(self) -> Resource | None:
        """The resource nearest to its limit; None where nothing is limited."""
        return max(self.resources, key=lambda r: r.share, default=None)

    @property
    def fits(self) -> bool:
        """Whether nothing that was checked is exceeded."""
        return not self.exceeded

    def to_json(self) -> dict[str, Any]:
        """Plain types for `json.dumps`."""
        worst = self.worst
        resources = [{**asdict(r), "share": r.share} for r in self.resources]
        return {
            **asdict(self),
            "resources": resources,
            "cores": sum(self.cores.values()),
            "fits": self.fits,
            "worst": None if worst is None else worst.name,
        }
