"""A NIR graph from one framework, rewritten so that `lower` steps it as that framework does."""

import copy
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sltdeploy.convention_presets import Preset, choose, preset, settings
from sltdeploy.discretization import rate_of
from sltdeploy.errors import InputError, raise_all
from sltdeploy.graph import CONNECTIONS, problems
from sltdeploy.program import Comparison, Convention, Decay, Input, Reset, Shape
from sltdeploy.topology import Edge, Wiring, loops_among, wiring
from sltdeploy.walking import Walk

if TYPE_CHECKING:
    import nir

KEY = "convention"  # metadata: whose steps were written into the graph
FIRING = ("LIF", "IF", "CubaLIF")


def translate(
    graph: "nir.NIRGraph",
    convention: str,
    *,
    dt: float | None = None,
    reset: Reset | None = None,
    comparison: Comparison | None = None,
    decay: Decay | None = None,
) -> "nir.NIRGraph":
    r"""Copy ``graph``, from the framework ``convention``, as a graph that means the same here.

    The metadata takes what is given, else what the framework fixes, else stays; the time step
    is in seconds. Steps that only the framework takes become nodes: a spike that arrives one
    step late goes through a ``Delay``; a threshold :math:`\theta` that is subtracted after the
    leak, :math:`v_{t+1} = \beta v_t + x - \theta z_t`, is subtracted before it, with
    :math:`-(1 - \beta) \theta z_t` from a loop through a ``Scale``; a ``CubaLIF`` then becomes
    ``LI`` and ``LIF``.

    Raises `InputError` for a name that is no framework's, and with every node that has no equal
    here or was written with another time step. Sources: the rows of
    `sltdeploy.convention_presets.PRESETS`.
    """
    import nir

    row = preset(convention)
    raise_all(problems(graph))
    given = {"dt": dt, "reset": reset, "comparison": comparison, "decay": decay}
    metadata = {**graph.metadata, **settings(convention)}
    metadata |= {key: value for key, value in given.items() if value is not None}
    wires = wiring(graph)
    found = list(_without_equal(row, wires, metadata))
    try:
        chosen = choose(metadata)
    except InputError as error:
        raise InputError(*found, *error.violations) from None
    raise_all([*found, *_other_step(row, wires, chosen.dt)])
    nodes = {name: _rewritten(row, node, chosen) for name, node in wires.nodes.items()}
    edges = list(wires.edges)
    if row.undecayed and chosen.reset == "subtract":
        _subtract_late(nodes, edges, row.undecayed)
    if row.late != "nowhere":
        walk = Walk(wires, chosen, Input("graded"))
        walk.all()
        raise_all(walk.found)
        shapes = {name: signal.shape for name, signal in walk.signals.items()}
        nodes, edges = _without_inner_ends(nodes, edges)
        _arrive_late(nodes, edges, row.late, chosen.dt, shapes)
    if nodes.keys() == wires.nodes.keys() and not (row.unit_gain or row.outer_axes):
        nodes, edges = dict(graph.nodes), list(graph.edges)  # nested graphs stay as they are
    else:
        metadata[KEY] = convention
    return nir.NIRGraph(nodes, edges, metadata=metadata, type_check=False)


def _without_equal(row: Preset, wires: Wiring, metadata: Mapping[str, Any]) -> Iterator[str]:
    if KEY in metadata:
        yield (
            f"metadata {KEY} is '{metadata[KEY]}': its steps are in the graph already, leave out "
            "--convention"
        )
    for name, node in wires.nodes.items():
        kind = type(node).__name__
        if kind in row.refused:
            yield f"node '{name}': {kind} of {row.name} {row.refused[kind]}"
        yield from _unlike(row, name, kind, node)
    if row.loops:
        for loop in loops_among(wires, set(wires.nodes)):
            yield f"loop {' -> '.join(loop)}: {row.loops}; rewire it, leave out --convention"


def _other_step(row: Preset, wires: Wiring, dt: float) -> Iterator[str]:
    """Nodes whose r says that they were written with another time step."""
    for name, node in wires.nodes.items():
        agrees = row.written_r.get(type(node).__name__)
        tau = np.asarray(getattr(node, "tau_mem", getattr(node, "tau", 1.0)), np.float64)
        if agrees and not agrees(np.asarray(node.r, np.float64), tau, dt).all():
            yield (
                f"node '{name}': {type(node).__name__}.r is {np.ravel(node.r)[0]:g}, with dt "
                f"{dt:g} s {row.name} writes another: give the --dt that it was written with"
            )


