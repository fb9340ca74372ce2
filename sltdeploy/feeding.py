"""What may enter a network: names, shapes and values are checked, then converted once."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from sltdeploy.errors import InputError
from sltdeploy.program import Array, Input, Population


def conform(
    inputs: Sequence[Population], x: Array | Mapping[str, Array], axes: tuple[str, ...]
) -> dict[str, Array]:
    """Check ``x`` against ``inputs`` and convert it to what enters: bool, float32 or int32.

    ``x`` is one array for a single input, or one for each input by name, each of shape
    (*axes, *shape), where axes is ("B",) for a step and ("T", "B") for a run. Raises `InputError`
    with every violation: name, shape, dtype, the first value that is not finite or no spike.
    """
    names = [p.name for p in inputs]
    given = x if isinstance(x, Mapping) else dict.fromkeys(names[:1], x)
    fed = {name: as_array(name, values) for name, values in given.items()}
    found = [f"input '{n}' is missing, the program has {names}" for n in names if n not in fed]
    found += [f"input '{n}' is unknown, the program has {names}" for n in fed if n not in names]
    for p in inputs:
        if p.name in fed:
            found += _problems(p, fed[p.name], axes)
    if len(fed) > 1 and not found:
        heads = {n: a.shape[: len(axes)] for n, a in fed.items()}
        if len(set(heads.values())) > 1:
            found = [f"inputs disagree in ({', '.join(axes)}): {list(heads.items())}"]
    if found:
        raise InputError(*found)
    return {p.name: _enter(p, fed[p.name]) for p in inputs}


def as_array(name: str, values: object) -> Array:
    """Turn what is given for input ``name`` into an array; `InputError` for ragged lists."""
    try:
        return np.asarray(values)
    except ValueError:
        raise InputError(f"input '{name}' has rows of different lengths") from None


def _problems(p: Population, x: Array, axes: tuple[str, ...]) -> Iterator[str]:
    assert isinstance(p.rule, Input)
    if x.ndim != len(axes) + len(p.shape) or x.shape[len(axes) :] != p.shape:
        needed = ", ".join(map(str, (*axes, *p.shape)))
        yield f"input '{p.name}' has shape {x.shape}, must be ({needed})"
    elif x.dtype.kind not in "biuf":
        yield f"input '{p.name}' has dtype {x.dtype}, must be real numbers"
    elif p.rule.kind == "spikes" and (x.dtype == bool or ((x == 0) | (x == 1)).all()):
        return  # the usual case, checked once
    elif not (fine := np.isfinite(_single(x))).all():
        bad = _first(~fine)
        yield f"input '{p.name}' holds {x[bad]} at {bad}, must be finite in float32"
    elif p.rule.kind == "spikes":
        bad = _first((x != 0) & (x != 1))
        yield f"input '{p.name}' takes spikes (0 or 1), holds {x[bad]} at {bad}"


def _first(wrong: Array) -> tuple[int, ...]:
    return tuple(int(k) for k in np.argwhere(wrong)[0])


def _enter(p: Population, x: Array) -> Array:
    assert isinstance(p.rule, Input)
    if p.rule.kind == "spikes":
        return x.astype(bool)
    if p.rule.low is None:
        return _single(x)
    whole = np.rint(x.astype(np.float64) * p.rule.scale)
    return np.clip(whole, p.rule.low, p.rule.high).astype(np.int32)


def _single(x: Array) -> Array:
    with np.errstate(over="ignore"):  # what overflows becomes infinite and is reported
        return x.astype(np.float32)
