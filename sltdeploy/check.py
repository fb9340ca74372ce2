"""Whether a target can run a program: what it lacks, and what is too big for it.

Each rule is a small function that yields every violation with its number and its limit.
"""

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

from sltdeploy.anatomy import neuron_kind
from sltdeploy.machine import Target
from sltdeploy.mapping import fit
from sltdeploy.ops import Array, Conv, Linear, Pool, Scale
from sltdeploy.program import Program, Projection
from sltdeploy.rules import Input, LoihiNeuron, Neuron

Rule: TypeAlias = Callable[[Program, Target], Iterator[str]]

QUANTIZE = "quantise the float program (--quantize int8)"
BUDGET = "prune or shrink the network, or use more chips"
WALL = "prune or narrow the layer, more chips do not help"


def violations(program: Program, target: Target) -> list[str]:
    """Everything that keeps ``program`` from running on ``target``, one line each."""
    return unsupported(program, target) + too_big(program, target)


def unsupported(program: Program, target: Target) -> list[str]:
    """What ``target`` lacks: operations, neurons, inputs, rules, number formats."""
    return [line for rule in FEATURES for line in rule(program, target)]


def too_big(program: Program, target: Target) -> list[str]:
    """What ``target`` has too little of; see `sltdeploy.mapping.fit`."""
    return [
        f"{r.where}: {r.name}: needs {r.used} {r.unit}, {target.name} has {r.limit}: "
        f"{WALL if r.kind == 'wall' else BUDGET}"
        for r in fit(program, target).exceeded
    ]


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
    """Recurrent projections where what is written for ``target`` is feed-forward."""
    if target.feed_forward:
        for p in program.projections:
            if p.recurrent:
                yield (
                    f"{p.name}: is recurrent, what is written for {target.name} is feed-forward: "
                    "take a target of the onnx exporter"
                )


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
    loops,
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
