"""Random programs for Loihi, and a script that compares many: python tests/random_loihi.py.

Of three kinds: "integers" are built of Loihi's own neurons; "quantised" are float programs that
`quantize.for_loihi` translates; "floats" stay what they are. A trunk of layers; paths that skip
forward, and paths that lead back, some through delay lines. What leads back waits for one step
more than it goes back layers, so that the chip's one step a synapse can keep up with it.

Programs come in groups that share the input "in", so that one network in Lava holds them all.
"""

import argparse
import sys
from dataclasses import dataclass, field

import numpy as np
from random_loihi_parts import (
    Draw,
    Kind,
    bound,
    bridge,
    exponent,
    float_neuron,
    integer_neuron,
    trunk,
)

from sltdeploy import lava_host
from sltdeploy.program import (
    Array,
    Convention,
    DelayLine,
    Input,
    Op,
    Population,
    Program,
    Projection,
    Relay,
    Rule,
    Shape,
)

STEPS, BATCH = 12, 3
LONG = STEPS + 2  # a delay longer than a sample: what leaves late must reach no other sample
KINDS: tuple[Kind, ...] = ("integers", "quantised", "floats")


@dataclass(frozen=True, eq=False)
class Case:
    """A program as drawn, and its input (T, B, *shape) by name."""

    name: str
    kind: Kind
    program: Program
    x: dict[str, Array]


@dataclass(eq=False)
class _Sketch:
    """A program in the making; ``order`` is that of visits, ``level`` counts layers.

    ``rule`` holds what is no neuron; ``arriving`` how much reaches a population at most;
    ``roomy`` the delay lines of spikes that wait long enough to be a layer of neurons themselves.
    """

    draw: Draw
    waits: tuple[int, ...] = (0, 1, 3)  # how much longer a path may take
    order: list[str] = field(default_factory=list[str])
    shape: dict[str, Shape] = field(default_factory=dict[str, Shape])
    level: dict[str, int] = field(default_factory=dict[str, int])
    rule: dict[str, Rule] = field(default_factory=dict[str, Rule])
    projections: list[Projection] = field(default_factory=list[Projection])
    arriving: dict[str, float] = field(default_factory=dict[str, float])
    roomy: set[str] = field(default_factory=set[str])

    def add(self, name: str, shape: Shape, level: int, at: int | None = None) -> str:
        """Place a population at the end of the order, or where it is told."""
        self.order.insert(len(self.order) if at is None else at, name)
        self.shape[name], self.level[name] = shape, level
        return name

    def spikes(self, name: str) -> bool:
        """Whether spikes leave ``name``."""
        rule = self.rule.get(name)
        return rule is None or (isinstance(rule, Input) and rule.kind == "spikes")

    def largest(self, name: str) -> float:
        """What ``name`` sends at most."""
        match self.rule.get(name):
            case Relay() | DelayLine(spiking=False) | Input(kind="graded"):
                return self.arriving[name]
            case _:
                return 1.0

    def project(
        self,
        source: str,
        target: str,
        ops: tuple[Op, ...] | None,
        *,
        recurrent: bool = False,
    ) -> None:
        """Lead from ``source`` to ``target`` through ``ops``; None: as it is."""
        largest = self.largest(source)
        rule = self.rule.get(source)
        # Loihi shifts what arrives by itself, not the sum of what was sent at different times:
        # for that, neurons must stand in between.
        apart = isinstance(rule, DelayLine) and np.ptp(rule.steps) > 0
        shifts = not apart or source in self.roomy
        e = 0 if ops is None else exponent(self.draw, ops, largest, shifts=shifts)
        self.projections.append(Projection(source, target, ops or (), e, recurrent))
        brings = bound(ops or (), largest) * 2.0**e
        self.arriving[target] = self.arriving.get(target, 0) + brings

    def carry(
        self, source: str, target: str, ops: tuple[Op, ...], least: int, *, longer: bool
    ) -> None:
        """Lead from ``source`` to ``target`` in ``least`` steps or more, often by a delay line.

        The line stands before or behind the weights, and a recurrent projection, which takes a
        step by itself, before or behind the line.
        """
        d = self.draw
        recurrent = least > 0 and d.chance(0.5)
        least -= recurrent
        wait = least + (d.one(*self.waits) if longer else 0)
        if wait == 0:
            self.project(source, target, ops, recurrent=recurrent)
            return
        has_bias = any(getattr(op, "bias", None) is not None for op in ops)
        values = d.chance(0.3) and not has_bias and target not in self.rule
        shape = self.shape[target] if values else self.shape[source]
        waits = d.rng.integers(least, wait + 3, shape) if d.chance(0.4) else np.array(wait)
        behind = recurrent and d.chance(0.5)
        at = self.order.index(source) + 1 if behind else self.order.index(target)
        line = self.add(f"line{len(self.order)}", shape, self.level[source], at)
        spiking = self.spikes(source) and not values
        self.rule[line] = DelayLine(waits, spiking)
        self.roomy |= {line} if spiking and waits.min() > least else set[str]()
        self.project(source, line, ops if values else None, recurrent=recurrent and not behind)
        self.project(line, target, None if values else ops, recurrent=behind)

    def program(self, outputs: tuple[str, ...], readouts: set[str]) -> Program:
        """Put neurons where nothing else is."""
        make = integer_neuron if self.draw.kind == "integers" else float_neuron
        rules = {
            n: self.rule[n]
            if n in self.rule
            else make(self.draw, self.shape[n], self.arriving[n], readout=n in readouts)
            for n in self.order
        }
        return Program(
            Convention(1e-3),
            tuple(Population(n, self.shape[n], rules[n]) for n in self.order),
            tuple(self.projections),
            outputs,
            "loihi" if self.draw.kind == "integers" else "float32",
        )


