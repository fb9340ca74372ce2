r"""Weights rounded to a dyadic grid, so that float32 arithmetic on them is exact.

Float addition depends on the order, and every engine adds in its own. Where all weights of a
layer are multiples of :math:`2^{-n}`, each sum, each membrane potential and each step between is
a multiple of some :math:`2^{-F}`; as long as none exceeds :math:`2^{24-F}` in magnitude, float32
holds every one of them exactly, in any order. Then Norse, numpy, ONNX Runtime and Lava give the
same bits. `exact_bits` chooses n by that bound. The bits add up:

- what arrives has f fraction bits (0 for spikes, 4 for pixels k/16, 2 more after 2x2 pooling);
- a weight adds n;
- a step of the membrane :math:`v \leftarrow (1-g) v + g x` adds as many as g has: 2 for
  g = 0.75, so T steps add 2 T; a synaptic current adds its own in all but the first step;
- the worst :math:`|x|` is :math:`\max_o \sum_i |W_{oi}| \cdot \max|in| + |b_o|`.

Where g or a potential is not dyadic no choice of weights keeps the membrane exact. Then n is
chosen for the plain sum alone: engines that add before they multiply by g agree on the sum, and
the membrane agrees as far as float32 can tell.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log2, prod

import numpy as np

from sltdeploy.errors import InputError
from sltdeploy.layers import PARAMETERS, WEIGHTED, Arrays, Layer, fold, parameter
from sltdeploy.program import Array

FLOAT32_BITS = 24  # significand, with the implicit bit
DYADIC_BITS = 12  # a parameter with more fraction bits counts as not dyadic


@dataclass(frozen=True)
class Grid:
    """How to round: ``bits`` fraction bits for all weights, or as many as stay exact.

    ``steps`` is T. The input is a multiple of ``2**-input_bits``, at most ``input_max``.
    """

    bits: int | None
    steps: int
    input_bits: int = 0
    input_max: float = 1.0


@dataclass(frozen=True)
class Signal:
    """Values that are multiples of ``2**-bits`` and at most ``limit`` in magnitude."""

    bits: int
    limit: float


@dataclass(frozen=True)
class Dynamics:
    """What T steps of a neuron do to exactness; ``gain`` is g, ``step_bits`` its fraction bits.

    ``synapse`` and ``membrane`` bound the growth of an input of 1; ``leak`` and ``jump`` are
    potentials that add to it, with ``constant_bits`` fraction bits.
    """

    bits: int
    gain: float
    step_bits: int
    synapse: float
    membrane: float
    leak: float
    jump: float
    constant_bits: int

    def peak(self, limit: float) -> float:
        """Largest magnitude of anything in a step, for inputs of at most ``limit``."""
        current = limit * self.synapse + self.leak
        v = self.membrane * current + self.jump
        # g (x + v_leak - v), as Norse computes it, and the bracket on its coarser grid
        return max(current, v, (current + v) * max(self.gain, 2.0**-self.step_bits))


def snapped(
    layers: Sequence[Layer], arrays: Arrays, dt: float, grid: Grid
) -> tuple[tuple[Layer, ...], dict[str, Array]]:
    """Fold batch normalisation and round each weight and bias to its layer's grid, in float64.

    Returns layers and arrays as `sltdeploy.layers.fold` does. A weight that rounds to 0 is
    pruned. Raises `InputError` naming the layer where no exact grid exists.
    """
    layers, out = fold(layers, arrays)
    signal = Signal(grid.input_bits, grid.input_max)
    for at, layer in enumerate(layers):
        if layer.kind in WEIGHTED:
            weight, bias = out[f"{layer.name}.weight"], out.get(f"{layer.name}.bias")
            pool_bits, dynamics = _downstream(layers[at + 1 :], out, dt, grid)
            bits = grid.bits
            if bits is None:
                arriving = replace(signal, bits=signal.bits + pool_bits)
                bits = exact_bits(layer.name, weight, bias, arriving, dynamics)
            out[f"{layer.name}.weight"] = weight = snap(weight, bits)
            if bias is not None:
                out[f"{layer.name}.bias"] = bias = snap(bias, bits)
            signal = Signal(signal.bits + bits, worst_sum(weight, bias, signal.limit))
        elif layer.kind == "avgpool2d":
            signal = replace(signal, bits=signal.bits + _pool_bits(layer, grid))
        elif layer.kind in PARAMETERS:
            signal = _after(layer, out, dt, grid, signal)
    return layers, out


def snap(values: Array, bits: int) -> Array:
    """Round to the nearest multiple of ``2**-bits``, halves to even, in float64; never -0."""
    return np.rint(values.astype(np.float64) * 2.0**bits) / 2.0**bits + 0.0


def worst_sum(weight: Array, bias: Array | None, limit: float) -> float:
    """Largest magnitude of ``W x + b`` for any x of at most ``limit`` in magnitude."""
    total = np.abs(weight).reshape(len(weight), -1).sum(axis=1) * limit
    return float((total if bias is None else total + np.abs(bias)).max())


def exact_bits(
    name: str, weight: Array, bias: Array | None, arriving: Signal, dynamics: Dynamics | None
) -> int:
    """Most fraction bits n for which the layer and the neurons behind it stay exact in float32.

    ``arriving`` is the layer's input with the bits of pooling behind the layer added;
    ``dynamics`` is None where only the plain sum can be exact. Raises `InputError` where not
    even n = 1 is exact.
    """
    for bits in range(FLOAT32_BITS - 1, 0, -1):
        rounded = snap(weight, bits)
        worst = worst_sum(rounded, None if bias is None else snap(bias, bits), arriving.limit)
        total = arriving.bits + bits
        if dynamics is not None:
            worst = dynamics.peak(worst)
            total = max(total, dynamics.constant_bits) + dynamics.bits
        if worst <= 2.0 ** (FLOAT32_BITS - total):
            return bits
    steps = 0 if dynamics is None else dynamics.bits
    raise InputError(
        f"layer '{name}': no exact grid: its input has {arriving.bits} fraction bits and the "
        f"neuron's steps add {steps}, float32 has {FLOAT32_BITS}: take fewer steps, set a number "
        "of fraction bits as the grid, or none"
    )


def dynamics_of(layer: Layer, arrays: Arrays, dt: float, steps: int) -> Dynamics | None:
    """What ``steps`` steps of a neuron layer do to exactness; None where it is not dyadic."""
    p = {key: parameter(layer, arrays, key) for key in PARAMETERS[layer.kind]}
    mem_gain = _single(dt * p["tau_mem_inv"]) if "tau_mem_inv" in p else np.zeros(1)
    syn_gain = _single(dt * p["tau_syn_inv"]) if "tau_syn_inv" in p else np.ones(1)
    potentials = [p[key] for key in ("v_leak", "v_th", "v_reset") if key in p]
    mem_bits, syn_bits = _fraction_bits(mem_gain), _fraction_bits(syn_gain)
    constants = [_fraction_bits(_single(v)) for v in potentials]
    known = [b for b in (mem_bits, syn_bits, *constants) if b is not None]
    if mem_bits is None or syn_bits is None or len(known) < 2 + len(constants):
        return None
    leak, reset, threshold = (
        float(np.abs(p.get(key, np.zeros(1))).max()) for key in ("v_leak", "v_reset", "v_th")
    )
    return Dynamics(
        bits=mem_bits * steps + syn_bits * (steps - 1),
        gain=float(mem_gain.max()),
        step_bits=mem_bits,
        synapse=_series(1 - syn_gain, steps),
        membrane=float(steps) if layer.kind == "iaf" else _series(1 - mem_gain, steps, mem_gain),
        leak=leak,
        jump=leak + reset + (threshold if layer.option("reset") == "subtract" else 0.0),
        constant_bits=max(known[2:], default=0),
    )


def _downstream(
    behind: Sequence[Layer], arrays: Arrays, dt: float, grid: Grid
) -> tuple[int, Dynamics | None]:
    """Bits that pooling adds before the next neuron, and that neuron's dynamics."""
    bits = 0
    for layer in behind:
        if layer.kind in PARAMETERS:
            return bits, dynamics_of(layer, arrays, dt, grid.steps)
        if layer.kind in WEIGHTED and grid.bits is None:
            raise InputError(
                f"layer '{layer.name}': an exact grid needs neurons between two weighted layers: "
                "set a number of fraction bits as the grid, or none"
            )
        if layer.kind == "avgpool2d":
            bits += _pool_bits(layer, grid)
    return bits, None


