"""An ONNX model in ONNX Runtime, on the CPU, and whether it is what the manifest says."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sltdeploy.errors import InputError, MissingComponentError
from sltdeploy.program import Array, Shape
from sltdeploy.runtime.manifest import EXPORT_AGAIN, Manifest

OLDEST = (1, 15)  # of ONNX Runtime that the models are tested in


@dataclass(frozen=True, eq=False)
class State:
    """A tensor that goes from one step to the next."""

    key: str  # "POPULATION.v", ".j", ".past" or ".last", as the reference calls it
    input: str
    output: str
    shape: Shape
    init: Array
    spikes: bool  # 0 and 1, that passed or wait


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """A session and what the manifest says of it; ``recorded`` are outputs and what spikes."""

    session: Any
    states: tuple[State, ...]
    outputs: tuple[str, ...]
    recorded: tuple[str, ...]
    spiking: frozenset[str]
    shapes: Mapping[str, Shape]

    def binding(self, reads: Mapping[str, Array], writes: Mapping[str, Array]) -> Any:
        """Tell the runtime where tensors lie; the arrays must outlive its use."""
        binding = self.session.io_binding()
        for name, a in reads.items():
            binding.bind_input(name, "cpu", 0, np.float32, a.shape, a.ctypes.data)
        for name, a in writes.items():
            binding.bind_output(name, "cpu", 0, np.float32, a.shape, a.ctypes.data)
        return binding

    def memory(self, batch: int) -> dict[str, Array]:
        """Memory for the states of ``batch`` samples, by their inputs."""
        return {s.input: np.empty((batch, *s.shape), np.float32) for s in self.states}

    def begin(self, memory: Mapping[str, Array]) -> None:
        """Write the first state."""
        for state in self.states:
            memory[state.input][...] = state.init

    def read(self, memory: Mapping[str, Array]) -> dict[str, Array]:
        """Copy the states out, by their keys; spikes as bool."""
        return {
            s.key: memory[s.input] != 0 if s.spikes else memory[s.input].copy() for s in self.states
        }

    def write(self, memory: Mapping[str, Array], values: Mapping[str, Array]) -> None:
        """Copy ``values`` in."""
        for state in self.states:
            memory[state.input][...] = values[state.key]


def open_model(manifest: Manifest, model: bytes, threads: int) -> OnnxModel:
    """Load ``model``; ``threads`` is what a run may use.

    Raises `InputError` where the runtime cannot load it or the manifest says something else,
    `MissingComponentError` without ONNX Runtime, or with one that is too old.
    """
    states = _states(manifest)
    outputs = tuple(o.name for o in manifest.outputs)
    inputs = {p.name for p in manifest.inputs}
    spiking = (n for n in manifest.shapes if n in manifest.spiking and n not in inputs)
    recorded = tuple(dict.fromkeys((*outputs, *spiking)))
    session = _session(manifest, model, threads)
    _agree(manifest, session, states, recorded)
    return OnnxModel(session, states, outputs, recorded, manifest.spiking, manifest.shapes)


def _states(manifest: Manifest) -> tuple[State, ...]:
    try:
        return tuple(
            State(
                f"{s['population']}.{s['name']}",
                s["input"],
                s["output"],
                tuple(s["shape"]),
                np.broadcast_to(np.array(s["init"], np.float32), s["shape"]),
                s["population"] in manifest.spiking and s["name"] in ("past", "last"),
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
    _new_enough(onnxruntime.__version__)
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


def _new_enough(version: str) -> None:
    found = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    if found < OLDEST:
        raise MissingComponentError(
            f"ONNX Runtime {version} is too old, artifacts need {'.'.join(map(str, OLDEST))} or "
            'newer: pip install --upgrade "sltdeploy[robot]"'
        )


def _agree(
    manifest: Manifest, session: Any, states: Iterable[State], recorded: Iterable[str]
) -> None:
    """Compare names, ranks and shapes of what enters and leaves with the manifest."""
    free = ("T", "N") if manifest.data.get("form") == "sequence" else ("N",)
    reads = {p.name: (*free, *p.shape) for p in manifest.inputs}
    reads |= {s.input: ("N", *s.shape) for s in states}
    writes = {n: (*free, *manifest.shapes[n]) for n in recorded}
    writes |= {s.output: ("N", *s.shape) for s in states}
    for what, named, actual in (
        ("inputs", reads, session.get_inputs()),
        ("outputs", writes, session.get_outputs()),
    ):
        held = {a.name: tuple(a.shape) for a in actual}
        if held != named or any(a.type != "tensor(float)" for a in actual):
            raise InputError(
                f"{manifest.folder}: the model's {what} are {held}, the manifest names {named}: "
                f"{EXPORT_AGAIN}"
            )
