"""Parts of the C exporter: text, bounds that allow integers, tables, the choice of a kernel."""

import re

import numpy as np
import programs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sltdeploy.c_source import costs
from sltdeploy.c_source.exactness import Signal, fraction_bits, through, together
from sltdeploy.c_source.plan import plan
from sltdeploy.c_source.stages import Columns, ConvEvents, ConvRows, Divide, OneToOne, Rows, stages
from sltdeploy.c_source.text import array, comment, identifiers, number
from sltdeploy.program import (
    Array,
    Conv,
    Input,
    Linear,
    Pool,
    Population,
    Program,
    Projection,
    Relay,
    Scale,
)

ONES = Signal(0, np.ones(4))


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float_reads_back(value: float) -> None:
    text = number(value)
    assert re.fullmatch(r"-?[0-9]+(\.[0-9]+)?(e[+-][0-9]+)?f", text)
    assert "." in text or "e" in text  # 1f is no C
    assert np.float32(text[:-1]) == np.float32(value)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=40))
def test_an_array_reads_back(values: list[float]) -> None:
    text = array("a", np.array(values, np.float32))
    head, body = text.split(" = ")
    assert head == f"static const float a[{max(1, len(values))}]"
    found = [np.float32(v) for v in re.findall(r"[^\s,{};]+(?=f)", body)]
    assert found == [np.float32(v) for v in values or [0.0]]
    assert max(map(len, text.splitlines())) <= 100


def test_names() -> None:
    names = ["a/b", "a b", "a_b", "a_b_2", "", "é", "1", "x" * 99]
    found = identifiers(names)
    assert list(found) == names
    assert len(set(found.values())) == len(names)
    assert found["a/b"] == "a_b"
    assert all(re.fullmatch("[A-Za-z0-9_]{1,50}", v) for v in found.values())
    assert comment('x */ "\n\\ é') == "x _/ ___ _"


@pytest.mark.parametrize(
    ("values", "bits"),
    [
        ([0.0], 0),
        ([3.0, -4.0, 1024.0], 0),
        ([0.5, 3], 1),
        ([-0.375], 3),
        ([2.0**-30], 30),
        ([2.0**-31], None),
        ([0.1], None),  # a float32 of 27 fraction bits, but a float64 of more
    ],
)
def test_fraction_bits(values: list[float], bits: int | None) -> None:
    assert fraction_bits(np.array(values)) == bits


def test_fraction_bits_of_float32() -> None:
    assert fraction_bits(np.array([0.1], np.float32)) == 27


@pytest.mark.parametrize(("top", "kind"), [(2**21, "int32"), (2**21 + 1, "float64")])
def test_integers_up_to_what_float32_holds(top: int, kind: str) -> None:
    """Weights k / 8: eight times their sum may be 2**24, and no more."""
    weight = np.array([[top - 0.125, 0.125]])
    program = programs.chain((2,), [Linear(weight)], programs.neuron())
    total = plan(program).cells[1].sum
    assert total is not None
    assert total.kind == kind
    assert total.bits == (3 if kind == "int32" else 0)


def test_several_projections_share_one_grid() -> None:
    halves, eighths = Signal(1, np.full(4, 2.0)), Signal(3, np.full(4, 0.125))
    both = together([halves, eighths])
    assert both is not None
    assert (both.bits, both.peak) == (3, 17)
    assert together([halves, None]) is None


def test_signals_through_ops() -> None:
    weight = np.array([[0.5, -0.5, 1, 0], [0.25, 0, 0, 0]])
    after = through((Linear(weight, np.array([0.125, 0])), Scale(np.array(0.5))), ONES)
    assert after is not None
    assert after.bits == 4
    np.testing.assert_array_equal(after.limit, [1.0625, 0.125])
    image = Signal(0, np.ones((1, 4, 4)))
    pooled = through((Pool((2, 2), (2, 2), kind="average"),), image)
    assert pooled is not None
    assert (pooled.bits, pooled.peak) == (2, 4)
    assert through((Pool((3, 3), (1, 1), kind="average"),), image) is None
    assert through((Scale(np.array(0.1)),), ONES) is None


def sums(program: Program) -> list[str | None]:
    """Type of each population's sum."""
    return [None if c.sum is None else c.sum.kind for c in plan(program).cells]


