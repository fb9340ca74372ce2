"""The short way of a step: the usual input, checked at once and written where the engine reads.

Nothing is allocated but what is returned. Whatever is not usual (another dtype, a wrong shape,
NaN, no spike) takes the long way, `sltdeploy.feeding.conform`, which converts it or says why not.

These are closures, not objects: between two steps the weights of a network push everything else
out of the processor's nearest cache, and each attribute that is looked up has to come back.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from sltdeploy.program import Array, Input, Population
from sltdeploy.runtime.engine import BufferedEngine, backed, backing
from sltdeploy.runtime.manifest import Manifest, Output

BOOL, FLOAT32, UINT8 = np.dtype(np.bool_), np.dtype(np.float32), np.dtype(np.uint8)

# Writes one input where the engine reads it; False where it is not usual.
Gate: TypeAlias = Callable[[Any], bool]
Taker: TypeAlias = Callable[[], Array]
# One step, as `sltdeploy.runtime.Runner.step`; None, and nothing has moved, where x is not usual.
Short: TypeAlias = Callable[[Any], dict[str, Array] | None]


def short_way(manifest: Manifest, engine: BufferedEngine) -> Short:
    """Prepare steps of ``engine`` with the batch size that it has now."""
    fed, given = engine.buffers
    gates = [(p.name, _gate(p, fed[p.name])) for p in manifest.inputs]
    takers = [(o.name, _taker(o, given[o.name])) for o in manifest.outputs]
    if len(gates) == len(takers) == 1:
        return _one_to_one(*gates[0], engine.tick, *takers[0])
    return _many(gates, engine.tick, takers)


def _one_to_one(
    source: str, gate: Gate, tick: Callable[[], None], output: str, taken: Taker
) -> Short:
    def step(x: Any) -> dict[str, Array] | None:
        if type(x) is dict and len(x) == 1:
            x = x.get(source)
        if not gate(x):
            return None
        tick()
        return {output: taken()}

    return step


def _many(
    gates: list[tuple[str, Gate]], tick: Callable[[], None], takers: list[tuple[str, Taker]]
) -> Short:
    def step(x: Any) -> dict[str, Array] | None:
        if type(x) is not dict:
            if len(gates) > 1 or not gates[0][1](x):
                return None
        elif len(x) != len(gates) or not all(gate(x.get(name)) for name, gate in gates):
            return None
        tick()
        return {name: taken() for name, taken in takers}

    return step


def _gate(p: Population, into: Array) -> Gate:
    assert isinstance(p.rule, Input)
    if p.rule.kind == "spikes":
        return _spikes(into)
    return _graded(into) if into.dtype is FLOAT32 else _closed


def _taker(output: Output, given: Array) -> Taker:
    if output.spiking:
        return given.copy if given.dtype is BOOL else partial(given.astype, BOOL)
    if output.unit is not None:
        return partial(_in_units, given, output.unit)
    return given.copy


def _in_units(given: Array, unit: float) -> Array:
    return (given / unit).astype(FLOAT32)


def _closed(x: Any) -> bool:
    """For integers: each value has to be converted."""
    del x
    return False


def _graded(into: Array) -> Gate:
    """Let in float32 where one byte an element says that each is finite."""
    shape, ndarray, is_finite = into.shape, np.ndarray, np.isfinite
    finite, raw = backed(shape, BOOL)
    differs, whole = raw.__ne__, b"\1" * len(raw)

    def gate(x: Any) -> bool:
        if type(x) is not ndarray or x.dtype is not FLOAT32 or x.shape != shape:
            return False
        is_finite(x, finite)
        if differs(whole):
            return False
        into[...] = x
        return True

    return gate


def _spikes(into: Array) -> Gate:
    """Let in bool, and uint8 or float32 that has the very bytes of 0 and 1.

    What is not 0 becomes True and then 1 again, and the result is compared with x byte by byte.
    """
    shape, ndarray = into.shape, np.ndarray
    fired = into if into.dtype is BOOL else np.empty(shape, BOOL)
    raw_into = backing(into)
    in_place = into.dtype is FLOAT32 and raw_into is not None
    floats, raw_floats = (into, raw_into) if in_place else backed(shape, FLOAT32)
    numbers, raw_numbers = backed(shape, UINT8)
    assert raw_floats is not None
    # False where equal; NotImplemented where x does not lie in one piece.
    floats_differ, numbers_differ = raw_floats.__ne__, raw_numbers.__ne__
    moved = floats is into or fired is into

    def gate(x: Any) -> bool:
        if type(x) is not ndarray or x.shape != shape:
            return False
        kind = x.dtype
        if kind is FLOAT32:
            fired[...] = x
            floats[...] = fired
            if floats_differ(x) is not False:
                return False
            if not moved:
                into[...] = fired
        elif kind is BOOL:
            into[...] = x
        elif kind is UINT8:
            fired[...] = x
            numbers[...] = fired
            if numbers_differ(x) is not False:
                return False
            if fired is not into:
                into[...] = fired
        else:
            return False
        return True

    return gate
