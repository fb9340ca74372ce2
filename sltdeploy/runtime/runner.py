"""Running an artifact: what every runner offers, and the one that goes step by step."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, final, runtime_checkable

import numpy as np

from sltdeploy.errors import InputError
from sltdeploy.feeding import conform
from sltdeploy.program import Array
from sltdeploy.runtime.manifest import Manifest


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a run gave, each (T, B, *shape), on the time axis of the reference.

    ``outputs`` are in the units of the float program, spikes are bool. ``records`` hold what left
    each recorded population as the machine has it, so an integer readout stays an integer.
    """

    outputs: Mapping[str, Array]
    records: Mapping[str, Array]


class Engine(Protocol):
    """A machine that steps one network. Every array that it returns is the caller's."""

    def begin(self, batch: int) -> None:
        """Go to the first state, for ``batch`` samples."""
        ...

    def advance(self, fed: Mapping[str, Array], *, record: bool) -> dict[str, Array]:
        """One step: what left the outputs, with ``record`` at least every spiking population too.

        Where this raises, the state is what it was before.
        """
        ...

    def close(self) -> None:
        """Give up what is held."""
        ...


@runtime_checkable
class SequenceEngine(Engine, Protocol):
    """An engine that takes many steps faster at once than one by one."""

    def advance_all(
        self,
        fed: Mapping[str, Array],
        *,
        record: bool,
        on_share: Callable[[float], None] | None = None,
    ) -> dict[str, Array]:
        """As `advance` for each step of ``fed`` in turn, all (T, B, *shape).

        ``on_share`` gets the share that is done, now and then.
        """
        ...


class Runner(ABC):
    """An opened artifact. Use as a context manager, or call `close`."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest

    @property
    def folder(self) -> Path:
        """Where the artifact lies."""
        return self.manifest.folder

    @property
    def info(self) -> Mapping[str, Any]:
        """The manifest as read."""
        return self.manifest.data

    @property
    @abstractmethod
    def latency_steps(self) -> int:
        """Steps by which the last output lags the reference; `run` has already removed them."""

    @abstractmethod
    def step(self, x: Array | Mapping[str, Array]) -> dict[str, Array]:
        """Feed one time step, (B, *shape); return each output, (B, *shape).

        The first step after opening or `reset` fixes the batch size B. Values are in the units
        of the float program, spikes are bool. Raises `InputError` for a wrong name, shape, dtype
        or value; the state is then what it was.
        """

    @abstractmethod
    def run(self, x: Array | Mapping[str, Array], *, record: bool = False) -> RunResult:
        """Go to the first state, feed (T, B, *shape) and collect the outputs.

        With ``record`` the result also holds what left the inputs, the outputs and at least every
        spiking population. Raises `InputError` as `step` does, before the state is touched.
        """

    @abstractmethod
    def reset(self, batch: int | None = None) -> None:
        """Go to the first state; ``batch`` fixes the batch size, else the next step does."""

    @abstractmethod
    def close(self) -> None:
        """Give up what is held; a closed runner cannot be used."""

    def __enter__(self) -> "Runner":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def in_float_units(self, name: str, values: Array) -> Array:
        """Values of output ``name`` as the float program would have them; spikes are spikes."""
        output = next(o for o in self.manifest.outputs if o.name == name)
        if output.spiking or output.unit is None:
            return values
        return (values / output.unit).astype(np.float32)


@final
class StepRunner(Runner):
    """Steps an `Engine`: checks what goes in, keeps the batch size, collects what comes out.

    ``on_line`` gets "step k of n" now and then in a `run`.
    """

    def __init__(
        self,
        manifest: Manifest,
        engine: Engine,
        *,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(manifest)
        self._say = on_line or _silent
        self._engine: Engine | None = engine
        self._batch: int | None = None

    @property
    def latency_steps(self) -> int:
        """Always 0: the engines step as the reference does."""
        return 0

    def step(self, x: Array | Mapping[str, Array]) -> dict[str, Array]:
        """Feed one time step; see `Runner.step`."""
        engine = self._open_engine()
        fed = conform(self.manifest.inputs, x, ("B",))
        batch = len(next(iter(fed.values())))
        if self._batch is None:
            self._begin(engine, batch)
        elif batch != self._batch:
            raise InputError(
                f"the input has {batch} samples, the state {self._batch}: call reset() first to "
                "change the batch size"
            )
        sent = engine.advance(fed, record=False)
        return {o.name: self.in_float_units(o.name, sent[o.name]) for o in self.manifest.outputs}

    def run(self, x: Array | Mapping[str, Array], *, record: bool = False) -> RunResult:
        """Feed a sequence from the first state on; see `Runner.run`."""
        engine = self._open_engine()
        fed = conform(self.manifest.inputs, x, ("T", "B"))
        steps, batch = next(iter(fed.values())).shape[:2]
        self._begin(engine, batch)
        if steps or isinstance(engine, SequenceEngine):
            sent = _through(engine, fed, steps, record=record, say=self._say)
        else:
            sent = self._nothing(batch)
        outputs = {o.name: self.in_float_units(o.name, sent[o.name]) for o in self.manifest.outputs}
        return RunResult(outputs, {**fed, **sent} if record else {})

    def reset(self, batch: int | None = None) -> None:
        """Go to the first state; see `Runner.reset`."""
        engine = self._open_engine()
        self._batch = None
        if batch is not None:
            self._begin(engine, batch)

    def close(self) -> None:
        """Give up the engine; see `Runner.close`."""
        if self._engine is not None:
            self._engine.close()
        self._engine = None

    def _open_engine(self) -> Engine:
        if self._engine is None:
            raise InputError(f"{self.folder}: this runner is closed, open the artifact again")
        return self._engine

    def _begin(self, engine: Engine, batch: int) -> None:
        if batch < 1:
            raise InputError(f"batch size is {batch}, must be at least 1")
        engine.begin(batch)
        self._batch = batch

    def _nothing(self, batch: int) -> dict[str, Array]:
        """What left each population in no step at all."""
        spiking = self.manifest.spiking
        inputs = {p.name for p in self.manifest.inputs}
        return {
            name: np.zeros((0, batch, *shape), bool if name in spiking else np.float32)
            for name, shape in self.manifest.shapes.items()
            if name not in inputs
        }


def _through(
    engine: Engine,
    fed: Mapping[str, Array],
    steps: int,
    *,
    record: bool,
    say: Callable[[str], None],
) -> dict[str, Array]:
    if isinstance(engine, SequenceEngine):

        def on_share(done: float) -> None:
            say(f"step {round(done * steps)} of {steps}")

        return engine.advance_all(fed, record=record, on_share=on_share)
    rows: list[dict[str, Array]] = []
    for t in range(steps):
        rows.append(engine.advance({n: values[t] for n, values in fed.items()}, record=record))
        say(f"step {t + 1} of {steps}")
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _silent(line: str) -> None:
    """Say nothing."""
