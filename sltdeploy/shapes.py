"""Shapes through a NIR graph, per sample: from the inputs forward, never from nir's own guesses.

nir 1.0.8 takes a convolution's output size from one kernel axis and its input channels without
the groups, so its types are wrong for valid graphs.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from sltdeploy.program import Array, Conv, Linear, Op, Pair, Pool, Reshape, Scale, Shape


def declared(value: Any) -> Shape | None:
    """Read the shape that an Input or Output node declares, or None where it declares none."""
    if value is None:
        return None
    if isinstance(value, dict):
        value = next(iter(value.values()), None)
        if value is None:
            return None
    return tuple(int(n) for n in np.atleast_1d(value)) or None


def ops_of(node: Any, shape: Shape) -> tuple[Op, ...]:
    """Translate one connection node of NIR for an input of ``shape``.

    Large weights are the node's own arrays, float32 or float64: copy them before you keep them.
    Raises `ValueError` with what is wrong; the caller knows the node's name.
    """
    match type(node).__name__:
        case "Affine":
            return (*_as_vector(shape, node.weight), Linear(_real(node.weight), _f64(node.bias)))
        case "Linear":
            return (*_as_vector(shape, node.weight), Linear(_real(node.weight)))
        case "Scale":
            return (Scale(_f64(node.scale)),)
        case "Conv2d":
            return (_conv(node),)
        case "Conv1d":
            return _conv1d(node, shape)
        case "SumPool2d" | "AvgPool2d":
            kernel = _pair(node.kernel_size)
            kind = "sum" if type(node).__name__ == "SumPool2d" else "average"
            return (Pool(kernel, _pair(node.stride), _both_sides(_pair(node.padding)), kind),)
        case "Flatten":
            return (Reshape(_flattened(shape, int(node.start_dim), int(node.end_dim))),)
        case other:
            raise ValueError(f"{other} is not a connection")


def through(ops: Sequence[Op], shape: Shape) -> tuple[Shape, list[str]]:
    """Shape after ``ops`` and, where one does not fit, why; the shape is then the last good one."""
    for op in ops:
        found = list(op.problems(shape))
        if found:
            return shape, found
        shape = op.out_shape(shape)
    return shape, []


def mismatches(node: Any, shape: Shape) -> Iterator[str]:
    """Parameters of a neuron node that do not broadcast to its population's ``shape``."""
    for key, value in neuron_parameters(node).items():
        try:
            fits = np.broadcast_shapes(value.shape, shape) == shape
        except ValueError:
            fits = False
        if not fits:
            yield f"{key} has shape {value.shape}, what arrives has {shape}"


def neuron_parameters(node: Any) -> Mapping[str, Array]:
    """All numbers of a neuron node by field name, in float64."""
    return {
        key: _f64(value)
        for key, value in vars(node).items()
        if isinstance(value, np.ndarray | np.generic | float | int)
    }


def _conv(node: Any) -> Conv:
    weight = _real(node.weight)
    if weight.ndim != 4:
        raise ValueError(f"weight has shape {weight.shape}, must be (C_out, C_in, kH, kW)")
    stride, dilation = _pair(node.stride), _pair(node.dilation)
    if isinstance(node.padding, str):
        padding = _named_padding(node.padding, weight.shape[2:], stride, dilation)
    else:
        padding = _both_sides(_pair(node.padding))
    bias = None if node.bias is None else _f64(node.bias)
    return Conv(weight, bias, stride, padding, dilation, int(np.asarray(node.groups)))


def _conv1d(node: Any, shape: Shape) -> tuple[Op, ...]:
    """One row of a 2-d convolution: (C, N) -> (C, 1, N) -> (O, 1, M) -> (O, M)."""
    weight = _real(node.weight)
    if weight.ndim != 3 or len(shape) != 2:
        raise ValueError(
            f"needs weight (C_out, C_in, k) and input (C, N), has {weight.shape} and {shape}"
        )
    stride, dilation = (1, _one(node.stride)), (1, _one(node.dilation))
    if isinstance(node.padding, str):
        padding = _named_padding(node.padding, (1, weight.shape[2]), stride, dilation)
    else:
        padding = (0, _one(node.padding), 0, _one(node.padding))
    bias = None if node.bias is None else _f64(node.bias)
    groups = int(np.asarray(node.groups))
    conv = Conv(weight[:, :, None], bias, stride, padding, dilation, groups)
    row = (shape[0], 1, shape[1])
    wrong = list(conv.problems(row))
    if wrong:
        raise ValueError(wrong[0])
    out = conv.out_shape(row)
    return (Reshape(row), conv, Reshape((out[0], out[2])))


def _named_padding(
    name: str, kernel: Sequence[int], stride: Pair, dilation: Pair
) -> tuple[int, int, int, int]:
    if name == "valid":
        return (0, 0, 0, 0)
    if name != "same":
        raise ValueError(f"padding is '{name}', must be 'same', 'valid' or numbers")
    if stride != (1, 1):
        raise ValueError(f"padding 'same' needs stride 1, has {stride}")
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    before = [r // 2 for r in reach]  # the odd row goes to the end, as in torch
    after = [r - b for r, b in zip(reach, before, strict=True)]
    return (before[0], before[1], after[0], after[1])


def _flattened(shape: Shape, start: int, end: int) -> Shape:
    first = start if start >= 0 else len(shape) + start
    last = end if end >= 0 else len(shape) + end
    if not 0 <= first <= last < len(shape):
        raise ValueError(f"dims {start}..{end} do not exist in {shape}")
    return (*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :])


def _as_vector(shape: Shape, weight: Array) -> tuple[Op, ...]:
    """A file may leave (n, 1, 1) before a matrix of n columns, where a Flatten is understood."""
    columns = np.shape(weight)[-1]
    if len(shape) > 1 and prod(shape) == columns == max(shape):
        return (Reshape((columns,)),)
    return ()


def _pair(value: Any) -> Pair:
    numbers = [int(n) for n in np.atleast_1d(value)]
    if len(numbers) == 1:
        numbers *= 2
    if len(numbers) != 2:
        raise ValueError(f"{value} must be one number or two")
    return (numbers[0], numbers[1])


def _one(value: Any) -> int:
    numbers = np.atleast_1d(value)
    if numbers.size != 1:
        raise ValueError(f"{value} must be one number")
    return int(numbers[0])


def _both_sides(padding: Pair) -> tuple[int, int, int, int]:
    return (*padding, *padding)


def _f64(value: Any) -> Array:
    return np.array(value, dtype=np.float64)


def _real(value: Any) -> Array:
    """The same array where it is float32 or float64, else a copy in float64."""
    array = np.asarray(value)
    return array if array.dtype.str[-2:] in ("f4", "f8") else array.astype(np.float64)
