"""A float program in Loihi's integers: 8-bit weights, 12-bit decays, 17-bit thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from sltdeploy.errors import InputError, raise_all
from sltdeploy.program import (
    Array,
    DelayLine,
    Input,
    LoihiNeuron,
    Op,
    Population,
    Program,
    Projection,
)
from sltdeploy.quantize.arriving import Arriving, arriving
from sltdeploy.quantize.calibration import by_name, calibrate
from sltdeploy.quantize.measuring import Seen, measured, observe
from sltdeploy.quantize.refusing import refusals
from sltdeploy.quantize.scaling import HORIZON, NO_SCALE, Scaled, candidates
from sltdeploy.quantize.wanted import wanted

MEASURED = 8  # of the scales that weights alone find best, as many are tried on data


def for_loihi(
    program: Program,
    calibration: Array | Mapping[str, Array] | None = None,
    *,
    span: Array | Mapping[str, Array] | None = None,
) -> Program:
    """Translate ``program`` into integers as Loihi and Lava's fixed-point models step them.

    For each population one scale s is chosen: thresholds are exact (``vth = s threshold``),
    weights become 8 bits, even where both signs occur, biases 13 bits and a common exponent,
    decays ``round(4096 (1 - decay))``. A potential of 1 is ``unit = 64 s``. Averages and scales
    go into the weights, biases of weighted ops to the population. A v_reset other than 0 is
    moved to 0 by shifting potentials; a bias b into a synaptic current becomes one of the neuron,
    ``b / (1 - decay_syn)``, from which the current is away by the same amount at first. Relays
    become readouts that keep 1/4096 of a step. Comparison >= is exact where nothing leaks.

    Delay lines pass spikes and inputs on; weighted values that wait are integers of the
    population that they reach.

    ``calibration`` (T, B, *shape), or one such array for each input, tells the range of graded
    inputs, which become integers of 8 bits, exactly where the values are multiples of some 2**-k.
    Where it feeds every input, the float program runs on up to 64 steps of 16 samples of it, and
    of the 8 scales at which weights are rounded least, each population takes the one with which
    its output differs least. Without, weights alone decide. ``span`` are values of the same shape
    that show ranges and nothing else; where both are given, ranges come from it.

    Overflow is excluded by interval bounds for the worst input: the current u never wraps; a
    readout that leaks never clips, one that does not leak is safe for as many steps as the
    calibration or span has, 64 without. The potential of spiking neurons may stop at -2**23 + 1,
    as it does on the chip; see `sltdeploy.quantize.losses`.

    Raises `InputError` with every feature that Loihi lacks: comparison >= with leak, reset by
    subtraction, decays or thresholds that differ within a population, values sent on by what does
    not spike, delays of weighted values between weights, biases in front of a delay or into a
    current that keeps all, and a graded input of unknown range.
    """
    if program.numbers != "float32":
        raise InputError(f"the program holds {program.numbers} integers: quantise the float one")
    data, ranges = by_name(program, calibration), by_name(program, span)
    inputs, found = calibrate(program, {**data, **ranges})
    raise_all([*refusals(program), *found])
    lengths = [np.asarray(v).shape[0] for v in (*data.values(), *ranges.values())]
    horizon = max(lengths, default=HORIZON)
    seen = observe(program, data)
    synapses: dict[Projection, tuple[tuple[Op, ...], int]] = {}
    rules: dict[str, Input | LoihiNeuron] = {**inputs}
    for p in program.populations:
        if isinstance(p.rule, Input | DelayLine):
            continue
        brought = arriving(program, inputs, p)
        scaled = _choose(program, p, brought, horizon, seen)
        if scaled is None:
            found.append(f"population '{p.name}': {NO_SCALE}")
            continue
        rules[p.name] = scaled.rule
        synapses |= {a.projection: s for a, s in zip(brought, scaled.synapses, strict=True)}
    raise_all(found)
    return replace(
        program,
        populations=tuple(replace(p, rule=rules.get(p.name, p.rule)) for p in program.populations),
        projections=tuple(_whole(q, synapses.get(q)) for q in program.projections),
        numbers="loihi",
    )


def _whole(q: Projection, synapse: tuple[tuple[Op, ...], int] | None) -> Projection:
    """``q`` with its weights in integers; one that only joins a delay line has none."""
    return q if synapse is None else replace(q, ops=synapse[0], weight_exponent=synapse[1])


def _choose(
    program: Program,
    p: Population,
    brought: Sequence[Arriving],
    horizon: int,
    seen: Seen | None,
) -> Scaled | None:
    """The scale whose output is nearest on data, without data the one that rounds least."""
    found = candidates(wanted(program, p), brought, horizon)
    if seen is None:
        return next(found, None)
    return min(
        islice(found, MEASURED),
        key=lambda scaled: measured(program, seen, p, brought, scaled),
        default=None,
    )
