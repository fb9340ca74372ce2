"""What Norse's cells do to traced tensors, and whether each is given its own state."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from sltdeploy.layers import PARAMETERS
from sltdeploy.search.module_reading import ITERATING, RECURRENT, Found, kind_of
from sltdeploy.search.tracing import Cannot, Traced, Tracer


class CellState:
    """Stands for the state of a cell after a step; spikes or values that left can be read."""

    def __init__(self, tracer: Tracer, name: str, step: int, out: Traced, spiking: bool) -> None:
        self.tracer, self.name, self.step = tracer, name, step
        self.out, self.spiking = out, spiking

    @property
    def z(self) -> Traced:
        """Spikes that left."""
        return self._read("z", self.spiking)

    @property
    def v(self) -> Traced:
        """Value of a readout, which left."""
        return self._read("v", not self.spiking)

    @property
    def i(self) -> Traced:
        """Synaptic current, which never leaves."""
        return self._read("i", False)

    def _read(self, key: str, leaves: bool) -> Traced:
        if not leaves:
            self.tracer.refuse(
                f"reads {key} of the state of '{self.name}', which does not leave it"
            )
        return self.out


def step_cell(
    tracer: Tracer, module: nn.Module, found: Found, paths: Sequence[str], x: Traced, state: Any
) -> tuple[Traced, Any]:
    """Step a cell once, or through all steps if it iterates; what leaves it and its state."""
    iterates = kind_of(module) in ITERATING
    if iterates and not x.timed:
        raise Cannot(f"iterates over time, but gets one step: use {kind_of(module).__name__}Cell")
    if x.timed and not iterates:
        raise Cannot("makes one step, but gets all steps at once: put it into norse.Lift")
    if not iterates:
        return _step(tracer, module, found, paths, x, state)
    steps: list[Traced] = []
    for step in tracer.split(x):
        y, state = _step(tracer, module, found, paths, step, state)
        steps.append(y)
    return tracer.joined(steps), state


def _step(
    tracer: Tracer, module: Any, found: Found, paths: Sequence[str], x: Traced, state: Any
) -> tuple[Traced, Any]:
    path = paths[0]
    name = tracer.name(path, paths[1:])
    before = _own_state(tracer, module, found, name, x, state)
    if isinstance(module, RECURRENT):
        zeros = tracer.tensor((len(x.plain), int(module.hidden_size)), ((),), False)
        parts = {"input_weights": x, "recurrent_weights": zeros if before is None else before}
        brought = [
            tracer.record(
                tracer.name(f"{path}.{key}" if path else key),
                "linear",
                part,
                {},
                {"weight": found.arrays[key]},
            )
            for key, part in parts.items()
        ]
        series = (brought[0].series[0] + brought[1].series[0],)
        x = tracer.tensor(brought[0].plain.shape, series, False, x.unknown)
    arrays = {key: a for key, a in found.arrays.items() if key in PARAMETERS[found.kind]}
    y = tracer.record(name, found.kind, x, found.options, arrays)
    spiking = "v_th" in PARAMETERS[found.kind]
    return y, CellState(tracer, name, tracer.now, y, spiking)


def _own_state(
    tracer: Tracer, module: Any, found: Found, name: str, x: Traced, state: Any
) -> Traced | None:
    """Check that a cell goes on from its own state; what left it one step before."""
    if isinstance(state, CellState):
        if state.name != name:
            raise Cannot(f"is given the state of '{state.name}': give it its own")
        if state.step != tracer.now - 1:
            raise Cannot("is given a state that is not of the step before")
        return state.out
    if tracer.now > 0:
        what = "no state" if state is None else f"a {type(state).__name__} as its state"
        raise Cannot(f"is given {what} after the first step: hand on the state that it returned")
    if state is not None and not _initial(module, found, state):
        raise Cannot("starts from a state of its own choice: NIR starts at v_leak, without current")
    return None


def _initial(module: Any, found: Found, state: Any) -> bool:
    """Whether ``state`` is the one from which the cell starts by itself."""
    values = getattr(state, "_asdict", dict)()
    if not values or not all(isinstance(value, torch.Tensor) for value in values.values()):
        return False
    start = module.p.v_reset if found.kind == "iaf" else module.p.v_leak
    for key, value in values.items():
        expected = torch.as_tensor(start if key == "v" else 0.0)
        if not torch.equal(*torch.broadcast_tensors(value.float(), expected.float())):
            return False
    return True
