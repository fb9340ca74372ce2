"""Programs in Loihi's integers for tests: everything that may arrive late, and random ones."""

from collections.abc import Mapping

import numpy as np
import programs
from hypothesis import strategies as st

from sltdeploy.program import (
    Array,
    DelayLine,
    Input,
    Linear,
    LoihiNeuron,
    Op,
    Population,
    Program,
    Projection,
    Relay,
    Rule,
    Shape,
)

TOP = 2**23 - 1  # v ends here


def neuron(
    vth: int | None = 20, *, du: int = 4095, dv: int = 1024, bias: int = 0, exponent: int = 0
) -> LoihiNeuron:
    """Build an integer neuron that starts at 0."""
    return LoihiNeuron(du, dv, np.asarray(bias), exponent, 64.0, vth)


def whole(rng: np.random.Generator, *shape: int, span: int = 127, kept: float = 1.0) -> Array:
    """Even integer weights, a share of which is ``kept``."""
    weight = rng.integers(-span, span + 1, shape) * 2 * (rng.random(shape) < kept)
    return weight.astype(np.int64)


def program(
    rules: Mapping[str, tuple[Shape, Rule]],
    arrows: list[Projection],
    outputs: tuple[str, ...] | None = None,
) -> Program:
    """Build a program of populations {name: (shape, rule)}; the last is the output."""
    populations = tuple(Population(n, s, r) for n, (s, r) in rules.items())
    last = (populations[-1].name,)
    return Program(programs.CONVENTION, populations, tuple(arrows), outputs or last, "loihi")


def stimulus(p: Program, seed: int = 0, steps: int = 14, batch: int = 3) -> dict[str, Array]:
    """Spikes, and graded values over the whole range of an input."""
    rng = np.random.default_rng(seed)
    fed: dict[str, Array] = {}
    for q in p.inputs:
        assert isinstance(q.rule, Input)
        shape = (steps, batch, *q.shape)
        if q.rule.kind == "spikes":
            fed[q.name] = rng.random(shape) < 0.4
        else:
            low, high = q.rule.low, q.rule.high
            span = (-9, 9) if low is None or high is None else (low - 1, high + 1)
            fed[q.name] = rng.uniform(*span, shape) / q.rule.scale
    return fed


def into(rule: Rule, *ops: Op, exponent: int = 0, low: int = -9, high: int = 9) -> Program:
    """Build a graded input of 2 x 7 x 6, ``ops`` and one population 'out'."""
    end: Shape = (2, 7, 6)
    for op in ops:
        end = op.out_shape(end)
    source = Input("graded", 1.0, low, high)
    return program(
        {"in": ((2, 7, 6), source), "out": (end, rule)},
        [Projection("in", "out", ops, exponent)],
    )


