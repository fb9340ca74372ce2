"""Networks for tests of the Lava exporter in which something waits: loops, delays, skips."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from lava_nets import RNG, dyadic, lif, single

from sltdeploy.program import (
    Array,
    Conv,
    Convention,
    DelayLine,
    Input,
    Linear,
    LoihiNeuron,
    Neuron,
    Numbers,
    Op,
    Population,
    Program,
    Projection,
    Relay,
    Reshape,
    Rule,
)

N = 5
UNEVEN = (2, 3, 2, 5, 2)
LINES = ("cuba li", "shown", "shown sums", "relay")


def delay(*steps: int, spiking: bool = False) -> DelayLine:
    """A line of one delay or one by element."""
    return DelayLine(np.asarray(steps[0] if len(steps) == 1 else steps, np.int32), spiking)


def wired(
    rules: Mapping[str, Rule | tuple[tuple[int, ...], Rule]],
    projections: tuple[Projection, ...],
    outputs: tuple[str, ...],
    numbers: Numbers = "float32",
) -> Program:
    """Populations of five, but where a shape is given."""
    return Program(
        Convention(1e-3),
        tuple(Population(n, *(r if isinstance(r, tuple) else ((N,), r))) for n, r in rules.items()),
        projections,
        outputs,
        numbers,
    )


def floats() -> Program:
    """Every way to wait, in floats with sums that float32 holds exactly."""

    def joined(source: str, target: str, *ops: Op, late: bool = False) -> Projection:
        return Projection(source, target, ops or (Linear(dyadic(N, N)),), recurrent=late)

    loop = (
        joined("in", "self"),
        joined("self", "self", late=True),
        joined("in", "a"),
        joined("wait loop", "a"),
        joined("a", "b"),
        Projection("b", "wait loop"),
    )
    skip = (
        joined("in", "c"),
        joined("c", "d"),
        joined("d", "e"),
        joined("c", "e"),
        joined("in", "e"),
    )
    lines = (
        Projection("graded", "wait graded"),
        joined("wait graded", "f", Linear(dyadic(N, 4), dyadic(N))),
        joined("in", "f"),
        joined("in", "wait sums"),
        Projection("wait sums", "g"),
        Projection("in", "wait twice", (Linear(dyadic(N, N)),)),
        Projection("wait twice", "h", (Linear(dyadic(N, N)),)),
        Projection("c", "shown"),
        joined("shown", "h"),
        joined("d", "shown sums"),
        joined("in", "relay", Linear(dyadic(N, N), dyadic(N))),
        joined("relay", "h", Linear(dyadic(N, N), dyadic(N))),
        Projection("c", "any"),
        Projection("d", "any"),
        joined("any", "h"),
    )
    rest = (
        joined("in", "now", late=True),
        joined("e", "first"),
        joined("e", "step"),
        joined("c", "cuba", Linear(dyadic(N, N), dyadic(N))),
        joined("cuba", "cuba", Linear(dyadic(N, N), dyadic(N)), late=True),
        joined("cuba", "li"),
        joined("cuba", "cuba li", Linear(dyadic(N, N), dyadic(N))),
    )
    bias = lif(bias=single(0.25))
    return wired(
        {
            "in": Input("spikes"),
            "graded": ((4,), Input("graded")),
            "self": bias,
            "wait loop": delay(*UNEVEN, spiking=True),
            "a": bias,
            "b": lif(bias=single(0.5)),
            "c": bias,
            "d": lif(),
            "e": lif(bias=single(-0.25)),
            "wait graded": ((4,), delay(0, 3, 1, 2)),
            "f": lif(),
            "wait sums": delay(1, 0, 4, 0, 2),
            "g": lif(),
            "wait twice": delay(0, 2, 0, 1, 1),
            "relay": Relay(),
            "shown": delay(*UNEVEN, spiking=True),
            "shown sums": delay(*UNEVEN),
            "any": delay(1, spiking=True),
            "h": lif(),
            "now": lif(bias=single(0.25)),
            "first": lif(v_init=single(0.5), v_reset=single(-0.25)),
            "step": lif(decay=single(0)),  # a Threshold
            "cuba": lif(decay_syn=single(0.5)),
            "li": Neuron(single(0.5), single(0.5), single(1)),
            "cuba li": Neuron(single(0.5), single(0.5), single(1), single(0.5)),
        },
        (*loop, *skip, *lines, *rest),
        ("self", "a", "g", "h", "f", "now", "first", "step", "li", *LINES),
    )


def whole(*shape: int, one_sign: bool = False, top: int = 100) -> Array:
    """Weights of 8 bits as Loihi holds them."""
    weight = 2 * RNG.integers(-top // 2, top // 2 + 1, shape)
    return (np.abs(weight) + (weight != 0) if one_sign else weight).astype(np.int32)


def neuron(**changes: int | Array | None) -> LoihiNeuron:
    """Loihi's LIF with a threshold that a few weights reach; changed as told."""
    plain = LoihiNeuron(4095, 2048, np.zeros(N, np.int16), 0, 64.0, 150)
    return replace(plain, **changes)


