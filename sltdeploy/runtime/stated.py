"""Whether a state that was given is one that a machine can take."""

from collections.abc import Iterator, Mapping

import numpy as np

from sltdeploy.errors import InputError
from sltdeploy.program import Array

LOIHI_TOP = 2**23  # of the registers of a neuron, 24 bits with sign
SHOWN = 8  # names listed


def checked(held: Mapping[str, Array], given: object, numbers: str) -> dict[str, Array]:
    """Return ``given`` as a state like ``held``; `InputError` with every way in which it is not.

    Names, shapes and dtypes must be those of ``held``, values finite; in a "loihi" program
    potentials and currents must fit the chip's registers.
    """
    if not isinstance(given, Mapping):
        raise InputError(f"a state is {type(given).__name__}, must be a mapping of arrays by name")
    found = [f"state '{n}' is missing" for n in held if n not in given]
    names = ", ".join(list(held)[:SHOWN]) + (", ..." if len(held) > SHOWN else "")
    found += [f"state '{n}' is unknown, the network has {names}" for n in given if n not in held]
    for name, like in held.items():
        if name in given:
            found += _problems(name, like, given[name], numbers)
    if found:
        raise InputError(*found)
    return {name: given[name] for name in held}


def samples(given: object) -> int | None:
    """Batch size of a state; None where it holds no array or they disagree."""
    arrays = given.values() if isinstance(given, Mapping) else ()
    found = {a.shape[0] for a in arrays if isinstance(a, np.ndarray) and a.ndim}
    return found.pop() if len(found) == 1 else None


def _problems(name: str, like: Array, x: object, numbers: str) -> Iterator[str]:
    if not isinstance(x, np.ndarray):
        yield f"state '{name}' is {type(x).__name__}, must be an array"
        return
    if x.shape != like.shape:
        yield f"state '{name}' has shape {x.shape}, must be {like.shape}"
    if x.dtype != like.dtype:
        yield f"state '{name}' has dtype {x.dtype}, must be {like.dtype}"
    elif x.dtype.kind == "f" and not (fine := np.isfinite(x)).all():
        yield f"state '{name}' holds {_first(x, ~fine)}, must be finite"
    elif numbers == "loihi" and name.endswith((".v", ".j")):
        wide = (x > LOIHI_TOP) | (x < -LOIHI_TOP)
        if wide.any():
            yield f"state '{name}' holds {_first(x, wide)}, must fit 24 bits: +-{LOIHI_TOP}"


def _first(x: Array, wrong: Array) -> str:
    at = tuple(int(k) for k in np.argwhere(wrong)[0])
    return f"{x[at]} at {at}"
