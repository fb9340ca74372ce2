"""Steps an ONNX artifact in ONNX Runtime, on the CPU, with all memory held here.

Input, outputs and two sets of states are allocated once a batch size. Two bindings tell the
runtime where they lie: one reads the first set and writes the second, the other the reverse. A
step runs one binding and then swaps, so a step that fails leaves the state as it was.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from sltdeploy.errors import InputError, MissingComponentError
from sltdeploy.program import Array, Shape
from sltdeploy.runtime.manifest import EXPORT_AGAIN, Manifest


@dataclass(frozen=True, eq=False)
class _State:
    """A tensor that goes from one step to the next."""

    input: str
    output: str
    shape: Shape
    init: Array


@dataclass(frozen=True, eq=False)
class _Memory:
    """Everything that the runtime reads and writes for one batch size; False and True: record."""

    batch: int
    fed: Mapping[str, Array]
    sent: Mapping[str, Array]
    states: tuple[Mapping[str, Array], Mapping[str, Array]]
    bindings: tuple[Mapping[bool, Any], Mapping[bool, Any]]


@final
class OnnxEngine:
    """`sltdeploy.runtime.runner.Engine` for exporter onnx; ``threads`` is what a step may use."""

    def __init__(self, manifest: Manifest, model: bytes, *, threads: int = 1) -> None:
        self._manifest = manifest
        self._states = _states(manifest)
        self._outputs = tuple(o.name for o in manifest.outputs)
        inputs = {p.name for p in manifest.inputs}
        spiking = (n for n in manifest.shapes if n in manifest.spiking and n not in inputs)
        self._recorded = tuple(dict.fromkeys((*self._outputs, *spiking)))
        self._session: Any = _session(manifest, model, threads)
        _agree(manifest, self._session, self._states, self._recorded)
        self._memory: _Memory | None = None
        self._turn = 0

    def begin(self, batch: int) -> None:
        """Write the first state; allocate where the batch size is new."""
        memory = self._memory
        if memory is None or memory.batch != batch:
            memory = self._memory = self._allocate(batch)
        for state in self._states:
            memory.states[0][state.input][...] = state.init
        self._turn = 0

    def advance(self, fed: Mapping[str, Array], *, record: bool) -> dict[str, Array]:
        """Run one step."""
        memory = self._memory
        assert memory is not None, "begin comes first"
        for name, values in fed.items():
            memory.fed[name][...] = values
        self._session.run_with_iobinding(memory.bindings[self._turn][record])
        self._turn = 1 - self._turn
        names = self._recorded if record else self._outputs
        return {
            name: memory.sent[name] != 0
            if name in self._manifest.spiking
            else memory.sent[name].copy()
            for name in names
        }

    def close(self) -> None:
        """Drop the bindings before the memory that they point into, then the session."""
        self._memory = None
        self._session = None

    def _allocate(self, batch: int) -> _Memory:
        fed = {p.name: np.empty((batch, *p.shape), np.float32) for p in self._manifest.inputs}
        sent = {
            name: np.empty((batch, *self._manifest.shapes[name]), np.float32)
            for name in self._recorded
        }
        first, second = (
            {s.input: np.empty((batch, *s.shape), np.float32) for s in self._states}
            for _ in range(2)
        )

        def bind(before: Mapping[str, Array], after: Mapping[str, Array]) -> dict[bool, Any]:
            reads = {**fed, **before}
            writes = {s.output: after[s.input] for s in self._states}
            return {
                record: self._binding(reads, {**{n: sent[n] for n in names}, **writes})
                for record, names in ((False, self._outputs), (True, self._recorded))
            }

        bindings = bind(first, second), bind(second, first)
        return _Memory(batch, fed, sent, (first, second), bindings)

    def _binding(self, reads: Mapping[str, Array], writes: Mapping[str, Array]) -> Any:
        binding = self._session.io_binding()
        for name, a in reads.items():
            binding.bind_input(name, "cpu", 0, np.float32, a.shape, a.ctypes.data)
        for name, a in writes.items():
            binding.bind_output(name, "cpu", 0, np.float32, a.shape, a.ctypes.data)
        return binding


def _states(manifest: Manifest) -> tuple[_State, ...]:
    try:
        return tuple(
            _State(
                s["input"],
                s["output"],
                tuple(s["shape"]),
                np.broadcast_to(np.array(s["init"], np.float32), s["shape"]),
            )
            for s in manifest.data["states"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{manifest.folder}: the manifest's states are damaged ({error}): {EXPORT_AGAIN}"
        ) from None


def _session(manifest: Manifest, model: bytes, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise MissingComponentError(
            'running an ONNX artifact needs ONNX Runtime: pip install "sltdeploy[robot]"'
        ) from None
    options = onnxruntime.SessionOptions()
    # A second thread helps large networks only, and waits in a loop that other processes pay for.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime has one class of its own for each kind of failure
        raise InputError(
            f"{manifest.folder}: ONNX Runtime {onnxruntime.__version__} cannot load the model: "
            f"{str(error).splitlines()[0]}"
        ) from None


def _agree(
    manifest: Manifest, session: Any, states: Iterable[_State], recorded: Iterable[str]
) -> None:
    """Refuse a model whose inputs and outputs are not the ones that the manifest names."""
    reads = {p.name: p.shape for p in manifest.inputs} | {s.input: s.shape for s in states}
    writes = {n: manifest.shapes[n] for n in recorded} | {s.output: s.shape for s in states}
    for what, named, actual in (
        ("inputs", reads, session.get_inputs()),
        ("outputs", writes, session.get_outputs()),
    ):
        held = {a.name: tuple(a.shape[1:]) for a in actual}
        if held != named or any(a.type != "tensor(float)" for a in actual):
            raise InputError(
                f"{manifest.folder}: the model's {what} are {held}, the manifest names {named}: "
                f"{EXPORT_AGAIN}"
            )
