"""The runner of whatever goes step by step: it checks, measures, and keeps the batch size."""

import time
from collections.abc import Callable, Mapping
from typing import final

import numpy as np

from sltdeploy.errors import InputError
from sltdeploy.feeding import conform
from sltdeploy.program import Array
from sltdeploy.runtime.deadline import Deadline, Substitute
from sltdeploy.runtime.engine import BufferedEngine, Engine, SequenceEngine
from sltdeploy.runtime.latency import Latency, Stopwatch
from sltdeploy.runtime.lean import Short, short_way
from sltdeploy.runtime.manifest import Manifest
from sltdeploy.runtime.runner import Runner, RunResult
from sltdeploy.runtime.stated import checked, samples


@final
class StepRunner(Runner):
    """Steps an `Engine`; ``clock`` gives nanoseconds that never go back.

    ``on_line`` gets "step k of n" now and then in a `run`.
    """

    def __init__(
        self,
        manifest: Manifest,
        engine: Engine,
        *,
        deadline: Deadline | None = None,
        refusals: tuple[str, ...] = (),
        clock: Callable[[], int] = time.perf_counter_ns,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(manifest, refusals)
        self._engine: Engine | None = engine
        self._batch: int | None = None
        # The short way for the batch size that the engine has now, and whether it may be taken.
        self._begun = 0
        self._short: Short | None = None
        self._way: Short | None = None
        self._clock = clock
        self._say = on_line or _silent
        limit = Deadline() if deadline is None else deadline
        self._watch = Stopwatch(limit.ns)
        self._substitute = None if limit.ns is None else Substitute(limit)

    @property
    def latency_steps(self) -> int:
        """Always 0: the engines step as the reference does."""
        return 0

    @property
    def latency(self) -> Latency:
        """How long steps took; see `Runner.latency`."""
        return self._watch.latency()

    @property
    def state(self) -> dict[str, Array]:
        """What goes from step to step; see `Runner.state`."""
        engine = self._open_engine()
        if self._batch is None:
            raise InputError(
                f"{self.folder}: no state yet, the batch size is open: call step, run or "
                "reset(batch) first"
            )
        return engine.state()

    @state.setter
    def state(self, values: Mapping[str, Array]) -> None:
        engine = self._open_engine()
        batch = samples(values)
        if self._batch is not None and batch not in (None, self._batch):
            raise InputError(
                f"the state given has {batch} samples, the runner's {self._batch}: call reset() "
                "first to change the batch size"
            )
        if self._batch is None:  # without a batch size only the first state is there to lose
            self._first(engine, batch or 1)
        fitting = checked(engine.state(), values, self.manifest.numbers)
        if self._batch is None and batch:
            self._begin(engine, batch)
        engine.restore(fitting)
        self._forget()

    def step(self, x: Array | Mapping[str, Array]) -> dict[str, Array]:
        """Feed one time step; see `Runner.step`."""
        start = self._clock()
        way = self._way
        sent = None if way is None else way(x)
        if sent is None:
            sent = self._converted(x)
        took = self._clock() - start
        in_time = self._watch.add(took)
        substitute = self._substitute
        if substitute is None:
            return sent
        if in_time:
            substitute.keep(sent)
            return sent
        return substitute.give(sent, self._watch.steps, took)

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
        if batch is not None:
            self._begin(engine, batch)
        else:
            self._batch = self._way = None  # the next step fixes the size, and begins

    def close(self) -> None:
        """Give up the engine; see `Runner.close`."""
        self._way = self._short = None  # before the memory that they write to
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
        self._first(engine, batch)
        self._batch = batch
        self._way = self._short
        self._forget()

    def _first(self, engine: Engine, batch: int) -> None:
        engine.begin(batch)
        if batch != self._begun:  # with the same size the engine keeps its memory
            buffered = isinstance(engine, BufferedEngine)
            self._short = short_way(self.manifest, engine) if buffered else None
            self._begun = batch

    def _forget(self) -> None:
        if self._substitute is not None:
            self._substitute.forget()

    def _converted(self, x: Array | Mapping[str, Array]) -> dict[str, Array]:
        """One step of input that has to be converted, or refused."""
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
    del line
