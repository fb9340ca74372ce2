"""What a program is made of: synapses that leave or reach each neuron, and kinds of neurons."""

from dataclasses import replace

import numpy as np

from sltdeploy.arithmetic import apply_op, apply_ops
from sltdeploy.ops import Array, Conv, Linear, Op, Pool, Reshape, Scale, Shape
from sltdeploy.rules import DelayLine, Input, LoihiNeuron, Neuron, Relay, Rule

NO_CURRENT_MEMORY = 4095  # du of a LoihiNeuron that forgets its current in each step


def fan_out(op: Linear | Conv, shape: Shape, *, dense: bool = False) -> Array:
    """Number of synapses that leave each input site of ``op``, int64 of ``shape``.

    The adjoint of the op's non-zero mask N applied to ones: ``F = N^T 1``. Zero weights count
    only if ``dense``; connections into zero padding never exist.
    """
    present = np.ones(op.weight.shape, bool) if dense else op.weight != 0
    if isinstance(op, Linear):
        return present.sum(axis=0, dtype=np.int64)
    outputs = op.out_shape(shape)[1:]
    top, left, bottom, right = op.padding
    padded = np.zeros((shape[0], shape[1] + top + bottom, shape[2] + left + right), np.int64)
    for i, j in np.ndindex(op.weight.shape[2:]):
        # Outputs y = 0 .. n-1 read padded row s y + d i through kernel row i.
        rows, columns = (
            slice(d * k, d * k + s * (n - 1) + 1, s)
            for d, k, s, n in zip(op.dilation, (i, j), op.stride, outputs, strict=True)
        )
        groups = np.split(present[:, :, i, j], op.groups, axis=0)
        leaving = np.concatenate([g.sum(axis=0, dtype=np.int64) for g in groups])
        padded[:, rows, columns] += leaving[:, None, None]
    return padded[:, top : top + shape[1], left : left + shape[2]]


def forwarded(op: Op, events: Array) -> Array:
    """Send event counts (N, *shape), int64, through an op without weights.

    A pool forwards each event to every window that contains it; a scale of 0 stops it.
    """
    match op:
        case Pool():
            return apply_op(replace(op, kind="sum"), events)
        case Scale():
            return events * (op.factor != 0)
        case _:
            return apply_op(op, events)


def fan_in(ops: tuple[Op, ...], shape: Shape) -> Array:
    """Number of non-zero paths that reach each neuron behind ``ops``, int64."""
    return apply_ops(tuple(_mask(op) for op in ops), np.ones((1, *shape), np.int64))[0]


def describe(op: Op) -> str:
    """The op in a few words, for reports: ``Conv 3x3 8->16, padding 1, groups 2``."""
    match op:
        case Linear():
            return f"Linear {op.weight.shape[1]}->{op.weight.shape[0]}"
        case Conv():
            out, into, kh, kw = op.weight.shape
            words = [f"Conv {kh}x{kw} {into * op.groups}->{out}"]
            words += [f"stride {_short(op.stride)}"] * (op.stride != (1, 1))
            words += [f"padding {_short(op.padding)}"] * any(op.padding)
            words += [f"dilation {_short(op.dilation)}"] * (op.dilation != (1, 1))
            words += [f"groups {op.groups}"] * (op.groups != 1)
            return ", ".join(words)
        case Pool():
            stride = "" if op.stride == op.kernel else f", stride {_short(op.stride)}"
            padding = f", padding {_short(op.padding)}" if any(op.padding) else ""
            return f"{op.kind} pool {op.kernel[0]}x{op.kernel[1]}{stride}{padding}"
        case Scale():
            return "scale"
        case Reshape():
            return f"reshape to {'x'.join(map(str, op.shape))}"


def neuron_kind(rule: Rule) -> str:
    """Name of a rule: LIF, IF, CubaLIF, their readouts LI, I, CubaLI, and what is no neuron.

    A spiking neuron that forgets everything after a step is a Threshold, whatever it was before.
    """
    match rule:
        case Input():
            return "graded input" if rule.kind == "graded" else "spike input"
        case Relay():
            return "relay"
        case DelayLine():
            return "delay"
        case Neuron() if rule.spiking and rule.decay_syn is None and not rule.decay.any():
            return "Threshold"
        case Neuron():
            leaks, cuba = bool((rule.decay != 1).any()), rule.decay_syn is not None
        case LoihiNeuron():
            leaks, cuba = rule.dv != 0, rule.du != NO_CURRENT_MEMORY
    spikes = "F" if rule.spiking else ""
    return f"CubaLI{spikes}" if cuba else f"LI{spikes}" if leaks else f"I{spikes}"


def _mask(op: Op) -> Op:
    match op:
        case Linear() | Conv():
            return replace(op, weight=(op.weight != 0).astype(np.int64), bias=None)
        case Scale():
            return Scale((op.factor != 0).astype(np.int64))
        case Pool():
            return replace(op, kind="sum")
        case Reshape():
            return op


def _short(numbers: tuple[int, ...]) -> str:
    return str(numbers[0]) if len(set(numbers)) == 1 else str(numbers)
