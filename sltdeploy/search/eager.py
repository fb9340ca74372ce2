"""A program as an eager torch module: what an artifact is timed against, and nothing more.

One `forward` is one step of a float32 program. ``cells="norse"`` updates LIF and LI neurons with
Norse's own box cells, as a network written in Norse would; ``cells="torch"`` with plain torch, the
least that eager mode can do. Source: norse 1.1.0, norse/torch/functional/lif_box.py and
leaky_integrator_box.py.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import numpy as np
import torch
from norse.torch.functional.leaky_integrator_box import (
    LIBoxParameters,
    LIBoxState,
    li_box_feed_forward_step,
)
from norse.torch.functional.lif_box import (
    LIFBoxFeedForwardState,
    LIFBoxParameters,
    lif_box_feed_forward_step,
)
from torch import nn
from torch.nn import functional

from sltdeploy.errors import raise_all
from sltdeploy.ops import Array, Conv, Linear, Op, Pool, Reshape, Scale
from sltdeploy.program import Population, Program, Projection
from sltdeploy.resting import at_rest
from sltdeploy.rules import DelayLine, Input, Neuron, Relay

Cells: TypeAlias = Literal["torch", "norse"]
State: TypeAlias = dict[str, torch.Tensor]


class Eager(nn.Module):
    """``sent, state = module(x, state)``; x and sent by name, each (B, *shape).

    ``state`` None is the first state. Raises `InputError` for a program in integers, and with
    cells "norse" for neurons that Norse's box cells are not.
    """

    def __init__(self, program: Program, cells: Cells = "torch") -> None:
        super().__init__()
        raise_all(_refusals(program, cells))
        self._program, self._cells = program, cells
        self._arrivals = nn.ModuleDict(
            {
                f"{k}": _Arrival(program, p, cells)
                for k, p in enumerate(program.populations)
                if not isinstance(p.rule, Input)
            }
        )
        self._rules = nn.ModuleDict(
            {
                f"{k}": _Neurons(p.rule, p.shape, cells)
                for k, p in enumerate(program.populations)
                if isinstance(p.rule, Neuron)
            }
        )
        self._at_rest = at_rest(program)

    def forward(
        self, x: Mapping[str, torch.Tensor], state: State | None = None
    ) -> tuple[dict[str, torch.Tensor], State]:
        """One step of every population."""
        batch = len(next(iter(x.values())))
        state = self.first(batch) if state is None else state
        sent: dict[str, torch.Tensor] = {}
        after: State = {}
        for k, p in enumerate(self._program.populations):
            if isinstance(p.rule, Input):
                sent[p.name] = x[p.name]
            elif isinstance(p.rule, Relay):
                sent[p.name] = self._arrivals[f"{k}"](sent, state)
            else:
                arrives = self._arrivals[f"{k}"](sent, state)
                sent[p.name], kept = self._rules[f"{k}"](arrives, state, p.name)
                after.update(kept)
            if p.name in self._at_rest:
                after[f"{p.name}.last"] = sent[p.name]
        return {name: sent[name] for name in self._program.outputs}, after

    def first(self, batch: int) -> State:
        """State before the first step."""
        state: State = {}
        for p in self._program.populations:
            shape = (batch, *p.shape)
            if isinstance(p.rule, Neuron):
                v = np.broadcast_to(p.rule.v_init.astype(np.float32), shape).copy()
                state[f"{p.name}.v"] = torch.from_numpy(v)
                if p.rule.decay_syn is not None:
                    state[f"{p.name}.j"] = torch.zeros(shape)
            if p.name in self._at_rest:
                last = np.broadcast_to(self._at_rest[p.name].astype(np.float32), shape)
                state[f"{p.name}.last"] = torch.from_numpy(last.copy())
        return state


class _Arrival(nn.Module):
    """The sum of what the projections into one population bring."""

    def __init__(self, program: Program, p: Population, cells: Cells) -> None:
        super().__init__()
        into = program.into(p.name)
        self._sources = [(q.source, q.recurrent) for q in into]
        # Norse's cells multiply what arrives by 1 - decay: divide the weights by it.
        gain = 1.0
        if cells == "norse" and isinstance(p.rule, Neuron):
            gain = float(1 / (1 - p.rule.decay.flat[0]))
        self._chains = nn.ModuleList(_chain(q, gain) for q in into)

    def forward(self, sent: Mapping[str, torch.Tensor], state: State) -> torch.Tensor:
        total = None
        for (source, late), chain in zip(self._sources, self._chains, strict=True):
            brought = chain(state[f"{source}.last"] if late else sent[source])
            total = brought if total is None else total + brought
        assert total is not None
        return total


class _Neurons(nn.Module):
    """One population's rule."""

    def __init__(self, rule: Neuron, shape: tuple[int, ...], cells: Cells) -> None:
        super().__init__()
        self._rule, self._cells = rule, cells
        self._decay, self._bias = _tensor(rule.decay), _tensor(rule.bias)
        self._decay_syn = None if rule.decay_syn is None else _tensor(rule.decay_syn)
        self._threshold = None if rule.threshold is None else _tensor(rule.threshold)
        self._v_reset = _tensor(np.zeros(()) if rule.v_reset is None else rule.v_reset)
        if cells == "norse":
            inverse = _tensor(np.asarray(1 - rule.decay, np.float32))
            zero = torch.zeros(())
            self._li = LIBoxParameters(tau_mem_inv=inverse, v_leak=zero)
            self._lif = LIFBoxParameters(
                tau_mem_inv=inverse,
                v_leak=zero,
                v_th=zero if rule.threshold is None else _tensor(rule.threshold),
                v_reset=zero if rule.v_reset is None else _tensor(rule.v_reset),
            )

    def forward(self, arrives: torch.Tensor, state: State, name: str) -> tuple[torch.Tensor, State]:
        v = state[f"{name}.v"]
        if self._cells == "norse":  # with dt = 1, tau_mem_inv is 1 - decay
            if self._threshold is None:
                values, li = li_box_feed_forward_step(arrives, LIBoxState(v), self._li, 1.0)
                return values, {f"{name}.v": li.v}
            spikes, lif = lif_box_feed_forward_step(
                arrives, LIFBoxFeedForwardState(v), self._lif, 1.0
            )
            return spikes, {f"{name}.v": lif.v}
        kept: State = {}
        if self._decay_syn is not None:
            arrives = kept[f"{name}.j"] = self._decay_syn * state[f"{name}.j"] + arrives
        u = self._decay * v + arrives + self._bias
        if self._threshold is None:
            return u, {**kept, f"{name}.v": u}
        fires = u > self._threshold if self._rule.comparison == "gt" else u >= self._threshold
        after = u - self._threshold if self._rule.reset == "subtract" else self._v_reset
        return fires.to(u.dtype), {**kept, f"{name}.v": torch.where(fires, after, u)}


