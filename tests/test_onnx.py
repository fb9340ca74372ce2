"""ONNX models against the reference, bit for bit, stepped as anyone would without sltdeploy."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import programs
import pytest
from late_programs import late_programs
from onnx.reference import ReferenceEvaluator

from sltdeploy import exporting, reference
from sltdeploy.errors import InputError, MissingComponentError
from sltdeploy.program import Array, Input, Linear, Population, Program, Projection, Relay

HEADER = {"format": "sltdeploy-artifact", "numbers": "float32"}
CASES: Mapping[str, Program] = {
    **{f"rule {name}": p for name, p in programs.each_rule().items()},
    **{f"op {name}": p for name, p in programs.each_op().items()},
    "branches": programs.branches(),
    **{f"late {name}": p for name, p in late_programs().items()},
}
Step = Callable[[list[str], dict[str, Array]], list[Array]]


def exported(program: Program) -> tuple[bytes, Mapping[str, Any]]:
    """Model and details of ``program``."""
    done = exporting.load("onnx").export(program, HEADER, None)
    return done.files["model.onnx"], done.details


def recorded(program: Program) -> list[str]:
    """Populations that the model must give: outputs first, then what spikes."""
    spiking = [p.name for p in program.populations if p.spiking and not is_input(p)]
    return list(dict.fromkeys((*program.outputs, *spiking)))


def is_input(p: Population) -> bool:
    """Whether ``p`` is fed from outside."""
    return isinstance(p.rule, Input)


def stepped(
    step: Step, states: list[Mapping[str, Any]], names: list[str], fed: Mapping[str, Array]
) -> dict[str, Array]:
    """Records of ``names`` over the steps of ``fed``; state goes around by the manifest alone."""
    steps, batch = next(iter(fed.values())).shape[:2]
    held = {
        s["input"]: np.broadcast_to(np.array(s["init"], np.float32), (batch, *s["shape"]))
        for s in states
    }
    rows: list[list[Array]] = []
    for t in range(steps):
        inputs = {n: x[t].astype(np.float32) for n, x in fed.items()} | held
        done = step([*names, *(s["output"] for s in states)], inputs)
        rows.append(done[: len(names)])
        held = {s["input"]: done[len(names) + k] for k, s in enumerate(states)}
    return {name: np.stack([row[k] for row in rows]) for k, name in enumerate(names)}


def session(model: bytes) -> Any:
    """Open the model in ONNX Runtime with its defaults but for one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def assert_follows(program: Program, fed: Mapping[str, Array], *, tool: str) -> None:
    """Every record of the model has the bits of the reference's."""
    model, details = exported(program)
    machine: Any = (
        session(model) if tool == "runtime" else ReferenceEvaluator(onnx.load_from_string(model))
    )
    names = recorded(program)
    got = stepped(machine.run, details["states"], names, fed)
    expected = reference.run(program, fed).records
    for name in names:
        assert got[name].dtype == np.float32
        np.testing.assert_array_equal(got[name], expected[name].astype(np.float32), name)


@pytest.mark.parametrize("tool", ["runtime", "onnx.reference"])
@pytest.mark.parametrize("case", CASES)
def test_each_rule_and_op(case: str, tool: str) -> None:
    program = CASES[case]
    assert_follows(program, programs.stimulus(program), tool=tool)


@pytest.mark.parametrize("seed", range(80))
def test_random_programs(seed: int) -> None:
    program = programs.random_program(seed)
    assert_follows(program, programs.stimulus(program, seed), tool="runtime")


def test_the_cases_spike_and_pause() -> None:
    for name, program in CASES.items():
        records = reference.run(program, programs.stimulus(program)).records
        for p in program.populations:
            if p.spiking:
                assert 0 < records[p.name].mean() < 1, (name, p.name)


def test_the_cases_hold_exact_ties() -> None:
    fed = programs.stimulus(CASES["rule if tie gt"])
    spikes = [
        reference.run(CASES[f"rule if tie {c}"], fed).records["out"].sum() for c in ("gt", "ge")
    ]
    assert spikes[0] < spikes[1]


def test_average_of_nine_in_front_of_weights_is_close() -> None:
    rng = np.random.default_rng(5)
    pool = programs.Pool((3, 3), (2, 2), kind="average")
    conv = programs.Conv(rng.normal(size=(3, 2, 2, 2)).astype(np.float32))
    program = programs.chain((2, 9, 9), [pool, conv], programs.neuron(None))
    model, details = exported(program)
    fed = programs.stimulus(program)
    got = stepped(session(model).run, details["states"], ["out"], fed)["out"]
    np.testing.assert_allclose(got, reference.run(program, fed).output, atol=1e-6)


@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (7, 7), (6, 7), (4, 2)])
def test_sums_over_windows_are_exact(kernel: tuple[int, int]) -> None:
    pool = programs.Pool(kernel, (1, 1))
    assert_follows(
        program := programs.chain((2, 8, 9), [pool], Relay(), kind="graded"),
        programs.stimulus(program),
        tool="runtime",
    )


def test_equal_parameters_become_scalars() -> None:
    ones = np.ones(5, np.float32)
    rule = programs.neuron(ones * 0.5, decay=ones * 0.75, v_reset=ones)
    program = programs.chain((5,), [programs.Scale(ones * 3)], rule)
    parsed = onnx.load_from_string(exported(program)[0])
    assert [(i.name, list(i.dims)) for i in parsed.graph.initializer] == [
        ("out.scale.factor", []),
        ("out.decay_v", []),
        ("out.threshold", []),
        ("out.v_reset", []),
    ]


