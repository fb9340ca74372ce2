"""Snapping: weights k * 2**-n, with which float32 sums are exact in any order."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from small_nets import READOUT, chain, digits, images, lif, noise, single

from sltdeploy import reference
from sltdeploy.arithmetic import apply_ops
from sltdeploy.errors import InputError
from sltdeploy.program import (
    Array,
    Conv,
    Input,
    Linear,
    Neuron,
    Op,
    Pool,
    Program,
    Projection,
    Reshape,
    Scale,
)
from sltdeploy.quantize import for_loihi, snap
from sltdeploy.quantize.folding import fold, weight_of
from sltdeploy.quantize.searching import activity

SPIKES = Input("spikes")


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


# ----------------------------------------------------------------------------- searched scales


def behind(weight: Array, x: Array) -> tuple[Program, Array]:
    """Weights between spikes (T, B, n) and a readout without memory."""
    program = chain((READOUT, weight.shape[:1], (Reshape((64,)), Linear(weight))), source=SPIKES)
    return program, x


def error(before: Program, after: Program, x: Array) -> float:
    """Root mean square of what arrives differently at p1, over the steps and samples of x."""
    rows = x.reshape(-1, *x.shape[2:]).astype(np.float64)
    wanted, got = (apply_ops(p.projections[0].ops, rows) for p in (before, after))
    return float(np.sqrt(((got - wanted) ** 2).mean()))


def linear_of(program: Program, projection: int = 0) -> Linear:
    """The Linear of a projection."""
    (found,) = (op for op in program.projections[projection].ops if isinstance(op, Linear))
    return found


def fraction(weight: Array) -> int:
    """Bits behind the point that the weights need."""
    return next(n for n in range(-20, 40) if not (np.ldexp(weight, n) % 1).any())


def test_data_finds_a_finer_grid_where_few_weights_are_cut_off() -> None:
    """With a largest weight just above a power of two the plain grid wastes half of its range."""
    rng = np.random.default_rng(3)
    weight = rng.uniform(-0.9, 0.9, (20, 64)).astype(np.float32)
    weight[3, 5] = 1.02
    x = rng.random((10, 4, 1, 8, 8)) < 0.2
    before, x = behind(weight, x)
    plain, searched = snap(before), snap(before, calibration=x)
    assert (fraction(linear_of(plain).weight), fraction(linear_of(searched).weight)) == (6, 7)
    assert error(before, searched, x) < 0.65 * error(before, plain, x)
    assert np.abs(linear_of(searched).weight).max() == single(127 / 128)  # cut off


def test_a_weight_that_counts_is_not_cut_off() -> None:
    """The same weights; but the input of the largest fires always, the others hardly ever."""
    rng = np.random.default_rng(3)
    weight = rng.uniform(-0.9, 0.9, (20, 64)).astype(np.float32)
    weight[3, 5] = 1.3
    x = rng.random((10, 4, 1, 8, 8)) < 0.02
    x[..., 0, 5] = True
    before, x = behind(weight, x)
    searched = snap(before, calibration=x)
    assert fraction(linear_of(searched).weight) == 6
    assert linear_of(searched).weight[3, 5] == single(83 / 64)


def test_the_search_finds_the_best_of_all_grids() -> None:
    rng = np.random.default_rng(4)
    top = 127
    for seed in range(10):
        weight = (rng.standard_t(3, (12, 64)) / 8).astype(np.float32)
        x = np.random.default_rng(seed).random((6, 4, 1, 8, 8)) < 0.2
        before, x = behind(weight, x)
        rows = x.reshape(-1, 64).astype(np.float64)
        errors = {
            n: ((rows @ (np.clip(np.rint(weight * 2.0**n), -top, top) / 2.0**n - weight).T) ** 2)
            for n in range(-2, 16)
        }
        best = min(errors, key=lambda n: float(errors[n].sum()))
        got = linear_of(snap(before, calibration=x)).weight
        expected = np.clip(np.rint(weight * 2.0**best), -top, top) / 2.0**best
        np.testing.assert_array_equal(got, expected.astype(np.float32))


@pytest.mark.parametrize("bits", [4, 8])
def test_searched_weights_lie_on_a_grid_and_lose_less(bits: int) -> None:
    rng = np.random.default_rng(0)
    before, x = digits(rng), images(rng)
    plain, searched = snap(before, bits), snap(before, bits, x)
    total = {"plain": 0.0, "searched": 0.0}
    records = reference.run(before, x).records
    for k, p in enumerate(before.projections):
        rows = records[p.source].reshape(-1, *records[p.source].shape[2:]).astype(np.float64)
        wanted = apply_ops(p.ops, rows)
        errors = {
            name: float(((apply_ops(q.projections[k].ops, rows) - wanted) ** 2).sum())
            for name, q in (("plain", plain), ("searched", searched))
        }
        assert errors["searched"] <= errors["plain"] * (1 + 1e-9)
        total = {name: total[name] + errors[name] for name in total}
        weight = weight_of(fold(searched.projections[k].ops, before.population(p.source).shape))
        grid = 2.0 ** -fraction(weight)
        assert np.abs(weight / grid).max() <= 2 ** (bits - 1) - 1
    if bits == 4:  # with 8 bits the plain grids of this network are the best
        assert total["searched"] < total["plain"]


def test_two_weighted_ops_are_searched_in_turn() -> None:
    rng = np.random.default_rng(5)
    ops: tuple[Op, ...] = (
        Scale(noise(rng, 1, 8, 8) + 1),
        Conv(noise(rng, 4, 1, 3, 3)),
        Pool((2, 2), (2, 2), kind="average"),
        Reshape((36,)),
        Linear(noise(rng, 5, 36)),
    )
    before = chain((READOUT, (5,), ops), source=SPIKES)
    x = rng.random((10, 4, 1, 8, 8)) < 0.3
    plain, searched = snap(before, 4), snap(before, 4, x)
    assert error(before, searched, x) < error(before, plain, x)


def test_a_later_op_is_searched_behind_what_the_earlier_became() -> None:
    """Op by op, against all grids; behind the float op another grid would be chosen."""
    rng = np.random.default_rng(0)
    first, second = noise(rng, 6, 64), noise(rng, 4, 6)
    ops: tuple[Op, ...] = (Reshape((64,)), Linear(first), Linear(second))
    x = rng.random((5, 4, 1, 8, 8)) < 0.3
    got = snap(chain((READOUT, (4,), ops), source=SPIKES), 3, x).projections[0].ops
    rows = x.reshape(-1, 64).astype(np.float64)

    def on(weight: Array, n: int) -> Array:
        return np.clip(np.rint(weight * 2.0**n), -3, 3) / 2.0**n

    def best(before: Array, weight: Array, rest: Array) -> int:
        """The grid of ``weight`` between what comes before and the rest."""
        return min(
            range(-2, 10),
            key=lambda n: float(((before @ on(weight, n).T @ rest.T - wanted) ** 2).sum()),
        )

    wanted = rows @ first.T.astype(np.float64) @ second.T
    snapped = on(first, best(rows, first, second))
    behind_snapped = best(rows @ snapped.T, second, np.eye(4))
    behind_float = best(rows @ first.T, second, np.eye(4))
    assert behind_snapped != behind_float
    expected = (snapped, on(second, behind_snapped))
    for op, weight in zip((got[1], got[2]), expected, strict=True):
        assert isinstance(op, Linear)
        np.testing.assert_array_equal(op.weight, weight.astype(np.float32))


def test_the_search_is_deterministic_and_silence_teaches_nothing() -> None:
    rng = np.random.default_rng(6)
    before, x = digits(rng), images(rng)
    assert snap(before, 8, x).digest() == snap(before, 8, {"p0": x}).digest()
    assert snap(before, 8, x).digest() == snap(before, 8, x.astype(np.float64)).digest()
    program, silence = behind(noise(rng, 5, 64), np.zeros((3, 2, 1, 8, 8)))
    assert snap(program, 8, silence).digest() == snap(program).digest()


def test_a_recurrent_projection_is_searched_on_what_its_source_sends() -> None:
    rng = np.random.default_rng(7)
    around = rng.uniform(-0.9, 0.9, (6, 6)).astype(np.float32)
    around[0, 0] = 1.005
    before = chain((lif(), (6,), (Reshape((64,)), Linear(noise(rng, 6, 64)))), source=SPIKES)
    loop = Projection("p1", "p1", (Linear(around),), recurrent=True)
    before = replace(before, projections=(*before.projections, loop))
    x = rng.random((20, 8, 1, 8, 8)) < 0.3
    grids = [fraction(linear_of(p, 1).weight) for p in (snap(before), snap(before, 8, x))]
    assert grids == [6, 7]
    assert snap(before, 8, x).projections[1].recurrent


@pytest.mark.parametrize(
    ("calibration", "why"),
    [
        (
            np.zeros((3, 2, 1, 8, 7)),
            r"calibration: input 'p0' has shape .* must be \(T, B, 1, 8, 8",
        ),
        (np.full((3, 2, 1, 8, 8), np.nan), "calibration: input 'p0' holds nan"),
        (np.zeros((0, 2, 1, 8, 8)), "calibration: no steps or no samples"),
        ({"other": np.zeros((3, 2, 1, 8, 8))}, "calibration: input 'p0' is missing"),
    ],
)
def test_calibration_that_does_not_fit_is_refused(calibration: Any, why: str) -> None:
    program, _ = behind(np.eye(4, 64, dtype=np.float32), np.zeros(()))
    with pytest.raises(InputError, match=why):
        snap(program, 8, calibration)


def test_long_calibration_costs_no_more() -> None:
    """At most 512 rows are looked at, from the first step to the last."""
    rng = np.random.default_rng(8)
    program, _ = behind(noise(rng, 5, 64), np.zeros(()))
    x = rng.random((300, 4, 1, 8, 8)) < 0.2
    rows = activity(program, x)["p0"]
    assert rows.shape == (512, 1, 8, 8)
    flat = x.reshape(-1, 1, 8, 8)
    np.testing.assert_array_equal(rows[[0, -1]], flat[[0, -1]])
