"""Searching: exact pruning counts, enforced masks, rewinding, interruption, and the result."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sltdeploy as slt
from sltdeploy.digits import held_out_input, load_digits
from sltdeploy.errors import CheckError, InputError
from sltdeploy.program import Array
from sltdeploy.search import checkpoint
from sltdeploy.search.building import build
from sltdeploy.search.find import CHECKPOINT, TICKET, Progress, facts_of, find, next_round
from sltdeploy.search.magnitude import kept_after, prune
from sltdeploy.search.networks import PRUNABLE, digits_arrays
from sltdeploy.search.recipe import Recipe, read_recipe
from sltdeploy.ticket import Ticket
from sltdeploy.trace import decision

TINY = (
    "name=tiny",
    "threads=1",
    "network.channels=[3, 4, 5]",
    "training.epochs=3",
    "training.rewind_epoch=1",
    "training.batch=160",
    "pruning.rounds=2",
    "deployment.steps=3",
)


def tiny(*overrides: str) -> Recipe:
    """Take the bundled recipe with a small network and few epochs."""
    return read_recipe("digits", [*TINY, *overrides])


# ------------------------------------------------------------------------------------ magnitude


def test_counts_follow_the_formula() -> None:
    assert [kept_after(25744, 0.25, k) for k in range(9)] == [
        round(25744 * 0.75**k) for k in range(9)
    ]
    assert (kept_after(10, 0.25, 1), kept_after(14, 0.25, 1)) == (8, 10)  # 7.5 and 10.5, to even


def test_the_largest_weights_over_all_layers_stay() -> None:
    weights = {"a": np.array([[3.0, -5.0], [0.5, 1.0]]), "b": np.array([-4.0, 2.0, 0.25])}
    masks = {name: np.ones(array.shape, bool) for name, array in weights.items()}
    kept = prune(weights, masks, 4, floor=0.0)
    np.testing.assert_array_equal(kept["a"], [[True, True], [False, False]])
    np.testing.assert_array_equal(kept["b"], [True, True, False])
    fewer = prune({"a": -weights["a"], "b": weights["b"]}, kept, 1, floor=0.0)
    assert fewer["a"].tolist() == [[False, True], [False, False]]


def test_a_pruned_weight_does_not_come_back() -> None:
    masks = {"a": np.array([False, True, True])}
    kept = prune({"a": np.array([9.0, 0.0, 0.1])}, masks, 2, floor=0.0)
    assert kept["a"].tolist() == [False, True, True]


def test_ties_are_cut_exactly() -> None:
    weights = {"a": np.ones(7), "b": -np.ones((2, 3))}
    masks = {name: np.ones(array.shape, bool) for name, array in weights.items()}
    for keep in range(14):
        kept = prune(weights, masks, keep, floor=0.0)
        assert sum(int(mask.sum()) for mask in kept.values()) == keep
        assert kept["a"].sum() == min(keep, 7)


def test_the_floor_keeps_a_layer_alive() -> None:
    weights = {"big": np.arange(1.0, 11.0), "small": np.arange(1.0, 11.0) / 1000}
    masks = {name: np.ones(10, bool) for name in weights}
    kept = prune(weights, masks, 6, floor=0.15)
    assert np.flatnonzero(kept["small"]).tolist() == [8, 9]
    assert np.flatnonzero(kept["big"]).tolist() == [6, 7, 8, 9]
    with pytest.raises(InputError, match=r"floor is 0\.4: it protects 8 weights, more than the 6"):
        prune(weights, masks, 6, floor=0.4)
    with pytest.raises(InputError, match="cannot keep 21 weights, 20 are left"):
        prune(weights, masks, 21, floor=0.0)


# ----------------------------------------------------------------------------------------- find


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ticket, Path, list[Progress]]:
    """Find a ticket with the tiny recipe: the ticket, its folder, the progress reported."""
    seen: list[Progress] = []
    out = tmp_path_factory.mktemp("found")
    return find(tiny(), out, progress=seen.append), out, seen


def test_each_round_keeps_exactly_what_it_should(found: Any) -> None:
    ticket, _, _ = found
    total = sum(mask.size for mask in ticket.masks.values())
    assert [entry["kept"] for entry in ticket.history] == [round(total * 0.75**k) for k in range(3)]
    assert [entry["round"] for entry in ticket.history] == [0, 1, 2]
    for entry in ticket.history:
        assert sum(entry["nonzero"].values()) == round(total * (1 - entry["sparsity"]))
        assert sum(entry["nonzero"].values()) <= entry["kept"]
    assert ticket.history[-1]["nonzero"] == ticket.nonzero
    assert set(ticket.masks) == set(PRUNABLE)


def test_the_ticket_is_pruned_as_deployed(found: Any) -> None:
    ticket, _, _ = found
    _, arrays = ticket.deployed()
    for name, mask in ticket.masks.items():
        np.testing.assert_array_equal(arrays[name] != 0, mask)
        np.testing.assert_array_equal(ticket.rewind[name] != 0, mask)


def test_weights_that_the_grid_rounds_away_are_pruned(tmp_path: Path) -> None:
    ticket = find(tiny("deployment.grid=3", "pruning.rounds=0"), tmp_path)
    _, arrays = ticket.deployed()
    for name, mask in ticket.masks.items():
        np.testing.assert_array_equal(arrays[name] != 0, mask)
    assert 0 < sum(ticket.nonzero.values()) < ticket.history[0]["kept"]
    assert ticket.history[0]["sparsity"] == ticket.sparsity > 0


def test_the_accuracy_is_that_of_the_deployed_program(found: Any) -> None:
    ticket, _, _ = found
    x, labels = held_out_input(ticket.steps)
    trace = slt.run(slt.lower(ticket.graph()), x)
    assert (decision(trace.output) == labels).mean() == ticket.history[-1]["test_accuracy"]
    spikes = sum(r.sum() for r in trace.records.values() if r.dtype == bool) / 500
    assert spikes == ticket.history[-1]["spikes_per_image"] > 0


def test_norse_and_the_reference_agree_in_every_bit(found: Any) -> None:
    ticket, _, _ = found
    x, _ = held_out_input(ticket.steps)
    trace = slt.run(slt.lower(ticket.graph()), x)
    layers, arrays = ticket.deployed()
    network, state = build(layers, arrays, ticket.dt), None
    cells = {layer.name: k for k, layer in enumerate(layers) if layer.name in trace.records}
    network.return_hidden = True
    with torch.no_grad():
        for t, step in enumerate(torch.from_numpy(x)):
            hidden, state = network(step, state)
            for name, k in cells.items():
                record = trace.records[name][t].astype(np.float32)
                np.testing.assert_array_equal(hidden[k].numpy(), record)
    assert list(cells) == ["lif1", "lif2", "lif3", "values"]


def test_progress_counts_every_epoch(found: Any) -> None:
    _, _, seen = found
    epochs = [event for event in seen if event.entry is None]
    assert [event.done for event in epochs] == [1, 2, 3, 4, 5, 6, 7]
    assert {event.total for event in seen} == {7}
    assert [event.entry["round"] for event in seen if event.entry] == [0, 1, 2]
    assert all(math.isfinite(event.loss) for event in seen)


def test_the_ticket_says_how_it_was_made(found: Any) -> None:
    ticket, out, _ = found
    assert ticket.recipe == facts_of(tiny())
    assert ticket.recipe["threads"] == 1
    assert ticket.recipe["data"]["sha256"] == load_digits().sha256
    assert ticket.recipe["versions"]["torch"] == torch.__version__
    assert Ticket.load(out / TICKET).id == ticket.id
    assert {p.name for p in out.iterdir()} == {TICKET, CHECKPOINT}


@pytest.mark.parametrize("stop", [1, 5, 10])
def test_an_interrupted_search_ends_in_the_same_ticket(
    found: Any, tmp_path: Path, stop: int
) -> None:
    calls = 0

    def interrupt(_: Progress) -> None:
        nonlocal calls
        calls += 1
        if calls == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find(tiny(), tmp_path, progress=interrupt)
    with pytest.raises(InputError, match="a search was begun here"):
        find(tiny(), tmp_path)
    left: list[Progress] = []
    assert find(tiny(), tmp_path, resume=True, progress=left.append).id == found[0].id
    assert len(left) < 10
    again: list[Progress] = []
    assert find(tiny(), tmp_path, resume=True, progress=again.append).id == found[0].id
    assert not again


def test_masks_rewinding_and_momentum_are_as_described(tmp_path: Path) -> None:
    recipe = tiny()
    states: list[checkpoint.State] = []

    def keep(event: Progress) -> None:
        if event.entry is None:
            states.append(checkpoint.load(tmp_path / CHECKPOINT, facts_of(recipe)))

    find(recipe, tmp_path, progress=keep)
    assert [(s.round, s.epoch) for s in states] == [
        (0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 2), (2, 3)
    ]  # fmt: skip
    assert_equal(states[-1].rewind, states[0].weights)
    assert_equal(states[3].masks, prune(states[2].weights, states[2].masks, *kept(recipe, 1)))
    for state in states:
        for name, mask in state.masks.items():
            assert not state.weights[name][~mask].any()
            assert not state.momentum[name][~mask].any()
            assert state.weights[name][mask].any()


def test_a_new_round_starts_from_the_kept_weights_alone() -> None:
    recipe = tiny()
    trained, rewind = (digits_arrays(recipe.network, seed) for seed in (1, 2))
    rewind["norm1.running_mean"] = np.full(3, 0.5, np.float32)
    masks = {name: np.ones(trained[name].shape, bool) for name in PRUNABLE}
    state = checkpoint.State(0, 3, 0.1, trained, trained, masks, rewind)
    following = next_round(recipe, state)
    assert (following.round, following.epoch, following.momentum) == (1, 1, {})
    assert_equal(following.masks, prune(trained, masks, *kept(recipe, 1)))
    expected = {n: a * following.masks.get(n, True) for n, a in rewind.items()}
    assert_equal(following.weights, expected)
    assert_equal(following.rewind, rewind)


def kept(recipe: Recipe, round_: int) -> tuple[int, float]:
    """Count and floor that a round prunes to."""
    total = sum(digits_arrays(recipe.network, 0)[name].size for name in PRUNABLE)
    return round(total * 0.75**round_), recipe.pruning.floor


def assert_equal(one: Mapping[str, Array], two: Mapping[str, Array]) -> None:
    """Assert that the same names hold the same arrays."""
    assert one.keys() == two.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, two[name])


def test_another_seed_is_another_ticket(found: Any, tmp_path: Path) -> None:
    recipe = tiny("seed=2", "pruning.rounds=0")
    one = find(recipe, tmp_path / "a")
    assert one.id == find(recipe, tmp_path / "b").id
    assert one.id != found[0].id
    assert len(one.history) == 1


def test_a_search_of_another_recipe_is_not_resumed(found: Any) -> None:
    _, out, _ = found
    with pytest.raises(InputError) as caught:
        find(tiny("training.lr=0.2", "seed=2"), out, resume=True)
    assert len(caught.value.violations) == 2
    assert "'training.lr' was 0.3, is 0.2" in str(caught.value)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"nothing")
    with pytest.raises(InputError, match="damaged checkpoint"):
        find(tiny(), tmp_path, resume=True)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_round(tmp_path: Path) -> None:
    recipe = tiny()

    def poison(event: Progress) -> None:
        if event.entry is not None and event.round == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find(recipe, tmp_path, progress=poison)
    before = Ticket.load(tmp_path / TICKET)
    facts = facts_of(recipe)
    state = checkpoint.load(tmp_path / CHECKPOINT, facts)
    weights = dict(state.weights)
    weights["readout.bias"] = np.full(10, np.nan, np.float32)
    broken = checkpoint.State(
        2, 1, state.loss, weights, {}, state.masks, state.rewind, before.history
    )
    checkpoint.save(tmp_path / CHECKPOINT, broken, facts)
    with pytest.raises(CheckError, match=r"round 2, epoch 2: the loss is nan.*lower it") as caught:
        find(recipe, tmp_path, resume=True)
    assert "the ticket of round 1, whole" in str(caught.value)
    assert Ticket.load(tmp_path / TICKET).id == before.id


def test_the_number_of_threads_is_given_back(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    torch.set_num_threads(2)
    try:
        recipe = tiny("pruning.rounds=0")
        find(recipe, tmp_path, progress=lambda _: seen.append(torch.get_num_threads()))
        assert set(seen) == {recipe.threads} == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
