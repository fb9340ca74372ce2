"""A float program in Loihi's integers: 8-bit weights, 12-bit decays, 17-bit thresholds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from sltdeploy.bounds import ALIGN, UNITY, sent
from sltdeploy.errors import InputError, raise_all
from sltdeploy.program import (
    Array,
    DelayLine,
    Input,
    LoihiNeuron,
    Neuron,
    Op,
    Population,
    Program,
    Projection,
)
from sltdeploy.quantize.calibration import by_name, calibrate
from sltdeploy.quantize.folding import fold
from sltdeploy.quantize.scaling import HORIZON, Arriving, Scaled, choose
from sltdeploy.synapse import constant

DECAY_TOP = UNITY - 1
INSTEAD = "the onnx exporter takes it, with --quantize int8 as well (--format onnx)"


@dataclass(frozen=True, eq=False)
class _Plain:
    """A population's parameters with v_reset moved to 0; bias has the population's shape."""

    decay: float
    decay_syn: float | None
    bias: Array
    threshold: float | None


def for_loihi(program: Program, calibration: Array | Mapping[str, Array] | None = None) -> Program:
    """Translate ``program`` into integers as Loihi and Lava's fixed-point models step them.

    For each population one scale s is chosen: thresholds are exact (``vth = s threshold``),
    weights become 8 bits, even where both signs occur, biases 13 bits and a common exponent,
    decays ``round(4096 (1 - decay))``. A potential of 1 is ``unit = 64 s``. Averages and scales
    go into the weights, biases of weighted ops to the population. A v_reset other than 0 is
    moved to 0 by shifting potentials. Relays become readouts that keep 1/4096 of a step.

    Overflow is excluded by interval bounds for the worst input: the current u never wraps; a
    readout that leaks never clips, one that does not leak is safe for as many steps as
    ``calibration`` (T, B, *shape) has, 64 without one. The potential of spiking neurons may stop
    at -2**23 + 1, as it does on the chip; see `sltdeploy.quantize.losses`. ``calibration`` also
    tells the range of graded inputs, which become integers of 8 bits, exactly where the values
    are multiples of some 2**-k.

    Raises `InputError` with every feature that Loihi lacks: comparison >=, reset by subtraction,
    decays or thresholds that differ within a population, recurrent projections, delays, and a
    graded input without calibration.
    """
    if program.numbers != "float32":
        raise InputError(f"the program holds {program.numbers} integers: quantise the float one")
    inputs, found = calibrate(program, calibration)
    raise_all([*_refusals(program), *found])
    lengths = [np.asarray(v).shape[0] for v in by_name(program, calibration).values()]
    horizon = max(lengths, default=HORIZON)
    chosen: dict[str, Scaled] = {}
    plain: dict[str, _Plain] = {}
    for p in program.populations:
        if p.name in inputs:
            continue
        plain[p.name] = _plain(program, p)
        arriving = [_arriving(program, inputs, projection) for projection in program.into(p.name)]
        scaled = choose(
            arriving,
            plain[p.name].bias,
            plain[p.name].threshold,
            1 - _dv(plain[p.name]) / UNITY,
            1 - (_du(plain[p.name]) + 1) / UNITY,
            horizon,
        )
        if isinstance(scaled, str):
            found.append(f"population '{p.name}': {scaled}")
        else:
            chosen[p.name] = scaled
    raise_all(found)
    synapses = {name: iter(s.synapses) for name, s in chosen.items()}
    return replace(
        program,
        populations=tuple(
            replace(p, rule=inputs[p.name])
            if p.name in inputs
            else replace(p, rule=_rule(plain[p.name], chosen[p.name]))
            for p in program.populations
        ),
        projections=tuple(_projection(p, *next(synapses[p.target])) for p in program.projections),
        numbers="loihi",
    )


def _projection(p: Projection, ops: tuple[Op, ...], exponent: int) -> Projection:
    return replace(p, ops=ops, weight_exponent=exponent)


def _arriving(program: Program, inputs: Mapping[str, Input], projection: Projection) -> Arriving:
    source = program.population(projection.source)
    rule = inputs.get(source.name, Input("spikes"))
    values = sent(rule, source.shape)
    return Arriving(projection.name, fold(projection.ops, source.shape), values, rule.scale)


def _plain(program: Program, p: Population) -> _Plain:
    brought = np.zeros(p.shape)
    for projection in program.into(p.name):
        brought += constant(projection.ops, program.population(projection.source).shape)
    if not isinstance(p.rule, Neuron):
        return _Plain(0.0, None, brought, None)
    rule = p.rule
    decay = _single(rule.decay)
    shift = 0.0 if rule.v_reset is None else _single(rule.v_reset)
    return _Plain(
        decay=decay,
        decay_syn=None if rule.decay_syn is None else _single(rule.decay_syn),
        bias=brought + rule.bias.astype(np.float64) - (1 - decay) * shift,
        threshold=None if rule.threshold is None else _single(rule.threshold) - shift,
    )


def _single(values: Array) -> float:
    return float(values.flat[0])


def _dv(plain: _Plain) -> int:
    return min(round(UNITY * (1 - plain.decay)), DECAY_TOP)


def _du(plain: _Plain) -> int:
    if plain.decay_syn is None:
        return DECAY_TOP
    return max(0, round(UNITY * (1 - plain.decay_syn)) - 1)


def _rule(plain: _Plain, scaled: Scaled) -> LoihiNeuron:
    return LoihiNeuron(
        du=_du(plain),
        dv=_dv(plain),
        bias_mantissa=scaled.mantissa,
        bias_exponent=scaled.exponent,
        unit=ALIGN * scaled.scale,
        vth=scaled.vth,
    )


def _refusals(program: Program) -> Iterator[str]:
    sources = {p.source for p in program.projections}
    for q in program.projections:
        if q.recurrent:
            yield (
                f"projection '{q.name}' is recurrent, sltdeploy has Loihi's integers for "
                f"feed-forward networks only: {INSTEAD}"
            )
    for p in program.populations:
        if isinstance(p.rule, DelayLine):
            yield (
                f"population '{p.name}' delays by up to {p.rule.depth} steps, sltdeploy has "
                f"Loihi's integers without delays only: {INSTEAD}"
            )
            continue
        if not p.spiking and not isinstance(p.rule, Input) and p.name in sources:
            yield (
                f"population '{p.name}' sends values, not spikes, to another: Loihi's neurons "
                "only send spikes; give it a threshold, or let it be an output only"
            )
        if isinstance(p.rule, Neuron):
            yield from (f"population '{p.name}': {why}" for why in _neuron_refusals(p.rule))
            if p.rule.decay_syn is not None:
                yield from _bias_refusals(program, p)


def _neuron_refusals(rule: Neuron) -> Iterator[str]:
    if rule.spiking and rule.comparison == "ge":
        yield "compares with >=, Loihi with >: lower with comparison 'gt'"
    if rule.spiking and rule.reset == "subtract":
        yield "resets by subtraction, Loihi to a value: lower with reset 'zero'"
    uniform = True
    for name in ("decay", "decay_syn", "threshold", "v_reset"):
        values = getattr(rule, name)
        if values is not None and (values != values.flat[0]).any():
            uniform = False
            yield (
                f"{name} goes from {values.min():g} to {values.max():g}, Loihi holds one for a "
                "population: split it into populations of one value each"
            )
    for name in ("decay", "decay_syn"):
        values = getattr(rule, name)
        if values is not None and not ((values >= 0) & (values <= 1)).all():
            yield (
                f"{name} is {values.min():g}..{values.max():g}, must be 0..1 in Loihi: take a "
                "smaller dt or decay 'exponential'"
            )
    start = 0.0 if rule.v_reset is None else rule.v_reset
    if (rule.v_init != start).any():
        yield (
            f"starts at v = {rule.v_init.flat[0]:g}, must start at "
            + ("0" if rule.v_reset is None else f"v_reset = {rule.v_reset.flat[0]:g}")
            + " in Loihi: make v_leak equal to it"
        )
    if uniform and rule.threshold is not None and rule.v_reset is not None:
        above = _single(rule.threshold) - _single(rule.v_reset)
        if above < 0:
            yield f"its threshold is {-above:g} below v_reset, must not be below it in Loihi"


def _bias_refusals(program: Program, p: Population) -> Iterator[str]:
    for projection in program.into(p.name):
        if constant(projection.ops, program.population(projection.source).shape).any():
            yield (
                f"projection '{projection.name}' brings a bias into a synaptic current, which "
                "Loihi has none for: train without that bias, or use neurons without tau_syn"
            )