def _pool_bits(layer: Layer, grid: Grid) -> int:
    size = prod(int(k) for k in layer.option("kernel"))
    if size & (size - 1) and grid.bits is None:
        raise InputError(
            f"layer '{layer.name}': an exact grid needs pooling over a power of two, not {size}: "
            "set a number of fraction bits as the grid, or none"
        )
    return int(log2(size))


def _after(layer: Layer, arrays: Arrays, dt: float, grid: Grid, signal: Signal) -> Signal:
    if "v_th" in PARAMETERS[layer.kind]:
        return Signal(0, 1.0)
    dynamics = dynamics_of(layer, arrays, dt, grid.steps)
    if dynamics is None:  # nothing behind it can be exact; `exact_bits` sees a full float
        return Signal(FLOAT32_BITS, signal.limit)
    bits = max(signal.bits, dynamics.constant_bits) + dynamics.bits
    return Signal(bits, dynamics.peak(signal.limit))


def _single(values: Array) -> Array:
    return np.atleast_1d(np.asarray(values, dtype=np.float32)).astype(np.float64)


def _fraction_bits(values: Array) -> int | None:
    for bits in range(DYADIC_BITS + 1):
        if (values * 2**bits == np.rint(values * 2**bits)).all():
            return bits
    return None


def _series(decay: Array, steps: int, gain: Array | float = 1.0) -> float:
    """Bound of ``sum_k gain |decay|**k`` over ``steps`` steps."""
    powers = np.abs(decay)[..., None] ** np.arange(max(steps, 1))
    return float((gain * powers.sum(axis=-1)).max())
