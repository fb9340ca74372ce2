"""Ways to step a network that are timed: an opened artifact, and a bare engine."""

from collections.abc import Mapping, Set
from pathlib import Path
from typing import final

from sltdeploy.program import Array
from sltdeploy.runtime import Runner
from sltdeploy.runtime.engine import BufferedEngine
from sltdeploy.runtime.manifest import read, read_files
from sltdeploy.runtime.onnx_engine import OnnxEngine


@final
class Opened:
    """`sltdeploy.benching.measuring.Contender`: `Runner.step`, as a control loop calls it."""

    def __init__(self, name: str, runner: Runner, frames: Mapping[str, Array]) -> None:
        self.name = name
        self._runner = runner
        rows = range(len(next(iter(frames.values()))))
        # A network of one input is fed its array, as one would by hand.
        self._fed: list[Array | dict[str, Array]] = [
            next(iter(frames.values()))[k]
            if len(frames) == 1
            else {name: values[k] for name, values in frames.items()}
            for k in rows
        ]

    def begin(self) -> None:
        """Go to the first state."""
        self._runner.reset(1)

    def step(self, frame: int) -> dict[str, Array]:
        """Take one step."""
        return self._runner.step(self._fed[frame])

    def read(self, sent: dict[str, Array]) -> dict[str, Array]:
        """What `step` returned is what is asked for."""
        return sent


@final
class Bare:
    """`sltdeploy.benching.measuring.Contender`: an engine without the runner around it.

    A step copies its frame to where the engine reads and ticks: for ONNX Runtime all memory bound
    and the states swapped, the least that Python can do with it.
    """

    def __init__(
        self, name: str, engine: BufferedEngine, frames: Mapping[str, Array], spiking: Set[str]
    ) -> None:
        self.name = name
        self._engine, self._spiking = engine, spiking
        engine.begin(1)
        fed, self._given = engine.buffers
        # Cast beforehand: whoever feeds an engine by hand has frames of its dtype.
        self._rows = [
            [(fed[n], values[k].astype(fed[n].dtype)) for n, values in frames.items()]
            for k in range(len(next(iter(frames.values()))))
        ]

    def begin(self) -> None:
        """Go to the first state."""
        self._engine.begin(1)

    def step(self, frame: int) -> Mapping[str, Array]:
        """Take one step; what it returns is overwritten by the next."""
        for place, values in self._rows[frame]:
            place[...] = values
        self._engine.tick()
        return self._given

    def read(self, sent: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs, spikes as bool."""
        return {n: a != 0 if n in self._spiking else a for n, a in sent.items()}


def bare_onnx(name: str, folder: Path, frames: Mapping[str, Array]) -> Bare:
    """ONNX Runtime on the step model of the artifact in ``folder``."""
    manifest = read(folder)
    engine = OnnxEngine(manifest, read_files(manifest)[manifest.data["model"]])
    return Bare(name, engine, frames, manifest.spiking)
