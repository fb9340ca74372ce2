"""Steps an ONNX artifact of form "step" in ONNX Runtime, with all memory held here.

Input, outputs and two sets of states are allocated once a batch size. Two bindings tell the
runtime where they lie: one reads the first set and writes the second, the other the reverse. A
step runs one binding and then swaps, so a step that fails leaves the state as it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from sltdeploy.program import Array
from sltdeploy.runtime.engine import backed
from sltdeploy.runtime.manifest import Manifest
from sltdeploy.runtime.onnx_session import OnnxModel, open_model


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
    """`sltdeploy.runtime.engine.BufferedEngine`; ``threads`` is what a step may use."""

    def __init__(self, manifest: Manifest, model: bytes, *, threads: int = 1) -> None:
        self._inputs = manifest.inputs
        self._model: OnnxModel | None = open_model(manifest, model, threads)
        self._memory: _Memory | None = None
        # What a tick needs, at hand: fewer steps of Python between two of the network.
        self._session: Any = self._model.session
        self._ticks: tuple[Any, ...] = ()
        self._turn = 0

    def begin(self, batch: int) -> None:
        """Write the first state; allocate where the batch size is new."""
        model = self._open_model()
        memory = self._memory
        if memory is None or memory.batch != batch:
            memory = self._memory = self._allocate(model, batch)
            self._ticks = tuple(binding[False] for binding in memory.bindings)
        model.begin(memory.states[0])
        self._turn = 0

    def advance(self, fed: Mapping[str, Array], *, record: bool) -> dict[str, Array]:
        """Run one step."""
        model, memory = self._open_model(), self._begun()
        for name, values in fed.items():
            memory.fed[name][...] = values
        model.session.run_with_iobinding(memory.bindings[self._turn][record])
        self._turn = 1 - self._turn
        names = model.recorded if record else model.outputs
        return {
            name: memory.sent[name] != 0 if name in model.spiking else memory.sent[name].copy()
            for name in names
        }

    @property
    def buffers(self) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
        """What `tick` reads and writes, (B, *shape), by input and by output; from `begin` on."""
        model, memory = self._open_model(), self._begun()
        return memory.fed, {name: memory.sent[name] for name in model.outputs}

    def tick(self) -> None:
        """Run one step on what stands in `buffers`; nothing is copied or allocated."""
        turn = self._turn
        self._session.run_with_iobinding(self._ticks[turn])
        self._turn = 1 - turn

    def state(self) -> dict[str, Array]:
        """Copy of the state, (B, *shape) each; empty before `begin`."""
        memory = self._memory
        return {} if memory is None else self._open_model().read(memory.states[self._turn])

    def restore(self, values: Mapping[str, Array]) -> None:
        """Take ``values``, which `state` gave for the batch size of now, as the state."""
        self._open_model().write(self._begun().states[self._turn], values)

    def close(self) -> None:
        """Drop the bindings before the memory that they point into, then the session."""
        self._ticks = ()
        self._memory = None
        self._model = self._session = None

    def _open_model(self) -> OnnxModel:
        assert self._model is not None, "the runner asks nothing of a closed engine"
        return self._model

    def _begun(self) -> _Memory:
        assert self._memory is not None, "begin comes first"
        return self._memory

    def _allocate(self, model: OnnxModel, batch: int) -> _Memory:
        single = np.dtype(np.float32)
        fed = {p.name: backed((batch, *p.shape), single)[0] for p in self._inputs}
        sent = {n: np.empty((batch, *model.shapes[n]), np.float32) for n in model.recorded}
        first, second = model.memory(batch), model.memory(batch)

        def bind(before: Mapping[str, Array], after: Mapping[str, Array]) -> dict[bool, Any]:
            reads = {**fed, **before}
            writes = {s.output: after[s.input] for s in model.states}
            return {
                record: model.binding(reads, {**{n: sent[n] for n in names}, **writes})
                for record, names in ((False, model.outputs), (True, model.recorded))
            }

        bindings = bind(first, second), bind(second, first)
        return _Memory(batch, fed, sent, (first, second), bindings)
