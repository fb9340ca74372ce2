"""A user's own Norse network as NIR.

Norse's own exporter gets time constants wrong and loses reset values and recurrence; this one is
tested spike for spike against Norse itself. The network is run for a few steps on tensors that
know where they come from (`sltdeploy.search.tracing`), so that any Python code in its ``forward``
works, as long as what it does does not depend on values.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import norse.torch as norse
import torch
from torch import nn

from sltdeploy.errors import InputError, raise_all
from sltdeploy.layers import ENDS, NORMS, WEIGHTED, Layer
from sltdeploy.program import Array, Shape
from sltdeploy.search.folding import Steady, folded
from sltdeploy.search.module_reading import CELLS, DROPPED, kind_of, read
from sltdeploy.search.norse_graph import NorseGraph
from sltdeploy.search.unrolling import unroll
from sltdeploy.search.wiring_steps import graph_of

if TYPE_CHECKING:
    import nir

CONTAINERS = (nn.Sequential, norse.SequentialState)
STEPS = (4, 64)  # run to see what a network does at every step; the second where 4 do not tell


def to_nir(
    module: nn.Module, input_shape: Sequence[int], dt: float | None = None
) -> "nir.NIRGraph":
    r"""Write a Norse network as a NIR graph; nodes have the paths of the modules, _ for dots.

    ``forward(x)`` or ``forward(x, state)`` may be written by hand: residual branches, loops over
    states, a cell that is given the state that it returned. It takes one step (B, \*shape); a
    network with `norse.Lift` or modules that iterate over time (LIF, LI, IAF, LIFRecurrent), or
    that loops over the first axis itself, takes all steps (T, B, \*shape) and means the same.

    ``input_shape`` is per sample, without time and batch. dt in seconds is that of the cells;
    if given it must agree with them. The graph's metadata carry it. Evaluation mode: batch
    normalisation is folded into the layer before it, dropout does nothing. Masks and
    parametrizations of ``torch.nn.utils`` are baked in. The module is left as it is. A cell's
    first step starts from ``v_leak`` (IAFCell: ``v_reset``), as in Norse. What the neurons of
    each kind become, says `sltdeploy.layer_graph.to_graph`; recurrent weights become a loop,
    whose signals arrive one step later; a signal that comes later otherwise, a Delay.

    Raises `InputError` with everything that has no meaning in NIR, by the path of the module,
    and what to use instead.
    """
    step = time_step(module)
    if step is None:
        step = dt
    if step is None:
        raise InputError("no cell gives a time step: give dt in seconds, dt=0.001")
    if dt is not None and dt != step:
        raise InputError(f"dt is {dt} s, but the network's cells step by {step} s: make them agree")
    shape = tuple(int(n) for n in input_shape)
    return graph_of(_steady(module, shape, step), shape, step)


def _steady(module: nn.Module, shape: Shape, dt: float) -> Steady:
    """What the network does at every step, from as few steps as show it."""
    few, many = STEPS
    unrolled = unroll(module, shape, dt, few)
    if not unrolled.waiting and not unrolled.at_once:
        try:
            return folded(unrolled)
        except InputError:  # perhaps a long delay, which more steps show
            pass
    unrolled = unroll(module, shape, dt, many)
    if unrolled.waiting:
        raise InputError(
            f"the network keeps what came {many} steps before: let it keep only what it still "
            f"needs, of at most {many - 2} steps"
        )
    return folded(unrolled)


def describe(module: nn.Module) -> tuple[tuple[Layer, ...], dict[str, Array]]:
    """Read a sequence of modules into layers and arrays; the inverse of `building.build`.

    A layer's name is its module's path, with ``_`` for the dots. Raises `InputError` as `to_nir`.
    """
    layers: list[Layer] = []
    arrays: dict[str, Array] = {}
    wrong: list[str] = []
    taken: set[str] = set(ENDS)
    for path, leaf in _leaves(module):
        if kind_of(leaf) in DROPPED:
            continue
        found = read(leaf)
        before = layers[-1].kind if layers else ""
        if found.kind in NORMS and before not in (*WEIGHTED, *NORMS, "unknown"):
            found.wrong.append("must stand directly after a Conv2d to be folded into it, put it so")
        wrong += [f"module '{path}' ({type(leaf).__name__}): {why}" for why in found.wrong]
        name = path.replace(".", "_") or "layer"
        while name in taken:
            name += "_"
        taken.add(name)
        layers.append(Layer(found.kind, name, found.options))
        arrays |= {f"{name}.{key}": value for key, value in found.arrays.items()}
    raise_all(wrong)
    return tuple(layers), arrays


def time_step(module: nn.Module) -> float | None:
    """Time step in seconds that all cells share, None without cells; `InputError` if mixed."""
    steps = {
        path: float(inner.dt)
        for path, inner in module.named_modules()
        if isinstance(inner, (*CELLS, NorseGraph))
        and isinstance(inner.dt, int | float | torch.Tensor)
    }
    if len(set(steps.values())) > 1:
        shown = ", ".join(f"'{path}' {dt} s" for path, dt in steps.items())
        raise InputError(f"cells step differently ({shown}): give all the same dt")
    return next(iter(steps.values()), None)


def _leaves(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Modules that compute, with their paths, in order; a module used twice comes twice."""
    if type(module) not in CONTAINERS:
        yield path, module
        return
    for name, child in module.named_modules(remove_duplicate=False):
        if name and "." not in name:
            yield from _leaves(child, f"{path}.{name}" if path else name)
