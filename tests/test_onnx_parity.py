"""10,000 steps of M, C and a recurrent network: not one spike differs, in any form."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from long_nets import NETWORKS, spikes
from onnx_models import exported, first, machine, operators, parsed, recorded

from sltdeploy import reference
from sltdeploy.program import Array, Program

STEPS, CHUNK = 10_000, 250
# The reference takes 3 ms a step of C; the ONNX models are compared with each other to the end.
COMPARED = {"M": STEPS, "C": 750, "recurrent": STEPS}
MODELS = {
    f"{form}, {quantize}": {"form": form, "quantize": quantize}
    for form in ("step", "sequence")
    for quantize in ("none", "int8")
}


class Stepping:
    """A model and its state, stepped through chunks of a run."""

    def __init__(self, program: Program, form: str, quantize: str) -> None:
        model, details = exported(program, form=form, quantize=quantize)
        self._run = machine(model)
        self._states: list[Mapping[str, Any]] = details["states"]
        self._held = first(self._states, 1)
        self._names = recorded(program)
        self._step = form == "step"

    def through(self, x: Array) -> dict[str, Array]:
        """What each population sent in the steps of x (T, 1, *shape)."""
        rows = [self._call(row) for row in x] if self._step else [self._call(x)]
        join = np.stack if self._step else np.concatenate
        return {name: join([row[name] for row in rows]) for name in self._names}

    def _call(self, x: Array) -> dict[str, Array]:
        wanted = [*self._names, *(s["output"] for s in self._states)]
        inputs = {"in": x.astype(np.float32), **self._held}
        done = dict(zip(wanted, self._run(wanted, inputs), strict=True))
        self._held = {s["input"]: done[s["output"]] for s in self._states}
        return {name: done[name] != 0 for name in self._names}


@pytest.mark.parametrize("name", NETWORKS)
def test_no_spike_differs(name: str) -> None:
    program = NETWORKS[name]()
    x = spikes(program, STEPS, 1)
    models = {key: Stepping(program, **options) for key, options in MODELS.items()}
    state = reference.initial_state(program, 1)
    fired = dict.fromkeys(recorded(program), 0)
    for start in range(0, STEPS, CHUNK):
        part = x[start : start + CHUNK]
        sent = {key: model.through(part) for key, model in models.items()}
        if start < COMPARED[name]:
            rows: list[dict[str, Array]] = []
            for row in part:
                one, state = reference.step(program, state, {"in": row})
                rows.append(one)
            sent["reference"] = {n: np.stack([row[n] for row in rows]) for n in fired}
        expected = sent["step, none"]
        for key, got in sent.items():
            for population, values in got.items():
                differing = int((values != expected[population]).sum())
                assert differing == 0, (key, population, start)
        for population, values in expected.items():
            fired[population] += int(values.sum())
    assert min(fired.values()) > STEPS


def test_the_integer_models_multiply_integers() -> None:
    for name, layers in (("M", 2), ("recurrent", 2), ("C", 0)):
        model = parsed(NETWORKS[name](), quantize="int8")
        assert [n.op_type for n in model.graph.node].count("MatMulInteger") == layers
        assert "Cast" in operators(model)
