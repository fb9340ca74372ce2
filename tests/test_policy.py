"""A spiking policy: what enters, what comes out, and what it remembers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lava_nets import lif, program, single

import sltdeploy as slt
from sltdeploy.errors import InputError
from sltdeploy.policy import OBSERVATION, Coding, SpikingPolicy
from sltdeploy.program import Array, Input, Linear, Neuron, Program
from sltdeploy.runtime import Runner

WEIGHTS = np.array([[2, 0, 0], [0, 2, 0], [0, 0, 2], [-1, 0, 0]], np.float32) / 2
READ = np.array([[1, 0, 0, -1], [0, 1, 1, 0]], np.float32) / 4
CODING = Coding((1.0, 0.5, 2.0), "continuous", ticks=5, step=1 / 8, top=2.0, low=-0.5, high=0.5)


def actor(kind: str = "graded", *, spiking: bool = False) -> Program:
    """Three observations, four neurons, two values."""
    readout = Neuron(single(0.5), single(0), single(0))
    return program(
        {
            "seen": ((3,), Input("graded" if kind == "graded" else "spikes")),
            "n": ((4,), lif(threshold=single(0.75))),
            "out": ((2,), lif() if spiking else readout),
        },
        {("seen", "n"): (Linear(WEIGHTS),), ("n", "out"): (Linear(READ),)},
        ("out",),
    )


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    """The actor in ONNX Runtime."""
    slt.export(actor(), None, tmp_path / "a", format="onnx")
    with slt.open(tmp_path / "a") as opened:
        yield opened


def expected(observations: Array, coding: Coding, *, carry: bool) -> Array:
    """Actions of the reference, one observation (n,) after the other."""
    ticks = [np.repeat(coding.encode(o[None])[None], coding.ticks, axis=0) for o in observations]
    if carry:
        values = slt.run(actor(), np.concatenate(ticks)).output[coding.ticks - 1 :: coding.ticks]
    else:
        values = np.stack([slt.run(actor(), x).output[-1] for x in ticks])
    return np.stack([coding.decode(v)[0] for v in values])


SEEN = np.random.default_rng(5).normal(0, 1.5, (9, 3))


@pytest.mark.parametrize("carry", [False, True])
@pytest.mark.parametrize("action", ["discrete", "continuous"])
def test_actions_are_those_of_the_reference(runner: Runner, action: Any, *, carry: bool) -> None:
    coding = Coding(CODING.scale, action, 5, 1 / 8, 2.0, -0.5, 0.5)
    policy = SpikingPolicy(runner, coding, carry=carry)
    got = np.stack([policy.select_action(o) for o in SEEN])
    np.testing.assert_array_equal(got, expected(SEEN, coding, carry=carry))
    assert len(np.unique(got)) > 1
    policy.reset()
    np.testing.assert_array_equal(policy.select_action(SEEN[0]), got[0])


def test_a_batch_gives_what_each_gives_alone(runner: Runner) -> None:
    """Also under LeRobot's key, and as anything numpy reads."""
    policy = SpikingPolicy(runner, CODING)
    together = policy.select_action({OBSERVATION: SEEN.tolist(), "other": None})
    assert together.shape == (9, 2)
    assert together.dtype == np.float32
    np.testing.assert_array_equal(together, expected(SEEN, CODING, carry=False))


def test_observations_are_rounded_as_a_converter_does() -> None:
    """Halves to even, clipped at the top, scaled each by its own."""
    seen = np.array([[1 / 16, 3 / 32, -9.0]])
    np.testing.assert_array_equal(CODING.encode(seen), [[0, 0.25, -2]])


def test_what_is_wrong_is_said_and_nothing_moves(runner: Runner) -> None:
    policy = SpikingPolicy(runner, CODING, carry=True)
    first = policy.select_action(SEEN[0])
    for wrong, said in (
        ({"state": SEEN[0]}, "the batch has no 'observation.state', it has state"),
        (SEEN[0, :2], r"observation has shape \(2,\), must be \(3,\) or \(B, 3\)"),
        (np.array([0, np.nan, 0]), "no finite real number"),
    ):
        with pytest.raises(InputError, match=said):
            policy.select_action(wrong)
    policy.reset()
    np.testing.assert_array_equal(policy.select_action(SEEN[0]), first)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (actor("spikes"), "takes spikes, a policy needs graded input"),
        (actor(spiking=True), r"gives 'out' \(2,\) spikes, a policy needs one output of values"),
    ],
)
def test_artifacts_that_are_no_policy_are_refused(
    program: Program, said: str, tmp_path: Path
) -> None:
    slt.export(program, None, tmp_path / "a", format="onnx")
    with slt.open(tmp_path / "a") as opened, pytest.raises(InputError, match=said):
        SpikingPolicy(opened, CODING)


def test_a_coding_that_fits_nothing_names_every_fault() -> None:
    with pytest.raises(InputError) as caught:
        Coding((0.0,), "continuous", ticks=0, step=0, low=1, high=0)
    assert len(caught.value.violations) == 4
    with pytest.raises(InputError, match="above 0 each"):
        Coding((1.0, float("nan")), "continuous")
