"""A small builder of ONNX graphs: plain data, written out by `sltdeploy.onnx_model.writing`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np

from sltdeploy.program import Array, Shape

# onnx.TensorProto, for Cast and for ports
FLOAT, UINT8, BOOL = 1, 2, 9
BATCH = "N"
STEPS = "T"

Attributes = Mapping[str, int | tuple[int, ...]]


@dataclass(frozen=True)
class Port:
    """A tensor (*axes, *shape) that enters or leaves a graph; axes are those of free size."""

    name: str
    shape: Shape
    axes: tuple[str, ...] = (BATCH,)
    type: int = FLOAT


@dataclass(frozen=True)
class Body:
    """The graph that a Scan runs in each step."""

    graph: "Graph"
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True)
class Node:
    """One operator; only a Scan has a body, and more than one output."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Attributes
    body: Body | None = None


@dataclass
class Graph:
    """Collects nodes in the order in which they run and constants by content."""

    names: set[str] = field(default_factory=set[str])
    nodes: list[Node] = field(default_factory=list[Node])
    constants: dict[str, Array] = field(default_factory=dict[str, Array])
    _by_content: dict[tuple[str, Shape, bytes], str] = field(default_factory=dict)

    def inner(self) -> "Graph":
        """Begin a graph for a Scan: no name is used twice, its constants are its own.

        ONNX Runtime prepares weights for fast use only where they are constants of the very graph
        that uses them.
        """
        return Graph(self.names)

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

    def bytes(self, values: Array, wanted: str) -> str:
        """Name of an int8 constant."""
        return self._store(values.astype(np.int8), wanted)

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
        self.nodes.append(Node(op, tuple(inputs), (to,), attributes or {}))
        return to

    def once(
        self, op: str, inputs: Sequence[str], wanted: str, attributes: Attributes | None = None
    ) -> str:
        """Tensor that such a node writes: of the one that is there already, or of a new one."""
        sought = (op, tuple(inputs), attributes or {})
        for n in self.nodes:
            if (n.op, n.inputs, n.attributes) == sought:
                return n.outputs[0]
        return self.add(op, inputs, self.claim(wanted), attributes)

    def scan(self, inputs: Sequence[str], outputs: Sequence[str], body: Body, count: int) -> None:
        """Append a Scan whose last ``count`` inputs are taken apart along their first axis."""
        attributes = {"num_scan_inputs": count}
        self.nodes.append(Node("Scan", tuple(inputs), tuple(outputs), attributes, body))

    def total(self, terms: Sequence[str], to: str) -> str:
        """Add ``terms`` from left to right into ``to``; a single term is passed on as it is.

        Where a convolution brings one of them, by Sum: ONNX Runtime merges Conv and Add into one
        operator that starts from the other term, and so rounds otherwise than the reference.
        """
        if len(terms) == 1:
            return self.add("Identity", terms, to)
        running = terms[0]
        for k, term in enumerate(terms[1:], start=2):
            goal = to if k == len(terms) else self.claim(f"{to}.sum")
            convolved = self._convolved(running) or self._convolved(term)
            running = self.add("Sum" if convolved else "Add", (running, term), goal)
        return running

    def _convolved(self, tensor: str) -> bool:
        """Whether ``tensor`` is a convolution's, or becomes one's when a runtime merges nodes."""
        node = next((n for n in self.nodes if tensor in n.outputs), None)
        if node is not None and node.op in ("Identity", "Mul"):
            return any(self._convolved(name) for name in node.inputs)
        return node is not None and node.op == "Conv"

    def operators(self) -> set[str]:
        """Types of all nodes, those of bodies too."""
        return {n.op for g in self.all() for n in g.nodes}

    def nbytes(self) -> int:
        """Size of all constants, those of bodies too."""
        return sum(c.nbytes for g in self.all() for c in g.constants.values())

    def all(self) -> "Iterator[Graph]":
        """Yield the graph and those of its Scans."""
        yield self
        for n in self.nodes:
            if n.body is not None:
                yield n.body.graph
