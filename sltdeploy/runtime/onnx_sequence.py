"""Runs an ONNX artifact of form "sequence" in ONNX Runtime: many steps a call, in parts.

A part is long enough that weights are read seldom and short enough that what lies between layers
stays in the cache and does not grow with the run. The state goes from part to part, so the parts
are one run, to the last bit where sums are exact.
"""

from collections.abc import Callable, Mapping
from typing import final

import numpy as np

from sltdeploy.program import Array
from sltdeploy.runtime.manifest import Manifest
from sltdeploy.runtime.onnx_session import OnnxModel, open_model

PART = 128  # steps times samples


@final
class OnnxSequenceEngine:
    """`sltdeploy.runtime.engine.SequenceEngine` for exporter onnx; a step is a sequence of one."""

    def __init__(self, manifest: Manifest, model: bytes, *, threads: int = 1) -> None:
        self._model: OnnxModel | None = open_model(manifest, model, threads)
        self._batch = 0
        # The state, and two more sets to write in turns: what fails leaves the first as it was.
        self._states: tuple[dict[str, Array], ...] = ()

    def begin(self, batch: int) -> None:
        """Write the first state; allocate where the batch size is new."""
        model = self._open_model()
        if batch != self._batch:
            self._states = tuple(model.memory(batch) for _ in range(3))
            self._batch = batch
        model.begin(self._states[0])

    def advance(self, fed: Mapping[str, Array], *, record: bool) -> dict[str, Array]:
        """Run one step."""
        sent = self.advance_all({n: values[None] for n, values in fed.items()}, record=record)
        return {name: values[0] for name, values in sent.items()}

    def advance_all(
        self,
        fed: Mapping[str, Array],
        *,
        record: bool,
        on_share: Callable[[float], None] | None = None,
    ) -> dict[str, Array]:
        """Run all steps of ``fed`` (T, B, *shape); ``on_share`` gets the share that is done."""
        model = self._open_model()
        assert self._states, "begin comes first"
        steps = len(next(iter(fed.values())))
        names = model.recorded if record else model.outputs
        sent = {n: np.empty((steps, self._batch, *model.shapes[n]), np.float32) for n in names}
        length = max(1, PART // self._batch)
        before, (after, spare) = self._states[0], self._states[1:]
        for start in range(0, steps, length):
            part = slice(start, start + length)
            reads = {n: np.ascontiguousarray(x[part], np.float32) for n, x in fed.items()}
            writes = {n: y[part] for n, y in sent.items()}
            states = {s.output: after[s.input] for s in model.states}
            model.session.run_with_iobinding(
                model.binding({**reads, **before}, {**writes, **states})
            )
            before, after, spare = after, spare, after
            if on_share is not None:
                on_share(min(part.stop, steps) / steps)
        self._states = (before, *(s for s in self._states if s is not before))
        return {n: y != 0 if n in model.spiking else y for n, y in sent.items()}

    def state(self) -> dict[str, Array]:
        """Copy of the state, (B, *shape) each; empty before `begin`."""
        return self._open_model().read(self._states[0]) if self._states else {}

    def restore(self, values: Mapping[str, Array]) -> None:
        """Take ``values``, which `state` gave for the batch size of now, as the state."""
        assert self._states, "begin comes first"
        self._open_model().write(self._states[0], values)

    def close(self) -> None:
        """Give up the memory and the session."""
        self._states = ()
        self._batch = 0
        self._model = None

    def _open_model(self) -> OnnxModel:
        assert self._model is not None, "the runner asks nothing of a closed engine"
        return self._model
