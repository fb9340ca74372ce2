"""Which integers graded inputs become: a power of two as scale, and the range that was seen."""

from collections.abc import Mapping
from math import ceil, floor, log2

import numpy as np

from sltdeploy.program import Array, Input, Population, Program

GRADED_BITS = 8


def calibrate(
    program: Program, calibration: Array | Mapping[str, Array] | None
) -> tuple[dict[str, Input], list[str]]:
    """Rule of each input in integers by name, and what is missing or wrong."""
    names = [p.name for p in program.inputs]
    given = by_name(program, calibration)
    found = [
        f"calibration for '{n}': the program has inputs {names}" for n in given if n not in names
    ]
    rules: dict[str, Input] = {}
    for p in program.inputs:
        assert isinstance(p.rule, Input)
        if p.rule.kind == "spikes":
            rules[p.name] = p.rule
        elif p.name not in given:
            found.append(
                f"input '{p.name}' takes graded values of unknown range: give typical ones of "
                f"shape (T, B, {', '.join(map(str, p.shape))}), --calibrate X.npy (Python: "
                "calibration=x), or declare it an input of spikes, --input-kind spikes"
            )
        else:
            problem = _problem(p, np.asarray(given[p.name]))
            if problem is None:
                rules[p.name] = graded(np.asarray(given[p.name], dtype=np.float64))
            else:
                found.append(problem)
    return rules, found


def by_name(
    program: Program, calibration: Array | Mapping[str, Array] | None
) -> Mapping[str, Array]:
    """Calibration of each input; a single array is for the first one."""
    if calibration is None:
        return {}
    if isinstance(calibration, Mapping):
        return calibration
    return {program.inputs[0].name: calibration}


def graded(values: Array) -> Input:
    """Scale by the smallest power of two that makes all ``values`` integers of 8 bits.

    Where there is none, by the largest for which they fit 8 bits; they are then rounded.
    """
    largest = float(np.abs(values).max())
    if largest == 0:
        return Input("graded", 1.0, 0, 0)
    top = floor(log2((2**GRADED_BITS - 1) / largest))
    fits = (k for k in range(top - GRADED_BITS, top + 1) if _whole(values, k))
    scale = 2.0 ** next(fits, top)
    low, high = float(values.min()) * scale, float(values.max()) * scale
    return Input("graded", scale, floor(min(low, 0)), ceil(max(high, 0)))


def _whole(values: Array, k: int) -> bool:
    scaled = values * 2.0**k
    return bool((scaled == np.rint(scaled)).all())


def _problem(p: Population, values: Array) -> str | None:
    if values.ndim != 2 + len(p.shape) or values.shape[2:] != p.shape or not values.size:
        needed = ", ".join(map(str, ("T", "B", *p.shape)))
        return f"calibration for '{p.name}' has shape {values.shape}, must be ({needed})"
    if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        return f"calibration for '{p.name}' holds what is no finite real number"
    return None
