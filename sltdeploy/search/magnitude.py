"""Global magnitude pruning to an exact count, with a floor for each layer."""

from collections.abc import Mapping
from math import ceil

import numpy as np

from sltdeploy.errors import InputError
from sltdeploy.layers import Arrays
from sltdeploy.program import Array


def kept_after(total: int, fraction: float, rounds: int) -> int:
    """Weights that ``rounds`` prunings of ``fraction`` leave: ``total (1 - fraction)**rounds``.

    Rounded to the nearest whole number, halves to even.
    """
    return round(total * (1 - fraction) ** rounds)


def prune(weights: Arrays, masks: Mapping[str, Array], keep: int, floor: float) -> dict[str, Array]:
    """Return the masks that keep the ``keep`` largest weights over all layers, exactly.

    Only weights that ``masks`` (bool) still keep are candidates. The largest ``floor`` share of
    each layer's weights (rounded up) is kept in any case, so that no layer collapses; the rest
    is ranked over all layers. Ties go to the earlier layer, then to the lower index.

    Raises `InputError` where the floors of all layers exceed ``keep`` or fewer weights are left.
    """
    names = list(masks)
    magnitude = np.concatenate([np.abs(weights[name]).ravel() for name in names])
    alive = np.concatenate([masks[name].ravel() for name in names])
    owner = np.repeat(np.arange(len(names)), [masks[name].size for name in names])
    if keep > alive.sum():
        raise InputError(f"cannot keep {keep} weights, {int(alive.sum())} are left")
    ranked = np.argsort(np.where(alive, -magnitude, np.inf), kind="stable")
    protected = np.zeros(len(alive), bool)
    for k, name in enumerate(names):
        count = min(ceil(floor * masks[name].size), int(masks[name].sum()))
        protected[ranked[owner[ranked] == k][:count]] = True
    if protected.sum() > keep:
        raise InputError(
            f"pruning.floor is {floor}: it protects {int(protected.sum())} weights, more than the "
            f"{keep} that are to be kept; lower it or prune fewer rounds"
        )
    free = ranked[~protected[ranked]]
    kept = protected
    kept[free[: keep - int(protected.sum())]] = True
    ends = np.cumsum([masks[name].size for name in names])[:-1]
    parts = np.split(kept, ends)
    return {name: part.reshape(masks[name].shape) for name, part in zip(names, parts, strict=True)}
