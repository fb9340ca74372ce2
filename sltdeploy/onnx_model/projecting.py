"""What lies along projections, on a batch of samples, or of steps times samples."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from sltdeploy.onnx_model.graph import FLOAT, UINT8, Graph
from sltdeploy.onnx_model.integers import grid_bits, multiplies
from sltdeploy.program import (
    Array,
    Conv,
    Linear,
    Op,
    Pool,
    Program,
    Projection,
    Reshape,
    Scale,
    Shape,
    op_shapes,
)

SMALLEST = 256  # weights; fewer stay float32 in the file, for nodes cost bytes too


@dataclass(frozen=True)
class Writer:
    """Where projections of ``program`` are written.

    ``integer`` says that its weights are integers of 8 bits; ``whole`` are the projections that
    multiply them as such.
    """

    graph: Graph
    program: Program
    integer: bool
    whole: frozenset[Projection]

    def within(self, graph: Graph) -> "Writer":
        """Write into another graph instead."""
        return replace(self, graph=graph)


def writer(program: Program, *, integer: bool) -> Writer:
    """Begin a graph in which the names of populations are taken."""
    found = (q for q in program.projections if integer and _multiplies_whole(program, q))
    return Writer(Graph({p.name for p in program.populations}), program, integer, frozenset(found))


def through(to: Writer, projection: Projection, x: str) -> str:
    """Emit the ops of a projection that starts at ``x`` (N, *shape): spikes of any type or values.

    Only a projection in ``to.whole`` may start at bool.
    """
    target = projection.target
    if projection in to.whole:
        x = to.graph.once("Cast", [x], f"{projection.source}.u8", {"to": UINT8})
    shape = to.program.population(projection.source).shape
    whole = projection in to.whole
    for op, (before, after) in zip(
        projection.ops, pairwise(op_shapes(projection, shape)), strict=True
    ):
        if isinstance(op, Reshape) and before == after:
            continue
        if whole and isinstance(op, Linear):
            x, whole = _multiply(to.graph, op, x, to.graph.claim(f"{target}.linear")), False
        else:
            x = _op(to, op, x, before, after, target)
    return x


def _multiplies_whole(program: Program, projection: Projection) -> bool:
    """Whether spikes meet integers here: exactly, and on enough weights to be faster."""
    weighted = (op for op in projection.ops if not isinstance(op, Reshape))
    first = next(weighted, None)
    spiking = program.population(projection.source).spiking
    return spiking and isinstance(first, Linear) and multiplies(first.weight, first.bias)


def _op(to: Writer, op: Op, x: str, before: Shape, after: Shape, target: str) -> str:
    graph, wanted = to.graph, f"{target}.{type(op).__name__.lower()}"
    if isinstance(op, Reshape):
        return _reshape(graph, x, after, wanted)
    y = graph.claim(wanted)
    match op:
        case Linear():
            inputs = [x, _weight(to, op.weight, y)]
            if op.bias is not None:
                inputs.append(graph.constant(op.bias, f"{y}.bias"))
            return graph.add("Gemm", inputs, y, {"transB": 1})
        case Conv():
            return _conv(graph, op, x, y, _weight(to, op.weight, y))
        case Pool():
            return _pool(graph, op, x, y, before[0])
        case Scale():
            return graph.add("Mul", [x, graph.constant(compact(op.factor), f"{y}.factor")], y)


def _reshape(graph: Graph, x: str, after: Shape, wanted: str) -> str:
    if len(after) == 1:
        return graph.once("Flatten", [x], wanted, {"axis": 1})
    goal = graph.integers((0, *after), f"{wanted}.shape")  # 0: as it is
    return graph.once("Reshape", [x, goal], wanted)


def _multiply(graph: Graph, op: Linear, spikes: str, y: str) -> str:
    """Integers times spikes: exact, and so are the sums, in int32 and in float32.

    Spikes are 0 or 1, so a processor without dot products, which adds two products in 16 bits,
    cannot overflow there: 2 * 127 is far from 2**15.
    """
    n = grid_bits(op.weight)
    assert n is not None, "multiplies() says so"
    weight = graph.bytes(np.rint(np.ldexp(op.weight.T, n)), f"{y}.weight")
    whole = graph.add("MatMulInteger", [spikes, weight], graph.claim(f"{y}.int32"))
    count = graph.add("Cast", [whole], graph.claim(f"{y}.count"), {"to": FLOAT})
    unit = graph.constant(np.asarray(2.0**-n), f"{y}.unit")
    if op.bias is None:
        return graph.add("Mul", [count, unit], y)
    product = graph.add("Mul", [count, unit], graph.claim(f"{y}.product"))
    return graph.add("Add", [product, graph.constant(op.bias, f"{y}.bias")], y)


def _weight(to: Writer, weight: Array, y: str) -> str:
    """The weights of a float operator; in an integer model they lie in the file as int8.

    A runtime computes them once when it loads the model: nothing but constants enters. They are
    not put as DequantizeLinear, which ONNX Runtime turns into kernels of other rounding.
    """
    n = grid_bits(weight) if to.integer and weight.size >= SMALLEST else None
    if n is None:
        return to.graph.constant(weight, f"{y}.weight")
    whole = to.graph.bytes(np.rint(np.ldexp(weight, n)), f"{y}.weight")
    count = to.graph.once("Cast", [whole], f"{whole}.float", {"to": FLOAT})
    unit = to.graph.constant(np.asarray(2.0**-n), f"{y}.unit")
    return to.graph.once("Mul", [count, unit], f"{whole}.scaled")


def _conv(graph: Graph, op: Conv, x: str, y: str, weight: str) -> str:
    inputs = [x, weight]
    if op.bias is not None:
        inputs.append(graph.constant(op.bias, f"{y}.bias"))
    return graph.add(
        "Conv",
        inputs,
        y,
        {
            "kernel_shape": op.weight.shape[2:],
            "strides": op.stride,
            "pads": op.padding,
            "dilations": op.dilation,
            "group": op.groups,
        },
    )


def _pool(graph: Graph, op: Pool, x: str, y: str, channels: int) -> str:
    """AveragePool where it is exact and every runtime agrees, else a depthwise Conv of ones.

    Runtimes disagree on the average over padding (microsoft/onnxruntime#24681), and a sum is the
    average times the window's size only where that size is a power of two.
    """
    window = op.kernel[0] * op.kernel[1]
    size = np.array(window, np.float32)
    power_of_two = window & (window - 1) == 0
    if not any(op.padding) and (op.kind == "average" or power_of_two):
        pool = {"kernel_shape": op.kernel, "strides": op.stride}
        if op.kind == "average":
            return graph.add("AveragePool", [x], y, pool)
        mean = graph.add("AveragePool", [x], graph.claim(f"{y}.mean"), pool)
        return graph.add("Mul", [mean, graph.constant(size, f"{y}.window")], y)
    ones = Conv(
        np.ones((channels, 1, *op.kernel), np.float32),
        stride=op.stride,
        padding=op.padding,
        groups=channels,
    )
    total = y if op.kind == "sum" else graph.claim(f"{y}.sum")
    _conv(graph, ones, x, total, graph.constant(ones.weight, f"{total}.weight"))
    if op.kind == "sum":
        return y
    return graph.add("Div", [total, graph.constant(size, f"{y}.window")], y)


def compact(values: Array) -> Array:
    """Of shape () where all values are equal: a scalar operand is the cheaper one."""
    return values.reshape(-1)[0] if (values == values.reshape(-1)[0]).all() else values