def integers() -> Program:
    """Every way to wait, in Loihi's integers."""

    def joined(
        source: str, target: str, exponent: int = 0, *, pre: int = N, late: bool = False
    ) -> Projection:
        weight = whole(N, pre, one_sign=exponent == 1)
        return Projection(source, target, (Linear(weight),), exponent, late)

    bias = np.arange(N).astype(np.int16) * 300
    small = (Linear(whole(N, N, top=8)),)
    return wired(
        {
            "in": Input("spikes"),
            "graded": ((4,), Input("graded", 255.0, -255, 255)),
            "self": neuron(du=1000, bias_mantissa=bias, bias_exponent=1),
            "wait loop": delay(*UNEVEN, spiking=True),
            "a": neuron(bias_mantissa=bias, bias_exponent=2),
            "b": neuron(vth=50),
            "e": neuron(u_init=np.full(N, -700), v_init=bias, du=200),
            "wait graded": ((4,), delay(0, 3, 1, 2)),
            "wait sums": delay(1, 0, 4, 0, 2),
            "wait twice": delay(0, 2, 0, 1, 1),
            "shown": delay(*UNEVEN, spiking=True),
            "shifted": delay(0, 3, 1, 2, 1, spiking=True),
            "h": neuron(vth=2000, dv=100),
            "li": neuron(vth=None, dv=300),
        },
        (
            joined("in", "self", 1),
            joined("self", "self", late=True),
            joined("in", "a", -1),
            joined("wait loop", "a", 2),
            joined("a", "b"),
            Projection("b", "wait loop"),
            joined("in", "e"),
            joined("self", "e"),
            joined("b", "e", -2),
            Projection("graded", "wait graded"),
            joined("wait graded", "h", pre=4),
            joined("in", "wait sums", -1),
            Projection("wait sums", "h"),
            Projection("in", "wait twice", small),
            Projection("wait twice", "h", (Linear(whole(N, N, top=6)),), 1),
            Projection("e", "shown"),
            joined("shown", "h", 1),
            Projection("a", "shifted"),
            joined("shifted", "h", -3),
            joined("h", "li", -1),
        ),
        ("self", "a", "e", "h", "li", "shown"),
        "loihi",
    )


def wide() -> Program:
    """Convolutions on ways of different length, and delays above what synapses hold."""
    conv = Conv(dyadic(2, 2, 3, 3), padding=(1, 1, 1, 1))
    picture = (2, 4, 4)
    flat: tuple[Op, ...] = (Reshape((32,)), Linear(dyadic(N, 32)))
    return wired(
        {
            "in": (picture, Input("spikes")),
            "a": (picture, lif()),
            "b": (picture, lif(bias=single(0.25))),
            "c": (picture, lif()),
            "wait": ((2, 4, 4), delay(70, spiking=True)),
            "d": lif(),
            "first": lif(reset="subtract", v_reset=None, v_init=single(0.5)),
        },
        (
            Projection("in", "a", (conv,)),
            Projection("a", "b", (conv,)),
            Projection("in", "c", (conv,)),  # one step to spare
            Projection("b", "c", (conv,)),
            Projection("a", "wait"),
            Projection("wait", "d", flat),
            Projection("c", "d", flat),
            Projection("d", "first", (Linear(dyadic(N, N)),)),
        ),
        ("d", "first"),
    )
