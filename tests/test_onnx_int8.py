"""int8 models: integers where they are exact and faster, and the same bits as in float32."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import programs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_models import (
    CASES,
    TOOLS,
    assert_same,
    bodies,
    exported,
    machine,
    operators,
    parsed,
    recorded,
    stepped,
    whole,
)

import sltdeploy as slt
from sltdeploy import reference
from sltdeploy.onnx_model import integers, projecting
from sltdeploy.program import Array, Conv, Input, Linear, Op, Program, Projection
from sltdeploy.quantize import snap

FORMS = ("step", "sequence")


@pytest.fixture
def every_size(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Integers also where they are not faster."""
    with monkeypatch.context() as patch:
        patch.setattr(integers, "FASTER_FROM", 1)
        patch.setattr(projecting, "SMALLEST", 1)
        yield


def layered(*sizes: int, seed: int = 0, kind: str = "spikes") -> Program:
    """Layers of LIF neurons with real weights, some of them pruned, and a readout."""
    rng = np.random.default_rng(seed)
    populations = [programs.Population("in", sizes[:1], Input("spikes"))]
    if kind == "graded":
        populations = [programs.Population("in", sizes[:1], Input("graded"))]
    projections: list[Projection] = []
    for k, (pre, post) in enumerate(pairwise(sizes)):
        weight = rng.normal(0, 2 / np.sqrt(pre), (post, pre)) * (rng.random((post, pre)) < 0.8)
        bias = rng.normal(0, 0.1, post).astype(np.float32)
        rule = programs.neuron(0.5) if k + 2 < len(sizes) else programs.neuron(None)
        populations.append(programs.Population(f"p{k}", (post,), rule))
        linear = Linear(weight.astype(np.float32), bias)
        projections.append(Projection(populations[-2].name, f"p{k}", (linear,)))
    names = tuple(p.name for p in populations)
    return Program(programs.CONVENTION, tuple(populations), tuple(projections), names[-1:])


def run(program: Program, form: str, quantize: str, tool: str = "runtime") -> dict[str, Array]:
    """Records and last states of the exported model."""
    model, details = exported(program, form=form, quantize=quantize)
    call = stepped if form == "step" else whole
    fed = programs.stimulus(program)
    return call(machine(model, tool), details["states"], recorded(program), fed)


# ----------------------------------------------------------------------------- the same bits


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("every_size")
def test_integers_and_floats_agree_to_the_last_bit(case: str, form: str) -> None:
    program = snap(CASES[case])
    fed = programs.stimulus(program)
    whole_numbers, floats = run(program, form, "int8"), run(program, form, "none")
    assert whole_numbers.keys() == floats.keys()
    assert_same(whole_numbers, floats, [*floats])
    expected = reference.run(program, fed).records
    spiking = [n for n in recorded(program) if program.population(n).spiking]
    assert_same(whole_numbers, expected, spiking)


@pytest.mark.parametrize(
    "case", ["op linear bias", "op flatten", "branches", "late ring", "op conv all"]
)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.usefixtures("every_size")
def test_onnx_reference_agrees(case: str, form: str) -> None:
    program = snap(CASES[case])
    expected = run(program, form, "none")
    assert_same(run(program, form, "int8", TOOLS[1]), expected, [*expected])


@pytest.mark.usefixtures("every_size")
def test_the_checker_accepts() -> None:
    for form in FORMS:
        used: set[str] = set()
        for case in CASES.values():
            model, details = exported(snap(case), form=form, quantize="int8")
            found = onnx.load_from_string(model)
            onnx.checker.check_model(found, full_check=True)
            assert details["operators"] == sorted(operators(found))
            used |= operators(found)
        assert "MatMulInteger" in used
        assert not used & {"ConvInteger", "QLinearConv", "DequantizeLinear", "QuantizeLinear"}


def test_random_programs() -> None:
    integral = 0
    for seed in range(40):
        program = snap(programs.random_program(seed))
        for form in FORMS:
            floats = run(program, form, "none")
            assert_same(run(program, form, "int8"), floats, [*floats])
        integral += "Cast" in operators(parsed(program, form="step", quantize="int8"))
    assert integral > 10


# ----------------------------------------------------------------------------- where


def multiplied(program: Program, quantize: str = "int8") -> int:
    """How many layers multiply integers; the same in both forms."""
    counts = [
        [n.op_type for n in parsed(program, form=form, quantize=quantize).graph.node].count(
            "MatMulInteger"
        )
        for form in FORMS
    ]
    assert counts[0] == counts[1]
    return counts[0]


def test_large_layers_behind_spikes_multiply_integers() -> None:
    program = snap(layered(256, 160, 40, 10))
    assert multiplied(program) == 1  # 160 x 40 is too small to be faster
    assert multiplied(program, "none") == 0
    model = parsed(program, quantize="int8")
    kinds = {i.name: (i.data_type, list(i.dims)) for i in model.graph.initializer}
    assert kinds["p0.linear.weight"] == (onnx.TensorProto.INT8, [256, 160])
    assert kinds["p1.linear.weight"] == (onnx.TensorProto.INT8, [40, 160])
    assert [n.op_type for n in model.graph.node[:5]] == [
        "Cast",
        "MatMulInteger",
        "Cast",
        "Mul",
        "Add",
    ]


def test_graded_input_stays_in_floats() -> None:
    assert multiplied(snap(layered(256, 160, 10, kind="graded"))) == 0


def test_weights_off_the_grid_stay_in_floats() -> None:
    program = layered(256, 160, 10)
    model = parsed(program, quantize="int8")
    assert "MatMulInteger" not in operators(model)
    assert onnx.TensorProto.INT8 not in {i.data_type for i in model.graph.initializer}


