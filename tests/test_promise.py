"""What the README promises, on the bundled recipe in full: one search, everything held to it.

The search takes about a minute; nothing else is as long.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sltdeploy import lava_host
from sltdeploy.demo import Demonstration, demonstrate
from sltdeploy.search.find import find
from sltdeploy.search.recipe import read_recipe

SAMPLES, STEPS = 500, 5


def quiet(done: int, total: int, what: str, keep: str) -> None:
    """Show nothing."""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Demonstration:
    """The demo, once."""
    folder: Path = tmp_path_factory.mktemp("promise")
    ticket = find(read_recipe("digits"), folder / "search")
    show: Callable[[int, int, str, str], None] = quiet
    return demonstrate(ticket, folder, show)


def test_the_ticket_is_sparse_and_right(shown: Demonstration) -> None:
    """At least 88 % of the weights pruned, at least 97 % of 500 held-out digits decided right."""
    assert shown.ticket.sparsity >= 0.88
    assert shown.found.accuracy is not None
    assert shown.found.accuracy >= 0.97
    assert shown.ticket.history[-1]["test_accuracy"] == shown.found.accuracy


def test_every_spike_is_the_same_everywhere(shown: Demonstration) -> None:
    """Norse, NIR, ONNX Runtime, Lava in floats and integers: each population, step and digit."""
    by_title = {held.title: held for held in shown.held}
    expected = {"Norse", "NIR", "ONNX, Raspberry Pi 4"}
    if lava_host.find() is not None or os.environ.get("CI") == "true":
        expected |= {"Lava, floating point", "Lava, Loihi 2 integers"}
    for title in expected:
        result = by_title[title].result
        assert result is not None, by_title[title].missing
        assert result.ok, result.lines()
        assert (result.samples, result.steps) == (SAMPLES, STEPS)
        compared = {c.population: c for c in result.compared}
        assert set(compared) >= {"lif1", "lif2", "lif3", "values"}
        for name in ("lif1", "lif2", "lif3"):
            assert compared[name].differing == 0
            assert (compared[name].spikes or 0) > 10_000


def test_integers_cost_at_most_half_a_point(shown: Demonstration) -> None:
    """The quantised program decides within half a percentage point of the float ticket."""
    by_title = {held.title: held for held in shown.held}
    assert shown.found.accuracy is not None
    assert abs(by_title["Lava, Loihi 2 integers"].accuracy - shown.found.accuracy) <= 0.005
