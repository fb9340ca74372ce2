"""Programs in which something waits: recurrent projections, delay lines, thresholds."""

from collections.abc import Mapping

import numpy as np
from programs import CONVENTION, dyadic, neuron

from sltdeploy.program import (
    DelayLine,
    Input,
    Linear,
    Neuron,
    Population,
    Program,
    Projection,
    Relay,
    Rule,
)

N = 5


def delay(steps: int | list[int], *, spiking: bool = False) -> DelayLine:
    """Build a delay line from whole numbers."""
    return DelayLine(np.asarray(steps, np.int32), spiking)


def threshold(limit: float) -> Neuron:
    """Build what `lower` makes of a Threshold."""
    return neuron(limit, decay=0.0)


def network(rules: Mapping[str, Rule], *projections: Projection, out: str = "out") -> Program:
    """Put populations of five behind the graded input "in"."""
    populations = [Population(name, (N,), rule) for name, rule in rules.items()]
    entry = Population("in", (N,), Input("graded"))
    return Program(CONVENTION, (entry, *populations), projections, (out,))


def late_programs() -> dict[str, Program]:
    """One program for each way to wait, and some together."""
    rng = np.random.default_rng(11)

    def weight() -> tuple[Linear]:
        return (Linear(dyadic(rng, N, N), dyadic(rng, N, span=3)),)

    enters = Projection("in", "out", (Linear(dyadic(rng, N, N)),))
    around = np.roll(np.eye(N, dtype=np.float32), 1, axis=0) / 2
    uneven = [0, 3, 1, 0, 2]
    return {
        "self loop": network(
            {"out": neuron(0.5)}, enters, Projection("out", "out", weight(), recurrent=True)
        ),
        "self loop of values": network(
            {"out": neuron(None, decay=0.0)},  # with memory the bits would outgrow float32
            enters,
            Projection("out", "out", (Linear(around),), recurrent=True),
        ),
        "ring": network(
            {"a": neuron(0.5), "out": neuron(0.75, subtract=True)},
            Projection("in", "a", weight()),
            Projection("a", "out", weight()),
            Projection("out", "a", weight(), recurrent=True),
        ),
        "biased relay in a ring": network(
            {"sum": Relay(), "out": neuron(0.5), "back": Relay()},
            Projection("in", "sum", weight()),
            Projection("back", "sum", recurrent=True),
            Projection("sum", "out"),
            Projection("out", "back", weight()),
        ),
        "input late": network({"out": neuron(0.5)}, Projection("in", "out", recurrent=True)),
        "delay of none": network({"out": delay(0)}, enters),
        "delay of one": network({"out": delay(1)}, enters),
        "delay of three": network({"out": delay(3)}, enters),
        "uneven delay": network({"out": delay(uneven)}, enters),
        "uneven delay of one or more": network({"out": delay([2, 1, 3, 3, 1])}, enters),
        "delayed spikes": network(
            {"a": neuron(0.0625), "out": delay(uneven, spiking=True)},
            Projection("in", "a", weight()),
            Projection("a", "out"),
        ),
        "delay in a loop": network(
            {"wait": delay(2, spiking=True), "out": neuron(0.5)},
            Projection("out", "wait"),
            enters,
            Projection("wait", "out", weight()),
        ),
        "threshold": network({"out": threshold(0.25)}, enters),
    }
