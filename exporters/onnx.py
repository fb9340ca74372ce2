"""ONNX in step form: one call is one time step, state in and state out.

Any ONNX runtime steps the model: feed the inputs and the state, get the outputs and the next
state. Nothing is hidden in the file; the manifest names every state and its first value, and
stands in the model's ``metadata_props`` as well.

Source: the forms, operators and versions were chosen by measurement on ONNX Runtime 1.15 to 1.31.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from sltdeploy.errors import raise_all
from sltdeploy.exporting import JSON, Exported
from sltdeploy.onnx_graph import FLOAT, OPSET, Graph, Port, to_bytes
from sltdeploy.onnx_state import State, line, send, shift, state
from sltdeploy.program import (
    Array,
    Conv,
    DelayLine,
    Input,
    Linear,
    LoihiNeuron,
    Neuron,
    Op,
    Pool,
    Population,
    Program,
    Projection,
    Relay,
    Reshape,
    Scale,
    Shape,
    op_shapes,
)
from sltdeploy.resting import at_rest

if TYPE_CHECKING:
    import nir

MODEL = "model.onnx"
METADATA_KEY = "sltdeploy.manifest"
OPERATORS = (  # all that a model of this exporter can contain
    "Add",
    "AveragePool",
    "Cast",
    "Concat",
    "Conv",
    "Div",
    "Flatten",
    "Gather",
    "Gemm",
    "Greater",
    "GreaterOrEqual",
    "Identity",
    "Mul",
    "ReduceSum",
    "Reshape",
    "Slice",
    "Sub",
    "Unsqueeze",
    "Where",
)


def export(
    program: Program, header: Mapping[str, JSON], graph: "nir.NIRGraph | None" = None
) -> Exported:
    """Translate ``program`` into ``model.onnx``: opset 13, IR 7, float32, batch size free.

    Inputs are the program's inputs under their own names, (N, *shape), then the states
    ``<population>.v`` and for a synaptic current ``<population>.j``. Outputs are the program's
    outputs under their own names, then the spikes (0 or 1) of every other spiking population,
    then the next states ``<population>.v_next`` and ``<population>.j_next``. Names already taken
    get a suffix, so read them from the manifest's ``states``.

    What a recurrent projection brings is the state ``<population>.last`` (N, *shape) of its
    source. A delay keeps what arrived, latest first, in ``<population>.line`` (N, depth, *shape).

    ``header`` goes into the model's metadata, ``graph`` is not needed. Raises `InputError` for a
    program in integers and for an output that is an input.
    """
    raise_all(_refusals(program))
    built = Graph({p.name for p in program.populations})
    late = {
        name: state(built, program.population(name), "last", sent)
        for name, sent in at_rest(program).items()
    }
    waiting: list[tuple[Population, DelayLine, State]] = []
    states = list(late.values())
    for p in program.populations:
        match p.rule:
            case Input() | LoihiNeuron():  # the latter was refused above
                continue
            case DelayLine() if p.rule.depth:
                kept = line(built, p, p.rule)
                states.append(kept)
                if p.rule.ends_loops:  # what arrives may come from populations that follow
                    send(built, p, p.rule.steps - 1, kept.input, p.rule.depth)
                    waiting.append((p, p.rule, kept))
                else:
                    shift(built, p, p.rule, kept, _arrives(built, program, p, late))
            case Relay() | DelayLine():
                built.total(_brought(built, program, p, late), p.name)
            case Neuron():
                states += _neuron(built, p, p.rule, _arrives(built, program, p, late))
    for p, rule, kept in waiting:
        shift(built, p, rule, kept, _arrives(built, program, p, late))
    for name, last in late.items():
        built.add("Identity", [name], last.output)
    details: dict[str, JSON] = {
        "model": MODEL,
        "opset": OPSET,
        "operators": sorted({n.op for n in built.nodes}),
        "states": [s.to_json() for s in states],
    }
    sent = list(dict.fromkeys((*program.outputs, *_spiking(program))))
    model = to_bytes(
        built,
        "step",
        [
            *(Port(p.name, p.shape) for p in program.inputs),
            *(Port(s.input, s.shape) for s in states),
        ],
        [
            *(Port(name, program.population(name).shape) for name in sent),
            *(Port(s.output, s.shape) for s in states),
        ],
        {METADATA_KEY: json.dumps({**header, **details}, sort_keys=True)},
    )
    return Exported({MODEL: model}, details)


def _refusals(program: Program) -> Iterator[str]:
    if program.numbers != "float32":
        yield (
            f"exporter onnx takes float32 programs, this one is in integers for "
            f"'{program.numbers}': export to onnx without the loihi target, or use --format lava"
        )
    inputs = {p.name for p in program.inputs}
    for name in program.outputs:
        if name in inputs:
            yield f"output '{name}' is an input of the program: name a population behind it"


def _spiking(program: Program) -> list[str]:
    return [p.name for p in program.populations if p.spiking and not isinstance(p.rule, Input)]


def _brought(graph: Graph, program: Program, p: Population, late: Mapping[str, State]) -> list[str]:
    """Tensors that the projections into ``p`` bring, to be added."""
    return [
        _through(
            graph,
            q,
            late[q.source].input if q.recurrent else q.source,
            program.population(q.source).shape,
        )
        for q in program.into(p.name)
    ]


def _arrives(graph: Graph, program: Program, p: Population, late: Mapping[str, State]) -> str:
    """Tensor of the sum of what the projections into ``p`` bring."""
    brought = _brought(graph, program, p, late)
    return brought[0] if len(brought) == 1 else graph.total(brought, graph.claim(f"{p.name}.x"))


# ----------------------------------------------------------------------------- neurons


def _neuron(graph: Graph, p: Population, rule: Neuron, x: str) -> list[State]:
    """Emit one step of ``rule``; products and sums in the order in which the reference rounds."""
    v = state(graph, p, "v", rule.v_init)
    states = [v]
    if rule.decay_syn is not None:
        j = state(graph, p, "j", np.zeros(()))
        states.append(j)
        x = graph.total([_decayed(graph, p, "j", rule.decay_syn, j.input), x], j.output)
    terms = [_decayed(graph, p, "v", rule.decay, v.input), x]
    if rule.bias.any():  # not folded into Gemm: the reference rounds before it adds the bias
        terms.append(graph.constant(_compact(rule.bias), f"{p.name}.bias"))
    if rule.threshold is None:
        graph.total(terms, p.name)
        graph.add("Identity", [p.name], v.output)
    else:
        u = graph.total(terms, graph.claim(f"{p.name}.u"))
        _fire(graph, p, rule, rule.threshold, u, v.output)
    return states


def _decayed(graph: Graph, p: Population, letter: str, decay: Array, before: str) -> str:
    if (decay == 1).all():
        return before
    factor = graph.constant(_compact(decay), f"{p.name}.decay_{letter}")
    return graph.add("Mul", [factor, before], graph.claim(f"{p.name}.{letter}_decayed"))


def _fire(graph: Graph, p: Population, rule: Neuron, threshold: Array, u: str, v_next: str) -> None:
    """Compare ``u`` with the threshold, send the spikes, reset."""
    limit = graph.constant(_compact(threshold), f"{p.name}.threshold")
    compare = "Greater" if rule.comparison == "gt" else "GreaterOrEqual"
    fired = graph.add(compare, [u, limit], graph.claim(f"{p.name}.fired"))
    graph.add("Cast", [fired], p.name, {"to": FLOAT})
    if rule.reset == "subtract" and (threshold == 1).all():
        graph.add("Sub", [u, p.name], v_next)  # what to subtract is the spike itself
    elif rule.reset == "subtract":
        lowered = graph.add("Sub", [u, limit], graph.claim(f"{p.name}.lowered"))
        graph.add("Where", [fired, lowered, u], v_next)
    else:
        assert rule.v_reset is not None, "Program checks that the rule is complete"
        rest = graph.constant(_compact(rule.v_reset), f"{p.name}.v_reset")
        graph.add("Where", [fired, rest, u], v_next)


def _compact(values: Array) -> Array:
    """Of shape () where all values are equal: a scalar operand is the cheaper one."""
    return values.reshape(-1)[0] if (values == values.reshape(-1)[0]).all() else values


# ----------------------------------------------------------------------------- projections


def _through(graph: Graph, projection: Projection, x: str, shape: Shape) -> str:
    """Emit the ops of a projection that starts at the tensor ``x``, (N, *shape)."""
    for op, (before, after) in zip(
        projection.ops, pairwise(op_shapes(projection, shape)), strict=True
    ):
        x = _op(graph, op, x, before, after, projection.target)
    return x


def _op(graph: Graph, op: Op, x: str, before: Shape, after: Shape, target: str) -> str:
    if isinstance(op, Reshape) and before == after:
        return x
    y = graph.claim(f"{target}.{type(op).__name__.lower()}")
    match op:
        case Linear():
            inputs = [x, graph.constant(op.weight, f"{y}.weight")]
            if op.bias is not None:
                inputs.append(graph.constant(op.bias, f"{y}.bias"))
            return graph.add("Gemm", inputs, y, {"transB": 1})
        case Conv():
            return _conv(graph, op, x, y)
        case Pool():
            return _pool(graph, op, x, y, before[0])
        case Scale():
            return graph.add("Mul", [x, graph.constant(_compact(op.factor), f"{y}.factor")], y)
        case Reshape():
            if len(after) == 1:
                return graph.add("Flatten", [x], y, {"axis": 1})
            goal = graph.integers((0, *after), f"{y}.shape")  # 0: as it is
            return graph.add("Reshape", [x, goal], y)


def _conv(graph: Graph, op: Conv, x: str, y: str) -> str:
    inputs = [x, graph.constant(op.weight, f"{y}.weight")]
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
    if op.kind == "sum":
        return _conv(graph, ones, x, y)
    total = _conv(graph, ones, x, graph.claim(f"{y}.sum"))
    return graph.add("Div", [total, graph.constant(size, f"{y}.window")], y)
