"""Whether a target can run a program: what it lacks, and what is too big for it.

Each rule is a small function that yields every violation with its number and its limit, and the
nearest thing that works. `FEATURES` are about the kind of network, `SIZES` about this one.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np

from sltdeploy.anatomy import neuron_kind
from sltdeploy.lava_package.refusals import delay_refusals
from sltdeploy.lava_package.routes import routes
from sltdeploy.lava_package.schedule import Schedule, schedule
from sltdeploy.machine import Target
from sltdeploy.mapping import fit
from sltdeploy.ops import Array, Conv, Linear, Pool, Scale
from sltdeploy.program import Program, Projection
from sltdeploy.resources import Fit, Resource
from sltdeploy.rules import Input, LoihiNeuron, Neuron
from sltdeploy.target import load

Rule: TypeAlias = Callable[[Program, Target], Iterator[str]]

QUANTIZE = "quantise the float program (--quantize int8)"
BUDGET = "prune or shrink the network"
WALL = "prune or narrow the layer, more chips do not help"


def check(program: Program, target: str | Path | Target) -> list[str]:
    """Everything that keeps ``program`` from running on ``target``, one line each.

    ``target`` is a name, the path of a TOML, or what `sltdeploy.target.load` read. Each line says
    what and where, the value, the limit, and what to do. Nothing is left to say where the list is
    empty; what a prediction of cores leaves out is in `sltdeploy.mapping.fit`'s ``unchecked``.

    Raises `InputError` where the target is unknown.
    """
    machine = target if isinstance(target, Target) else load(target)
    return unsupported(program, machine) + too_big(program, machine)


def unsupported(program: Program, target: Target) -> list[str]:
    """What ``target`` lacks: operations, neurons, inputs, rules, number formats."""
    return [line for rule in FEATURES for line in rule(program, target)]


def too_big(program: Program, target: Target) -> list[str]:
    """What ``target`` has too little of; see `sltdeploy.mapping.fit`."""
    found = fit(program, target)
    return [line for rule in SIZES for line in rule(found)]


def _walls(found: Fit) -> Iterator[str]:
    """What no number of chips has: room on one core for one neuron's axons and synapses."""
    yield from (_exceeds(r, found, WALL) for r in found.exceeded if r.kind == "wall")


def _budgets(found: Fit) -> Iterator[str]:
    """Sums over the machine: cores, neurons, memory."""
    more = "" if found.chips is None else f", or take {found.chips} chips (chips in [limits])"
    yield from (_exceeds(r, found, BUDGET + more) for r in found.exceeded if r.kind == "budget")


SIZES = (_walls, _budgets)


def _exceeds(r: Resource, found: Fit, fix: str) -> str:
    return f"{r.where}: {r.name}: needs {r.used} {r.unit}, {found.target} has {r.limit}: {fix}"


def _numbers(program: Program, target: Target) -> Iterator[str]:
    if program.numbers not in target.numbers + target.simulated:
        fix = QUANTIZE if program.numbers == "float32" else "export the float program"
        yield (
            f"program: holds {program.numbers} numbers, {target.name} takes "
            f"{_listed(target.numbers)}: {fix}"
        )


def _ops(program: Program, target: Target) -> Iterator[str]:
    for p in program.projections:
        for name in dict.fromkeys(type(op).__name__ for op in p.ops):
            if name not in target.ops:
                yield f"{p.name}: {target.name} has no {name}, it has {_listed(target.ops)}"


def _neurons(program: Program, target: Target) -> Iterator[str]:
    for p in program.populations:
        kind = neuron_kind(p.rule)
        if not isinstance(p.rule, Input) and kind not in target.neurons:
            yield f"{p.name}: {target.name} has no {kind}, it has {_listed(target.neurons)}"


def loops(program: Program, target: Target) -> Iterator[str]:
    """Loops with fewer steps of delay than projections, where each projection takes a step."""
    if target.hops_take_steps:
        yield from _timed(program).refusals


def _delays(program: Program, target: Target) -> Iterator[str]:
    """Ways that wait longer than synapses can."""
    if target.hops_take_steps and not (timed := _timed(program)).refusals:
        yield from delay_refusals(program, routes(program), timed.lags)


def _ways(program: Program, target: Target) -> Iterator[str]:
    """Relays and delays that no synapses between neurons replace."""
    if target.hops_take_steps:
        yield from routes(program).refusals


def _values(program: Program, target: Target) -> Iterator[str]:
    """Readouts that others receive from, where neurons send spikes."""
    if not target.hops_take_steps:
        return
    for name in dict.fromkeys(r.source for r in routes(program).routes):
        p = program.population(name)
        if isinstance(p.rule, Neuron | LoihiNeuron) and not p.spiking:
            yield (
                f"{name}: sends values, not spikes, to other neurons, {target.name}'s send spikes: "
                "give it a threshold, or let it be an output only"
            )


def _timed(program: Program) -> Schedule:
    found = routes(program)
    return schedule([p.name for p in (*program.inputs, *found.layers)], found.routes, {})