def _unlike(row: Preset, name: str, kind: str, node: Any) -> Iterator[str]:
    """What only one framework's files get wrong."""
    if row.name == "lava" and kind in FIRING and np.any(node.v_reset):
        yield f"node '{name}': {kind}.v_reset is not 0, Lava resets to 0"
    if row.name == "lava" and np.any(getattr(node, "v_leak", 0)):
        yield f"node '{name}': {kind}.v_leak is not 0, Lava starts and leaks at 0"
    if row.name == "spyx" and kind == "SumPool2d" and np.any(node.padding):
        yield (
            f"node '{name}': SumPool2d.padding is {np.ravel(node.padding).tolist()}, spyx writes "
            "the sum of both sides: halve it, leave out --convention"
        )
    if row.name == "spyx" and kind == "Flatten":
        shape = np.ravel(node.input_type.get("input"))
        if shape.size > 1:
            yield (
                f"node '{name}': Flatten of {tuple(shape.tolist())}, spyx takes the channels last "
                "and keeps the next weights in that order: reorder them, leave out --convention"
            )


def _rewritten(row: Preset, node: Any, chosen: Convention) -> Any:
    """The node with its shape, or with the r and w_in that give the framework's gains here."""
    kind = type(node).__name__
    if row.outer_axes and kind in ("Input", "Output"):
        return _without_outer_axes(node)
    unit, decayed = kind in row.unit_gain, kind in row.decayed_gain
    if not (unit or decayed):
        return node
    node = copy.copy(node)
    if kind == "IF":
        node.r = np.full(np.shape(node.r), 1 / chosen.dt)
        return node
    tau = np.asarray(node.tau_mem if kind == "CubaLIF" else node.tau, np.float64)
    rate = rate_of(tau, chosen)
    node.r = (1 if unit else 1 - rate) / rate
    if kind == "CubaLIF":
        node.w_in = 1 / rate_of(np.asarray(node.tau_syn, np.float64), chosen)
    return node


def _without_outer_axes(node: Any) -> Any:
    node = copy.copy(node)
    for key in ("input_type", "output_type"):
        shapes = {end: np.ravel(shape) for end, shape in getattr(node, key).items()}
        for end, shape in shapes.items():
            while len(shape) > 1 and shape[0] == 1:
                shape = shape[1:]
            shapes[end] = shape
        setattr(node, key, shapes)
    return node


def _subtract_late(nodes: dict[str, Any], edges: list[Edge], kinds: tuple[str, ...]) -> None:
    """Give each neuron of ``kinds`` a loop that subtracts what the leak took off the reset.

    What enters a CubaLIF passes its synapse, the loop must not: it becomes LI and LIF.
    """
    import nir

    currents: dict[str, str] = {}
    loops: list[Edge] = []
    for name, node in list(nodes.items()):
        kind = type(node).__name__
        if kind not in kinds:
            continue
        if kind == "CubaLIF":
            currents[name] = _free(f"{name}.current", nodes)
            nodes[currents[name]] = nir.LI(node.tau_syn, node.w_in, 0 * node.tau_syn)
            node = nir.LIF(node.tau_mem, node.r, node.v_leak, node.v_threshold, node.v_reset)
            nodes[name] = node
        loop = _free(f"{name}.reset", nodes)
        # The gain of the neuron, rate * r, comes on top: rate * threshold is subtracted.
        nodes[loop] = nir.Scale(-np.asarray(node.v_threshold, np.float64) / node.r)
        loops += [(name, loop), (loop, name)]
    edges[:] = [(a, currents.get(b, b)) for a, b in edges]
    edges += [*((current, name) for name, current in currents.items()), *loops]


def _without_inner_ends(
    nodes: Mapping[str, Any], edges: list[Edge]
) -> tuple[dict[str, Any], list[Edge]]:
    """Remove Input and Output nodes of nested graphs, joining what they joined."""
    after: dict[str, list[str]] = {}
    entered: set[str] = set()
    for a, b in edges:
        after.setdefault(a, []).append(b)
        entered.add(b)
    inner = {
        name
        for name, node in nodes.items()
        if type(node).__name__ in ("Input", "Output") and name in after and name in entered
    }
    joined: list[Edge] = []
    for a, b in edges:
        ahead, seen = [b], set[str]()
        while a not in inner and ahead:
            target = ahead.pop(0)
            if target in inner and target not in seen:
                seen.add(target)
                ahead += after[target]
            elif target not in inner:
                joined.append((a, target))
    return {name: node for name, node in nodes.items() if name not in inner}, joined


def _arrive_late(
    nodes: dict[str, Any], edges: list[Edge], where: str, dt: float, shapes: Mapping[str, Shape]
) -> None:
    """Put a Delay of one step behind what sends, on the way into connections or everywhere."""
    import nir

    late: dict[str, str] = {}
    for k, (a, b) in enumerate(edges):
        if where == "connections":
            sends = type(nodes[a]).__name__ not in CONNECTIONS
            waits = sends and type(nodes[b]).__name__ in CONNECTIONS
        else:  # the loop that resets a neuron too: its step is this one
            waits = type(nodes[a]).__name__ in FIRING
        if waits:
            if a not in late:
                late[a] = _free(f"{a}.late", nodes)
                nodes[late[a]] = nir.Delay(np.full(shapes[a], dt))
            edges[k] = (late[a], b)
    edges += late.items()


def _free(name: str, nodes: Mapping[str, Any]) -> str:
    while name in nodes:
        name += "_"
    return name
