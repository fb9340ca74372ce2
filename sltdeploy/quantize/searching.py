"""Which power of two the weights of each op are multiples of: from data, or from the weights.

A grid 2**-n that holds the largest weight leaves up to half of the integers unused. The next finer
one rounds half as coarsely and cuts off what is above; which loses less shows at what arrives at
the neurons, for inputs as they are.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import floor, log2

import numpy as np

from sltdeploy import reference
from sltdeploy.arithmetic import apply_ops
from sltdeploy.errors import InputError, located
from sltdeploy.feeding import conform
from sltdeploy.program import Array, Conv, Linear, Op, Program, Projection, Scale

FINER = 3  # grids tried beyond the one that cuts nothing off
ROWS = 512  # steps times samples that are looked at, evenly spread over those given

Weighted = Linear | Conv | Scale


def activity(
    program: Program, calibration: Array | Mapping[str, Array] | None
) -> Mapping[str, Array]:
    """What leaves each population of the float program, (rows, *shape); empty without data.

    Raises `InputError` where ``calibration`` does not fit the inputs, (T, B, *shape), or is empty.
    """
    if calibration is None:
        return {}
    with located("calibration"):
        fed = conform(program.inputs, calibration, ("T", "B"))
        if not all(x.size for x in fed.values()):
            raise InputError("no steps or no samples: give typical input of at least one of each")
    records = reference.run(program, fed).records
    return {name: _spread(record) for name, record in records.items()}


def grids(
    projection: Projection, ops: tuple[Op, ...], bits: int, active: Mapping[str, Array]
) -> dict[int, int]:
    """Fraction bits n of each weighted op of ``ops``, by its place.

    Without activity the largest n that cuts nothing off. Else op after op, the others before it
    on their grids, the n with the least squared error of what the projection brings; of equals
    the smallest.
    """
    found = {k: fraction_bits(weight_of(op), bits) for k, op in _weighted(ops)}
    if projection.source not in active:
        return found
    x = active[projection.source].astype(np.float64)
    wanted, done = apply_ops(ops, x), 0
    for k, op in _weighted(ops):
        x = apply_ops(ops[done:k], x)
        errors: dict[int, float] = {}
        for n in range(found[k], found[k] + FINER + 1):
            got = apply_ops((snapped(op, n, bits), *ops[k + 1 :]), x)
            errors[n] = float(((got - wanted) ** 2).sum())
        found[k] = min(errors, key=lambda n: (errors[n], n))
        x, done = apply_ops((snapped(op, found[k], bits),), x), k + 1
    return found


def _weighted(ops: tuple[Op, ...]) -> list[tuple[int, Weighted]]:
    return [(k, op) for k, op in enumerate(ops) if isinstance(op, Weighted)]


def weight_of(op: Weighted) -> Array:
    """The array that is put on a grid."""
    return op.factor if isinstance(op, Scale) else op.weight


def snapped(op: Weighted, n: int, bits: int) -> Weighted:
    """The op with weights ``k 2**-n`` of ``bits`` bits, cut off at the largest; bias as it is."""
    top = 2 ** (bits - 1) - 1
    whole = np.clip(np.rint(weight_of(op).astype(np.float64) * 2.0**n), -top, top)
    # + 0.0: never -0. asarray: numpy turns an array of shape () into a bare number.
    values = np.asarray(whole / 2.0**n + 0.0, np.float32)
    return Scale(values) if isinstance(op, Scale) else replace(op, weight=values)


def fraction_bits(weight: Array, bits: int) -> int:
    """Largest n with ``max |weight| <= (2**(bits - 1) - 1) * 2**-n``; 0 without weights."""
    largest = float(np.abs(weight).max(initial=0))
    return 0 if largest == 0 else floor(log2((2 ** (bits - 1) - 1) / largest))


def _spread(record: Array) -> Array:
    """At most `ROWS` of the steps and samples of (T, B, *shape)."""
    rows = record.reshape(-1, *record.shape[2:])
    return rows[np.linspace(0, len(rows) - 1, min(ROWS, len(rows))).astype(int)]