def test_a_factor_that_no_int32_holds() -> None:
    """Also where it meets a 0 only: a kernel multiplies, or converts, before it can know."""
    one, none = np.ones((1, 4)), np.zeros((1, 4))
    for scale, kind in ((2.0**30, "int32"), (2.0**31, "float64")):
        ops = [Linear(none), Linear(np.array([[scale]]))]
        assert sums(programs.chain((4,), ops, Relay())) == [None, kind]
    # A value on the way, which another projection's finer grid multiplies.
    for top, kind in ((2.0**9, "int32"), (2.0**10, "float64")):
        unread = Linear(np.array([[top, 0, 0, 0], [1, 0, 0, 0]])), Linear(np.array([[0, 1]]))
        entry, end = programs.chain((4,), [Linear(one)], Relay()).populations
        fine = Linear(one * 2.0**-21)
        joined = (Projection("in", "out", unread), Projection("in", "out", (fine,)))
        both = Program(programs.CONVENTION, (entry, end), joined, ("out",))
        assert sums(both) == [None, kind]


def test_factors_of_loihi() -> None:
    for exponent, kind in ((7, "int32"), (8, "int64")):
        program = Program(
            programs.CONVENTION,
            (
                Population("in", (1,), Input("graded", 1.0, 0, 2**23)),
                Population("out", (1,), Relay()),
            ),
            (Projection("in", "out", (Linear(np.array([[0]])),), exponent),),
            ("out",),
            "loihi",
        )
        assert sums(program) == [None, kind]


def kinds(ops: list[Linear | Conv | Pool | Scale], shape: tuple[int, ...]) -> list[type]:
    """Kernels for spikes."""
    return [type(s) for s in stages(tuple(ops), shape, costs.SPIKE_RATE, whole=True)]


def sparse(rng: np.random.Generator, kept: float, *shape: int) -> Array:
    """Whole numbers, few of them not 0."""
    return rng.integers(1, 100, shape) * (rng.random(shape) < kept)


def test_kernels_follow_the_cost() -> None:
    rng = np.random.default_rng(0)
    image = (2, 16, 16)
    assert kinds([Linear(sparse(rng, 0.03, 512, 784))], (784,)) == [Columns]
    assert kinds([Linear(sparse(rng, 1.0, 512, 784))], (784,)) == [Rows]
    assert kinds([Conv(sparse(rng, 1.0, 4, 2, 3, 3))], image) == [ConvEvents]
    graded = stages((Conv(sparse(rng, 1.0, 4, 2, 3, 3)),), image, costs.VALUE_RATE, whole=False)
    assert [type(s) for s in graded] == [ConvRows]
    assert kinds([Pool((3, 3), (1, 1), kind="average")], image)[1:] == [Divide]
    assert kinds([], (4,)) == [OneToOne]


def test_tables() -> None:
    (rows,) = stages((Linear(np.array([[0.5, 1], [2, 3], [4, 5]])),), (2,), 1.0, whole=True)
    assert isinstance(rows, Rows)
    assert rows.weight.dtype == np.int8
    assert (rows.weight.tolist(), rows.bits) == ([[1, 4, 8], [2, 6, 10]], 1)
    wide = np.zeros((70_000, 1))
    wide[69_999] = 1
    (last,) = stages((Linear(wide),), (1,), 1.0, whole=True)
    assert isinstance(last, Columns)
    assert last.to.dtype == np.uint32  # 16 bits where they fit
    assert last.to.tolist() == [69_999]
    narrow = wide[:60_000]
    narrow[59_999] = 300
    (last,) = stages((Linear(narrow),), (1,), 1.0, whole=True)
    assert isinstance(last, Columns)
    assert (last.to.dtype, last.weight.dtype) == (np.uint16, np.int16)
    assert (last.first.tolist(), last.bits) == ([0, 1], 0)


def test_values_are_summed_in_float64() -> None:
    def kind(program: Program) -> str:
        total = plan(program).cells[1].sum
        assert total is not None
        return total.kind

    weight = Linear(np.eye(3, dtype=np.float32))
    assert kind(programs.chain((3,), [weight], Relay())) == "int32"
    assert kind(programs.chain((3,), [weight], Relay(), kind="graded")) == "float64"
