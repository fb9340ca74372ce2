"""Quantising: what the integers are, what they lose, and that nothing overflows."""

from dataclasses import replace

import numpy as np
import pytest
from programs import neuron
from small_nets import READOUT, chain, digits, images, lif, loihi, noise, single

from sltdeploy.bounds import ALIGN, TOP, bounds
from sltdeploy.errors import InputError
from sltdeploy.program import (
    Conv,
    Convention,
    DelayLine,
    Input,
    Linear,
    Neuron,
    Op,
    Pool,
    Population,
    Program,
    Projection,
    Relay,
    Reshape,
)
from sltdeploy.quantize import for_loihi, losses, snap
from sltdeploy.quantize.folding import weight_of
from sltdeploy.reference import run
from sltdeploy.synapse import constant


def test_integers_keep_to_loihis_formats() -> None:
    rng = np.random.default_rng(3)
    p = for_loihi(digits(rng), images(rng))
    assert p.numbers == "loihi"
    for projection in p.projections:
        weight = weight_of(projection.ops)
        assert weight.dtype == np.int16
        assert not (weight % 2).any()  # both signs occur
        assert weight.min() >= -256
        assert 127 <= np.abs(weight).max() <= 256
        assert -7 <= projection.weight_exponent <= 7
    for name in ("p1", "p2", "p3"):
        rule = loihi(p, name)
        assert (rule.du, rule.dv) == (4095, 1024 if name == "p3" else 2048)
        assert rule.bias_mantissa.shape == p.population(name).shape
        assert np.abs(rule.bias_mantissa).max() <= 4095
        assert 0 <= rule.bias_exponent <= 7
    assert loihi(p, "p3").vth is None


def test_thresholds_are_exact_and_spikes_nearly_the_same() -> None:
    rng = np.random.default_rng(4)
    p, x = digits(rng), images(rng)
    q = for_loihi(p, x)
    for name in ("p1", "p2"):
        rule, wanted = loihi(q, name), p.population(name).rule
        assert isinstance(wanted, Neuron)
        assert wanted.threshold is not None
        assert rule.vth is not None
        assert rule.vth * ALIGN / rule.unit == pytest.approx(float(wanted.threshold), rel=1e-12)
    floats, integers = run(p, x), run(q, x)
    for name in ("p1", "p2"):
        assert floats.records[name].mean() > 0.05
        assert (floats.records[name] != integers.records[name]).mean() < 0.02
    assert np.abs(floats.output - integers.output).mean() < 0.2 * np.abs(floats.output).mean()


def test_snapped_networks_lose_nothing_on_loihi() -> None:
    rng = np.random.default_rng(5)
    p, x = snap(digits(rng)), images(rng)
    q = for_loihi(p, x)
    report = losses(p, q)
    assert [loss.max_error for loss in report.projections] == [0, 0, 0]
    assert [loss.zeroed for loss in report.projections] == [0, 0, 0]
    a, b = run(p, x), run(q, x)
    for name in ("p1", "p2"):  # biases and decaying potentials are still cut to integers
        assert (a.records[name] != b.records[name]).mean() < 0.005


def test_weights_of_one_sign_use_all_eight_bits() -> None:
    weight = np.array([[0.1, 0.5, 1.0]], np.float32)
    for sign in (1, -1):
        p = Program(
            Convention(1e-3),
            (Population("in", (3,), Input("spikes")), Population("n", (1,), READOUT)),
            (Projection("in", "n", (Linear(sign * weight),)),),
            ("n",),
        )
        integers = weight_of(for_loihi(p).projections[0].ops)
        assert (integers % 2).any()
        assert np.abs(integers).max() <= 255


def test_a_reset_elsewhere_is_moved_to_zero() -> None:
    rng = np.random.default_rng(6)
    x = rng.random((40, 5, 1, 8, 8)) < 0.3
    ops: tuple[Op, ...] = (Reshape((64,)), Linear(np.rint(noise(rng, 7, 64) * 16) / 16))
    moved = lif(v_reset=single(-0.5), v_init=single(-0.5), bias=single(-0.125))
    p = chain((moved, (7,), ops), source=Input("spikes"))
    q = for_loihi(p)
    assert losses(p, q).projections[0].max_error == 0
    a, b = run(p, x).records["p1"], run(q, x).records["p1"]
    assert a.mean() > 0.1
    assert (a != b).mean() < 0.01
    unmoved = for_loihi(chain((lif(bias=single(-0.125)), (7,), ops), source=Input("spikes")))
    assert (run(unmoved, x).records["p1"] != a).mean() > 0.02


