"""ONNX models of programs for tests, run as anyone would without sltdeploy."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import programs
from late_programs import late_programs
from onnx.reference import ReferenceEvaluator

from sltdeploy import exporting
from sltdeploy.program import Array, Input, Program

HEADER = {"format": "sltdeploy-artifact", "numbers": "float32"}
CASES: Mapping[str, Program] = {
    **{f"rule {name}": p for name, p in programs.each_rule().items()},
    **{f"op {name}": p for name, p in programs.each_op().items()},
    "branches": programs.branches(),
    **{f"late {name}": p for name, p in late_programs().items()},
}
TOOLS = ("runtime", "onnx.reference")
# Where a run is cut: the state goes from part to part.
PARTS = (slice(0, 5), slice(5, 6), slice(6, None))

Run = Callable[[list[str], dict[str, Array]], list[Array]]
States = Sequence[Mapping[str, Any]]


def exported(
    program: Program, *, form: str = "step", quantize: str = "none"
) -> tuple[bytes, Mapping[str, Any]]:
    """Model and details of ``program``."""
    header = {**HEADER, "form": form, "quantize": quantize}
    done = exporting.load("onnx").export(program, header, None)
    return done.files["model.onnx"], done.details


def parsed(program: Program, *, form: str = "step", quantize: str = "none") -> onnx.ModelProto:
    """The model as the onnx package reads it."""
    return onnx.load_from_string(exported(program, form=form, quantize=quantize)[0])


def operators(model: onnx.ModelProto) -> set[str]:
    """Types of all nodes, those in bodies of Scans too."""
    return {n.op_type for n in (*model.graph.node, *in_bodies(model))}


def in_bodies(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Nodes in bodies of Scans."""
    return [n for body in bodies(model) for n in body.node]


def bodies(model: onnx.ModelProto) -> list[onnx.GraphProto]:
    """Bodies of Scans."""
    return [a.g for n in model.graph.node for a in n.attribute if a.name == "body"]


def recorded(program: Program) -> list[str]:
    """Populations that the model must give: outputs first, then what spikes."""
    spiking = [p.name for p in program.populations if p.spiking and not isinstance(p.rule, Input)]
    return list(dict.fromkeys((*program.outputs, *spiking)))


def machine(model: bytes, tool: str = "runtime") -> Run:
    """Open the model in ONNX Runtime with its defaults but for one thread, or in onnx.reference."""
    return session(model).run if tool == "runtime" else _evaluator(model)


def session(model: bytes, without: Sequence[str] = ()) -> Any:
    """Open the model in ONNX Runtime, ``without`` some of its optimizers."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"], disabled_optimizers=[*without]
    )


def first(states: States, batch: int) -> dict[str, Array]:
    """The first state, by the manifest alone."""
    return {
        s["input"]: np.broadcast_to(np.array(s["init"], np.float32), (batch, *s["shape"]))
        for s in states
    }


def stepped(
    run: Run, states: States, names: list[str], fed: Mapping[str, Array]
) -> dict[str, Array]:
    """Records of ``names`` over the steps of ``fed``, one call a step, and the last states."""
    steps, batch = next(iter(fed.values())).shape[:2]
    held, rows = first(states, batch), list[list[Array]]()
    for t in range(steps):
        held, sent = _called(run, states, names, held, {n: x[t] for n, x in fed.items()})
        rows.append(sent)
    records = {name: np.stack([row[k] for row in rows]) for k, name in enumerate(names)}
    return records | held


def whole(
    run: Run,
    states: States,
    names: list[str],
    fed: Mapping[str, Array],
    parts: Sequence[slice] = PARTS,
) -> dict[str, Array]:
    """The same by sequences: one call for each part."""
    held, rows = first(states, next(iter(fed.values())).shape[1]), list[list[Array]]()
    for part in parts:
        held, sent = _called(run, states, names, held, {n: x[part] for n, x in fed.items()})
        rows.append(sent)
    records = {name: np.concatenate([row[k] for row in rows]) for k, name in enumerate(names)}
    return records | held


def _called(
    run: Run, states: States, names: list[str], held: dict[str, Array], fed: Mapping[str, Array]
) -> tuple[dict[str, Array], list[Array]]:
    inputs = {n: x.astype(np.float32) for n, x in fed.items()} | held
    done = run([*names, *(s["output"] for s in states)], inputs)
    assert all(a.dtype == np.float32 for a in done)
    return {s["input"]: done[len(names) + k] for k, s in enumerate(states)}, done[: len(names)]


def assert_same(got: Mapping[str, Array], expected: Mapping[str, Array], names: list[str]) -> None:
    """Each of ``names`` has the bits of the reference."""
    for name in names:
        np.testing.assert_array_equal(got[name], expected[name].astype(np.float32), name)


def _evaluator(model: bytes) -> Run:
    made: Any = ReferenceEvaluator(onnx.load_from_string(model))
    return made.run
