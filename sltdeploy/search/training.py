r"""Training through time with a surrogate gradient.

The membrane is Norse's LIFBoxCell bit for bit; its gradient is Kim et al.'s: with :math:`u` the
potential before the reset, a spike's derivative is :math:`1 / (1 + (\pi (u - v_{th}))^2)`, and
the reset is detached. Source: Kim et al. 2022, https://arxiv.org/abs/2207.01382, and their code.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from sltdeploy.errors import CheckError
from sltdeploy.layers import PARAMETERS, Arrays, Layer
from sltdeploy.program import Array
from sltdeploy.search.building import module_of
from sltdeploy.search.recipe import Recipe


class TrainableLIF(torch.autograd.Function):
    """T steps of LIF at once, from v = 0: currents (T, B, *shape) to spikes of that shape."""

    @staticmethod
    def forward(
        ctx: Any, current: torch.Tensor, gain: float, v_th: float, v_reset: float
    ) -> torch.Tensor:
        """Step as LIFBoxCell does with v_leak = 0 and gain = dt * tau_mem_inv."""
        v = torch.zeros_like(current[0])
        potentials = torch.empty_like(current)
        spikes = torch.empty_like(current)
        for t, x in enumerate(current):
            u = v + gain * (x - v)
            z = (u - v_th > 0).to(u.dtype)
            v = (1 - z) * u + z * v_reset
            potentials[t], spikes[t] = u, z
        ctx.save_for_backward(potentials, spikes)
        ctx.gain, ctx.v_th = gain, v_th
        return spikes

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Send the gradient back through time; the reset passes none."""
        potentials, spikes = ctx.saved_tensors
        slope = 1 / (1 + (math.pi * (potentials - ctx.v_th)) ** 2)
        direct = grads[0] * slope
        through = (1 - ctx.gain) * (1 - spikes)
        by_potential = torch.empty_like(direct)
        later = torch.zeros_like(direct[0])
        for t in range(len(direct) - 1, -1, -1):
            later = by_potential[t] = direct[t] + through[t] * later
        return ctx.gain * by_potential, None, None, None


class TrainingNetwork(nn.Module):
    """The layers, run layer by layer over all steps at once; state dict keys as array names."""

    def __init__(self, layers: Sequence[Layer], arrays: Arrays, dt: float) -> None:
        super().__init__()
        self.layers, self.dt = tuple(layers), dt
        for layer in self.layers:
            if layer.kind not in PARAMETERS:
                own = {
                    key.removeprefix(f"{layer.name}."): value
                    for key, value in arrays.items()
                    if key.startswith(f"{layer.name}.")
                }
                self.add_module(layer.name, module_of(layer, own, dt))

    def forward(self, images: torch.Tensor, steps: int) -> torch.Tensor:
        """Values (T, B, n) for images (B, *shape) that are shown in each of ``steps`` steps."""
        x = images  # (B, ...) until the first neuron, from then on (T, B, ...)
        over_time = False
        for layer in self.layers:
            if layer.kind in PARAMETERS:
                x = x if over_time else x.expand(steps, *x.shape)
                over_time = True
                x = self._stepped(layer, x)
            elif over_time:
                x = self.get_submodule(layer.name)(x.flatten(0, 1)).unflatten(0, (steps, -1))
            else:
                x = self.get_submodule(layer.name)(x)
        return x

    def _stepped(self, layer: Layer, x: torch.Tensor) -> torch.Tensor:
        gain = self.dt * layer.option("tau_mem_inv")
        if layer.kind == "lif_box":
            spikes = TrainableLIF.apply(x, gain, layer.option("v_th"), layer.option("v_reset"))
            assert isinstance(spikes, torch.Tensor)
            return spikes
        values: list[torch.Tensor] = []
        v = torch.zeros_like(x[0])
        for current in x:
            v = v + gain * (current - v)
            values.append(v)
        return torch.stack(values)

    def arrays(self) -> dict[str, Array]:
        """Copies of all weights and running statistics by name."""
        return {
            key: value.detach().numpy().copy()
            for key, value in self.state_dict().items()
            if not key.endswith("num_batches_tracked")
        }


def train_epoch(
    network: TrainingNetwork,
    optimiser: torch.optim.SGD,
    masks: Mapping[str, torch.Tensor],
    images: torch.Tensor,
    labels: torch.Tensor,
    recipe: Recipe,
    epoch: int,
    generator: torch.Generator,
) -> float:
    """Train epoch number ``epoch`` (from 0) and return its mean loss.

    The loss is the cross-entropy of the readout in each step, averaged, as in Kim et al. The
    learning rate falls as a cosine over ``training.epochs``; an incomplete last batch is left
    out. Masked weights get no
    gradient and are set to 0 after every step. Raises `CheckError` where the loss is not finite.
    """
    network.train()
    size, epochs = recipe.training.batch, recipe.training.epochs
    order = torch.randperm(len(images), generator=generator)
    batches = [batch for batch in order.split(size) if len(batch) == size]
    weights = dict(network.named_parameters())
    total = 0.0
    for at, batch in enumerate(batches):
        progress = (epoch + at / len(batches)) / epochs
        for group in optimiser.param_groups:
            group["lr"] = 0.5 * recipe.training.lr * (1 + math.cos(math.pi * progress))
        seen = shifted(images[batch], recipe.data.shift, generator)
        values = network(seen, recipe.deployment.steps)
        loss = functional.cross_entropy(
            values.flatten(0, 1),
            labels[batch].repeat(len(values)),
            label_smoothing=recipe.training.label_smoothing,
        )
        if not math.isfinite(loss.item()):
            raise CheckError(f"the loss is {loss.item()} in batch {at + 1} of {len(batches)}")
        total += loss.item()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        for name, mask in masks.items():
            gradient = weights[name].grad
            assert gradient is not None
            gradient.mul_(mask)
        optimiser.step()
        with torch.no_grad():
            for name, mask in masks.items():
                weights[name].mul_(mask)
    return total / len(batches)


def shifted(images: torch.Tensor, by: int, generator: torch.Generator) -> torch.Tensor:
    """Each image moved at random by up to ``by`` pixels in both directions; zeros come in."""
    if by == 0:
        return images
    count, _, height, width = images.shape
    padded = functional.pad(images, (by, by, by, by))
    down = torch.randint(0, 2 * by + 1, (count, 1), generator=generator) + torch.arange(height)
    right = torch.randint(0, 2 * by + 1, (count, 1), generator=generator) + torch.arange(width)
    sample = torch.arange(count)[:, None, None]
    return padded[sample, :, down[:, :, None], right[:, None, :]].permute(0, 3, 1, 2)