def test_biases_of_ops_go_to_the_population() -> None:
    rng = np.random.default_rng(7)
    p, x = digits(rng), images(rng)
    q = for_loihi(p, x)
    for projection in q.projections:
        assert not constant(projection.ops, q.population(projection.source).shape).any()
    for loss in losses(p, q).populations:
        assert loss.bias_error < 0.01
    brought = constant(p.projections[0].ops, (1, 8, 8))
    rule = loihi(q, "p1")
    in_floats = rule.bias_mantissa * 2.0**rule.bias_exponent / rule.unit
    np.testing.assert_allclose(in_floats, brought, atol=0.001)


def test_projections_of_different_size_share_a_scale() -> None:
    rng = np.random.default_rng(8)
    big, small = noise(rng, 4, 64), noise(rng, 4, 64, scale=0.02)
    p = Program(
        Convention(1e-3),
        (
            Population("a", (64,), Input("spikes")),
            Population("b", (64,), Input("spikes")),
            Population("n", (4,), lif()),
        ),
        (Projection("a", "n", (Linear(big),)), Projection("b", "n", (Linear(small),))),
        ("n",),
    )
    q = for_loihi(p)
    first, second = q.projections
    assert first.weight_exponent > second.weight_exponent >= 0
    for loss in losses(p, q).projections:
        assert loss.max_error < loss.max_weight / 100


def test_fine_graded_inputs_are_shifted_right() -> None:
    rng = np.random.default_rng(9)
    p = chain(
        (lif(), (4,), (Reshape((64,)), Linear(noise(rng, 4, 64, scale=0.05)))),
        source=Input("graded"),
    )
    x = rng.random((5, 3, 1, 8, 8)).astype(np.float32)
    q = for_loihi(p, x)
    assert q.projections[0].weight_exponent < 0
    assert losses(p, q).projections[0].max_error < 0.002
    np.testing.assert_array_equal(run(p, x).records["p1"], run(q, x).records["p1"])


def test_relays_become_readouts() -> None:
    rng = np.random.default_rng(10)
    p = chain((Relay(), (4,), (Reshape((64,)), Linear(noise(rng, 4, 64)))), source=Input("spikes"))
    q = for_loihi(p)
    assert (loihi(q, "p1").du, loihi(q, "p1").dv, loihi(q, "p1").vth) == (4095, 4095, None)
    x = rng.random((5, 3, 1, 8, 8)) < 0.5
    assert np.abs(run(p, x).output - run(q, x).output).max() < 0.05


def test_overlapping_pools_are_merged_into_the_weights() -> None:
    rng = np.random.default_rng(11)
    ops: tuple[Op, ...] = (Pool((3, 3), (1, 1), kind="average"), Conv(noise(rng, 2, 1, 2, 2)))
    p = chain((lif(), (2, 5, 5), ops), source=Input("spikes"))
    (op,) = for_loihi(p).projections[0].ops
    assert isinstance(op, Conv)
    assert op.weight.shape == (2, 1, 4, 4)
    assert losses(p, for_loihi(p)).projections[0].max_error < 0.01


def test_pruned_weights_stay_pruned_and_small_ones_are_counted() -> None:
    weight = np.array([[1.0, -0.5, 1e-4, 0.0]], np.float32)
    p = Program(
        Convention(1e-3),
        (Population("in", (4,), Input("spikes")), Population("n", (1,), lif())),
        (Projection("in", "n", (Linear(weight),)),),
        ("n",),
    )
    (loss,) = losses(p, for_loihi(p)).projections
    assert (loss.weights, loss.zeroed) == (3, 1)
    assert loss.max_weight == 1
    assert loss.max_error == pytest.approx(1e-4, rel=0.01)
    silent = replace(p, projections=(Projection("in", "n", (Linear(weight * 0),)),))
    assert not weight_of(for_loihi(silent).projections[0].ops).any()


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (lif(comparison="ge"), "compares with >="),
        (lif(reset="subtract", v_reset=None), "resets by subtraction"),
        (lif(threshold=np.array([1, 2, 1, 1], np.float32)), "threshold goes from 1 to 2"),
        (lif(decay=np.array([0.5, 0.6, 0.5, 0.5], np.float32)), r"decay goes from 0\.5 to 0\.6"),
        (lif(decay=single(-0.5)), r"decay is -0\.5.*0\.\.1"),
        (lif(decay=single(1.5)), r"decay is 1\.5.*0\.\.1"),
        (lif(v_reset=single(2), v_init=single(2)), "threshold is 1 below v_reset"),
        (lif(threshold=single(1e-9)), "too far apart"),
        (lif(v_init=single(1e9)), "too far apart"),
    ],
)
def test_what_loihi_lacks_is_refused_by_name(rule: Neuron, why: str) -> None:
    p = chain(
        (rule, (4,), (Reshape((64,)), Linear(np.ones((4, 64), np.float32)))),
        source=Input("spikes"),
    )
    with pytest.raises(InputError, match=f"population 'p1'.*{why}"):
        for_loihi(p)


