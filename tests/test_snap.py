"""Snapping: weights k * 2**-n, with which float32 sums are exact in any order."""

import numpy as np
import pytest
from small_nets import READOUT, chain, digits, images, lif, noise, single

from sltdeploy.errors import InputError
from sltdeploy.program import (
    Input,
    Linear,
    Neuron,
    Op,
    Pool,
    Reshape,
    Scale,
)
from sltdeploy.quantize import for_loihi, snap
from sltdeploy.quantize.folding import fold, weight_of


@pytest.mark.parametrize("bits", [4, 8])
def test_snapped_weights_are_small_integers_on_a_dyadic_grid(bits: int) -> None:
    p = digits(np.random.default_rng(0))
    for before, after in zip(p.projections, snap(p, bits).projections, strict=True):
        weight = weight_of(fold(after.ops, p.population(after.source).shape))
        step = np.abs(weight[weight != 0]).min()
        grid = 2.0 ** np.floor(np.log2(step))
        while (weight / grid != np.rint(weight / grid)).any():
            grid /= 2
        top = 2 ** (bits - 1) - 1
        assert top / 2 < np.abs(weight / grid).max() <= top
        wanted = weight_of(fold(before.ops, p.population(before.source).shape))
        assert np.abs(weight - wanted).max() <= grid / 2


def test_snapped_sums_are_exact_in_any_order() -> None:
    rng = np.random.default_rng(1)
    ops: tuple[Op, ...] = (Reshape((64,)), Linear(noise(rng, 5, 64), noise(rng, 5)))
    (projection,) = snap(chain((lif(), (5,), ops), source=Input("spikes"))).projections
    linear = projection.ops[1]
    assert isinstance(linear, Linear)
    assert linear.bias is not None
    terms = np.concatenate([linear.weight, linear.bias[:, None]], axis=1)
    assert terms.dtype == np.float32
    forward = np.add.accumulate(terms, axis=1, dtype=np.float32)[:, -1]
    backward = np.add.accumulate(terms[:, ::-1], axis=1, dtype=np.float32)[:, -1]
    np.testing.assert_array_equal(forward, backward)
    np.testing.assert_array_equal(forward, terms.astype(np.float64).sum(axis=1))


def test_an_average_over_nine_becomes_a_sum() -> None:
    rng = np.random.default_rng(2)
    p = chain(
        (
            READOUT,
            (3,),
            (Pool((3, 3), (2, 2), kind="average"), Reshape((9,)), Linear(noise(rng, 3, 9))),
        ),
        source=Input("spikes"),
    )
    pool, _, linear = snap(p).projections[0].ops
    assert isinstance(pool, Pool)
    assert pool.kind == "sum"
    assert isinstance(linear, Linear)
    wanted = p.projections[0].ops[2]
    assert isinstance(wanted, Linear)
    assert np.abs(linear.weight * 9 - wanted.weight).max() < np.abs(wanted.weight).max() / 127
    pool_alone: tuple[Op, ...] = (Pool((3, 3), (2, 2), kind="average"),)
    alone = chain((READOUT, (1, 3, 3), pool_alone), source=Input("spikes"))
    last = snap(alone).projections[0].ops[1]
    assert isinstance(last, Scale)
    assert float(last.factor) == pytest.approx(1 / 9, rel=0.01)


def test_snapping_keeps_decays_and_moves_potentials_little() -> None:
    rule = lif(threshold=single(0.1), decay=single(0.3), v_reset=single(-0.7), v_init=single(-0.7))
    p = chain((rule, (1, 8, 8), (Scale(single(0.3)),)), source=Input("spikes"))
    after = snap(p).population("p1").rule
    assert isinstance(after, Neuron)
    assert after.decay == single(0.3)
    assert after.threshold is not None
    assert float(after.threshold * 2**17).is_integer()
    assert abs(float(after.threshold) - 0.1) < 2**-16
    assert after.v_reset == after.v_init != single(-0.7)


def test_snapping_is_refused_for_integers_and_odd_bits() -> None:
    p = digits(np.random.default_rng(0))
    with pytest.raises(InputError, match="loihi integers"):
        snap(for_loihi(p, images(np.random.default_rng(0))))
    with pytest.raises(InputError, match=r"bits is 1, must be 2\.\.16"):
        snap(p, bits=1)