def loops() -> dict[str, Program]:
    """Every way in which something arrives later."""
    rng = np.random.default_rng(8)

    def joins(a: str, b: str, post: int, pre: int, *, late: bool = False, bias: bool = False):
        ops = (Linear(whole(rng, post, pre), whole(rng, post) if bias else None),)
        return Projection(a, b, ops, int(rng.integers(-2, 3)), late)

    source: tuple[Shape, Rule] = ((5,), Input("spikes"))
    graded: tuple[Shape, Rule] = ((5,), Input("graded", 1.0, 2, 9))
    lif: tuple[Shape, Rule] = ((4,), neuron(40, du=2000))
    waits = DelayLine(np.array([1, 3, 2, 1]), spiking=True)
    values = DelayLine(np.array([2, 1, 4, 1]))
    partly = DelayLine(np.array([0, 2, 1, 0]))
    return {
        "itself": program(
            {"in": source, "a": lif}, [joins("in", "a", 4, 5), joins("a", "a", 4, 4, late=True)]
        ),
        "two": program(
            {"in": source, "a": lif, "b": lif, "c": lif},
            [
                joins("in", "a", 4, 5),
                joins("a", "b", 4, 4),
                joins("b", "a", 4, 4, late=True),
                joins("b", "c", 4, 4, late=True),
                joins("a", "c", 4, 4),
            ],
        ),
        "an input late": program(
            {"in": source, "g": graded, "a": lif},
            [joins("in", "a", 4, 5, late=True), joins("g", "a", 4, 5, late=True)],
        ),
        "an input amid a loop": program(
            {"in": source, "a": lif, "g": graded, "b": lif},
            [
                joins("in", "a", 4, 5),
                joins("g", "b", 4, 5),
                joins("a", "b", 4, 4),
                joins("b", "a", 4, 4, late=True),
            ],
            ("b", "g"),
        ),
        "relays at rest": program(
            {"in": source, "r": ((4,), Relay()), "a": lif, "b": lif},
            [
                joins("in", "r", 4, 5, bias=True),
                joins("r", "a", 4, 4, late=True),
                joins("a", "r", 4, 4, late=True, bias=True),
                joins("r", "b", 4, 4, bias=True),
            ],
        ),
        "a relay that grows": program(
            {"in": source, "r": ((4,), Relay()), "a": lif},
            [
                joins("in", "r", 4, 5),
                joins("r", "r", 4, 4, late=True),
                joins("r", "a", 4, 4),
            ],
        ),
        "a delay ends the loop": program(
            {"in": source, "d": ((4,), waits), "a": lif},
            [joins("in", "a", 4, 5), joins("d", "a", 4, 4), Projection("a", "d")],
        ),
        "values around a loop": program(
            {"in": source, "d": ((4,), values), "a": lif, "l": ((4,), neuron(None))},
            [
                joins("in", "a", 4, 5),
                joins("d", "a", 4, 4),
                joins("a", "l", 4, 4),
                Projection("l", "d", (), -6),
            ],
        ),
        "delays in a chain": program(
            {"in": source, "d": ((4,), partly), "a": lif, "e": ((4,), waits), "b": lif},
            [
                joins("in", "d", 4, 5, bias=True),
                joins("d", "a", 4, 4),
                Projection("a", "e"),
                joins("e", "b", 4, 4),
                joins("d", "b", 4, 4, late=True),
            ],
        ),
        "partly delayed in a loop": program(
            {"in": source, "a": lif, "d": ((4,), partly), "b": lif},
            [
                joins("in", "a", 4, 5),
                joins("a", "d", 4, 4),
                joins("d", "b", 4, 4),
                joins("b", "a", 4, 4, late=True),
            ],
        ),
    }


@st.composite
def random_programs(draw: st.DrawFn) -> Program:
    """Populations of 1 to 6, each fed by one or two others, now or a step later."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rules: dict[str, tuple[Shape, Rule]] = {
        "in": ((int(rng.integers(1, 7)),), Input("spikes")),
        "graded": ((int(rng.integers(1, 7)),), Input("graded", 2.0, -int(rng.integers(0, 99)), 99)),
    }
    arrows: list[Projection] = []
    names = [f"p{k}" for k in range(int(rng.integers(1, 6)))]
    for name in names:
        size = int(rng.integers(1, 7))
        rules[name] = ((size,), _random_rule(rng, size))
    order = list(rules)
    for name in names:
        spikes_only = getattr(rules[name][1], "spiking", False) and isinstance(
            rules[name][1], DelayLine
        )
        for _ in range(int(rng.integers(1, 4))):
            source = order[int(rng.integers(len(order)))]
            late = order.index(source) >= order.index(name) or bool(rng.random() < 0.2)
            post, pre = rules[name][0][0], rules[source][0][0]
            bias = whole(rng, post) if rng.random() < 0.3 else None
            linear = Linear(whole(rng, post, pre, kept=rng.choice([0.2, 1.0])), bias)
            exponent = -7 if spikes_only else int(rng.integers(-4, 9))
            arrows.append(Projection(source, name, (linear,), exponent, late))
    return program(rules, arrows, tuple(names))


def _random_rule(rng: np.random.Generator, size: int) -> Rule:
    match int(rng.integers(6)):
        case 0:
            return Relay()
        case 1:
            return DelayLine(rng.integers(0, 4, size), spiking=bool(rng.random() < 0.5))
        case _:
            return LoihiNeuron(
                int(rng.choice([0, 7, 2000, 4095])),
                int(rng.choice([0, 1, 900, 4095])),
                rng.integers(-4096, 4096, size) * int(rng.random() < 0.5),
                int(rng.integers(0, 8)),
                64.0,
                None if rng.random() < 0.3 else int(rng.integers(0, 2 ** int(rng.integers(1, 18)))),
                np.asarray(rng.integers(-TOP, TOP + 1) * int(rng.random() < 0.3)),
                np.asarray(rng.integers(-TOP, TOP + 1) * int(rng.random() < 0.3)),
            )
