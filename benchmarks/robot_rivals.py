"""What the table of `robot.py` is measured against: contenders that step one network.

Each steps the same weights on the same frames; see `sltdeploy.benching.measuring.Contender`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import norse.torch as snn
import numpy as np
import torch
from onnx_forms import GAIN, TAU_INVERSE, Net, module

from sltdeploy.program import Array
from sltdeploy.runtime import Runner
from sltdeploy.runtime.manifest import read, read_files
from sltdeploy.runtime.onnx_engine import OnnxEngine
from sltdeploy.runtime.onnx_sequence import OnnxSequenceEngine

Sent = Mapping[str, Array]


@final
class Norse:
    """`SequentialState` of linear layers or convolutions and LIFBoxCells, as one writes it."""

    name = "Norse eager"

    def __init__(self, net: Net, out: str, frames: Array) -> None:
        parts: list[torch.nn.Module] = []
        for before, w in zip(net.ops, net.weights, strict=True):
            parameters = snn.LIFBoxParameters(tau_mem_inv=torch.tensor(TAU_INVERSE))
            parts += [*module(before, w), snn.LIFBoxCell(parameters, dt=1e-3)]
        self._net, self._out = snn.SequentialState(*parts), out
        self._rows = list(torch.from_numpy(frames.astype(np.float32)))
        self._state: Any = None

    def begin(self) -> None:
        """Forget the state."""
        self._state = None

    def step(self, frame: int) -> torch.Tensor:
        """Take one step."""
        with torch.inference_mode():
            sent, self._state = self._net(self._rows[frame], self._state)
        return sent

    def read(self, sent: torch.Tensor) -> Sent:
        """Spikes of the last layer."""
        return {self._out: sent.numpy() != 0}


@final
class Torch:
    """The same formulas as Norse's cell in plain torch."""

    name = "torch eager"

    def __init__(self, net: Net, out: str, frames: Array) -> None:
        self._layers = [
            torch.nn.Sequential(*module(before, w))
            for before, w in zip(net.ops, net.weights, strict=True)
        ]
        self._out, self._gain = out, torch.tensor(GAIN)
        self._leak, self._threshold, self._reset = torch.zeros(()), torch.ones(()), torch.zeros(())
        self._rows = list(torch.from_numpy(frames.astype(np.float32)))
        self.begin()

    def begin(self) -> None:
        """All potentials 0."""
        self._potentials: list[torch.Tensor] = [self._leak] * len(self._layers)

    def step(self, frame: int) -> torch.Tensor:
        """Take one step."""
        z = self._rows[frame]
        with torch.inference_mode():
            for k, layer in enumerate(self._layers):
                v = self._potentials[k]
                v = v + self._gain * ((self._leak - v) + layer(z))
                z = (v - self._threshold > 0).float()
                self._potentials[k] = v - (v - self._reset) * z
        return z

    def read(self, sent: torch.Tensor) -> Sent:
        """Spikes of the last layer."""
        return {self._out: sent.numpy() != 0}


@final
class Sequences:
    """`Runner.run` on a sequence artifact, or its engine alone; a step is ``part`` frames."""

    def __init__(self, name: str, run: Callable[[Array], Sent], frames: Array, part: int) -> None:
        self.name = name
        self._run = run
        self._rows = [frames[k : k + part] for k in range(0, len(frames), part)]

    @classmethod
    def opened(cls, runner: Runner, frames: Array, part: int) -> "Sequences":
        """By `Runner.run`."""

        def run(x: Array) -> Sent:
            return runner.run(x).outputs

        return cls("sequence, opened", run, frames, part)

    @classmethod
    def bare(cls, folder: Path, frames: Array, part: int) -> "Sequences":
        """By the engine."""
        manifest = read(folder)
        engine = OnnxSequenceEngine(manifest, read_files(manifest)["model.onnx"])
        name = manifest.inputs[0].name

        def run(x: Array) -> Sent:
            engine.begin(1)
            return engine.advance_all({name: x}, record=False)

        return cls("sequence, bare", run, frames, part)

    def begin(self) -> None:
        """Nothing: each sequence starts from the first state."""

    def step(self, frame: int) -> Sent:
        """Run one sequence."""
        return self._run(self._rows[frame])

    def read(self, sent: Sent) -> Sent:
        """What left the last layer, (part, 1, n)."""
        return sent


@final
class Bound:
    """ONNX Runtime's session on one binding made before: nothing is copied in, out or swapped."""

    name = "session"

    def __init__(self, folder: Path) -> None:
        manifest = read(folder)
        engine = OnnxEngine(manifest, read_files(manifest)["model.onnx"])
        engine.begin(1)
        model, memory = vars(engine)["_model"], vars(engine)["_memory"]
        self._held = engine  # as long as the binding
        self._run, self._binding = model.session.run_with_iobinding, memory.bindings[0][False]

    def begin(self) -> None:
        """Nothing: it computes the same step again and again."""

    def step(self, frame: int) -> None:
        """Run the session."""
        self._run(self._binding)

    def read(self, sent: None) -> Sent:
        """Nothing to compare."""
        return {}
