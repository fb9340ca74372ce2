"""One synapse for a chain of ops: the same numbers as the chain."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sltdeploy.arithmetic import apply_ops
from sltdeploy.program import Array, Conv, Linear, Op, Pool, Reshape, Scale, Shape
from sltdeploy.synapse import as_conv, as_matrix, constant

RNG = np.random.default_rng(7)


def whole(*shape: int, rng: np.random.Generator = RNG) -> Array:
    """Small integers, so that every sum is exact."""
    return rng.integers(-4, 5, shape).astype(np.float32)


@st.composite
def chains(draw: st.DrawFn) -> tuple[tuple[Op, ...], Shape]:
    """Up to three convolutions, pools and scales that fit."""
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    pads = st.tuples(*[st.integers(0, 2)] * 4)
    start = (draw(st.sampled_from([1, 2, 4])), draw(st.integers(4, 9)), draw(st.integers(4, 9)))
    shape, ops = start, list[Op]()
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["conv", "depthwise", "sum", "average", "scale"]))
        kernel = draw(pair)
        if kind == "scale":
            op: Op = Scale(whole(shape[0], 1, 1, rng=rng))
        elif kind in ("sum", "average"):
            op = Pool(kernel, draw(pair), draw(pads), "sum" if kind == "sum" else "average")
        else:
            groups = shape[0] if kind == "depthwise" else draw(st.sampled_from([1, shape[0]]))
            weight = whole(2 * groups, shape[0] // groups, *kernel, rng=rng)
            bias = whole(2 * groups, rng=rng)
            op = Conv(weight, bias, draw(pair), draw(pads), draw(pair), groups)
        if not list(op.problems(shape)):
            ops.append(op)
            shape = op.out_shape(shape)
    return tuple(ops), start


@given(chains())
def test_convolution_and_matrix_equal_the_chain(case: tuple[tuple[Op, ...], Shape]) -> None:
    ops, shape = case
    x = np.random.default_rng(0).integers(-3, 4, (2, *shape)).astype(np.float64)
    linear = apply_ops(ops, x) - constant(ops, shape)
    matrix = as_matrix(ops, shape)
    assert matrix.data.all()
    by_matrix = x.reshape(2, -1) @ matrix.dense().T
    np.testing.assert_allclose(by_matrix, linear.reshape(2, -1), rtol=1e-12, atol=1e-9)
    conv = as_conv(ops, shape)
    if conv is not None:
        np.testing.assert_allclose(apply_ops((conv,), x), linear, rtol=1e-12, atol=1e-9)


def test_pool_and_convolution_make_one_strided_convolution() -> None:
    pool, conv = Pool((2, 2), (2, 2), kind="average"), Conv(whole(3, 2, 3, 3), padding=(1, 1, 1, 1))
    merged = as_conv((pool, conv), (2, 8, 6))
    assert merged is not None
    assert (merged.weight.shape, merged.stride) == ((3, 2, 6, 6), (2, 2))
    assert merged.padding == (2, 2, 2, 2)
    np.testing.assert_array_equal(merged.weight, np.kron(conv.weight, np.full((2, 2), 0.25)))


@pytest.mark.parametrize(
    ("ops", "shape"),
    [
        ((Pool((2, 2), (2, 2)), Conv(whole(1, 1, 3, 3), padding=(1, 1, 1, 1))), (1, 7, 8)),
        ((Conv(whole(1, 1, 3, 3)), Conv(whole(1, 1, 3, 3), padding=(1, 1, 1, 1))), (1, 8, 8)),
        ((Scale(whole(1, 4, 4)),), (1, 4, 4)),
        ((Reshape((16,)), Linear(whole(3, 16))), (1, 4, 4)),
        ((Linear(whole(3, 16)),), (16,)),
    ],
)
def test_where_no_convolution_is_exact_there_is_none(ops: tuple[Op, ...], shape: Shape) -> None:
    assert as_conv(ops, shape) is None


def test_depthwise_stays_depthwise() -> None:
    merged = as_conv((Pool((2, 2), (2, 2)), Scale(whole(4, 1, 1))), (4, 4, 4))
    assert merged is not None
    assert (merged.groups, merged.weight.shape) == (4, (4, 1, 2, 2))


def test_constant_is_what_biases_bring() -> None:
    ops = (Linear(whole(3, 2), np.array([1.0, 2, 3])), Linear(np.eye(3), np.array([1.0, 1, 1])))
    np.testing.assert_array_equal(constant(ops, (2,)), [2, 3, 4])


def test_the_matrix_is_read_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    ops: tuple[Op, ...] = (Conv(whole(2, 1, 3, 3), padding=(1, 1, 1, 1)),)
    at_once = as_matrix(ops, (1, 5, 5))
    monkeypatch.setattr("sltdeploy.synapse.CHUNK", 100)
    chunked = as_matrix(ops, (1, 5, 5))
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(chunked, part), getattr(at_once, part))
