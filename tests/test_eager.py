"""What artifacts are timed against computes what they compute."""

from collections.abc import Mapping

import numpy as np
import programs
import pytest
import torch
from late_programs import late_programs
from lava_nets import lif, small

from sltdeploy.errors import InputError
from sltdeploy.program import Array, DelayLine, LoihiNeuron, Program
from sltdeploy.reference import run
from sltdeploy.search.eager import Cells, Eager


def outputs(program: Program, x: Mapping[str, Array], cells: Cells) -> dict[str, Array]:
    """Step torch through x; what each output gave, (T, B, *shape)."""
    module, state = Eager(program, cells), None
    rows: list[dict[str, Array]] = []
    with torch.inference_mode():
        for t in range(len(next(iter(x.values())))):
            fed = {n: torch.from_numpy(a[t].astype(np.float32)) for n, a in x.items()}
            sent, state = module(fed, state)
            rows.append({n: a.numpy() for n, a in sent.items()})
    return {n: np.stack([row[n] for row in rows]) for n in rows[0]}


def waits(program: Program) -> bool:
    """Whether it has delay lines."""
    return any(isinstance(p.rule, DelayLine) for p in program.populations)


def timeable() -> dict[str, Program]:
    """Programs of every op and rule, with branches and loops."""
    late = {name: p for name, p in late_programs().items() if not waits(p)}
    assert len(late) > 2
    drawn = {f"random {k}": programs.random_program(k) for k in range(10)}
    return {
        **programs.each_op(),
        **programs.each_rule(),
        **late,
        **drawn,
        "branches": programs.branches(),
    }


@pytest.mark.parametrize("name", timeable())
def test_torch_steps_as_the_reference(name: str) -> None:
    program = timeable()[name]
    x = programs.stimulus(program)
    expected = run(program, x)
    for out, got in outputs(program, x, "torch").items():
        np.testing.assert_allclose(got, expected.records[out].astype(np.float32), atol=1e-5)


@pytest.mark.parametrize("rule", ["lif", "li"])
def test_norse_steps_as_the_reference(rule: str) -> None:
    """Norse multiplies what arrives by 1 - decay; the weights make up for it."""
    half, quarter = np.float32(0.5), np.asarray(0.25, np.float32)
    neuron = lif(decay=quarter, v_reset=np.asarray(-half))
    if rule == "li":
        neuron = lif(decay=quarter, threshold=None, v_reset=None)
    program = small(neuron)
    x = programs.stimulus(program)
    expected = run(program, x).records["n"].astype(np.float32)
    (got,) = outputs(program, x, "norse").values()
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert len(np.unique(got)) > 1


def test_what_torch_has_not_is_refused_by_name() -> None:
    integers = LoihiNeuron(4095, 1024, np.zeros((), np.int32), 0, 64.0, vth=100)
    program = small(lif(bias=np.ones((), np.float32)))
    with pytest.raises(InputError, match="population 'n' is no box cell of Norse's"):
        Eager(program, "norse")
    loihi = Program(
        program.convention,
        tuple(
            p if p.name == "in" else type(p)(p.name, p.shape, integers) for p in program.populations
        ),
        program.projections,
        program.outputs,
        "loihi",
    )
    with pytest.raises(InputError, match="the program holds loihi integers"):
        Eager(loihi)
    delayed = next(
        p
        for p in late_programs().values()
        if any(isinstance(q.rule, DelayLine) for q in p.populations)
    )
    with pytest.raises(InputError, match="is a delay line: torch has none"):
        Eager(delayed)
