"""What is priced is what the target runs: its numbers, its weights, its limits."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import nir
import numpy as np
import pytest
from commands import WEIGHT, network
from small_nets import lif

from sltdeploy.assessment import Fed, assess, deployed, price, usual_input
from sltdeploy.errors import InputError
from sltdeploy.lowering import lower
from sltdeploy.program import Convention, Input, Linear, Population, Program, Projection, Relay
from sltdeploy.resolving import resolve
from sltdeploy.stimulus import example
from sltdeploy.target import load

ONES = Fed(np.ones((3, 2, 6), np.float32), "ones")
X = np.random.default_rng(3).integers(0, 17, (12, 5, 6)).astype(np.float32) / 16


def test_loihi_is_priced_with_the_weights_that_it_holds() -> None:
    tiny = np.where(np.arange(24).reshape(4, 6) < 3, 1e-4, WEIGHT)  # less than half a step
    program = lower(network(weight=tiny))
    fed = Fed(X, "x")
    on_chip = price(program, load("loihi2"), fed, 10.0)
    assert on_chip.assessed.program.numbers == "loihi"
    assert on_chip.assessed.counts.nonzero == assess(program, fed).counts.nonzero - 3
    assert on_chip.estimate.total is None
    assert on_chip.fit.fits
    assert on_chip.exceeded == ()


def test_what_takes_floats_is_priced_with_floats() -> None:
    program = lower(network())
    priced = price(program, load("cmos-45nm"), Fed(X, "x"), 10.0)
    assert priced.assessed.program is program
    counts = priced.assessed.counts
    terms = {t.event: t.count for t in priced.estimate.terms}
    assert terms["synop"] == counts.ac.mean()
    assert priced.estimate.samples == 5


def test_what_the_target_lacks_names_the_target() -> None:
    target = replace(load("loihi1"), neurons=("IF",))
    with pytest.raises(InputError, match="loihi1: lif: loihi1 has no LIF"):
        deployed(lower(network()), target, Fed(X, "x"))


def test_an_input_that_a_host_must_bring_is_a_caveat() -> None:
    """The rest of the network is priced all the same."""
    found = price(lower(network()), load("loihi1"), Fed(X, "x"), 10.0)
    (caveat,) = found.caveats
    assert "loihi1: input: is a graded input" in caveat
    assert "--input-kind spikes" in caveat
    assert found.estimate.total is not None
    assert price(lower(network(), input_kind="spikes"), load("loihi1"), ONES, 10.0).caveats == ()


def test_what_cannot_be_quantised_is_priced_in_floats() -> None:
    found = price(lower(network(), comparison="gt"), load("loihi2"), Fed(X, "x"), 10.0)
    assert found.assessed.program.numbers == "loihi"
    uneven = network()
    lif: Any = uneven.nodes["lif"]
    lif.v_threshold[0] = 0.5
    found = price(lower(uneven), load("loihi2"), Fed(X, "x"), 10.0)
    assert found.assessed.program.numbers == "float32"
    (caveat,) = found.caveats
    assert "priced in floating point: population 'lif': threshold" in caveat


def test_a_known_span_scales_the_integers() -> None:
    """Not what happened to be counted on."""
    span = np.resize([0.0, 1 / 16, 1.0], (5, 1, 6))
    program = lower(network())
    low = price(program, load("loihi2"), Fed(X / 2, "x", span=span), 10.0)
    full = price(program, load("loihi2"), Fed(X, "x", span=span), 10.0)
    assert low.assessed.program.digest() == full.assessed.program.digest()


def test_accuracy_is_the_share_of_right_decisions() -> None:
    program = lower(network())
    assert assess(program, Fed(X, "x")).accuracy is None
    labels = np.arange(5) % 3
    scores = np.stack([assess(program, Fed(X, "x", np.full(5, k))).accuracy or 0 for k in range(3)])
    assert scores.sum() == pytest.approx(1)  # each sample is decided once
    mixed = assess(program, Fed(X, "x", labels)).accuracy
    assert mixed is not None
    assert round(mixed * 5, 6) == int(mixed * 5 + 0.5)


def test_a_model_without_data_gets_a_seeded_input() -> None:
    program = lower(network())
    fed = usual_input(resolve(program))
    assert "SEEDED" in fed.what
    assert fed.labels is None
    assert isinstance(fed.x, Mapping)
    np.testing.assert_array_equal(fed.x["input"], example(program)["input"])


def test_loops_are_priced_with_a_caveat_where_they_are_too_fast() -> None:
    """A layer onto itself runs on the chip; two layers in a loop of one step do not."""
    looped = network()
    nodes: Any = looped.nodes
    nodes["back"] = nir.Linear(np.eye(4))
    looped.edges += [("lif", "back"), ("back", "lif")]
    program = lower(looped, input_kind="spikes")
    found = price(program, load("loihi1"), ONES, 10.0)
    assert not any("loop" in line for line in found.caveats)
    assert {(m.source, m.target) for m in found.assessed.counts.messages} >= {("lif", "lif")}
    second = replace(program.population("lif"), name="second")
    on = Projection("lif", "second")
    back = [replace(p, source="second") if p.recurrent else p for p in program.projections]
    fast = replace(
        program,
        populations=(*program.populations, second),
        projections=(*back, on),
        outputs=("second",),
    )
    found = price(fast, load("loihi1"), ONES, 10.0)
    assert any("spikes take 2 steps around it on Loihi" in line for line in found.caveats)
    assert found.estimate.total is not None


def test_a_relay_between_neurons_is_priced_without_itself() -> None:
    """As it is exported: Loihi's integers have no relay that sends on, and need none."""
    one = (Linear(np.full((1, 1), 2, np.float32)),)
    program = Program(
        Convention(1e-3),
        (
            Population("in", (1,), Input("spikes")),
            Population("sum", (1,), Relay()),
            Population("out", (1,), lif()),
        ),
        (Projection("in", "sum", one), Projection("sum", "out", one)),
        ("out",),
    )
    ready, caveats = deployed(program, load("loihi1"), Fed(np.ones((3, 1, 1)), "ones"))
    assert [p.name for p in ready.populations] == ["in", "out"]
    assert ready.numbers == "loihi"
    assert caveats == ()
