"""What quantising one population changes on data: its output in integers against floats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sltdeploy import integer_simulation
from sltdeploy.program import Array, Input, Population, Program, Projection
from sltdeploy.quantize.arriving import Arriving
from sltdeploy.quantize.scaling import Scaled
from sltdeploy.reference import run
from sltdeploy.trace import Trace

STEPS = 64  # taken of the calibration, from the first
SAMPLES = 16  # taken of the calibration, spread evenly
VALUES = 1 << 21  # of the largest population over steps and samples; else fewer samples, steps


@dataclass(frozen=True, eq=False)
class Seen:
    """What the float program did on some of the calibration data."""

    trace: Trace

    def arrived(self, a: Arriving) -> Array:
        """What the source of ``a`` sent, in integers as they come in, (T, B, *shape)."""
        sent = np.rint(self.trace.records[a.projection.source] * a.sigma)
        sent = np.clip(sent, a.values.low, a.values.high)
        if a.projection.recurrent:
            sent = np.concatenate([np.zeros_like(sent[:1]), sent[:-1]])
        return sent


def observe(program: Program, given: Mapping[str, Array]) -> Seen | None:
    """Run ``program`` on some of the calibration; None where that does not feed every input."""
    if {p.name for p in program.inputs} != set(given):
        return None
    return Seen(run(program, some_of(program, given)))


def some_of(program: Program, given: Mapping[str, Array]) -> dict[str, Array]:
    """The first steps of a few samples, the same ones each time."""
    steps, batch = (min(np.asarray(x).shape[k] for x in given.values()) for k in (0, 1))
    width = max(p.size for p in program.populations)
    steps = min(steps, STEPS, max(1, VALUES // width))
    count = min(batch, SAMPLES, max(1, VALUES // width // steps))
    chosen = np.unique(np.linspace(0, batch - 1, count).round().astype(int))
    return {name: np.asarray(x)[:steps, chosen] for name, x in given.items()}


def measured(
    program: Program, seen: Seen, p: Population, arriving: Sequence[Arriving], scaled: Scaled
) -> float:
    """Error of what leaves ``p`` in integers where its sources do as in the float program.

    Spikes that differ are counted, values compared by their RMS difference in float units.
    """
    drive = sum(
        np.floor(a.bring(ops, seen.arrived(a)) * 2.0**e)
        for a, (ops, e) in zip(arriving, scaled.synapses, strict=True)
    )
    wanted = seen.trace.records[p.name]
    got = _step(program, p, scaled, np.asarray(drive))
    if scaled.rule.spiking:
        return float((got != wanted).sum())
    return float(np.sqrt(((got / scaled.rule.unit - wanted) ** 2).mean()))


def _step(program: Program, p: Population, scaled: Scaled, drive: Array) -> Array:
    """What ``p`` alone sends for activations (T, B, *shape)."""
    top = float(np.abs(drive).max())
    source = Population("activation", p.shape, Input("graded", 1.0, -int(top), int(top)))
    alone = Program(
        program.convention,
        (source, Population("p", p.shape, scaled.rule)),
        (Projection("activation", "p"),),
        ("p",),
        "loihi",
    )
    return integer_simulation.run(alone, drive)["p"]
