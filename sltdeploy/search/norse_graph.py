"""A NIR graph as a module that Norse runs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn

from sltdeploy.errors import raise_all
from sltdeploy.lowering import lower
from sltdeploy.program import Comparison, Convention, Decay, Input, Reset
from sltdeploy.search.graph_plan import Feed, Plan, Site
from sltdeploy.search.node_modules import connection, inexpressible, neuron
from sltdeploy.search.small_cells import Scale
from sltdeploy.topology import wiring
from sltdeploy.walking import Walk

if TYPE_CHECKING:
    import nir


class GraphState(NamedTuple):
    """What a `NorseGraph` hands on, by name of the node.

    States of cells; what arrived at delays, latest first; what left the sources of recurrent
    edges.
    """

    cells: dict[str, Any]
    past: dict[str, list[torch.Tensor]]
    last: dict[str, torch.Tensor]


def to_norse(
    graph: "nir.NIRGraph",
    dt: float | None = None,
    *,
    reset: Reset | None = None,
    comparison: Comparison | None = None,
    decay: Decay | None = None,
) -> "NorseGraph":
    r"""Make a module of Norse's cells that does what the graph means.

    ======================  =============================================================
    LIF, LI, IF             LIFBoxCell, LIBoxCell, IAFCell
    CubaLIF, CubaLI         LIFCell, LICell
    I, Threshold, Scale     a module of `sltdeploy.search.small_cells`, Norse has none
    connections, pools      modules of torch
    Delay, recurrent edges  the module's state
    ======================  =============================================================

    Submodules have the names of the nodes (_ for dots). Gains such as r or w_in multiply what
    arrives at a cell. ``dt`` in seconds and the rest override the graph's metadata, as in
    `sltdeploy.lowering.lower`, which says what the graph means.

    Raises `InputError` as `lower`, and naming each node that Norse cannot express: IF and CubaLIF
    with reset by subtraction, LIF with that and the comparison ``ge``.
    """
    convention = lower(graph, dt, reset=reset, comparison=comparison, decay=decay).convention
    walk = Walk(wiring(graph), convention, Input("graded"))
    walk.all()
    raise_all(
        f"node '{name}': {why}"
        for name, node in walk.nodes.items()
        for why in inexpressible(node, convention)
    )
    return NorseGraph(walk, convention)


class NorseGraph(nn.Module):
    r"""One step: ``forward(x, state=None) -> (output, state)``.

    x (B, \\*shape) float32, or a mapping by name where the graph has several inputs; the output
    likewise. State None starts anew. ``dt`` is the time step in seconds.
    """

    def __init__(self, walk: Walk, convention: Convention) -> None:
        super().__init__()
        plan = Plan(walk)
        self.dt = convention.dt
        self.sites = tuple(plan.sites.values())
        self.site: Mapping[str, Site] = {site.name: site for site in self.sites}
        self.outputs: Mapping[str, tuple[Feed, ...]] = plan.outputs
        self.attributes: dict[str, str] = {}  # node: attribute that holds its module
        self.gains: dict[str, str] = {}  # node: the same for the factor before its cell
        self.masks: dict[tuple[str, int], str] = {}  # delay and steps: where it waits so long
        for name in plan.modules:
            module = connection(walk.nodes[name], walk.arrived[name], convention)
            self.attributes[name] = self._attach(name, module)
        for site in self.sites:
            if site.kind == "cell":
                made = neuron(walk.nodes[site.name], convention)
                self.attributes[site.name] = self._attach(site.name, made.cell)
                if made.gain is not None:
                    self.gains[site.name] = self._attach(f"{site.name}_gain", Scale(made.gain))
            for steps in site.delays:
                if len(site.delays) > 1:
                    where = (plan.delays[site.name] == steps).astype(np.float32)
                    mask = Scale(torch.from_numpy(where))
                    name = f"{site.name}_{steps}_steps"
                    self.masks[site.name, steps] = self._attach(name, mask)

    def forward(
        self, x: torch.Tensor | Mapping[str, torch.Tensor], state: GraphState | None = None
    ) -> tuple[Any, GraphState]:
        """Make one step."""
        before = GraphState({}, {}, {}) if state is None else state
        after = GraphState({}, {}, {})
        sent: dict[str, torch.Tensor] = {}
        arrived: dict[str, torch.Tensor] = {}
        rest: dict[str, torch.Tensor] = {}
        first = x if isinstance(x, torch.Tensor) else next(iter(x.values()))

        def fed(feeds: Sequence[Feed]) -> torch.Tensor:
            values = [self._brought(feed, sent, before.last, first, rest) for feed in feeds]
            return sum(values[1:], start=values[0])

        for site in self.sites:
            name = site.name
            match site.kind:
                case "input":
                    sent[name] = x if isinstance(x, torch.Tensor) else x[name]
                case "sum":
                    sent[name] = fed(site.feeds)
                case "instant":
                    sent[name] = self._module(name)(fed(site.feeds))
                case "cell":
                    arrives = fed(site.feeds)
                    if name in self.gains:
                        arrives = self.get_submodule(self.gains[name])(arrives)
                    sent[name], after.cells[name] = self._module(name)(
                        arrives, before.cells.get(name)
                    )
                case _:
                    past = before.past.get(name, [_zeros(first, site)] * max(site.delays))
                    if 0 in site.delays:
                        arrived[name] = fed(site.feeds)
                    line = [arrived.get(name, first), *past]
                    sent[name] = self._delayed(site, line)
                    after.past[name] = past
        for site in self.sites:
            if site.kind == "delay" and max(site.delays):  # what arrives may come from anywhere
                arrives = arrived[site.name] if site.name in arrived else fed(site.feeds)
                after.past[site.name] = [arrives, *after.past[site.name][:-1]]
            for feed in site.feeds:
                if feed.late:
                    after.last[feed.source] = sent[feed.source]
        outputs = {name: fed(feeds) for name, feeds in self.outputs.items()}
        return (outputs if len(outputs) > 1 else next(iter(outputs.values()))), after

    def _attach(self, name: str, module: nn.Module) -> str:
        attribute = name.replace(".", "_")
        while hasattr(self, attribute):
            attribute += "_"
        self.add_module(attribute, module)
        return attribute

    def _module(self, name: str) -> nn.Module:
        return self.get_submodule(self.attributes[name])

    def _brought(
        self,
        feed: Feed,
        sent: Mapping[str, torch.Tensor],
        last: Mapping[str, torch.Tensor],
        like: torch.Tensor,
        rest: dict[str, torch.Tensor],
    ) -> torch.Tensor:
        if feed.late and feed.source in last:
            value = last[feed.source]
        elif feed.late:
            value = self.resting(feed.source, like, rest)
        else:
            value = sent[feed.source]
        for name in feed.through:
            value = self._module(name)(value)
        return value

    def resting(self, name: str, like: torch.Tensor, rest: dict[str, torch.Tensor]) -> torch.Tensor:
        """What left a site before the first step: of sums what biases give, else 0.

        ``rest`` keeps what is known.
        """
        if name not in rest:
            rest[name] = self._rested(name, like, rest)
        return rest[name]

    def _rested(self, name: str, like: torch.Tensor, rest: dict[str, torch.Tensor]) -> torch.Tensor:
        site = self.site[name]
        if site.kind != "sum" or not self._biased(site):
            return _zeros(like, site)
        values: list[torch.Tensor] = []
        for feed in site.feeds:
            value = self.resting(feed.source, like, rest)
            for inner in feed.through:
                value = self._module(inner)(value)
            values.append(value)
        return sum(values[1:], start=values[0])

    def _biased(self, site: Site) -> bool:
        """Whether something leaves a sum when nothing left the neurons before it."""
        for feed in site.feeds:
            for inner in map(self._module, feed.through):
                if any(key.endswith("bias") and p.any() for key, p in inner.named_parameters()):
                    return True
            before = self.site[feed.source]
            if before.kind == "sum" and self._biased(before):
                return True
        return False

    def _delayed(self, site: Site, line: Sequence[torch.Tensor]) -> torch.Tensor:
        """Put together what a delay sends from ``line``: what arrives now, a step ago, ..."""
        parts: list[torch.Tensor] = []
        for steps in site.delays:
            mask = self.masks.get((site.name, steps))
            parts.append(line[steps] if mask is None else self.get_submodule(mask)(line[steps]))
        return sum(parts[1:], start=parts[0])


def _zeros(like: torch.Tensor, site: Site) -> torch.Tensor:
    return like.new_zeros((like.shape[0], *site.shape))
