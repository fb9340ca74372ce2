"""Input where nobody gave one."""

from dataclasses import replace

import numpy as np
import programs
from test_engines import integers

from sltdeploy.program import Input, Population
from sltdeploy.stimulus import example

PROGRAM = programs.branches()


def test_it_fills_the_range_and_is_the_same_each_time() -> None:
    x = example(integers())["in"]  # 4 x, rounded and clipped to 0 .. 7
    assert (x.shape, x.dtype) == ((25, 4, 3), np.float32)
    assert 0 <= x.min() < 0.1
    assert 1.7 < x.max() <= 1.75
    both = example(PROGRAM)
    assert list(both) == ["image", "touch"]
    assert 0 <= both["image"].min() < 0.1
    assert 0.9 < both["image"].max() <= 1
    assert both["touch"].dtype == bool
    assert 0.2 < both["touch"].mean() < 0.4
    for name, again in example(PROGRAM).items():
        np.testing.assert_array_equal(both[name], again)


def test_a_range_below_zero_is_filled_too() -> None:
    program = integers()
    low = Population("in", (3,), Input("graded", scale=2.0, low=-4, high=7))
    x = example(replace(program, populations=(low, *program.populations[1:])))["in"]
    assert -2 <= x.min() < -1.8
    assert 3.3 < x.max() <= 3.5


def test_size_rate_and_seed_are_the_caller_s() -> None:
    x = example(PROGRAM, steps=200, batch=2, rate=0.05, seed=3)
    assert (x["image"].shape, x["touch"].shape) == ((200, 2, 1, 4, 4), (200, 2, 5))
    assert 0.03 < x["touch"].mean() < 0.07
    other = example(PROGRAM, steps=200, batch=2, rate=0.05, seed=4)
    assert all((x[name] != other[name]).any() for name in x)
