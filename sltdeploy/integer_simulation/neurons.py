"""Loihi's neuron on arrays (neurons, steps, samples), in float64 where that is exact.

A 24-bit state times a 12-bit decay has 36 bits, a float64 holds 53, and numpy has vector
instructions to multiply and truncate floats but none to multiply and shift integers of that size.
Where what arrives is too large for that, the rule runs in 64-bit integers as written.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sltdeploy.bounds import ALIGN, TOP, UNITY, state_bound
from sltdeploy.integer_simulation.reaching import Reach, total
from sltdeploy.program import Array, LoihiNeuron, Population

ALIGN_BITS = ALIGN.bit_length() - 1
DECAY_BITS = UNITY.bit_length() - 1
TURN = 2 * (TOP + 1)  # u wraps by this much
HELD = 2**15  # values of a state that are stepped together, so that they stay in the cache
FLOAT_TOP = 2.0**53


@dataclass(frozen=True, eq=False)
class Layer:
    """Neurons of one population; ``bias`` is (neurons, 1), or None for all 0.

    ``shifts`` are the exponents, 0 or more, of what each projection brings. ``in_floats`` says
    that float64 is exact, ``wraps`` and ``clips`` whether u and v may need it.
    """

    rule: LoihiNeuron
    shifts: tuple[int, ...]
    bias: Array | None
    in_floats: bool
    wraps: bool
    clips: bool


@dataclass(frozen=True, eq=False)
class Membrane:
    """State of a `Layer`, each (neurons, samples), changed in place; u is None where unused."""

    v: Array
    u: Array | None


def layer(p: Population, parts: tuple[Reach, ...]) -> Layer:
    """Prepare a population for what ``parts`` can bring."""
    rule = p.rule
    assert isinstance(rule, LoihiNeuron)
    bias = np.broadcast_to(rule.bias_mantissa.astype(np.int64) << rule.bias_exponent, p.shape)
    bound = state_bound(rule, total(parts))
    wraps = bound.u > TOP
    # What the projections bring is summed one by one, so that none cancels another.
    summed = sum(r.brought.peak for r in parts) * ALIGN
    largest = max(bound.u, summed, TURN, float(np.abs(bias).max())) * UNITY
    return Layer(
        rule,
        tuple(max(r.projection.weight_exponent, 0) for r in parts),
        bias.reshape(-1, 1) if bias.any() else None,
        in_floats=largest < FLOAT_TOP and 0 <= rule.du < UNITY and 0 <= rule.dv < UNITY,
        wraps=wraps,
        clips=wraps or bound.v_low < -TOP or bound.v_high > TOP,
    )


def _kept(decay: int) -> float:
    return (UNITY - decay) / UNITY


def at_first(layer: Layer, p: Population, batch: int) -> Membrane:
    """State before the first step."""
    kind = np.float64 if layer.in_floats else np.int64
    v, u = (
        np.repeat(np.broadcast_to(a, p.shape).reshape(-1, 1).astype(kind), batch, axis=1)
        for a in (layer.rule.v_init, layer.rule.u_init)
    )
    return Membrane(v, u if layer.rule.du + 1 != UNITY or not layer.in_floats else None)


def advance(
    layer: Layer, state: Membrane, parts: Sequence[Array], sent: Array, membrane: Array | None
) -> None:
    """Step through ``parts``, what each projection brings, (neurons, steps, samples).

    Writes what leaves into ``sent`` and v after each step into ``membrane``, of the same shape.
    """
    step = _in_floats if layer.in_floats else _in_integers
    height = max(1, HELD // state.v.shape[1])
    for start in range(0, len(state.v), height):
        rows = slice(start, start + height)
        held = Membrane(state.v[rows], None if state.u is None else state.u[rows])
        bias = None if layer.bias is None else layer.bias[rows]
        for t in range(sent.shape[1]):
            step(layer, held, bias, [y[rows, t] for y in parts], sent[rows, t])
            if membrane is not None:
                membrane[rows, t] = held.v


def _in_floats(
    layer: Layer, state: Membrane, bias: Array | None, parts: Sequence[Array], sent: Array
) -> None:
    rule, v = layer.rule, state.v
    arrives = np.multiply(parts[0], _factor(layer.shifts[0]), dtype=np.float64)
    for y, shift in zip(parts[1:], layer.shifts[1:], strict=True):
        arrives += np.multiply(y, _factor(shift), dtype=np.float64)
    u = arrives
    if state.u is not None:
        u = state.u
        np.multiply(u, _kept(rule.du + 1), out=u)
        np.trunc(u, out=u)
        u += arrives
    if layer.wraps:
        _wrap(u)
    if rule.dv:
        np.multiply(v, _kept(rule.dv), out=v)
        np.trunc(v, out=v)
    v += u
    if bias is not None:
        v += bias
    _leave(layer, v, sent)


def _factor(shift: int) -> float:
    return float(2 ** (ALIGN_BITS + shift))


def _in_integers(
    layer: Layer, state: Membrane, bias: Array | None, parts: Sequence[Array], sent: Array
) -> None:
    rule, v, u = layer.rule, state.v, state.u
    assert u is not None
    u[...] = _decayed(u, rule.du + 1)
    for y, shift in zip(parts, layer.shifts, strict=True):
        u += y.astype(np.int64) << shift << ALIGN_BITS
    _wrap(u)
    v[...] = _decayed(v, rule.dv)
    v += u
    if bias is not None:
        v += bias
    _leave(layer, v, sent)


def _decayed(s: Array, decay: int) -> Array:
    return np.sign(s) * (np.abs(s) * (UNITY - decay) >> DECAY_BITS)


def _wrap(u: Array) -> None:
    """Overflow once around, as Lava does it: the lower end, -2**23, becomes 2**23 and stands."""
    over, under = u > TURN // 2, u <= -(TURN // 2)
    u -= over * TURN
    u += under * TURN


def _leave(layer: Layer, v: Array, sent: Array) -> None:
    if layer.clips:
        np.clip(v, -TOP, TOP, out=v)
    if layer.rule.vth is None:
        sent[...] = v
        return
    below = v <= layer.rule.vth << ALIGN_BITS
    v *= below  # three times as fast as writing 0 where it spikes
    np.logical_not(below, out=sent)
