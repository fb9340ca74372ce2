"""Neurons that no output depends on, found from the outputs backwards."""

import numpy as np

from sltdeploy.program import (
    Array,
    Conv,
    Input,
    Linear,
    Op,
    Pool,
    Program,
    Reshape,
    Scale,
    op_shapes,
)
from sltdeploy.simplification.intervals import blocks
from sltdeploy.simplification.result import Simplified, relays_in_circle, unchanged
from sltdeploy.simplification.selection import closed, cut

CHUNK = 1 << 16  # weights looked at at once, to bound memory


def drop_unread(program: Program) -> Simplified:
    """Take out neurons without a path of weights other than 0 to any output.

    Each row of weights is looked at once, also in loops. Convolutions and pools read whole
    channels; of a population with more than one axis whole entries of the leading axis go.
    Inputs and outputs stay as they are.
    """
    if relays_in_circle(program):
        return unchanged(program)
    wanted = {
        p.name: np.full(p.shape, p.name in program.outputs or isinstance(p.rule, Input))
        for p in program.populations
    }
    read = {name: np.zeros_like(mask) for name, mask in wanted.items()}
    while any((wanted[n] & ~read[n]).any() for n in read):
        _follow(program, read, {n: wanted[n] & ~read[n] for n in read})
        # What stays for want of an op that could do without it must spike as before, too.
        wanted = closed(program, read)
    return cut(program, read)


def _follow(program: Program, read: dict[str, Array], fresh: dict[str, Array]) -> None:
    """Add the ``fresh`` neurons to ``read``, and all that they depend on."""
    names = [p.name for p in reversed(program.populations)]
    while any(fresh[n].any() for n in names):
        for name in names:
            new = fresh[name] & ~read[name]
            fresh[name] = np.zeros_like(new)
            if not new.any():
                continue
            read[name] = read[name] | new
            for projection in program.into(name):
                shapes = op_shapes(projection, read[projection.source].shape)
                mask = new
                for op, shape in zip(reversed(projection.ops), shapes[-2::-1], strict=True):
                    mask = _read_by(op, shape, mask)
                fresh[projection.source] |= mask & ~read[projection.source]


def _read_by(op: Op, shape: tuple[int, ...], wanted: Array) -> Array:
    """Which values of an input of ``shape`` the ``wanted`` outputs of ``op`` depend on."""
    match op:
        case Linear():
            rows = np.flatnonzero(wanted)
            found = np.zeros(shape, bool)
            for block in blocks(len(rows), op.weight.shape[1], CHUNK):
                found |= (op.weight[rows[block]] != 0).any(axis=0)
            return found
        case Conv():
            per_in, per_out = op.weight.shape[1], len(op.weight) // op.groups
            by_channel = np.zeros(shape[0], bool)
            for row in np.flatnonzero(wanted.any(axis=(1, 2))):
                first = row // per_out * per_in
                by_channel[first : first + per_in] |= op.weight[row].any(axis=(1, 2))
            return np.broadcast_to(by_channel[:, None, None], shape)
        case Pool():
            return np.broadcast_to(wanted.any(axis=(1, 2), keepdims=True), shape)
        case Scale():
            return wanted & (np.broadcast_to(op.factor, shape) != 0)
        case Reshape():
            return wanted.reshape(shape)
