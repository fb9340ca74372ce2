"""How many neurons of a sparse ticket go, and whether the others spike as before.

A fully connected 64-512-512-10 network learns scikit-learn's digits and is pruned by magnitude
to 97 %, in rounds, with its weights set back after each to those of an early epoch. Its program
is simplified, and both run on the 500 digits that were held out. About a minute.

    python benchmarks/simplify_ticket.py
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch

import sltdeploy as slt
from sltdeploy.digits import INPUT_SHAPE, held_out_input, load_digits
from sltdeploy.layer_graph import to_graph
from sltdeploy.layers import Layer
from sltdeploy.program import Array, Linear, Program
from sltdeploy.search.magnitude import prune
from sltdeploy.search.recipe import BUNDLED, Recipe, Training, read_recipe
from sltdeploy.search.training import TrainingNetwork, train_epoch
from sltdeploy.simplification import Simplified
from sltdeploy.trace import decision

SIZES = (64, 512, 512, 10)
SPARSITY, ROUNDS, FLOOR = 0.97, 5, 0.02
TRAINING = Training(
    epochs=24,
    rewind_epoch=4,
    batch=64,
    lr=0.4,
    momentum=0.9,
    weight_decay=1e-3,
    label_smoothing=0.1,
)
LIF = {"tau_mem_inv": 750.0, "v_leak": 0.0, "v_th": 1.0, "v_reset": 0.0, "reset": "zero"}
READOUT = {"tau_mem_inv": 500.0, "v_leak": 0.0}


def layers() -> tuple[Layer, ...]:
    """Linear layers with biases, LIF between them, a leaky readout at the end."""
    found = [Layer("flatten", "flatten")]
    for k in range(1, len(SIZES)):
        last = k + 1 == len(SIZES)
        found.append(Layer("linear", f"linear{k}"))
        found.append(
            Layer("li_box", "values", READOUT) if last else Layer("lif_box", f"lif{k}", LIF)
        )
    return tuple(found)


def initial(seed: int) -> dict[str, Array]:
    """Twice He's initialisation, so that deep neurons fire from the start; biases 0."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for k, (pre, post) in enumerate(pairwise(SIZES), start=1):
        arrays[f"linear{k}.weight"] = rng.normal(0, 2 * np.sqrt(2 / pre), (post, pre)).astype(
            np.float32
        )
        arrays[f"linear{k}.bias"] = np.zeros(post, np.float32)
    return arrays


def trained(
    recipe: Recipe, arrays: Mapping[str, Array], masks: Mapping[str, Array], epochs: Sequence[int]
) -> dict[str, Array]:
    """Train through ``epochs`` with what is masked at 0."""
    digits = load_digits()
    network = TrainingNetwork(layers(), arrays, recipe.deployment.dt)
    optimiser = torch.optim.SGD(
        network.parameters(), TRAINING.lr, TRAINING.momentum, weight_decay=TRAINING.weight_decay
    )
    tensors = {name: torch.from_numpy(mask) for name, mask in masks.items()}
    images, labels = torch.from_numpy(digits.train_images), torch.from_numpy(digits.train_labels)
    for epoch in epochs:
        generator = torch.Generator().manual_seed(epoch)
        train_epoch(network, optimiser, tensors, images, labels, recipe, epoch, generator)
    return network.arrays()


def ticket(recipe: Recipe, seed: int = 0) -> dict[str, Array]:
    """Prune to `SPARSITY` in `ROUNDS` and train what is left; all arrays by name.

    Magnitudes are ranked over all layers in units of each layer's initial spread.
    """
    arrays = first = initial(seed)
    masks = {name: np.ones(a.shape, bool) for name, a in arrays.items() if a.ndim == 2}
    total = sum(mask.size for mask in masks.values())
    rewind = trained(recipe, arrays, masks, range(TRAINING.rewind_epoch))
    arrays = trained(recipe, rewind, masks, range(TRAINING.rewind_epoch, TRAINING.epochs))
    for k in range(1, ROUNDS + 1):
        kept = round(total * (1 - SPARSITY) ** (k / ROUNDS))
        relative = {name: arrays[name] / first[name].std() for name in masks}
        masks = prune(relative, masks, kept, FLOOR)
        start = {n: a * masks[n] if n in masks else a for n, a in rewind.items()}
        arrays = trained(recipe, start, masks, range(TRAINING.rewind_epoch, TRAINING.epochs))
    return arrays


def synapses(program: Program) -> int:
    """Weights that are not 0."""
    ops = [op for p in program.projections for op in p.ops]
    return sum(int(np.count_nonzero(op.weight)) for op in ops if isinstance(op, Linear))


def compared(program: Program, small: Simplified, steps: int) -> None:
    """Run both on the held-out digits and print what differs."""
    x, labels = held_out_input(steps)
    before, after = slt.run(program, x), slt.run(small.program, x)
    expected = small.of(before.records)
    print(f"\n{'population':<12}{'neurons':>9}{'kept':>7}{'spikes':>9}{'kept':>9}{'differ':>8}")
    for p in program.populations:
        if not p.spiking:
            continue
        kept = p.name in small.kept
        count = len(small.kept[p.name]) if kept else 0
        spikes = int(after.records[p.name].sum()) if kept else 0
        wrong = int((after.records[p.name] != expected[p.name]).sum()) if kept else 0
        print(
            f"{p.name:<12}{p.size:>9}{count:>7}{int(before.records[p.name].sum()):>9}"
            f"{spikes:>9}{wrong:>8}"
        )
    worst = float(np.abs(before.output - after.output).max())
    print(f"\nlargest difference of a readout value {worst:g}")
    for name, trace in (("before", before), ("after", after)):
        right = float((decision(trace.output) == labels).mean())
        print(f"accuracy {name:<7}{right:>7.1%}")


def main() -> None:
    """Print the figures."""
    torch.set_num_threads(1)
    recipe = replace(read_recipe(BUNDLED / "digits.toml"), training=TRAINING)
    graph = to_graph(layers(), ticket(recipe), INPUT_SHAPE, recipe.deployment.dt)
    program = slt.lower(graph)
    small = slt.simplify(program)
    neurons = [sum(p.size for p in q.populations if p.spiking) for q in (program, small.program)]
    total = sum(a * b for a, b in pairwise(SIZES))
    print(f"network {'-'.join(map(str, SIZES))}, {1 - synapses(program) / total:.1%} sparse\n")
    gone = 1 - neurons[1] / neurons[0]
    print(f"spiking neurons   {neurons[0]:>6} -> {neurons[1]:>6}  {gone:.1%} gone")
    print(f"synapses, not 0   {synapses(program):>6} -> {synapses(small.program):>6}")
    compared(program, small, recipe.deployment.steps)


if __name__ == "__main__":
    main()