def random_group(seed: int, kind: Kind, size: int) -> list[Case]:
    """Draw ``size`` programs with one input in common; the same on every machine."""
    d = Draw(np.random.default_rng([seed, KINDS.index(kind)]), kind)
    image = (d.between(1, 3), d.between(3, 6), d.between(3, 6))
    shape = d.one((d.between(1, 7),), (d.between(1, 7),), image)
    rule, x = _input(d, shape)
    # The network runs empty between samples: long delays are dear, so few groups have them.
    waits = (0, 1, LONG) if d.chance(0.25) else (0, 1, 3)
    return [_case(d, f"{kind} {seed}.{k}", shape, rule, x, waits) for k in range(size)]


def _input(d: Draw, shape: Shape) -> tuple[Input, Array]:
    """Spikes, or values; floats of both signs, on a grid where programs are dyadic."""
    size = (STEPS, BATCH, *shape)
    if d.chance(0.5):
        return Input("spikes"), d.rng.random(size) < d.one(0.1, 0.4, 0.8)
    values = d.rng.uniform(d.one(-1, 0), 1, size)
    if d.kind == "integers":  # some are beyond the ends
        return Input("graded", 20.0, *d.one((-18, 19), (0, 16), (-128, 127))), 1.2 * values
    return Input("graded"), np.rint(4 * values) / 4 if d.chance(0.5) else d.number(values)


def _case(d: Draw, name: str, shape: Shape, rule: Input, x: Array, waits: tuple[int, ...]) -> Case:
    s = _Sketch(d, waits)
    fed = {"in": x}
    _enter(s, "in", shape, rule, x)
    if d.chance(0.25):
        size = (d.between(1, 5),)
        kind, fed["extra"] = _input(d, size)
        _enter(s, "extra", size, kind, fed["extra"])
    layers = _trunk(s)
    if "extra" in fed:
        goal = d.one(*layers)
        s.carry("extra", goal, bridge(d, s.shape["extra"], s.shape[goal]), 0, longer=d.chance(0.3))
    _skips(s, ["in", *layers])
    _loops(s, layers)
    leaves, readouts = _leaves(s, layers)
    spiking = [n for n in layers if s.spikes(n)]
    outputs = [*leaves, *([d.one(*spiking)] if spiking else [])]
    outputs += [d.one(*sorted(s.roomy))] if s.roomy and d.chance(0.25) else []
    return Case(name, d.kind, s.program(tuple(outputs), readouts), fed)


