"""A small builder of ONNX graphs: plain data, and one function that turns it into a model.

Only `to_bytes` needs the onnx package. Equal graphs give equal bytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np

from sltdeploy import __version__
from sltdeploy.errors import InputError, MissingComponentError
from sltdeploy.program import Array, Shape

OPSET = 13  # the newest that TensorRT 8.4 and JetPack 4.6 read; no op needed here is newer
IR_VERSION = 7
BATCH = "N"
LIMIT = 2**31 - 1  # bytes that one protobuf message can hold
FLOAT = 1  # onnx.TensorProto.FLOAT, for Cast

Attributes = Mapping[str, int | tuple[int, ...]]


@dataclass(frozen=True)
class Node:
    """One operator: tensors in, one tensor out."""

    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: Attributes


@dataclass(frozen=True)
class Port:
    """A float32 tensor (N, *shape) that enters or leaves the model."""

    name: str
    shape: Shape


@dataclass
class Graph:
    """Collects nodes in the order in which they run and constants by content."""

    names: set[str] = field(default_factory=set[str])
    nodes: list[Node] = field(default_factory=list[Node])
    constants: dict[str, Array] = field(default_factory=dict[str, Array])
    _by_content: dict[tuple[str, Shape, bytes], str] = field(default_factory=dict)

    def claim(self, wanted: str) -> str:
        """Reserve a tensor name: ``wanted``, or where that is taken ``wanted#2`` and so on."""
        name, count = wanted, 1
        while name in self.names:
            count += 1
            name = f"{wanted}#{count}"
        self.names.add(name)
        return name

    def constant(self, values: Array, wanted: str) -> str:
        """Name of a float32 constant; equal constants are stored once."""
        return self._store(values.astype(np.float32), wanted)

    def integers(self, values: Iterable[int], wanted: str) -> str:
        """Name of an int64 constant, as Reshape takes it."""
        return self._store(np.array(tuple(values), np.int64), wanted)

    def index(self, value: int, wanted: str) -> str:
        """Name of a single int64 constant, as Gather takes it."""
        return self._store(np.array(value, np.int64), wanted)

    def _store(self, kept: Array, wanted: str) -> str:
        key = (kept.dtype.str, kept.shape, sha256(kept.tobytes()).digest())
        if key not in self._by_content:
            self._by_content[key] = self.claim(wanted)
            self.constants[self._by_content[key]] = kept
        return self._by_content[key]

    def add(
        self, op: str, inputs: Sequence[str], to: str, attributes: Attributes | None = None
    ) -> str:
        """Append a node that writes the tensor ``to``, a name already claimed; return ``to``."""
        self.nodes.append(Node(op, tuple(inputs), to, attributes or {}))
        return to

    def total(self, terms: Sequence[str], to: str) -> str:
        """Add ``terms`` from left to right into ``to``; a single term is passed on as it is."""
        if len(terms) == 1:
            return self.add("Identity", terms, to)
        running = terms[0]
        for k, term in enumerate(terms[1:], start=2):
            goal = to if k == len(terms) else self.claim(f"{to}.sum")
            running = self.add("Add", (running, term), goal)
        return running


def to_bytes(
    graph: Graph,
    name: str,
    inputs: Iterable[Port],
    outputs: Iterable[Port],
    metadata: Mapping[str, str],
) -> bytes:
    """Serialise as an ONNX model of opset 13, IR 7, with a batch dimension of any size.

    Raises `InputError` where the constants exceed 2 GiB, `MissingComponentError` without onnx.
    """
    try:
        from onnx import NodeProto, TensorProto, ValueInfoProto, helper
    except ImportError:
        raise MissingComponentError(
            'exporting to ONNX needs the onnx package: pip install "sltdeploy[onnx]"'
        ) from None

    def node(n: Node) -> NodeProto:
        made = helper.make_node(n.op, n.inputs, [n.output])
        made.attribute.extend(
            helper.make_attribute(key, n.attributes[key]) for key in sorted(n.attributes)
        )
        return made

    def tensor(key: str, values: Array) -> TensorProto:
        kind = TensorProto.INT64 if values.dtype.kind == "i" else TensorProto.FLOAT
        raw = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        return helper.make_tensor(key, kind, values.shape, raw, raw=True)

    def value(port: Port) -> ValueInfoProto:
        return helper.make_tensor_value_info(port.name, TensorProto.FLOAT, (BATCH, *port.shape))

    size = sum(c.nbytes for c in graph.constants.values())
    if size > LIMIT:
        raise InputError(
            f"weights take {size} bytes, an ONNX file holds {LIMIT}: remove dead neurons or layers"
        )
    model = helper.make_model(
        helper.make_graph(
            [node(n) for n in graph.nodes],
            name,
            [value(p) for p in inputs],
            [value(p) for p in outputs],
            [tensor(key, values) for key, values in graph.constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="sltdeploy",
        producer_version=__version__,
    )
    helper.set_model_props(model, {key: metadata[key] for key in sorted(metadata)})
    return model.SerializeToString(deterministic=True)
