"""From a graph to the bytes of an ONNX file: the only place that needs the onnx package.

Equal models give equal bytes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sltdeploy import __version__
from sltdeploy.errors import InputError, MissingComponentError
from sltdeploy.onnx_model.graph import Graph, Node, Port
from sltdeploy.onnx_model.state import State
from sltdeploy.program import Array

OPSET = 13  # the newest that TensorRT 8.4 and JetPack 4.6 read; no op needed here is newer
IR_VERSION = 7
LIMIT = 2**31 - 1  # bytes that one protobuf message can hold


@dataclass(frozen=True, eq=False)
class Model:
    """A graph under a name, with what enters and leaves; states enter and leave behind those."""

    name: str
    graph: Graph
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    states: tuple[State, ...]


def to_bytes(model: Model, metadata: Mapping[str, str]) -> bytes:
    """Serialise as an ONNX model of opset 13, IR 7.

    Raises `InputError` where the constants exceed 2 GiB, `MissingComponentError` without onnx.
    """
    try:
        from onnx import helper
    except ImportError:
        raise MissingComponentError(
            'exporting to ONNX needs the onnx package: pip install "sltdeploy[onnx]"'
        ) from None

    size = model.graph.nbytes()
    if size > LIMIT:
        raise InputError(
            f"weights take {size} bytes, an ONNX file holds {LIMIT}: remove dead neurons or layers"
        )
    proto = helper.make_model(
        _graph(
            model.name,
            model.graph,
            [*model.inputs, *(Port(s.input, s.shape) for s in model.states)],
            [*model.outputs, *(Port(s.output, s.shape) for s in model.states)],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="sltdeploy",
        producer_version=__version__,
    )
    helper.set_model_props(proto, {key: metadata[key] for key in sorted(metadata)})
    return proto.SerializeToString(deterministic=True)


def _graph(name: str, graph: Graph, inputs: Iterable[Port], outputs: Iterable[Port]) -> Any:
    from onnx import helper

    return helper.make_graph(
        [_node(n) for n in graph.nodes],
        name,
        [_value(p) for p in inputs],
        [_value(p) for p in outputs],
        [_tensor(key, values) for key, values in graph.constants.items()],
    )


def _node(n: Node) -> Any:
    from onnx import helper

    made = helper.make_node(n.op, n.inputs, n.outputs)
    if n.body is not None:
        body = _graph(f"{n.outputs[0]}.step", n.body.graph, n.body.inputs, n.body.outputs)
        made.attribute.append(helper.make_attribute("body", body))
    made.attribute.extend(
        helper.make_attribute(key, n.attributes[key]) for key in sorted(n.attributes)
    )
    return made


def _tensor(key: str, values: Array) -> Any:
    from onnx import TensorProto, helper

    kinds = {"i8": TensorProto.INT64, "i1": TensorProto.INT8, "f4": TensorProto.FLOAT}
    raw = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    kind = kinds[np.dtype(values.dtype).str[1:]]
    return helper.make_tensor(key, kind, values.shape, raw, raw=True)


def _value(port: Port) -> Any:
    from onnx import helper

    return helper.make_tensor_value_info(port.name, port.type, (*port.axes, *port.shape))
