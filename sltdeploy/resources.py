"""What a program needs of a machine: cores and memory, layer by layer and core by core."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from math import ceil
from typing import Any, Literal, TypeAlias

from sltdeploy.machine import cited
from sltdeploy.ops import Array

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
class CoreUse:
    """What lies on one core; synapse memory in words of 64 bits."""

    neurons: int
    synapse_words: int
    axons_in: int
    axons_out: int


CORE_USES = tuple(CoreUse.__dataclass_fields__)


@dataclass(frozen=True)
class LayerFit:
    """Predicted cores of one population, in the order of its neurons."""

    name: str
    neurons: int
    cut: str  # how it is cut, e.g. "tiles of 24 x 32 x 4"
    used: tuple[CoreUse, ...]

    @property
    def cores(self) -> int:
        """Number of cores."""
        return len(self.used)

    @property
    def fullest(self) -> CoreUse:
        """The most of each resource that any of the cores holds."""
        return CoreUse(*(max(getattr(u, name) for u in self.used) for name in CORE_USES))


@dataclass(frozen=True, eq=False)
class Reach:
    """To how many cores of ``target`` one spike of each neuron of ``source`` goes."""

    source: str
    target: str
    cores: Array  # int64, shape of the source


@dataclass(frozen=True)
class Fit:
    """A prediction, not a compiler's answer: ``basis`` says what it rests on.

    ``unchecked`` lists what was not looked at. ``limits`` are what one core holds at most, by
    the fields of `CoreUse`; ``chip`` is the number of cores of a chip, None where a machine has
    none; below ``lower_bound`` cores no cut of the network can come. ``reaches`` say to how many
    cores each spike is sent.
    """

    target: str
    title: str
    layers: tuple[LayerFit, ...]
    resources: tuple[Resource, ...]
    unchecked: tuple[str, ...]
    basis: str
    limits: Mapping[str, int] = field(default_factory=dict[str, int])
    chip: int | None = None
    lower_bound: int | None = None
    reaches: tuple[Reach, ...] = field(default=(), compare=False, repr=False)

    @property
    def cores(self) -> Mapping[str, int]:
        """Predicted cores by population."""
        return {layer.name: layer.cores for layer in self.layers}

    @property
    def chips(self) -> int | None:
        """Chips that have so many cores; None for a machine without cores."""
        return None if self.chip is None else ceil(sum(self.cores.values()) / self.chip)

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
        return {
            "target": self.target,
            "title": self.title,
            "layers": [dict(_layer(layer)) for layer in self.layers],
            "resources": [{**asdict(r), "share": r.share} for r in self.resources],
            "unchecked": self.unchecked,
            "basis": self.basis,
            "limits_per_core": dict(self.limits),
            "cores": sum(self.cores.values()),
            "lower_bound": self.lower_bound,
            "chips": self.chips,
            "fits": self.fits,
            "worst": None if worst is None else worst.name,
        }


def _layer(layer: LayerFit) -> Iterator[tuple[str, Any]]:
    yield from {"name": layer.name, "neurons": layer.neurons, "cores": layer.cores}.items()
    yield "cut", layer.cut
    yield "fullest_core", asdict(layer.fullest)
    yield "by_core", {name: [getattr(use, name) for use in layer.used] for name in CORE_USES}
