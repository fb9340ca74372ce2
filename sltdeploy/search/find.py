"""Iterative magnitude pruning with late rewinding: from a recipe to a ticket.

Round 0 trains the dense network; its weights at the end of the rewind epoch are kept. Each
later round prunes a fraction of the weights that are left, by magnitude over all layers, sets
the rest back to the kept weights (batch statistics too) and trains again from that epoch of the
schedule on, with a new optimiser. Source: Kim et al. 2022, https://arxiv.org/abs/2207.01382,
section 3; the mask is stored and enforced here, where their code finds it again from small weights.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import norse
import numpy as np
import torch

from sltdeploy.digits import INPUT_BITS, INPUT_SHAPE, held_out_input, load_digits
from sltdeploy.errors import CheckError, InputError
from sltdeploy.layers import Arrays
from sltdeploy.program import Array
from sltdeploy.search import checkpoint
from sltdeploy.search.checkpoint import State
from sltdeploy.search.evaluation import evaluate
from sltdeploy.search.magnitude import kept_after, prune
from sltdeploy.search.networks import PRUNABLE, digits_arrays, digits_layers
from sltdeploy.search.recipe import Recipe
from sltdeploy.search.training import TrainingNetwork, train_epoch
from sltdeploy.ticket import Ticket

TICKET = "ticket.safetensors"
CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Progress:
    """After an epoch: ``done`` of ``total`` epochs of the search, and the epoch's mean loss.

    Sent once more when a round is finished, with ``entry``, its line of the history.
    """

    round: int
    rounds: int
    done: int
    total: int
    loss: float
    entry: Mapping[str, Any] | None = None


def find(
    recipe: Recipe,
    out: str | Path,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Ticket:
    """Search a ticket; write it to ``out/ticket.safetensors`` after every round.

    Equal recipes give equal tickets on one machine with one version of torch. The state is
    saved after every epoch: ``resume`` continues an interrupted search to the same ticket, and
    starts one where none was begun. ``progress`` is called after every epoch.

    Raises `InputError` where ``out`` holds a search and ``resume`` is not given, or one of another
    recipe; `CheckError` where the loss is not finite: the last finished round's ticket stays.
    """
    out = Path(out)
    path = out / CHECKPOINT
    facts = facts_of(recipe)
    if path.exists() and not resume:
        raise InputError(f"{path}: a search was begun here: resume it, or take another folder")
    state = checkpoint.load(path, facts) if path.exists() else _start(recipe)
    with _threads(recipe.threads):
        while state.round <= recipe.pruning.rounds:
            state = _train_round(recipe, facts, state, path, progress)
            ticket = ticket_of(recipe, facts, state)
            ticket.save(out / TICKET)
            if progress is not None:
                progress(_progress(recipe, state, ticket.history[-1]))
            state = next_round(recipe, replace(state, history=ticket.history))
            checkpoint.save(path, state, facts)
    return Ticket.load(out / TICKET)


def facts_of(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as a ticket holds it: with the data's hash and input, and versions."""
    facts = recipe.as_json()
    facts["data"]["sha256"] = load_digits().sha256
    facts["deployment"] |= {"input_bits": INPUT_BITS, "input_max": 1.0}
    facts["versions"] = {"norse": norse.__version__, "torch": str(torch.__version__)}
    return facts


def ticket_of(recipe: Recipe, facts: Mapping[str, Any], state: State) -> Ticket:
    """Make the ticket of a trained round, with the round's line added to the history.

    Weights that the grid rounds to 0 are pruned as well, so that the ticket's sparsity is that
    of the deployed network, whose accuracy the line gives.
    """
    masks = {name: np.array(mask) for name, mask in state.masks.items()}
    bare = _bare(recipe, facts, state, masks)
    for name, deployed in bare.deployed()[1].items():
        if name in masks:
            masks[name] &= deployed != 0
    bare = _bare(recipe, facts, state, masks)
    x, labels = held_out_input(recipe.deployment.steps)
    score = evaluate(*bare.deployed(), recipe.deployment.dt, x, labels)
    entry = {
        "round": state.round,
        "kept": int(sum(mask.sum() for mask in state.masks.values())),
        "sparsity": bare.sparsity,
        "nonzero": bare.nonzero,
        "train_loss": state.loss,
        "test_accuracy": score.accuracy,
        "spikes_per_image": score.spikes_per_image,
    }
    return replace(bare, history=(*state.history, entry))