def test_all_refusals_come_at_once() -> None:
    rng = np.random.default_rng(13)
    biased: tuple[Op, ...] = (Reshape((64,)), Linear(noise(rng, 4, 64), noise(rng, 4)))
    p = chain(
        (lif(decay_syn=single(1), comparison="ge", reset="subtract"), (4,), biased),
        (Relay(), (4,), ()),
        (READOUT, (4,), ()),
        source=Input("graded"),
    )
    with pytest.raises(InputError) as error:
        for_loihi(p)
    assert len(error.value.violations) == 5
    for part in (">=", "subtraction", "'p1' sums a bias", "'p2' sends values", "range"):
        assert part in str(error.value)


def test_integers_are_not_quantised_again() -> None:
    rng = np.random.default_rng(0)
    q = for_loihi(digits(rng), images(rng))
    with pytest.raises(InputError, match="quantise the float one"):
        for_loihi(q)


@pytest.mark.parametrize(("steps", "shifts_right"), [([1, 1], True), ([0, 1], False)])
def test_what_waits_by_element_is_not_shifted_right(
    steps: list[int], *, shifts_right: bool
) -> None:
    """Loihi shifts each arrival by itself, not the sum of those that left at different times."""
    program = Program(
        Convention(1e-3),
        (
            Population("s", (2,), Input("spikes")),
            Population("g", (2,), Input("graded")),
            Population("wait", (2,), DelayLine(np.asarray(steps))),
            Population("out", (1,), neuron(1.0, decay=0.5)),
        ),
        (
            Projection("s", "out", (Linear(np.array([[0.75, 0.25]], np.float32)),)),
            Projection("g", "wait"),
            Projection("wait", "out", (Linear(np.array([[0.02, 0.01]], np.float32)),)),
        ),
        ("out",),
    )
    given = {"s": np.ones((3, 1, 2)), "g": np.linspace(-1, 1, 6).reshape(3, 1, 2)}
    q = for_loihi(program, given)
    assert (q.into("out")[1].weight_exponent < 0) == shifts_right
    # Fine weights ask for a scale at which the large ones would not fit any exponent.
    assert max(each.max_error for each in losses(program, q).projections) < 0.01


@pytest.mark.parametrize("share", np.linspace(0.5, 1.5, 21))
def test_many_small_weights_that_round_up_do_not_overflow(share: float) -> None:
    """Rounded, thousands of weights of half a unit bring nearly twice of what they should."""
    weight = np.full((1, 4000), share / 255, np.float32)
    weight[0, 0] = 1
    rule = neuron(1.0, decay=0.5, decay_syn=0.999)
    p = Program(
        Convention(1e-3),
        (Population("in", (4000,), Input("spikes")), Population("out", (1,), rule)),
        (Projection("in", "out", (Linear(weight),)),),
        ("out",),
    )
    assert bounds(for_loihi(p))["out"].u < TOP


@pytest.mark.parametrize("start", [0.3, 0.501, 0.9])
def test_an_inclusive_population_starts_on_whole_activations(start: float) -> None:
    """Else one that stays just below its threshold would spike: Loihi compares with >."""
    rule = neuron(1.0, decay=1.0, v_init=start, bias=0.0, ge=True)
    p = Program(
        Convention(1e-3),
        (Population("in", (1,), Input("spikes")), Population("out", (1,), rule)),
        (Projection("in", "out", (Linear(np.full((1, 1), 1 / 128, np.float32)),)),),
        ("out",),
    )
    q = for_loihi(p)
    assert loihi(q, "out").v_init % ALIGN == 0
    x = np.ones((100, 1, 1))
    whole, floats = (int(np.argmax(run(each, x).output)) for each in (q, p))
    assert abs(whole - floats) <= 1
