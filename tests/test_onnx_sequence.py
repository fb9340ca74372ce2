"""ONNX models of a whole sequence: the same bits as step by step, and little in the Scans."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import programs
import pytest
from late_programs import delay, late_programs, network
from network_oracle import Convention, Oracle
from onnx_models import (
    CASES,
    TOOLS,
    assert_same,
    bodies,
    exported,
    in_bodies,
    machine,
    operators,
    parsed,
    recorded,
    stepped,
    whole,
)
from random_networks import random_network

from sltdeploy import exporting, reference
from sltdeploy.lowering import lower
from sltdeploy.onnx_model.blocks import blocks
from sltdeploy.program import Array, Conv, Input, Linear, Population, Program, Projection, Relay

OPERATORS = (
    "Add AveragePool Cast Concat Conv Div Flatten Gather Gemm Greater GreaterOrEqual Identity Mul "
    "ReduceSum Reshape Scan Shape Slice Sub Sum Transpose Unsqueeze Where"
)


def assert_follows(
    program: Program, fed: Mapping[str, Array], *, tool: str = "runtime", **options: Any
) -> None:
    """Every record has the bits of the reference's, cut into parts; states are the step's."""
    model, details = exported(program, form="sequence")
    names = recorded(program)
    got = whole(machine(model, tool), details["states"], names, fed, **options)
    assert_same(got, reference.run(program, fed).records, names)
    model, step_details = exported(program)
    assert details["states"] == step_details["states"]
    by_step = stepped(machine(model), details["states"], names, fed)
    assert got.keys() == by_step.keys()
    assert_same(got, by_step, [*got])


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("case", CASES)
def test_each_rule_and_op(case: str, tool: str) -> None:
    program = CASES[case]
    assert_follows(program, programs.stimulus(program), tool=tool)


@pytest.mark.parametrize("seed", range(40))
def test_random_programs(seed: int) -> None:
    program = programs.random_program(seed)
    assert_follows(program, programs.stimulus(program, seed))


def test_random_networks_with_loops_delays_and_nested_graphs() -> None:
    loops = 0
    for seed in range(120):
        drawn = random_network(seed)
        m = drawn.graph.metadata
        convention = Convention(m["dt"], m["reset"], m["comparison"])
        if not Oracle(drawn.graph, convention, drawn.x, only_exact=True).exact:
            continue
        program = lower(drawn.graph)
        middle = len(next(iter(drawn.x.values()))) // 2
        assert_follows(program, drawn.x, parts=(slice(0, middle), slice(middle, None)))
        loops += any(len(b) > 1 for b in blocks(program))
    assert loops > 10


# ----------------------------------------------------------------------------- the file


@pytest.mark.parametrize("case", CASES)
def test_the_checker_accepts(case: str) -> None:
    model, details = exported(CASES[case], form="sequence")
    found = onnx.load_from_string(model)
    onnx.checker.check_model(found, full_check=True)
    assert [(o.domain, o.version) for o in found.opset_import] == [("", 13)]
    assert found.ir_version == 7
    assert details["operators"] == sorted(operators(found))


def test_the_operators_are_the_stated_ones() -> None:
    slow = network(
        {"wait": delay([2, 1, 3, 3, 1], spiking=True), "out": programs.neuron(0.5)},
        Projection("out", "wait"),
        Projection("in", "out"),
        Projection("wait", "out"),
    )
    image = Population("in", (1, 3, 3), Input("spikes"))
    conv = (Conv(np.ones((1, 1, 1, 1), np.float32)),)
    convolved = Program(
        programs.CONVENTION,
        (image, Population("out", (1, 3, 3), programs.neuron(0.5))),
        (Projection("in", "out", conv), Projection("out", "out", conv, recurrent=True)),
        ("out",),
    )
    every = [*CASES.values(), slow, convolved]
    used = {op for p in every for op in exported(p, form="sequence")[1]["operators"]}
    assert sorted(used) == OPERATORS.split()
    stated: Any = exporting.load("onnx")
    assert set(stated.OPERATORS) == {*OPERATORS.split(), "MatMulInteger"}


def test_inputs_and_outputs_are_those_of_the_step() -> None:
    step, found = parsed(CASES["branches"]), parsed(CASES["branches"], form="sequence")
    ours = [*found.graph.input, *found.graph.output]
    theirs = [*step.graph.input, *step.graph.output]
    assert [o.name for o in ours] == [t.name for t in theirs]
    names = {o.name: [d.dim_param or d.dim_value for d in _shape(o)] for o in ours}
    assert names["image"] == ["T", "N", 1, 4, 4]
    assert names["out"] == ["T", "N", 3]
    assert names["out.v"] == names["out.v_next"] == ["N", 3]


def _shape(value: onnx.ValueInfoProto) -> list[onnx.TensorShapeProto.Dimension]:
    return list(value.type.tensor_type.shape.dim)


def test_steps_and_samples_are_free() -> None:
    for program in (CASES["branches"], CASES["late ring"], CASES["late uneven delay"]):
        model, details = exported(program, form="sequence")
        run, names = machine(model), recorded(program)
        for steps, batch in ((1, 1), (2, 5), (9, 1), (3, 2)):
            fed = programs.stimulus(program, steps=steps, batch=batch)
            got = whole(run, details["states"], names, fed, [slice(None)])
            assert_same(got, reference.run(program, fed).records, names)


@pytest.mark.parametrize("name", ["conv", "linear bias", "pool conv", "flatten"])
def test_weights_of_a_feed_forward_network_are_outside_of_the_scan(name: str) -> None:
    found = parsed(CASES[f"op {name}"], form="sequence")
    (body,) = bodies(found)
    assert [n.op_type for n in body.node] == ["Mul", "Add", "Greater", "Where"]
    assert all(not i.dims for i in body.initializer)
    assert {"Gemm", "Conv"} & {n.op_type for n in found.graph.node}


def test_weights_of_a_loop_are_constants_of_the_body() -> None:
    found = parsed(CASES["late self loop"], form="sequence")
    (body,) = bodies(found)
    (gemm,) = (n for n in body.node if n.op_type == "Gemm")
    own = {i.name: list(i.dims) for i in body.initializer}
    assert own[gemm.input[1]] == [5, 5]
    # What comes from outside of the loop is done at once.
    assert [n.op_type for n in found.graph.node].count("Gemm") == 1
    outer = {i.name for i in found.graph.initializer}
    inner = {name for n in body.node for name in n.input}
    assert not outer & inner


def test_each_layer_has_a_scan_of_its_own_and_each_loop_one() -> None:
    assert len(bodies(parsed(CASES["branches"], form="sequence"))) == 4
    assert len(bodies(parsed(CASES["late ring"], form="sequence"))) == 1
    (body,) = bodies(parsed(CASES["late biased relay in a ring"], form="sequence"))
    assert len(body.output) == 3  # a potential, what goes around late, and spikes: no relay


@pytest.mark.parametrize(
    "case",
    [
        *("rule relay", "late threshold", "late delay of none", "late delay of one"),
        *("late delay of three", "late uneven delay", "late uneven delay of one or more"),
    ],
)
def test_what_needs_no_step_has_no_scan(case: str) -> None:
    assert "Scan" not in operators(parsed(CASES[case], form="sequence"))


def test_spikes_leave_a_scan_as_bool() -> None:
    found = parsed(CASES["rule lif"], form="sequence")
    (body,) = bodies(found)
    kinds = [o.type.tensor_type.elem_type for o in body.output]
    assert kinds == [onnx.TensorProto.FLOAT, onnx.TensorProto.BOOL]
    assert "Cast" not in {n.op_type for n in in_bodies(found)}


def test_a_threshold_keeps_nothing() -> None:
    for form in ("step", "sequence"):
        model, details = exported(CASES["late threshold"], form=form)
        assert details["states"] == []
        found = onnx.load_from_string(model)
        assert [n.op_type for n in found.graph.node if n.op_type in ("Mul", "Where")] == []


# ----------------------------------------------------------------------------- blocks


def test_blocks_are_loops_in_an_order_in_which_they_can_be_computed() -> None:
    eye = (Linear(np.eye(5, dtype=np.float32)),)
    rule = programs.neuron(0.5)
    program = network(
        {"a": rule, "side": rule, "b": rule, "early": rule, "out": rule},
        Projection("in", "a", eye),
        Projection("b", "a", eye, recurrent=True),
        Projection("a", "side", eye),
        Projection("a", "b", eye),
        Projection("out", "early", eye, recurrent=True),
        Projection("b", "out", eye),
    )
    found = [tuple(p.name for p in block) for block in blocks(program)]
    assert found == [("in",), ("a", "b"), ("side",), ("out",), ("early",)]
    assert_follows(program, programs.stimulus(program))


def test_a_loop_of_one_comes_before_what_it_leads_to() -> None:
    """Also where that stands before it, and nothing else tells the two apart."""
    eye = (Linear(np.eye(5, dtype=np.float32) / 2),)
    program = network(
        {"out": programs.neuron(0.25), "a": programs.neuron(0.25)},
        Projection("in", "a", eye),
        Projection("in", "out", eye),
        Projection("a", "a", eye, recurrent=True),
        Projection("a", "out", eye, recurrent=True),
    )
    assert [block[0].name for block in blocks(program)] == ["in", "a", "out"]
    assert_follows(program, programs.stimulus(program))


def test_a_late_source_inside_and_outside_of_a_loop() -> None:
    """Its last value goes around in the Scan and is read, one step late, by another block."""
    eye = (Linear(np.eye(5, dtype=np.float32) / 2),)
    program = network(
        {"a": programs.neuron(0.25), "late": Relay(), "out": programs.neuron(0.5)},
        Projection("in", "a", eye),
        Projection("a", "a", eye, recurrent=True),
        Projection("a", "late", eye, recurrent=True),
        Projection("late", "out"),
        Projection("in", "out", recurrent=True),
    )
    assert_follows(program, programs.stimulus(program))


def test_outputs_that_are_one_tensor_have_both_names() -> None:
    """Two relays pass on the same."""
    program = Program(
        programs.CONVENTION,
        (
            Population("in", (2, 2, 1), Input("graded")),
            Population("a", (2, 2, 1), Relay()),
            Population("b", (2, 2, 1), Relay()),
            Population("c", (2, 2, 1), programs.neuron(0.5)),
        ),
        (Projection("in", "a"), Projection("a", "b"), Projection("b", "c")),
        ("a", "b", "c"),
    )
    assert_follows(program, programs.stimulus(program))


def test_a_tensor_changes_its_form_once() -> None:
    """Whoever reads it: two delay lines and the output."""
    program = network(
        {"sum": Relay(), "one": delay(1), "two": delay(2), "out": programs.neuron(0.5)},
        Projection("in", "sum", (programs.scale(0.5),)),
        Projection("sum", "one"),
        Projection("sum", "two"),
        Projection("one", "out"),
        Projection("two", "out"),
    )
    program = Program(program.convention, program.populations, program.projections, ("sum", "out"))
    used = [n.op_type for n in parsed(program, form="sequence").graph.node]
    # in to flat, sum to timed, both delayed to flat, their sum to timed
    assert (used.count("Flatten"), used.count("Reshape")) == (3, 2)
    assert_follows(program, programs.stimulus(program))


def test_late_programs_are_all_there() -> None:
    assert {f"late {name}" for name in late_programs()} <= {*CASES}
