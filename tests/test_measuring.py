"""Scales chosen on data: less of the output changes, the same way each time."""

from dataclasses import replace

import numpy as np
import pytest
from late_programs import network
from programs import neuron
from small_nets import READOUT, chain, digits, images, lif, loihi, noise

from sltdeploy.errors import InputError
from sltdeploy.program import (
    Array,
    Input,
    Linear,
    Population,
    Program,
    Projection,
    Reshape,
)
from sltdeploy.quantize import for_loihi, losses
from sltdeploy.quantize.loihi import MEASURED
from sltdeploy.quantize.measuring import SAMPLES, STEPS, some_of
from sltdeploy.reference import run


def layer(seed: int) -> Program:
    """One layer of leaky neurons, biased, with a loop: 64 to 12."""
    rng = np.random.default_rng(seed)
    weight = Linear(noise(rng, 12, 64, scale=0.2), noise(rng, 12, scale=0.1))
    program = chain((lif(), (12,), (Reshape((64,)), weight)), source=Input("spikes"))
    back = Projection("p1", "p1", (Linear(noise(rng, 12, 12, scale=0.1)),), recurrent=True)
    return replace(program, projections=(*program.projections, back))


def spikes(seed: int, steps: int = 40, batch: int = 12) -> Array:
    """Twenty of a hundred pixels."""
    return np.random.default_rng(seed).random((steps, batch, 1, 8, 8)) < 0.2


def differing(program: Program, quantised: Program, x: Array) -> int:
    """Spikes that differ."""
    return int((run(program, x).output != run(quantised, x).output).sum())


def test_data_choose_a_scale_that_changes_less() -> None:
    """On what it was chosen on, and over many networks on other data as well."""
    blind = seen = 0
    for seed in range(12):
        program, x = layer(seed), spikes(seed)
        a, b = for_loihi(program), for_loihi(program, x)
        blind += differing(program, a, spikes(100 + seed))
        seen += differing(program, b, spikes(100 + seed))
    assert 0 < seen < blind


@pytest.mark.parametrize("seed", range(4))
def test_feed_forward_the_choice_is_the_best_of_those_tried(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a loop the layer's error on the data is just what is measured."""
    looped = layer(seed)
    program, x = replace(looped, projections=looped.projections[:1]), spikes(seed)
    best = differing(program, for_loihi(program, x), x)
    fewer: list[int] = []
    for tried in range(1, MEASURED + 1):
        monkeypatch.setattr("sltdeploy.quantize.loihi.MEASURED", tried)
        fewer.append(differing(program, for_loihi(program, x), x))
    assert fewer == sorted(fewer, reverse=True)
    assert fewer[-1] == best


def test_scales_of_large_layers_are_compared_on_a_part_of_the_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Which loses little: the largest weight counts in any case, and the signs of all."""
    program = layer(1)
    full = losses(program, for_loihi(program)).projections
    monkeypatch.setattr("sltdeploy.quantize.scaling.SPREAD", 20)
    part = losses(program, for_loihi(program)).projections
    assert [p.weights for p in part] == [p.weights for p in full]
    assert full != part
    for a, b in zip(full, part, strict=True):
        assert b.rms_error < 1.3 * a.rms_error


def test_readouts_are_compared_by_value() -> None:
    rng = np.random.default_rng(2)
    weight = Linear(noise(rng, 12, 64, scale=0.2), noise(rng, 12, scale=0.01))
    program = chain((READOUT, (12,), (Reshape((64,)), weight)), source=Input("spikes"))
    x = spikes(2)
    wanted = run(program, x).output

    def error(quantised: Program) -> float:
        return float(np.sqrt(((run(quantised, x).output - wanted) ** 2).mean()))

    assert error(for_loihi(program, x)) <= error(for_loihi(program))


def test_a_span_shows_ranges_only() -> None:
    rng = np.random.default_rng(3)
    program, x = digits(rng), images(rng)
    ends = np.array([0, 1 / 16, 1], np.float32)
    span = np.resize(ends, (6, 1, 1, 8, 8))
    blind = for_loihi(program, span=span)
    assert blind.digest() == for_loihi(program, span=span[::-1].copy()).digest()
    assert blind.digest() != for_loihi(program, x, span=span).digest()
    entry = for_loihi(program, x / 2, span=span).population("p0").rule
    assert isinstance(entry, Input)
    assert (entry.scale, entry.high) == (16, 16)


def test_the_choice_is_the_same_each_time() -> None:
    program = digits(np.random.default_rng(4))
    x = images(np.random.default_rng(4))
    assert for_loihi(program, x).digest() == for_loihi(program, x.copy()).digest()


def test_only_a_part_of_the_data_is_run() -> None:
    program = layer(0)
    some = some_of(program, {"p0": spikes(0, steps=100, batch=50)})["p0"]
    assert some.shape[:2] == (STEPS, SAMPLES)
    few = spikes(0, steps=5, batch=3)
    np.testing.assert_array_equal(some_of(program, {"p0": few})["p0"], few)
    wide = Program(
        program.convention,
        (Population("in", (1 << 18,), Input("spikes")), Population("p1", (1 << 18,), lif())),
        (Projection("in", "p1"),),
        ("p1",),
    )
    x = np.broadcast_to(np.zeros((), bool), (100, 50, 1 << 18))
    assert some_of(wide, {"in": x})["in"].shape[:2] == (8, 1)


def test_losses_tell_what_differs_by_layer() -> None:
    program, x = digits(np.random.default_rng(5)), images(np.random.default_rng(5))
    quantised = for_loihi(program, x)
    a, b = run(program, x), run(quantised, x)
    report = losses(program, quantised, x)
    for loss in report.populations[:2]:
        share = (a.records[loss.name] != b.records[loss.name]).mean()
        assert loss.differing == share
    assert max(loss.differing or 0 for loss in report.populations[:2]) > 0
    rms = np.sqrt(((a.output - b.output) ** 2).mean())
    assert report.populations[2].differing == pytest.approx(rms, rel=1e-5)
    assert losses(program, quantised).populations[0].differing is None


def test_losses_tell_of_first_potentials_and_currents() -> None:
    bias = np.full(5, 1 / 3, np.float32)
    program = network(
        {"out": neuron(1.0, decay=0.9, decay_syn=0.5, v_init=0.3)},
        Projection("in", "out", (Linear(np.eye(5, dtype=np.float32), bias),)),
    )
    quantised = for_loihi(program, np.ones((3, 1, 5), np.float32))
    (loss,) = losses(program, quantised).populations
    unit = loss.unit
    assert 0 < loss.start_error <= 0.5 / unit * 1.01
    rule = loihi(quantised, "out")
    moved = replace(quantised.populations[1], rule=replace(rule, u_init=rule.u_init - 1000))
    worse = replace(quantised, populations=(quantised.populations[0], moved))
    assert losses(program, worse).populations[0].start_error == pytest.approx(1000 / unit, rel=0.01)


def test_data_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(InputError, match="takes spikes"):
        for_loihi(layer(0), spikes(0) * 0.5)
