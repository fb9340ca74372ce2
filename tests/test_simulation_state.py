"""The state of the integer simulation: taken, named as the reference names it, and set again."""

import numpy as np
import pytest
from integer_programs import loops, stimulus

from sltdeploy import reference
from sltdeploy.feeding import conform
from sltdeploy.integer_simulation import Simulation

STEPS, TAKEN = 17, 6
# The relay that grows leaves the chip's 24 bits, in which states are handed over.
PROGRAMS = {name: p for name, p in loops().items() if name != "a relay that grows"}


@pytest.mark.parametrize("batch", [3, 130])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_state_is_the_references_and_goes_on_from_there(name: str, batch: int) -> None:
    """Also over more samples than are simulated at once."""
    p = PROGRAMS[name]
    x = conform(p.inputs, stimulus(p, steps=STEPS, batch=batch), ("T", "B"))
    simulation = Simulation(p)
    simulation.begin(batch)
    simulation.advance({n: a[:TAKEN] for n, a in x.items()})
    state = simulation.state()
    expected = reference.initial_state(p, batch)
    for t in range(TAKEN):
        _, expected = reference.step(p, expected, {n: a[t] for n, a in x.items()})
    held = {
        f"{population}.{what}": values
        for population, kept in expected.items()
        for what, values in vars(kept).items()
        if values is not None and values.size
    }
    assert set(held) >= set(state)
    assert all(what.endswith(".j") for what in set(held) - set(state))
    for what, values in state.items():
        np.testing.assert_array_equal(values, held[what], err_msg=what)
    rest = {n: a[TAKEN:] for n, a in x.items()}
    onward = simulation.advance(rest, True)
    other = Simulation(p)
    other.begin(batch)
    other.advance(rest)
    other.restore(state)
    again = other.advance(rest, True)
    for population, values in onward.items():
        np.testing.assert_array_equal(again[population], values, err_msg=population)
