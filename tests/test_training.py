"""The held-out digits, and training: Norse's neuron with the papers' gradient."""

import hashlib
import importlib
import importlib.util
import math
import sys
from typing import Any

import numpy as np
import pytest
import torch

import sltdeploy.search
from sltdeploy.digits import held_out_input, load_digits
from sltdeploy.errors import MissingComponentError
from sltdeploy.layers import Layer
from sltdeploy.search.building import build
from sltdeploy.search.networks import digits_arrays, digits_layers
from sltdeploy.search.recipe import read_recipe
from sltdeploy.search.training import TrainableLIF, TrainingNetwork, shifted

# ----------------------------------------------------------------------------------------- data


def test_the_split_is_fixed_stratified_and_whole() -> None:
    from sklearn.datasets import load_digits as original

    digits = load_digits()
    assert digits.test_images.shape == (500, 1, 8, 8)
    assert digits.train_images.shape == (1297, 1, 8, 8)
    flat, labels = original(return_X_y=True)
    both = np.concatenate([digits.train_images, digits.test_images]).reshape(1797, 64) * 16
    assert sorted(map(bytes, both.astype(np.uint8))) == sorted(map(bytes, flat.astype(np.uint8)))
    shares = np.bincount(digits.test_labels) - 500 * np.bincount(labels) / 1797
    assert np.abs(shares).max() < 1
    images = hashlib.sha256((digits.test_images * 16).astype(np.uint8).tobytes()).hexdigest()
    assert images == "f8ade1b8854136ac129b231d9549cc5a3c24c87295a1cdfe8727fc66bd72e6e3"


def test_missing_packages_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    load_digits.cache_clear()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "sklearn", None)
        with pytest.raises(MissingComponentError, match=r'pip install "sltdeploy\[search\]"'):
            load_digits()
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", {"norse": True}.get)
        with pytest.raises(MissingComponentError, match="torch not installed"):
            importlib.reload(sltdeploy.search)
    importlib.reload(sltdeploy.search)


def test_held_out_images_are_shown_in_every_step() -> None:
    x, labels = held_out_input(4)
    assert (x.shape, x.dtype, labels.shape) == ((4, 500, 1, 8, 8), np.float32, (500,))
    assert (x == x[:1]).all()
    assert (x * 16 == np.rint(x * 16)).all()
    assert (x.min(), x.max()) == (0, 1)


def test_shifting_moves_whole_images_by_one_pixel() -> None:
    image = torch.zeros(200, 1, 8, 8)
    image[:, 0, 3, 4] = 1
    moved = shifted(image, 1, torch.Generator().manual_seed(0))
    assert moved.shape == image.shape
    assert (moved.sum((1, 2, 3)) == 1).all()
    places = {(int(r), int(c)) for _, _, r, c in moved.nonzero()}
    assert places == {(r, c) for r in (2, 3, 4) for c in (3, 4, 5)}
    assert shifted(image, 0, torch.Generator()) is image


# ------------------------------------------------------------------------------------- training


def neuron(v_reset: float) -> Layer:
    """LIF with a decay of a quarter."""
    lif = {"tau_mem_inv": 750.0, "v_leak": 0.0, "v_th": 0.6, "v_reset": v_reset}
    return Layer("lif_box", "n", lif)


@pytest.mark.parametrize("v_reset", [0.0, -0.375])
def test_the_trainable_neuron_is_norses_bit_for_bit(v_reset: float) -> None:
    torch.manual_seed(0)
    x = torch.randn(7, 4, 50)
    spikes = TrainableLIF.apply(x, 0.75, 0.6, v_reset)
    assert isinstance(spikes, torch.Tensor)
    cell, state = build([neuron(v_reset)], {}, 1e-3), None
    for t, step in enumerate(x):
        z, state = cell(step, state)
        assert torch.equal(z, spikes[t])
    assert 0 < spikes.mean() < 1


class Arctangent(torch.autograd.Function):
    """A spike with the surrogate gradient of the papers, for autograd to differentiate through."""

    @staticmethod
    def forward(ctx: Any, over: torch.Tensor) -> torch.Tensor:
        """Return 1 where the threshold is exceeded."""
        ctx.save_for_backward(over)
        return (over > 0).to(over.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        """Return the gradient times 1 / (1 + (pi u)^2)."""
        (over,) = ctx.saved_tensors
        return grads[0] / (1 + (math.pi * over) ** 2)


def test_the_gradient_is_the_surrogates_with_a_detached_reset() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 3, 20, dtype=torch.float64)
    weight = torch.randn(6, 3, 20, dtype=torch.float64)
    by_hand, by_autograd = x.clone().requires_grad_(), x.clone().requires_grad_()
    spikes = TrainableLIF.apply(by_hand, 0.75, 0.6, 0.1)
    assert isinstance(spikes, torch.Tensor)
    torch.autograd.backward((spikes * weight).sum())
    v, total = torch.zeros(3, 20, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for t, step in enumerate(by_autograd):
        u = v + 0.75 * (step - v)
        z = Arctangent.apply(u - 0.6)
        assert isinstance(z, torch.Tensor)
        total = total + (z * weight[t]).sum()
        v = (1 - z.detach()) * u + z.detach() * 0.1
    torch.autograd.backward(total)
    assert by_hand.grad is not None
    assert by_autograd.grad is not None
    torch.testing.assert_close(by_hand.grad, by_autograd.grad)
    assert (by_hand.grad != 0).all()


def test_the_training_network_is_the_built_one() -> None:
    network = read_recipe("digits").network
    layers, arrays = digits_layers(network), digits_arrays(network, seed=3)
    for name in arrays:
        if name.endswith("running_mean"):
            arrays[name] = arrays[name] - 1
    images = torch.from_numpy(load_digits().test_images[:40])
    trainable = TrainingNetwork(layers, arrays, 1e-3).eval()
    values = trainable(images, 4)
    built, state = build(layers, arrays, 1e-3), None
    for t in range(4):
        value, state = built(images, state)
        torch.testing.assert_close(values[t], value, rtol=1e-5, atol=1e-6)
    assert trainable.arrays().keys() == arrays.keys()
    assert values.abs().max() > 0