class _Conv(nn.Module):
    """Convolution with any zero padding."""

    def __init__(self, op: Conv, gain: float) -> None:
        super().__init__()
        self._op = op
        self._weight = _tensor(op.weight * np.float32(gain))
        self._bias = None if op.bias is None else _tensor(op.bias * np.float32(gain))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        top, left, bottom, right = self._op.padding
        if (top, left) == (bottom, right):
            around = (top, left)
        else:
            x, around = functional.pad(x, (left, right, top, bottom)), (0, 0)
        return functional.conv2d(
            x,
            self._weight,
            self._bias,
            self._op.stride,
            around,
            self._op.dilation,
            self._op.groups,
        )


class _Pool(nn.Module):
    """Sum or average over windows."""

    def __init__(self, op: Pool, gain: float) -> None:
        super().__init__()
        self._op = op
        self._factor = gain * (op.kernel[0] * op.kernel[1] if op.kind == "sum" else 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        top, left, bottom, right = self._op.padding
        if any(self._op.padding):
            x = functional.pad(x, (left, right, top, bottom))
        y = functional.avg_pool2d(x, self._op.kernel, self._op.stride)
        return y if self._factor == 1 else y * self._factor


class _Scale(nn.Module):
    """Elementwise factor."""

    def __init__(self, factor: Array) -> None:
        super().__init__()
        self._factor = _tensor(factor)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self._factor


class _Reshape(nn.Module):
    """The same values under another shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self._shape = shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(len(x), *self._shape)


def _chain(q: Projection, gain: float) -> nn.Module:
    """The ops of ``q`` in turn; the last that has weights also multiplies by ``gain``."""
    parts: list[nn.Module] = []
    at = max((k for k, op in enumerate(q.ops) if isinstance(op, Linear | Conv)), default=None)
    # What adds biases before the last weights is multiplied with them; what comes later is not.
    for k, op in enumerate(q.ops):
        parts.append(_module(op, gain if k == at else 1.0))
    if at is None and gain != 1:
        parts.append(_Scale(np.asarray(gain, np.float32)))
    return parts[0] if len(parts) == 1 else nn.Sequential(*parts)


def _module(op: Op, gain: float) -> nn.Module:
    match op:
        case Linear():
            post, pre = op.weight.shape
            linear = nn.Linear(pre, post, bias=op.bias is not None)
            with torch.no_grad():
                linear.weight.copy_(_tensor(op.weight * np.float32(gain)))
                if op.bias is not None:
                    linear.bias.copy_(_tensor(op.bias * np.float32(gain)))
            return linear.requires_grad_(requires_grad=False)
        case Conv():
            return _Conv(op, gain)
        case Pool():
            return _Pool(op, gain)
        case Scale():
            return _Scale(op.factor)
        case Reshape():
            return _Reshape(op.shape)


def _tensor(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.array(array, np.float32))


def _refusals(program: Program, cells: Cells) -> list[str]:
    if program.numbers != "float32":
        return [f"the program holds {program.numbers} integers, torch is timed on floats"]
    late = [p.name for p in program.populations if isinstance(p.rule, DelayLine)]
    found = [f"population '{name}' is a delay line: torch has none" for name in late]
    if cells == "norse":
        found += [
            f"population '{p.name}' is no box cell of Norse's (one decay below 1, bias 0, "
            "'>' and reset to a value): time it against torch"
            for p in program.populations
            if isinstance(p.rule, Neuron) and not _is_box_cell(p.rule)
        ]
    return found


def _is_box_cell(rule: Neuron) -> bool:
    return (
        rule.decay_syn is None
        and bool((rule.decay == rule.decay.flat[0]).all() and rule.decay.flat[0] < 1)
        and not rule.bias.any()
        and (not rule.spiking or (rule.comparison == "gt" and rule.reset == "zero"))
    )