def _bare(recipe: Recipe, facts: Mapping[str, Any], state: State, masks: Arrays) -> Ticket:
    return Ticket(
        layers=digits_layers(recipe.network),
        input_shape=INPUT_SHAPE,
        weights=_masked(state.weights, masks),
        masks=masks,
        rewind=_masked(state.rewind, masks),
        recipe=facts,
        history=state.history,
    )


def _masked(arrays: Arrays, masks: Arrays) -> dict[str, Array]:
    return {
        name: np.where(masks[name], array, 0).astype(array.dtype) if name in masks else array
        for name, array in arrays.items()
    }


def _start(recipe: Recipe) -> State:
    weights = digits_arrays(recipe.network, recipe.seed)
    masks = {name: np.ones(weights[name].shape, bool) for name in PRUNABLE}
    rewind = weights if recipe.training.rewind_epoch == 0 else {}
    return State(0, 0, 0.0, weights, {}, masks, rewind)


def next_round(recipe: Recipe, state: State) -> State:
    """Prune, rewind, and stand before the first epoch of the next round."""
    following = state.round + 1
    if following > recipe.pruning.rounds:
        return replace(state, round=following)
    total = sum(mask.size for mask in state.masks.values())
    keep = kept_after(total, recipe.pruning.fraction, following)
    masks = prune(state.weights, state.masks, keep, recipe.pruning.floor)
    return replace(
        state,
        round=following,
        epoch=recipe.training.rewind_epoch,
        weights=_masked(state.rewind, masks),
        momentum={},
        masks=masks,
    )


def _train_round(
    recipe: Recipe,
    facts: Mapping[str, Any],
    state: State,
    path: Path,
    progress: Callable[[Progress], None] | None,
) -> State:
    digits = load_digits()
    images, labels = torch.from_numpy(digits.train_images), torch.from_numpy(digits.train_labels)
    network = TrainingNetwork(digits_layers(recipe.network), state.weights, recipe.deployment.dt)
    optimiser = _optimiser(recipe, network, state.momentum)
    masks = {name: torch.from_numpy(mask) for name, mask in state.masks.items()}
    while state.epoch < recipe.training.epochs:
        drawn = np.random.SeedSequence([recipe.seed, state.round, state.epoch])
        generator = torch.Generator().manual_seed(int(drawn.generate_state(1)[0]))
        try:
            loss = train_epoch(
                network, optimiser, masks, images, labels, recipe, state.epoch, generator
            )
        except CheckError as error:
            raise _diverged(recipe, state, path, error) from None
        state = replace(
            state,
            epoch=state.epoch + 1,
            loss=loss,
            weights=network.arrays(),
            momentum={
                name: optimiser.state[weight]["momentum_buffer"].numpy().copy()
                for name, weight in network.named_parameters()
            },
        )
        if state.round == 0 and state.epoch == recipe.training.rewind_epoch:
            state = replace(state, rewind=state.weights)
        checkpoint.save(path, state, facts)
        if progress is not None:
            progress(_progress(recipe, state))
    return state


def _optimiser(recipe: Recipe, network: TrainingNetwork, momentum: Arrays) -> torch.optim.SGD:
    optimiser = torch.optim.SGD(
        network.parameters(),
        lr=recipe.training.lr,
        momentum=recipe.training.momentum,
        weight_decay=recipe.training.weight_decay,
    )
    for name, weight in network.named_parameters():
        if name in momentum:
            buffer = torch.from_numpy(momentum[name].copy())
            optimiser.state[weight]["momentum_buffer"] = buffer
    return optimiser


def _diverged(recipe: Recipe, state: State, path: Path, error: CheckError) -> CheckError:
    lines = [
        f"round {state.round}, epoch {state.epoch + 1}: {error}: "
        f"training.lr is {recipe.training.lr}, lower it"
    ]
    if state.round:
        lines.append(f"{path.with_name(TICKET)}: the ticket of round {state.round - 1}, whole")
    return CheckError(*lines)


def _progress(recipe: Recipe, state: State, entry: Mapping[str, Any] | None = None) -> Progress:
    epochs, rounds = recipe.training.epochs, recipe.pruning.rounds
    again = epochs - recipe.training.rewind_epoch
    done = state.epoch if state.round == 0 else state.round * again + state.epoch
    return Progress(state.round, rounds, done, epochs + rounds * again, state.loss, entry)


@contextmanager
def _threads(count: int) -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