def test_the_batch_is_free() -> None:
    program = CASES["branches"]
    model, details = exported(program)
    run = session(model).run
    fed = programs.stimulus(program, batch=5)
    names = recorded(program)
    whole = stepped(run, details["states"], names, fed)
    for k in range(5):
        alone = stepped(run, details["states"], names, {n: x[:, k : k + 1] for n, x in fed.items()})
        for name in names:
            np.testing.assert_array_equal(alone[name], whole[name][:, k : k + 1])


@pytest.mark.parametrize("case", CASES)
def test_the_checker_accepts(case: str) -> None:
    model, details = exported(CASES[case])
    parsed = onnx.load_from_string(model)
    onnx.checker.check_model(parsed, full_check=True)
    assert [(o.domain, o.version) for o in parsed.opset_import] == [("", 13)]
    assert parsed.ir_version == 7
    assert not parsed.graph.sparse_initializer
    assert details["operators"] == sorted({n.op_type for n in parsed.graph.node})


def test_the_operators_are_the_stated_ones() -> None:
    allowed = "Add AveragePool Cast Concat Conv Div Flatten Gather Gemm Greater GreaterOrEqual "
    allowed += "Identity Mul ReduceSum Reshape Slice Sub Unsqueeze Where"
    used = {op for program in CASES.values() for op in exported(program)[1]["operators"]}
    assert sorted(used) == allowed.split()
    stated = importlib.import_module("sltdeploy.exporters.onnx").OPERATORS
    assert [*stated] == allowed.split()


def test_inputs_outputs_and_states_by_name() -> None:
    parsed = onnx.load_from_string(exported(CASES["branches"])[0])
    assert [i.name for i in parsed.graph.input] == [
        "image",
        "touch",
        "hidden/a.v",
        "hidden/b.v",
        "hidden/b.j",
        "out.v",
        "value.v",
    ]
    assert [o.name for o in parsed.graph.output] == [
        "value",
        "sum",
        "out",
        "hidden/a",
        "hidden/b",
        "hidden/a.v_next",
        "hidden/b.v_next",
        "hidden/b.j_next",
        "out.v_next",
        "value.v_next",
    ]
    dims = parsed.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == ["N", 1, 4, 4]


@pytest.mark.parametrize(
    ("case", "operators"),
    [
        ("lif", "Gemm Mul Add Greater Cast Where"),
        ("lif ge", "Gemm Mul Add GreaterOrEqual Cast Where"),
        ("lif subtract", "Gemm Mul Add Greater Cast Sub Where"),
        ("lif subtract one", "Gemm Mul Add Greater Cast Sub"),
        ("if", "Gemm Add Greater Cast Where"),
        ("lif bias", "Gemm Mul Add Add Greater Cast Where"),
        ("li", "Gemm Mul Add Add Identity"),
    ],
)
def test_a_neuron_is_a_handful_of_nodes(case: str, operators: str) -> None:
    parsed = onnx.load_from_string(exported(CASES[f"rule {case}"])[0])
    assert [n.op_type for n in parsed.graph.node] == operators.split()


def test_the_metadata_holds_the_manifest() -> None:
    model, details = exported(CASES["branches"])
    held = {p.key: p.value for p in onnx.load_from_string(model).metadata_props}
    assert json.loads(held["sltdeploy.manifest"]) == {**HEADER, **details}


BYTES = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import programs
from sltdeploy import exporting
done = exporting.load("onnx").export(programs.branches(), {"b": 1, "a": 2}, None)
print(hashlib.sha256(done.files["model.onnx"]).hexdigest())
"""


def test_the_bytes_do_not_depend_on_the_process() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", BYTES, os.path.dirname(programs.__file__)],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_names_that_collide_with_states_are_told_apart() -> None:
    rule = programs.neuron(0.5)
    program = Program(
        programs.CONVENTION,
        (
            Population("a.v", (3,), Input("spikes")),
            Population("a", (3,), rule),
            Population("a.v_next", (3,), rule),
        ),
        (Projection("a.v", "a"), Projection("a", "a.v_next")),
        ("a.v_next",),
    )
    _, details = exported(program)
    assert [s["input"] for s in details["states"]] == ["a.v#2", "a.v_next.v"]
    assert_follows(program, programs.stimulus(program), tool="runtime")


def test_equal_constants_are_stored_once() -> None:
    weight = Linear(np.eye(4, dtype=np.float32) / 2)
    program = programs.chain((4,), [weight, weight], programs.neuron(0.5))
    parsed = onnx.load_from_string(exported(program)[0])
    assert [tuple(i.dims) for i in parsed.graph.initializer].count((4, 4)) == 1


def test_integer_weights_become_float32() -> None:
    program = programs.chain((2,), [Linear(np.array([[1, 2]]))], programs.neuron(1.0))
    assert_follows(program, programs.stimulus(program), tool="runtime")


def test_a_program_in_integers_is_refused() -> None:
    program = Program(
        programs.CONVENTION,
        (Population("in", (2,), Input("spikes")), Population("out", (2,), Relay())),
        (Projection("in", "out"),),
        ("out",),
        "loihi",
    )
    with pytest.raises(InputError, match=r"'loihi'.*--format lava"):
        exported(program)


def test_an_output_that_is_an_input_is_refused() -> None:
    program = programs.branches()
    wrong = Program(
        program.convention, program.populations, program.projections, ("out", "touch", "image")
    )
    with pytest.raises(InputError) as caught:
        exported(wrong)
    assert [v.split("'")[1] for v in caught.value.violations] == ["touch", "image"]


def test_what_one_file_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sltdeploy.onnx_graph.LIMIT", 100)
    with pytest.raises(InputError, match="weights take 152 bytes, an ONNX file holds 100"):
        exported(CASES["rule lif"])


def test_without_onnx_the_way_to_get_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingComponentError, match=r'pip install "sltdeploy\[onnx\]"'):
        exported(CASES["rule lif"])