def _enter(s: _Sketch, name: str, shape: Shape, rule: Input, x: Array) -> None:
    s.add(name, shape, 0)
    s.rule[name] = rule
    if rule.low is not None and rule.high is not None:
        s.arriving[name] = float(max(-rule.low, rule.high))
    else:
        s.arriving[name] = float(np.abs(x).max(initial=0))


def _trunk(s: _Sketch) -> list[str]:
    d, last = s.draw, "in"
    count = d.between(1, 4)
    for k in range(count):
        ops, shape = trunk(d, s.shape[last]), s.shape[last]
        for op in ops:
            shape = op.out_shape(shape)
        name = s.add(f"layer{k}", shape, s.level[last] + 1)
        if d.kind != "integers" and k + 1 < count and d.chance(0.12):
            s.rule[name] = Relay()
        if isinstance(s.rule.get(last), Relay):
            s.project(last, name, ops)
        else:
            s.carry(last, name, ops, 0, longer=d.chance(0.15))
        last = name
    return [n for n in s.order if n.startswith("layer")]


def _skips(s: _Sketch, layers: list[str]) -> None:
    """Lead from a layer past others, or once more to the next, sooner or later."""
    d = s.draw
    for k, target in enumerate(layers):
        for source in layers[:k]:
            if not isinstance(s.rule.get(source), Relay) and d.chance(0.25):
                ops = bridge(d, s.shape[source], s.shape[target])
                s.carry(source, target, ops, 0, longer=d.chance(0.4))


def _loops(s: _Sketch, layers: list[str]) -> None:
    """Lead from neurons back to themselves or to earlier layers."""
    d = s.draw
    for k, target in enumerate(layers):
        for source in layers[k:]:
            if source in s.rule or not d.chance(0.4 if source == target else 0.15):
                continue
            ops = bridge(d, s.shape[source], s.shape[target])
            least = s.level[source] - s.level[target] + 1
            s.carry(source, target, ops, least, longer=d.chance(0.3))


def _leaves(s: _Sketch, layers: list[str]) -> tuple[list[str], set[str]]:
    """Readouts and, in floats, relays that are outputs; some read two layers."""
    d = s.draw
    leaves, readouts = list[str](), set[str]()
    for k in range(d.one(0, 1, 1, 2) if any(n not in s.rule for n in layers) else 1):
        source = d.one(*layers)
        ops, shape = trunk(d, s.shape[source]), s.shape[source]
        for op in ops:
            shape = op.out_shape(shape)
        name = s.add(f"leaf{k}", shape, 1 + max(s.level[n] for n in layers))
        if d.kind != "integers" and d.chance(0.25):
            s.rule[name] = Relay()
        else:
            readouts.add(name)
        s.project(source, name, ops)
        other = d.one(*layers)
        if other not in s.rule and d.chance(0.3):
            ops = bridge(d, s.shape[other], shape)
            s.carry(other, name, ops, 0, longer=d.chance(0.3))
        leaves.append(name)
    return leaves, readouts


def _main() -> int:
    """Compare ``--count`` programs in integers and ``--floats`` in floats; print a table."""
    parser = argparse.ArgumentParser(description=_main.__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--floats", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the first group")
    given = parser.parse_args()
    # Imported here: the comparison needs programs, the programs do not need it.
    from loihi_comparison import compare_many

    if lava_host.find() is None:
        print(lava_host.status().advice, file=sys.stderr)
        return 3
    total = compare_many(given.seed, given.count, given.floats, print)
    print(*total.lines(), sep="\n")
    return 1 if total.differences else 0


if __name__ == "__main__":
    sys.exit(_main())
