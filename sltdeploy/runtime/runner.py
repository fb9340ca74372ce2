"""What every opened artifact offers, whatever runs it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from sltdeploy.errors import InputError
from sltdeploy.program import Array
from sltdeploy.runtime.latency import Latency, Stopwatch
from sltdeploy.runtime.manifest import Manifest


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a run gave, each (T, B, *shape), on the time axis of the reference.

    ``outputs`` are in the units of the float program, spikes are bool. ``records`` hold what left
    each recorded population as the machine has it, so an integer readout stays an integer.
    """

    outputs: Mapping[str, Array]
    records: Mapping[str, Array]


class Runner(ABC):
    """An opened artifact. Use as a context manager, or call `close`.

    ``refusals`` are lines on what `sltdeploy.runtime.Realtime` asked for and the system refused.
    """

    def __init__(self, manifest: Manifest, refusals: tuple[str, ...] = ()) -> None:
        self.manifest = manifest
        self.refusals = refusals

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

    @property
    def latency(self) -> Latency:
        """How long each `step` took since opening, by the monotonic clock; runs do not count.

        From the call until the outputs stand there, with the check of the input.
        """
        return Stopwatch().latency()

    @property
    def state(self) -> dict[str, Array]:
        """What goes from step to step, as copies by name, each (B, ...).

        Names are POPULATION.v (potential), .j (synaptic current), .past (what waits in a delay
        line, latest first) and .last (what goes around a loop); what fades within a step may be
        missing. A runner of the same artifact and engine that is given them goes on from here,
        to the bit. To set a state fixes the batch size where no step has done so.

        Raises `InputError` where no batch size is fixed yet, or with every name, shape, dtype or
        value of a state that does not fit; the state is then what it was. An engine that runs
        whole sequences only, as Lava does, has no state in between and refuses.
        """
        raise InputError(self._no_state())

    @state.setter
    def state(self, values: Mapping[str, Array]) -> None:
        raise InputError(self._no_state())

    @abstractmethod
    def step(self, x: Array | Mapping[str, Array]) -> dict[str, Array]:
        """Feed one time step, (B, *shape); return each output, (B, *shape).

        The first step after opening or `reset` fixes the batch size B. Values are in the units
        of the float program, spikes are bool. Raises `InputError` for a wrong name, shape, dtype
        or value; the state is then what it was. What a step past its deadline gives is said in
        `sltdeploy.runtime.deadline.Deadline`; the state has then moved on.
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

    def _no_state(self) -> str:
        return (
            f"{self.folder}: this engine starts each run from the first state and ends with it, "
            "there is no state in between: open the artifact with engine='fast' to keep one"
        )

    def in_float_units(self, name: str, values: Array) -> Array:
        """Values of output ``name`` as the float program would have them; spikes are spikes."""
        output = next(o for o in self.manifest.outputs if o.name == name)
        if output.spiking or output.unit is None:
            return values
        return (values / output.unit).astype(np.float32)
