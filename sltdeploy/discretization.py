"""Continuous neurons to step rules, and the gains that this leaves for the weights."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from sltdeploy.program import Array, Conv, Convention, Linear, Neuron, Op, Scale, Shape

WHOLE = 1e-6  # how far from a whole number of steps a delay may be, relative
BLOCK = 1 << 16  # weights held in float64 at once


def rule_of(kind: str, p: Mapping[str, Array], convention: Convention) -> tuple[Neuron, Array]:
    """The neuron's rule, and the gain to fold into what leads to it."""
    dt = convention.dt
    zero = np.zeros(())
    decay_syn = None
    if kind in ("IF", "I"):
        rate, leak = zero, zero
        gain = dt * p["r"]  # s * (V / (A s)) = V / A
        start = p.get("v_reset", zero)
    else:
        rate = rate_of(p["tau_mem"] if "tau_mem" in p else p["tau"], convention)
        leak = start = p["v_leak"]
        gain = rate * p["r"]
    if kind.startswith("Cuba"):
        syn = rate_of(p["tau_syn"], convention)
        decay_syn = _uniform(1 - syn)
        gain = gain * syn * p["w_in"]
    spiking = "v_threshold" in p
    neuron = Neuron(
        decay=_uniform(1 - rate),
        bias=_uniform(rate * leak),
        v_init=_uniform(start),
        decay_syn=decay_syn,
        threshold=_uniform(p["v_threshold"]) if spiking else None,
        v_reset=_uniform(p["v_reset"]) if spiking and convention.reset == "zero" else None,
        reset=convention.reset,
        comparison=convention.comparison,
    )
    return neuron, gain


def threshold_of(p: Mapping[str, Array], convention: Convention) -> tuple[Neuron, Array]:
    """Rule of a Threshold: a neuron that forgets everything after a step. No gain."""
    zero = np.zeros((), np.float32)
    neuron = Neuron(
        decay=zero,
        bias=zero,
        v_init=zero,
        threshold=_uniform(p["threshold"]),
        v_reset=zero,
        comparison=convention.comparison,
    )
    return neuron, np.ones(())


def steps_of(delay: Array, convention: Convention) -> tuple[Array, str]:
    """Delays in steps, of shape () where all are equal; and what is wrong, or an empty string."""
    exact = delay / convention.dt  # s / s
    steps = np.rint(exact)
    off = np.abs(exact - steps) > WHOLE * np.maximum(1, np.abs(exact))
    if off.any():
        return steps.astype(np.int32), (
            f"Delay.delay is {delay[off].flat[0]:g} s, {exact[off].flat[0]:g} steps of "
            f"{convention.dt:g} s: must be a whole number, choose dt or the delay so"
        )
    if steps.size and (steps == steps.flat[0]).all():
        steps = steps.reshape(-1)[0]
    return np.asarray(steps, dtype=np.int32), ""


def rate_of(tau: Array, convention: Convention) -> Array:
    """Share of the way to its limit that a leaky state goes in a step: dt/tau or 1 - exp(-dt/tau).

    tau in seconds; the result has no unit.
    """
    ratio = convention.dt / tau  # s / s
    return ratio if convention.decay == "euler" else -np.expm1(-ratio)


def unstable(name: str, node: Any, p: Mapping[str, Array], convention: Convention) -> list[str]:
    """Time constants of a node that are too short for an Euler step of dt, one line each."""
    if convention.decay != "euler":
        return []
    return [
        f"node '{name}': {type(node).__name__}.{key} is {p[key].min():g} s and dt "
        f"{convention.dt:g} s: an Euler step diverges from dt > 2 tau on; is tau in seconds?"
        for key in ("tau", "tau_mem", "tau_syn")
        if key in p and 0 < p[key].min() < convention.dt / 2
    ]


def amplify(ops: tuple[Op, ...], gain: Array, shape: Shape) -> tuple[Op, ...]:
    """Multiply what ``ops`` bring, of ``shape``, by ``gain``: into the weights where possible."""
    if (gain == 1).all():
        return ops
    flat = gain.reshape(-1)
    if (flat == flat[0]).all():  # a uniform gain passes through pools, reshapes and sums
        for k in range(len(ops) - 1, -1, -1):
            op = ops[k]
            if isinstance(op, Linear | Conv):
                return (*ops[:k], _scaled(op, flat[:1]), *ops[k + 1 :])
        return (*ops, Scale(flat[0, ...]))
    last = ops[-1] if ops else None
    if isinstance(last, Linear):
        return (*ops[:-1], _scaled(last, gain))
    if isinstance(last, Conv) and (gain == gain[:, :1, :1]).all():
        return (*ops[:-1], _scaled(last, gain[:, 0, 0]))
    return (*ops, Scale(gain))


def _scaled(op: Linear | Conv, by_output: Array) -> Linear | Conv:
    bias = None if op.bias is None else op.bias * by_output
    return replace(op, weight=_scaled_rows(op.weight, by_output.reshape(-1)), bias=bias)


def _scaled_rows(weight: Array, by_output: Array) -> Array:
    """Multiply in float64, block by block to bound memory, and round to float32 once; read-only."""
    factor = np.broadcast_to(by_output, weight.shape[:1]).reshape(-1, *[1] * (weight.ndim - 1))
    product = np.empty(weight.shape, np.float32)
    rows = max(1, BLOCK * len(weight) // max(1, weight.size))
    for start in range(0, len(weight), rows):
        block = slice(start, start + rows)
        product[block] = np.multiply(weight[block], factor[block], dtype=np.float64)
    product.flags.writeable = False
    return product


def single(ops: tuple[Op, ...]) -> tuple[Op, ...]:
    """Round the weights to float32; a bias of zeros is none."""
    return tuple(_single_op(op) for op in ops)


def _single_op(op: Op) -> Op:
    match op:
        case Linear() | Conv():
            bias = None if op.bias is None or not op.bias.any() else op.bias.astype(np.float32)
            return replace(op, weight=_own(op.weight), bias=bias)
        case Scale():
            return Scale(op.factor.astype(np.float32))
        case _:
            return op


def _own(weight: Array) -> Array:
    """A copy in float32, but of `_scaled_rows` the array itself: nobody else can write to it."""
    if weight.dtype == np.float32 and weight.base is None and not weight.flags.writeable:
        return weight
    return weight.astype(np.float32)


def _uniform(values: Array) -> Array:
    """Values in float32; of shape () where all are equal, so that machines can use a constant."""
    values = np.asarray(values)
    if values.size and (values == values.flat[0]).all():
        values = values.reshape(-1)[0]
    return np.asarray(values, dtype=np.float32)