def foreign_inputs(program: Program, target: Target) -> Iterator[str]:
    """Inputs of a kind that ``target`` does not take."""
    for p in program.inputs:
        if isinstance(p.rule, Input) and p.rule.kind not in target.inputs:
            yield (
                f"{p.name}: is a {p.rule.kind} input, {target.name} takes "
                f"{_listed(target.inputs)}: if only 0 and 1 enter say so (--input-kind spikes), "
                "else encode it before the network"
            )


def _resets(program: Program, target: Target) -> Iterator[str]:
    for name, rule in _spiking(program):
        if rule.reset not in target.resets:
            yield (
                f"{name}: resets by {rule.reset}, {target.name} by {_listed(target.resets)}: "
                "train and lower it so (--reset)"
            )


def _comparisons(program: Program, target: Target) -> Iterator[str]:
    for name, rule in _spiking(program):
        if rule.comparison not in target.comparisons:
            yield (
                f"{name}: compares with {rule.comparison}, {target.name} with "
                f"{_listed(target.comparisons)}: train and lower it so (--compare)"
            )


def _weights(program: Program, target: Target) -> Iterator[str]:
    bits = target.limit("weight_bits")
    if bits is None or program.numbers != "loihi":
        return
    for p in program.projections:
        weights = _all_weights(p)
        if (weights != np.rint(weights)).any():
            yield f"{p.name}: weights are no integers: {QUANTIZE}"
            continue
        low, high = int(weights.min(initial=0)), int(weights.max(initial=0))
        mixed = low < 0 < high
        # Mixed signs: sign and magnitude without the lowest bit, -2**b .. 2**b - 2.
        least, most = (-(2**bits), 2**bits - 2) if mixed else (1 - 2**bits, 2**bits - 1)
        if low < least or high > most:
            yield (
                f"{p.name}: weights reach from {low} to {high}, {target.name} holds "
                f"{least} to {most} ({bits} bits): {QUANTIZE}"
            )
        elif mixed and (weights % 2 != 0).any():
            odd = int((weights % 2 != 0).sum())
            yield (
                f"{p.name}: {odd} weights are odd, where signs are mixed {target.name} holds "
                f"even ones only: {QUANTIZE}"
            )


def _fixed(program: Program, target: Target) -> Iterator[str]:
    if program.numbers != "loihi":
        return
    for p in program.projections:
        for op in p.ops:
            if isinstance(op, Pool) and op.kind == "average":
                yield f"{p.name}: average pooling divides integers: {QUANTIZE}"
            if isinstance(op, Scale) and (op.factor != np.rint(op.factor)).any():
                yield f"{p.name}: scales integers by fractions: {QUANTIZE}"


def _exponents(program: Program, target: Target) -> Iterator[str]:
    most = target.limit("weight_exponent")
    for p in program.projections if most is not None else ():
        if most is not None and abs(p.weight_exponent) > most:
            yield (
                f"{p.name}: weight exponent is {p.weight_exponent}, {target.name} holds "
                f"{-most} to {most}: {QUANTIZE}"
            )


def _parameters(program: Program, target: Target) -> Iterator[str]:
    decay, threshold = target.limit("decay_bits"), target.limit("threshold_bits")
    bias, exponent = target.limit("bias_bits"), target.limit("bias_exponent")
    for p in program.populations:
        rule = p.rule
        if not isinstance(rule, LoihiNeuron):
            continue
        mantissa = rule.bias_mantissa
        ranges: tuple[tuple[str, Array | int | None, int | None, int | None], ...] = (
            ("du", rule.du, 0, None if decay is None else 2**decay - 1),
            ("dv", rule.dv, 0, None if decay is None else 2**decay - 1),
            ("threshold", rule.vth, 0, None if threshold is None else 2**threshold - 1),
            ("bias exponent", rule.bias_exponent, 0, exponent),
            (
                "bias mantissa",
                mantissa,
                None if bias is None else -(2 ** (bias - 1)),
                None if bias is None else 2 ** (bias - 1) - 1,
            ),
        )
        for name, value, low, high in ranges:
            if value is None or low is None or high is None:
                continue
            least, most = int(np.min(value)), int(np.max(value))
            if least < low or most > high:
                held = str(most) if least == most else f"{least} to {most}"
                yield f"{p.name}: {name} is {held}, {target.name} holds {low} to {high}: {QUANTIZE}"


FEATURES: tuple[Rule, ...] = (
    _numbers,
    _ops,
    _neurons,
    foreign_inputs,
    _ways,
    loops,
    _delays,
    _values,
    _resets,
    _comparisons,
    _weights,
    _fixed,
    _exponents,
    _parameters,
)


def _spiking(program: Program) -> Iterator[tuple[str, Neuron]]:
    for p in program.populations:
        if isinstance(p.rule, Neuron) and p.rule.spiking:
            yield p.name, p.rule


def _all_weights(projection: Projection) -> Array:
    found = [op.weight.ravel() for op in projection.ops if isinstance(op, Linear | Conv)]
    return np.concatenate([np.zeros(0), *found])


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(words)
