"""Networks for tests of the Lava exporter: all that it can write."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from sltdeploy.program import (
    Array,
    Conv,
    Convention,
    Input,
    Linear,
    LoihiNeuron,
    Neuron,
    Op,
    Pool,
    Population,
    Program,
    Projection,
    Relay,
    Reshape,
    Rule,
    Scale,
)

RNG = np.random.default_rng(3)
START = RNG.bit_generator.state


def same_numbers() -> None:
    """Draw from the start again, so that a test does not depend on those before it."""
    RNG.bit_generator.state = START


def single(*values: float) -> Array:
    """Float32, of shape () for one value."""
    return np.asarray(values[0] if len(values) == 1 else values, np.float32)


def dyadic(*shape: int, scale: float = 1.0, kept: float = 1.0) -> Array:
    """Weights k / 16, a share of which is ``kept``."""
    weight = np.rint(RNG.normal(scale=scale, size=shape) * 16) / 16
    return (weight * (RNG.random(shape) < kept)).astype(np.float32)


def noise(*shape: int, scale: float = 0.7, kept: float = 1.0) -> Array:
    """Real weights, a share of which is ``kept``."""
    weight = RNG.normal(scale=scale, size=shape) * (RNG.random(shape) < kept)
    return weight.astype(np.float32)


def lif(**changes: Array | str | None) -> Neuron:
    """Leaky, threshold 1, reset to 0; changed as told."""
    plain = Neuron(single(0.5), single(0), single(0), None, single(1), single(0))
    return replace(plain, **changes)


def program(
    rules: Mapping[str, tuple[tuple[int, ...], Rule]],
    arrows: Mapping[tuple[str, str], tuple[Op, ...]],
    outputs: tuple[str, ...],
) -> Program:
    """A program of populations {name: (shape, rule)} and projections {(source, target): ops}."""
    return Program(
        Convention(1e-3),
        tuple(Population(n, s, r) for n, (s, r) in rules.items()),
        tuple(Projection(a, b, ops) for (a, b), ops in arrows.items()),
        outputs,
    )


def small(rule: Rule, *, kind: str = "spikes") -> Program:
    """Four inputs, three neurons of ``rule``."""
    source = Input("spikes" if kind == "spikes" else "graded")
    arrows: dict[tuple[str, str], tuple[Op, ...]] = {("in", "n"): (Linear(dyadic(3, 4)),)}
    return program({"in": ((4,), source), "n": ((3,), rule)}, arrows, ("n",))


def everything() -> Program:
    """Every rule and op that floats in Lava can have, in one network."""
    shift = {"v_reset": single(-0.25), "v_init": single(-0.25)}
    each = single(*np.linspace(0.5, 1.5, 6).tolist())
    return program(
        {
            "0": ((2, 7, 6), Input("spikes")),
            "pixels": ((5,), Input("graded")),
            'lif "1"': ((4, 4, 2), lif(bias=single(0.25), **shift)),
            "lif_1": ((4, 7, 6), lif(decay=single(0.25))),
            "cuba": ((6, 2, 1), lif(decay_syn=single(0.5), threshold=each[:, None, None])),
            "if": ((6,), lif(decay=single(1), threshold=each)),
            "wide": ((3, 3, 3), lif(bias=dyadic(3, 1, 1))),
            "li": ((3,), Neuron(single(0.75), single(0.5), single(1))),
            "relay": ((2,), Relay()),
        },
        {
            ("0", 'lif "1"'): (
                Conv(dyadic(4, 1, 3, 2), dyadic(4), (2, 2), (1, 0, 1, 0), (1, 2), groups=2),
            ),
            ("0", "lif_1"): (
                Conv(dyadic(8, 2, 1, 3, kept=0.3), dyadic(8), padding=(0, 1, 0, 1)),
                Conv(dyadic(4, 8, 1, 1), None),
            ),
            ('lif "1"', "cuba"): (
                Pool((2, 2), (2, 2), kind="average"),
                Conv(dyadic(6, 4, 3, 3, kept=0.5), dyadic(6), padding=(1, 1, 1, 1)),
            ),
            ("lif_1", "cuba"): (
                Reshape((168,)),
                Linear(dyadic(12, 168, kept=0.1)),
                Reshape((6, 2, 1)),
            ),
            ("lif_1", "wide"): (
                Pool((3, 2), (2, 2), (0, 0, 0, 0)),
                Scale(single(0.25)),
                Conv(dyadic(3, 4, 1, 1), dyadic(3)),
            ),
            ("pixels", "lif_1"): (Linear(dyadic(168, 5)), Reshape((4, 7, 6))),
            ("pixels", "if"): (Linear(dyadic(6, 5)),),
            ("cuba", "li"): (Reshape((12,)), Linear(dyadic(3, 12), dyadic(3))),
            ("if", "relay"): (Linear(dyadic(2, 6), dyadic(2)),),
        },
        ("li", "relay", "wide"),
    )


def integers() -> Program:
    """Every rule and op that Loihi's integers in Lava can have; weights of one sign and two."""
    return program(
        {
            "in": ((1, 8, 8), Input("graded")),
            "events": ((3,), Input("spikes")),
            "a": ((6, 8, 8), lif(bias=single(-0.1), decay=single(0.3))),
            "b": ((8, 4, 4), lif(decay_syn=single(0.6), threshold=single(0.7))),
            "c": ((5,), lif(decay=single(1), v_reset=single(0.3), v_init=single(0.3))),
            "li": ((4,), Neuron(single(0.9), single(0.1), single(0))),
            "sum": ((4,), Neuron(single(1), single(0), single(0))),
            "relay": ((2,), Relay()),
        },
        {
            ("in", "a"): (Conv(noise(6, 1, 3, 3), noise(6, scale=0.1), padding=(1, 1, 1, 1)),),
            ("a", "b"): (
                Pool((2, 2), (2, 2), kind="average"),
                Conv(noise(8, 6, 3, 3, kept=0.3), padding=(1, 1, 1, 1)),
            ),
            ("events", "a"): (Linear(noise(384, 3)), Reshape((6, 8, 8))),
            ("events", "c"): (Linear(np.abs(noise(5, 3))),),
            ("b", "li"): (Reshape((128,)), Linear(noise(4, 128, kept=0.2), noise(4))),
            ("b", "sum"): (Reshape((128,)), Linear(-np.abs(noise(4, 128, kept=0.2)))),
            ("c", "relay"): (Linear(noise(2, 5), noise(2)),),
        },
        ("li", "sum", "relay", "c"),
    )


def saturating(p: Population) -> Population:
    """The integrator with a bias that takes it to the top."""
    if p.name != "sum":
        return p
    assert isinstance(p.rule, LoihiNeuron)
    bias = np.full(p.shape, 4095, np.int16)
    return replace(p, rule=replace(p.rule, bias_mantissa=bias, bias_exponent=9))


def merged(programs: Mapping[str, Program]) -> Program:
    """Programs of one input 'in' and one population 'out' each, as one with a shared input."""
    first = next(iter(programs.values()))
    populations, projections = [first.population("in")], list[Projection]()
    for name, p in programs.items():
        populations.append(replace(p.population("out"), name=name))
        projections += [replace(q, target=name) for q in p.projections]
    return replace(
        first,
        populations=tuple(populations),
        projections=tuple(projections),
        outputs=tuple(programs),
    )
