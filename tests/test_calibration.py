"""Which integers graded inputs become."""

import numpy as np
import pytest
from small_nets import READOUT, digits

from sltdeploy.errors import InputError
from sltdeploy.program import (
    Array,
    Convention,
    Input,
    Linear,
    Population,
    Program,
    Projection,
)
from sltdeploy.quantize import for_loihi


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0.25, 1], Input("graded", 4.0, 0, 4)),
        ([0, 32, 96], Input("graded", 0.03125, 0, 3)),
        ([-1.5, 0.5], Input("graded", 2.0, -3, 1)),
        ([1.0, 3.0], Input("graded", 1.0, 0, 3)),
        ([0, 0], Input("graded", 1.0, 0, 0)),
        ([0, 1 / 3, 1], Input("graded", 128.0, 0, 128)),
        ([0, 0.001, 1000], Input("graded", 0.25, 0, 250)),
    ],
)
def test_graded_inputs_become_integers(values: list[float], expected: Input) -> None:
    p = Program(
        Convention(1e-3),
        (Population("in", (1,), Input("graded")), Population("n", (1,), READOUT)),
        (Projection("in", "n", (Linear(np.ones((1, 1), np.float32)),)),),
        ("n",),
    )
    x = np.array(values, np.float32).reshape(-1, 1, 1)
    rule = for_loihi(p, x).population("in").rule
    assert isinstance(rule, Input)
    assert (rule.scale, rule.low, rule.high) == (expected.scale, expected.low, expected.high)
    named = for_loihi(p, {"in": x}).population("in").rule
    assert isinstance(named, Input)
    assert named.scale == rule.scale


@pytest.mark.parametrize(
    ("calibration", "why"),
    [
        (None, r"'p0' takes graded values of unknown range.*\(T, B, 1, 8, 8\)"),
        (np.zeros((2, 1, 8, 8)), r"shape \(2, 1, 8, 8\), must be \(T, B, 1, 8, 8\)"),
        (np.zeros((0, 1, 1, 8, 8)), "shape"),
        (np.full((1, 1, 1, 8, 8), np.nan), "no finite real number"),
        ({"p9": np.zeros((1, 1, 1, 8, 8))}, "'p9': the program has inputs"),
    ],
)
def test_calibration_is_checked(calibration: Array | None, why: str) -> None:
    with pytest.raises(InputError, match=why):
        for_loihi(digits(np.random.default_rng(0)), calibration)
