"""From what a network means to what a machine steps: the only place where dt meets tau."""

from typing import TYPE_CHECKING

import numpy as np

from sltdeploy.convention_presets import Framework, choice, choose
from sltdeploy.errors import InputError, raise_all
from sltdeploy.graph import NEURONS, problems, sound
from sltdeploy.program import Comparison, Decay, Input, Program, Reset
from sltdeploy.ticket import Ticket
from sltdeploy.topology import Wiring, loops_among, wiring
from sltdeploy.translation import translate
from sltdeploy.walking import Walk

if TYPE_CHECKING:
    import nir


def lower(
    graph: "nir.NIRGraph | Ticket",
    dt: float | None = None,
    *,
    reset: Reset | None = None,
    comparison: Comparison | None = None,
    decay: Decay | None = None,
    input_kind: str | None = None,
    convention: Framework | None = None,
) -> Program:
    r"""Turn a NIR graph, or a ticket's, into a `Program` that steps by ``dt`` seconds.

    The one written convention: an Euler step, integrate, then compare, then reset, all in the
    same step; a spike reaches the next population within the step. With x the input current,
    :math:`a = dt/\tau` (or :math:`1 - e^{-dt/\tau}` for ``decay="exponential"``):

    .. math::
        LIF, LI:\quad & v \leftarrow (1-a) v + a (v_{leak} + r x)\\
        IF, I:\quad & v \leftarrow v + dt\, r x\\
        CubaLIF, CubaLI:\quad & i \leftarrow (1-a_{syn}) i + a_{syn} w_{in} x,\quad
            v \leftarrow (1-a_{mem}) v + a_{mem} (v_{leak} + r i)\\
        z &= v > v_{threshold}\ \text{(or}\ \ge\text{, by comparison)}\\
        v &\leftarrow v_{reset}\ \text{where}\ z\ \text{(or}\ v - v_{threshold}\text{, by reset)}

    CubaLIF uses the new i, held over the step: with exponential decay i is exact at constant
    input and v of first order, where LIF's v is exact. With ``w_in = tau_syn / dt`` the Euler
    step is Norse's LIFCell. The first step
    starts from ``v = v_leak`` (IF: ``v_reset``, I: 0) and ``i = 0``. Gains are folded into the
    weights in float64 and rounded to float32 once.

    ``dt``, ``reset``, ``comparison``, ``decay`` and ``input_kind`` override ``convention``, the
    framework whose file it is, which overrides the graph's metadata: a row of
    `sltdeploy.convention_presets.PRESETS` says what it fixes, and `sltdeploy.translation.translate`
    writes into the graph what that framework does otherwise than above. Where none gives a time
    step, `InputError` says so. Without any, reset is "zero" (to v_reset), comparison "gt", decay
    "euler", input_kind "graded".

    A spike on a recurrent edge reaches its neuron one step later; which edge of a loop that is,
    says `sltdeploy.topology`. A Delay holds signals back by ``delay / dt`` steps, which must be a
    whole number; before the first step it sends 0. A Threshold spikes where what arrives in the
    step exceeds it. Nested graphs are inlined.

    Raises `InputError` with every violation: node, value, limit, and for a loop without a neuron
    or delay its nodes. The graph is left as it is.

    Source: NIR 1.0.8, nir/ir/neuron.py, for the equations; Norse 1.1.0 for the Euler step.
    """
    if isinstance(graph, Ticket):
        graph = graph.graph()
    if not hasattr(graph, "nodes"):
        raise InputError(
            f"lower takes a NIR graph or a ticket, this is {type(graph).__name__}: a file is read "
            "with sltdeploy.load"
        )
    found = list(problems(graph))
    if found and not sound(graph):
        raise InputError(*found)
    if convention is not None and not found:
        graph = translate(graph, convention, dt=dt, reset=reset, comparison=comparison, decay=decay)
    chosen = choose(graph.metadata, dt, reset, comparison, decay)
    kind = choice(input_kind, graph.metadata, "input_kind", "graded")
    if kind not in ("spikes", "graded"):
        found.append(f"input_kind is {kind!r}, must be spikes or graded")
    wires = wiring(graph)
    walk = Walk(wires, chosen, Input("spikes" if kind == "spikes" else "graded"))
    with np.errstate(all="ignore" if found else "warn"):  # wrong values are named already
        walk.all()
    raise_all([*found, *_endless(wires), *walk.found])
    return Program(chosen, tuple(walk.populations), tuple(walk.projections), walk.outputs)


def _endless(wires: Wiring) -> list[str]:
    """Loops in which nothing takes time, one line each."""
    instant = {
        name
        for name, node in wires.nodes.items()
        if type(node).__name__ not in (*NEURONS, "Delay", "Threshold")
    }
    return [
        f"loop {' -> '.join(loop)} has neither a neuron nor a delay in it: put one there"
        for loop in loops_among(wires, instant)
    ]
