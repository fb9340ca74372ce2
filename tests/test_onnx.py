"""ONNX models of one step against the reference, bit for bit, stepped without sltdeploy."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx
import programs
import pytest
from onnx_models import (
    CASES,
    HEADER,
    TOOLS,
    assert_same,
    exported,
    machine,
    operators,
    parsed,
    recorded,
    session,
    stepped,
)

from sltdeploy import reference
from sltdeploy.errors import InputError, MissingComponentError
from sltdeploy.program import Array, Input, Linear, Population, Program, Projection, Relay


def assert_follows(program: Program, fed: Mapping[str, Array], *, tool: str) -> None:
    """Every record of the model has the bits of the reference's."""
    model, details = exported(program)
    names = recorded(program)
    got = stepped(machine(model, tool), details["states"], names, fed)
    assert_same(got, reference.run(program, fed).records, names)


@pytest.mark.parametrize("tool", TOOLS)
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
    found = parsed(program)
    assert [(i.name, list(i.dims)) for i in found.graph.initializer] == [
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
    found = onnx.load_from_string(model)
    onnx.checker.check_model(found, full_check=True)
    assert [(o.domain, o.version) for o in found.opset_import] == [("", 13)]
    assert found.ir_version == 7
    assert not found.graph.sparse_initializer
    assert details["operators"] == sorted(operators(found))


def test_the_operators_are_the_stated_ones() -> None:
    allowed = "Add AveragePool Cast Concat Conv Div Flatten Gather Gemm Greater GreaterOrEqual "
    allowed += "Identity Mul ReduceSum Reshape Slice Sub Sum Unsqueeze Where"
    used = {op for program in CASES.values() for op in exported(program)[1]["operators"]}
    assert sorted(used) == allowed.split()


def test_inputs_outputs_and_states_by_name() -> None:
    found = parsed(CASES["branches"])
    assert [i.name for i in found.graph.input] == [
        "image",
        "touch",
        "hidden/a.v",
        "hidden/b.v",
        "hidden/b.j",
        "out.v",
        "value.v",
    ]
    assert [o.name for o in found.graph.output] == [
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
    dims = found.graph.input[0].type.tensor_type.shape.dim
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
    found = parsed(CASES[f"rule {case}"])
    assert [n.op_type for n in found.graph.node] == operators.split()


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("rule", ["lif", "integrator", "cuba lif", "scaled"])
def test_potentials_behind_convolutions_are_exact(rule: str, groups: int) -> None:
    """No runtime merges the membrane's sum into the convolution, which would round otherwise.

    ONNX Runtime does so where a convolution has no blocked form: on x86-64 with groups, elsewhere
    always.
    """
    rng = np.random.default_rng(6)
    weight, bias = programs.dyadic(rng, 4, 2 // groups, 3, 3), programs.dyadic(rng, 4)
    conv = programs.Conv(weight, bias, padding=(1, 1, 1, 1), groups=groups)
    neuron = {
        "integrator": programs.neuron(8.0, decay=1.0, v_init=0.7),
        "cuba lif": programs.neuron(8.0, decay=0.7, decay_syn=0.6),
    }.get(rule, programs.neuron(8.0, decay=0.7))
    ops = [conv, programs.scale(0.5)] if rule == "scaled" else [conv]
    program = programs.chain((2, 7, 6), ops, neuron)
    fed = programs.stimulus(program, steps=40)
    state = reference.initial_state(program, 3)
    for t in range(40):
        _, state = reference.step(program, state, {"in": fed["in"][t]})
    v = state["out"].v
    assert v is not None
    model, details = exported(program)
    for made in (session(model), session(model, without=["NchwcTransformer"])):
        got = stepped(made.run, details["states"], ["out"], fed)
        np.testing.assert_array_equal(got["out.v"], v)


def test_the_metadata_holds_the_manifest() -> None:
    model, details = exported(CASES["branches"])
    held = {p.key: p.value for p in onnx.load_from_string(model).metadata_props}
    header = {**HEADER, "form": "step", "quantize": "none"}
    assert json.loads(held["sltdeploy.manifest"]) == {**header, **details}


BYTES = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
import late_programs, programs
from sltdeploy import exporting
for form in ("step", "sequence"):
    for program in (programs.branches(), late_programs.late_programs()["ring"]):
        header = {"b": 1, "a": 2, "form": form, "quantize": "int8"}
        done = exporting.load("onnx").export(program, header, None)
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
    found = parsed(program)
    assert [tuple(i.dims) for i in found.graph.initializer].count((4, 4)) == 1


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


@pytest.mark.parametrize("name", ["in", "out"])
def test_a_population_without_a_name_is_refused(name: str) -> None:
    program = programs.chain((2,), [programs.scale(1)], programs.neuron(0.5))
    assert name in {p.name for p in program.populations}

    def renamed(given: str) -> str:
        return "" if given == name else given

    nameless = Program(
        program.convention,
        tuple(replace(p, name=renamed(p.name)) for p in program.populations),
        tuple(
            replace(q, source=renamed(q.source), target=renamed(q.target))
            for q in program.projections
        ),
        tuple(map(renamed, program.outputs)),
    )
    with pytest.raises(InputError, match="population has the name ''"):
        exported(nameless)


def test_an_output_that_is_an_input_is_refused() -> None:
    program = programs.branches()
    wrong = Program(
        program.convention, program.populations, program.projections, ("out", "touch", "image")
    )
    with pytest.raises(InputError) as caught:
        exported(wrong)
    assert [v.split("'")[1] for v in caught.value.violations] == ["touch", "image"]


def test_what_one_file_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sltdeploy.onnx_model.writing.LIMIT", 100)
    with pytest.raises(InputError, match="weights take 152 bytes, an ONNX file holds 100"):
        exported(CASES["rule lif"])


def test_without_onnx_the_way_to_get_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingComponentError, match=r'pip install "sltdeploy\[onnx\]"'):
        exported(CASES["rule lif"])
