"""Where signals add up in a NIR graph, and in which order: what `NorseGraph` does in a step."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sltdeploy.discretization import steps_of
from sltdeploy.graph import NEURONS
from sltdeploy.program import Array, Shape
from sltdeploy.shapes import neuron_parameters
from sltdeploy.walking import Walk


@dataclass(frozen=True)
class Feed:
    """What left ``source``, in this step or (``late``) the one before, through modules in turn."""

    source: str
    through: tuple[str, ...] = ()
    late: bool = False


@dataclass(frozen=True)
class Site:
    """A place where feeds add up: ``input``, ``sum``, ``cell``, ``instant`` or ``delay``.

    ``delays`` are the different steps of a delay.
    """

    name: str
    kind: str
    shape: Shape
    feeds: tuple[Feed, ...] = ()
    delays: tuple[int, ...] = ()


class Plan:
    """Sites in visiting order, and modules by node, from a walk over the graph."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.shapes = {p.name: p.shape for p in walk.populations}
        self.sites: dict[str, Site] = {}
        self.outputs: dict[str, tuple[Feed, ...]] = {}
        self.modules: list[str] = []
        self.delays: dict[str, Array] = {}
        self.joins: dict[str, str] = {}  # node: site at which what arrives there adds up
        self.feeds: dict[str, Feed] = {}
        for name in walk.order.names:
            self._visit(name, walk.nodes[name])
        for (source, target), recurrent in walk.late.items():
            site = self.sites[self.joins[target]]
            feed = Feed(self.feeds[source].source, self.feeds[source].through, recurrent)
            self._put(site.name, site.kind, (*site.feeds, feed), site.delays)

    def _visit(self, name: str, node: Any) -> None:
        walk, kind = self.walk, type(node).__name__
        arriving = [s for s in walk.before[name] if (s, name) not in walk.late]
        feeds = tuple(self.feeds[s] for s in arriving)
        if kind == "Input" and not walk.before[name]:
            self._put(name, "input", ())
        elif kind in NEURONS:
            self._put(name, "cell", feeds)
        elif kind == "Threshold":
            self.modules.append(name)
            self._put(name, "instant", feeds)
        elif kind == "Delay":
            steps, _ = steps_of(neuron_parameters(node)["delay"], walk.convention)
            self.delays[name] = steps
            self._put(name, "delay", feeds, tuple(int(n) for n in np.unique(steps)))
        elif kind == "Output" and not walk.after[name]:
            self.outputs[name] = feeds
        else:
            self._connect(name, kind, feeds)

    def _connect(self, name: str, kind: str, feeds: tuple[Feed, ...]) -> None:
        """Put a connection behind what feeds it; sums and what is read twice get sites."""
        if len(feeds) != 1 or any(target == name for _, target in self.walk.late):
            self._put(f"{name}.sum", "sum", feeds)
            feeds = (Feed(f"{name}.sum"),)
        through = feeds[0].through
        if kind not in ("Input", "Output"):
            self.modules.append(name)
            through = (*through, name)
        feed = Feed(feeds[0].source, through)
        if len(self.walk.after[name]) > 1 and through:
            self._put(name, "sum", (feed,))
            feed = Feed(name)
        self.feeds[name] = feed
        if f"{name}.sum" in self.sites:
            self.joins[name] = f"{name}.sum"

    def _put(
        self, name: str, kind: str, feeds: tuple[Feed, ...], delays: tuple[int, ...] = ()
    ) -> None:
        self.sites[name] = Site(name, kind, self.shapes[name], feeds, delays)
        self.feeds[name] = Feed(name)
        self.joins[name] = name
