"""Programs for tests: every rule and op once, and random ones.

Weights and inputs are k * 2**-n and sums are small, so that float32 sums are exact in any order.
What neurons do is not exact, but rounded in one order: a machine that follows the reference
must give the same bits.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sltdeploy.program import (
    Array,
    Conv,
    Convention,
    Input,
    Linear,
    Neuron,
    Op,
    Pool,
    Population,
    Program,
    Projection,
    Relay,
    Reshape,
    Scale,
    Shape,
)

CONVENTION = Convention(dt=1e-3)


def dyadic(rng: np.random.Generator, *shape: int, span: int = 8, bits: int = 4) -> Array:
    """Random k / 2**bits with abs(k) <= span, float32; about one in seventeen is 0."""
    return np.asarray(rng.integers(-span, span + 1, shape) / 2**bits, np.float32)


def scale(factor: float) -> Scale:
    """Build a scale by one number."""
    return Scale(np.asarray(factor, np.float32))


def neuron(
    threshold: float | Array | None = 1.0,
    *,
    decay: float | Array = 0.75,
    decay_syn: float | Array | None = None,
    bias: float | Array = 0.0,
    v_init: float | Array = 0.0,
    v_reset: float | Array = 0.0,
    subtract: bool = False,
    ge: bool = False,
) -> Neuron:
    """Build a neuron from numbers."""

    def array(value: float | Array) -> Array:
        return np.asarray(value, np.float32)

    return Neuron(
        decay=array(decay),
        bias=array(bias),
        v_init=array(v_init),
        decay_syn=None if decay_syn is None else array(decay_syn),
        threshold=None if threshold is None else array(threshold),
        v_reset=None if subtract or threshold is None else array(v_reset),
        reset="subtract" if subtract else "zero",
        comparison="ge" if ge else "gt",
    )


def chain(
    shape: Shape, ops: Sequence[Op], rule: Neuron | Relay, *, kind: str = "spikes"
) -> Program:
    """Build the program input -> ops -> one population 'out'."""
    end = shape
    for op in ops:
        end = op.out_shape(end)
    return Program(
        CONVENTION,
        (
            Population("in", shape, Input("spikes" if kind == "spikes" else "graded")),
            Population("out", end, rule),
        ),
        (Projection("in", "out", tuple(ops)),),
        ("out",),
    )


def stimulus(program: Program, seed: int = 0, steps: int = 12, batch: int = 3) -> dict[str, Array]:
    """Input for each input of ``program``, (T, B, *shape): spikes, or values k / 16 in [0, 1]."""
    rng = np.random.default_rng(seed)
    fed: dict[str, Array] = {}
    for p in program.inputs:
        assert isinstance(p.rule, Input)
        shape = (steps, batch, *p.shape)
        values = rng.integers(0, 17, shape) / 16
        fed[p.name] = (values > 0.6 if p.rule.kind == "spikes" else values).astype(np.float32)
    return fed


def edit_manifest(folder: Path, changes: Mapping[str, Any]) -> None:
    """Overwrite entries of the manifest; an entry that is None is removed."""
    path = folder / "manifest.json"
    data = {**json.loads(path.read_text("utf8")), **changes}
    data = {key: value for key, value in data.items() if value is not None}
    path.write_text(json.dumps(data), "utf8")


def each_rule() -> dict[str, Program]:
    """One program a neuron rule, on a linear layer of 6 inputs and 5 neurons."""
    rng = np.random.default_rng(1)
    weight = Linear(dyadic(rng, 5, 6), dyadic(rng, 5, span=2))
    by_neuron = (np.arange(1, 6) / 7).astype(np.float32)
    rules: Mapping[str, Neuron | Relay] = {
        "lif": neuron(0.5),
        "lif ge": neuron(0.5, ge=True),
        "lif subtract": neuron(0.5, subtract=True),
        "lif subtract one": neuron(1.0, subtract=True),
        "lif reset to -0.25": neuron(0.5, v_reset=-0.25, v_init=0.125),
        "lif bias": neuron(0.5, decay=0.9, bias=0.1),
        "lif by neuron": neuron(
            by_neuron,
            decay=1 - by_neuron / 2,
            bias=by_neuron / 4,
            v_init=-by_neuron,
            v_reset=by_neuron / 8,
        ),
        "if": neuron(0.5, decay=1.0),
        "if tie gt": neuron(0.25, decay=1.0),
        "if tie ge": neuron(0.25, decay=1.0, ge=True),
        "if ge subtract by neuron": neuron(by_neuron, decay=1.0, ge=True, subtract=True),
        "li": neuron(None, decay=0.9, bias=0.1, v_init=0.7),
        "i": neuron(None, decay=1.0),
        "cuba lif": neuron(0.5, decay_syn=0.5),
        "cuba lif by neuron": neuron(0.5, decay=by_neuron, decay_syn=1 - by_neuron),
        "cuba integrator": neuron(0.5, decay_syn=1.0, ge=True),
        "cuba li": neuron(None, decay=0.9, decay_syn=0.7, bias=-0.1),
        "relay": Relay(),
    }
    return {name: chain((6,), [weight], rule) for name, rule in rules.items()}


def each_op() -> dict[str, Program]:
    """One program an op and its options, all but one into LIF neurons."""
    rng = np.random.default_rng(2)
    fires = neuron(0.5)
    image = (2, 7, 6)
    cases: Mapping[str, tuple[Shape, Sequence[Op]]] = {
        "none": ((4,), []),
        "linear": ((4,), [Linear(dyadic(rng, 3, 4))]),
        "linear bias": ((4,), [Linear(dyadic(rng, 3, 4), dyadic(rng, 3))]),
        "linear twice": ((4,), [Linear(dyadic(rng, 6, 4)), Linear(dyadic(rng, 3, 6))]),
        "conv": (image, [Conv(dyadic(rng, 3, 2, 3, 3))]),
        "conv bias": (image, [Conv(dyadic(rng, 3, 2, 3, 2), dyadic(rng, 3))]),
        "conv stride": (image, [Conv(dyadic(rng, 3, 2, 3, 3), stride=(2, 3))]),
        "conv padding": (image, [Conv(dyadic(rng, 3, 2, 3, 3), padding=(1, 1, 1, 1))]),
        "conv asymmetric": (image, [Conv(dyadic(rng, 3, 2, 3, 2), padding=(0, 3, 2, 1))]),
        "conv dilation": (image, [Conv(dyadic(rng, 3, 2, 3, 2), dilation=(2, 3))]),
        "conv groups": (image, [Conv(dyadic(rng, 4, 1, 3, 3), groups=2)]),
        "conv all": (
            image,
            [
                Conv(
                    dyadic(rng, 4, 1, 3, 2),
                    dyadic(rng, 4),
                    stride=(2, 1),
                    padding=(2, 0, 1, 3),
                    dilation=(1, 2),
                    groups=2,
                )
            ],
        ),
        "sum 2x2": (image, [Pool((2, 2), (2, 2))]),
        "sum 3x2": (image, [Pool((3, 2), (2, 1))]),
        "sum padded": (image, [Pool((2, 2), (2, 2), (1, 0, 0, 1))]),
        "average 2x2": (image, [Pool((2, 2), (2, 2), kind="average")]),
        "average 4x1": (image, [Pool((4, 1), (3, 1), kind="average")]),
        "average padded": (image, [Pool((2, 2), (1, 2), (1, 1, 1, 1), kind="average")]),
        "average 3x3": (image, [Pool((3, 3), (2, 2), kind="average")]),
        "average 3x3 padded": (image, [Pool((3, 3), (2, 2), (0, 2, 1, 0), kind="average")]),
        "scale": ((4,), [scale(0.75)]),
        "scale by channel": (image, [Scale(dyadic(rng, 2, 1, 1) + 1)]),
        "flatten": (image, [Reshape((84,)), Linear(dyadic(rng, 3, 84))]),
        "reshape": ((24,), [Reshape((2, 3, 4)), Conv(dyadic(rng, 2, 2, 2, 2))]),
        "reshape to itself": ((4,), [Reshape((4,)), scale(2)]),
        "pool conv": (image, [Pool((2, 2), (1, 1)), Conv(dyadic(rng, 2, 2, 3, 3))]),
    }
    return {name: chain(shape, ops, fires) for name, (shape, ops) in cases.items()}


def branches() -> Program:
    """Two inputs, a skip connection, a relay that adds, and four outputs of every kind."""
    rng = np.random.default_rng(3)
    return Program(
        CONVENTION,
        (
            Population("image", (1, 4, 4), Input("graded")),
            Population("touch", (5,), Input("spikes")),
            Population("hidden/a", (4,), neuron(0.5)),
            Population("hidden/b", (4,), neuron(0.75, decay_syn=0.5, ge=True)),
            Population("sum", (4,), Relay()),
            Population("copy", (4,), Relay()),
            Population("out", (3,), neuron(1.0, subtract=True)),
            Population("value", (3,), neuron(None)),
        ),
        (
            Projection("image", "hidden/a", (Reshape((16,)), Linear(dyadic(rng, 4, 16)))),
            Projection("touch", "hidden/a", (Linear(dyadic(rng, 4, 5)),)),
            Projection("hidden/a", "hidden/b"),
            Projection("touch", "hidden/b", (Linear(dyadic(rng, 4, 5)),)),
            Projection("hidden/a", "sum"),
            Projection("hidden/b", "sum", (scale(0.5),)),
            Projection("touch", "sum", (Linear(dyadic(rng, 4, 5)),)),
            Projection("hidden/b", "copy"),
            Projection("sum", "out", (Linear(dyadic(rng, 3, 4)),)),
            Projection("copy", "out", (Linear(dyadic(rng, 3, 4)),)),
            Projection("hidden/a", "value", (Linear(dyadic(rng, 3, 4)),)),
        ),
        ("value", "sum", "out", "hidden/a"),
    )


def random_program(seed: int) -> Program:
    """Build one or two inputs, up to five layers of any op and rule, and skip connections."""
    rng = np.random.default_rng(seed)
    populations = [Population("in", _shape(rng), _input(rng))]
    if rng.random() < 0.4:
        populations.append(Population("extra", (int(rng.integers(1, 5)),), _input(rng)))
    projections: list[Projection] = []
    count = int(rng.integers(1, 6))
    for k in range(count):
        source = populations[-1] if k else populations[0]
        name = f"layer {k}"
        ops = _ops(rng, source.shape)
        shape = source.shape
        for op in ops:
            shape = op.out_shape(shape)
        for other in populations:
            if other is not source and rng.random() < 0.4:
                projections.append(Projection(other.name, name, _bridge(rng, other.shape, shape)))
        projections.append(Projection(source.name, name, ops))
        populations.append(Population(name, shape, _rule(rng, shape, last=k + 1 == count)))
    layers = [p.name for p in populations if not isinstance(p.rule, Input)]
    outputs = [n for n in layers[:-1] if rng.random() < 0.3]
    return Program(CONVENTION, tuple(populations), tuple(projections), (layers[-1], *outputs))


def _shape(rng: np.random.Generator) -> Shape:
    if rng.random() < 0.4:
        return (int(rng.integers(1, 9)),)
    return tuple(int(n) for n in (rng.integers(1, 4), rng.integers(4, 9), rng.integers(4, 9)))


def _input(rng: np.random.Generator) -> Input:
    return Input("spikes" if rng.random() < 0.6 else "graded")


def _rule(rng: np.random.Generator, shape: Shape, *, last: bool) -> Neuron | Relay:
    if rng.random() < 0.1:
        return Relay()

    def some(low: int, high: int) -> Array:
        one = rng.random() < 0.6
        parts = rng.choice([7, 8])  # sevenths are rounded, eighths tie
        return np.asarray(rng.integers(low, high, () if one else shape) / parts, np.float32)

    # Values of a leaky readout fill all 24 bits: what adds them up is not exact any more.
    return neuron(
        None if last and rng.random() < 0.5 else some(2, 12),
        decay=some(4, 9),
        decay_syn=some(2, 9) if rng.random() < 0.3 else None,
        bias=some(-1, 2) if rng.random() < 0.3 else 0.0,
        v_init=some(-2, 3) if rng.random() < 0.3 else 0.0,
        v_reset=some(-2, 2) if rng.random() < 0.3 else 0.0,
        subtract=rng.random() < 0.4,
        ge=rng.random() < 0.5,
    )


def _ops(rng: np.random.Generator, shape: Shape) -> tuple[Op, ...]:
    if len(shape) == 1:
        return (_linear(rng, shape[0], int(rng.integers(1, 9))),)
    if min(shape[1:]) < 3 or rng.random() < 0.3:
        size = int(np.prod(shape))
        return (Reshape((size,)), _linear(rng, size, int(rng.integers(1, 9))))
    pad = (int(n) for n in rng.integers(0, 2, 4))
    padding = (next(pad), next(pad), next(pad), next(pad))
    if rng.random() < 0.3:
        kernel = (2, int(rng.choice([1, 2])))
        return (Pool(kernel, (2, 1), padding, "sum" if rng.random() < 0.5 else "average"),)
    groups = shape[0] if rng.random() < 0.3 else 1
    weight = dyadic(rng, groups * int(rng.integers(1, 3)), shape[0] // groups, 2, 3)
    bias = dyadic(rng, len(weight)) if rng.random() < 0.5 else None
    stride = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
    return (Conv(weight, bias, stride, padding, (int(rng.integers(1, 3)), 1), groups),)


def _linear(rng: np.random.Generator, pre: int, post: int) -> Linear:
    kept = rng.random((post, pre)) < 0.7
    bias = dyadic(rng, post, span=2) if rng.random() < 0.5 else None
    return Linear(dyadic(rng, post, pre) * kept, bias)


def _bridge(rng: np.random.Generator, shape: Shape, goal: Shape) -> tuple[Op, ...]:
    if shape == goal:
        return () if rng.random() < 0.5 else (Scale(dyadic(rng)),)
    sizes = int(np.prod(shape)), int(np.prod(goal))
    return Reshape(sizes[:1]), Linear(dyadic(rng, sizes[1], sizes[0], span=2)), Reshape(goal)