@pytest.mark.usefixtures("every_size")
def test_only_a_linear_op_straight_behind_spikes_takes_integers() -> None:
    rng = np.random.default_rng(0)
    linear, shape = Linear(programs.dyadic(rng, 3, 8)), (2, 2, 2)
    flat = programs.Reshape((8,))
    whole_: list[list[Op]] = [[flat, linear], [flat, linear, programs.scale(0.5)]]
    floats: list[list[Op]] = [
        [programs.scale(0.5), flat, linear],
        [programs.Pool((1, 1), (1, 1)), flat, linear],
        [Conv(programs.dyadic(rng, 2, 2, 1, 1)), flat, linear],
    ]
    for ops in whole_:
        assert multiplied(programs.chain(shape, ops, programs.neuron(0.5))) == 1
    for ops in floats:
        assert multiplied(programs.chain(shape, ops, programs.neuron(0.5))) == 0


@pytest.mark.usefixtures("every_size")
def test_weights_in_a_loop_are_integers_of_the_body() -> None:
    found = parsed(CASES["late self loop"], form="sequence", quantize="int8")
    (body,) = bodies(found)
    (node,) = (n for n in body.node if n.op_type == "MatMulInteger")
    assert node.input[1] in {i.name for i in body.initializer}


def test_sums_that_outgrow_float32_stay_in_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integers, "FASTER_FROM", 1)
    monkeypatch.setattr(integers, "FLOAT32_WHOLE", 254)
    assert integers.multiplies(np.array([[1.0, -126 / 127], [0, 1]]) * 127, None)
    assert not integers.multiplies(np.array([[1.0, -1], [0, 1]]) * 127, None)
    # A bias counts with the sum, in units of the finer of both.
    assert integers.multiplies(np.ones((2, 2)), np.array([250.0, -251.0]))
    assert not integers.multiplies(np.ones((2, 2)), np.array([250.0, -252.0]))
    assert integers.multiplies(np.ones((2, 2)), np.array([0.5, -124.5]))
    assert not integers.multiplies(np.ones((2, 2)), np.array([0.5, -125.5]))


@pytest.mark.parametrize("form", FORMS)
def test_a_bias_that_is_too_large_for_exact_sums_changes_no_bit(form: str) -> None:
    """ONNX Runtime begins with it, and rounds at every part of a long sum."""
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 0.3, (20, 2500)).astype(np.float32)
    layer = Linear(weight, np.full(20, 2.0**20 + 0.3, np.float32))
    program = snap(programs.chain((2500,), [layer], programs.neuron(None, decay=0.0)))
    expected = run(program, form, "none")
    assert_same(run(program, form, "int8"), expected, [*expected])


def test_convolutions_stay_float_and_lie_in_the_file_as_int8() -> None:
    rng = np.random.default_rng(1)
    conv = Conv(rng.normal(size=(16, 8, 3, 3)).astype(np.float32))
    program = snap(programs.chain((8, 6, 6), [conv], programs.neuron(0.5)))
    sizes = [len(exported(program, quantize=q)[0]) for q in ("int8", "none")]
    assert sizes[0] < 0.6 * sizes[1]
    expected = run(program, "step", "none")
    assert_same(run(program, "step", "int8"), expected, [*expected])


def test_few_weights_stay_float32() -> None:
    """Two more nodes would take more bytes than they save."""
    model = parsed(snap(CASES["op conv"]), quantize="int8")
    assert onnx.TensorProto.INT8 not in {i.data_type for i in model.graph.initializer}
    assert model.graph.node[0].op_type == "Conv"


def test_the_file_is_a_quarter(tmp_path: Path) -> None:
    program = layered(784, 512, 512, 10)
    for name in ("int8", "none"):
        slt.export(program, None, tmp_path / name, format="onnx", quantize=name)
    small, large = ((tmp_path / n / "model.onnx").stat().st_size for n in ("int8", "none"))
    assert small <= 0.26 * large
    with slt.open(tmp_path / "int8") as runner:
        assert runner.info["quantize"] == "int8"
        assert "MatMulInteger" in runner.info["operators"]
    assert slt.verify(tmp_path / "int8").ok


def test_scales_are_searched_on_the_calibration(tmp_path: Path) -> None:
    program = layered(64, 40, 10, seed=4)
    x = np.random.default_rng(0).random((20, 8, 64)) < 0.2
    searched = snap(program, calibration=x).digest()
    assert searched != snap(program).digest()
    for calibration in (x, {"in": x}):
        artifact = slt.export(
            program,
            None,
            tmp_path / "a",
            format="onnx",
            quantize="int8",
            calibration=calibration,
        )
        assert artifact.manifest["program_digest"] == searched
        assert artifact.manifest["quantize"] == "int8"


# ----------------------------------------------------------------------------- the grid


@given(
    st.lists(st.integers(-127, 127), min_size=1, max_size=20),
    st.integers(-20, 40),
)
def test_the_grid_is_found(whole_: list[int], n: int) -> None:
    values = np.array(whole_, np.float32) * np.float32(2.0**-n)
    found = integers.grid_bits(values)
    assert found is not None
    k = np.ldexp(values.astype(np.float64), found)
    np.testing.assert_array_equal(k, np.rint(k))
    assert np.abs(k).max() <= 127
    if any(whole_):  # the coarsest grid there is
        assert (np.ldexp(values.astype(np.float64), found - 1) % 1).any()


@pytest.mark.parametrize("values", [[128.0, 1], [1.0, 1 / 128], [0.1], [1e-30, 1.0]])
def test_what_no_grid_holds(values: list[float]) -> None:
    assert integers.grid_bits(np.array(values, np.float32)) is None


def test_zeros_are_on_every_grid() -> None:
    assert integers.grid_bits(np.zeros((2, 2), np.float32)) == 0
