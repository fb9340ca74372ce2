"""A projection as one set of weights behind pools whose windows share no input."""

from dataclasses import replace
from math import prod

import numpy as np

from sltdeploy.program import Array, Conv, Linear, Op, Pool, Reshape, Scale, Shape
from sltdeploy.synapse import as_conv, as_matrix


def fold(ops: tuple[Op, ...], shape: Shape) -> tuple[Op, ...]:
    """The linear part of ``ops`` with exactly one Linear or Conv, its weights in float64.

    Averages become sums and scales go into the weights. Before the weights only reshapes and
    sums over disjoint windows are left, so each weight is the strength of synapses on a chip:
    no two paths join the same two neurons. Chains that do not have this form are merged into one
    convolution, or else into one matrix.
    """
    kept, gain = list[Op](), 1.0
    at = -1
    for op in ops:
        match op:
            case Linear() | Conv() if at < 0:
                at = len(kept)
                kept.append(replace(op, weight=op.weight.astype(np.float64), bias=None))
            case Pool() if at < 0 and op.stride[0] >= op.kernel[0] and op.stride[1] >= op.kernel[1]:
                gain /= prod(op.kernel) if op.kind == "average" else 1
                kept.append(replace(op, kind="sum"))
            case Scale() if op.factor.size == 1:
                gain *= float(op.factor.reshape(()))
            case Reshape():
                kept.append(op)
            case _:
                return _merged(ops, shape)
    if at < 0:
        return _merged(ops, shape)
    kept[at] = with_weight(kept[at], weight_of(kept) * gain)
    return tuple(kept)


def weighted(ops: tuple[Op, ...] | list[Op]) -> int:
    """Where in folded ``ops`` the weights are."""
    return next(k for k, op in enumerate(ops) if isinstance(op, Linear | Conv))


def weight_of(ops: tuple[Op, ...] | list[Op]) -> Array:
    """The weights of folded ``ops``."""
    op = ops[weighted(ops)]
    assert isinstance(op, Linear | Conv)
    return op.weight


def with_weight(op: Op, weight: Array) -> Op:
    """The same op with another weight of the same shape."""
    assert isinstance(op, Linear | Conv)
    return replace(op, weight=weight)


def _merged(ops: tuple[Op, ...], shape: Shape) -> tuple[Op, ...]:
    conv = as_conv(ops, shape)
    if conv is not None:
        return (conv,)
    end = shape
    for op in ops:
        end = op.out_shape(end)
    return (
        *([Reshape((prod(shape),))] if len(shape) > 1 else []),
        Linear(as_matrix(ops, shape).dense()),
        *([Reshape(end)] if len(end) > 1 else []),
    )
