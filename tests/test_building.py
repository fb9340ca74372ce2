"""Layers built in Norse: the inverse of reading, with decays that are exact."""

import numpy as np
import pytest
import torch
from torch import nn

from sltdeploy.layers import Layer
from sltdeploy.program import Array
from sltdeploy.search.building import build
from sltdeploy.search.norse_modules import describe, time_step

norse = pytest.importorskip("norse.torch")  # by name: its import warns


def everything() -> tuple[tuple[Layer, ...], dict[str, Array]]:
    """List one layer of every kind, with its arrays."""
    rng = np.random.default_rng(0)
    v = {"v_leak": 0.1, "v_th": 0.5, "v_reset": -0.3}
    layers = (
        Layer(
            "conv2d",
            "c",
            {"stride": [1, 2], "dilation": [1, 1], "groups": 2, "padding": [1, 0]},
        ),
        Layer("batchnorm2d", "n", {"eps": 0.01}),
        Layer("lif_box", "box", {"tau_mem_inv": 300.0, **v, "reset": "subtract"}),
        Layer("avgpool2d", "p", {"kernel": [2, 1], "stride": [2, 1], "padding": [0, 0]}),
        Layer("lif", "cuba", {"tau_syn_inv": 200.0, "tau_mem_inv": 300.0, **v}),
        Layer("flatten", "f", {"start_dim": 0, "end_dim": -1}),
        Layer("linear", "d"),
        Layer("iaf", "if", {"v_reset": 0.0}),
        Layer("li_box", "lb", {"tau_mem_inv": 500.0, "v_leak": 0.0}),
        Layer("li", "l", {"tau_syn_inv": 100.0, "tau_mem_inv": 500.0, "v_leak": 0.0}),
    )
    shapes = {
        "c.weight": (4, 1, 3, 3),
        "n.running_mean": (4,),
        "n.running_var": (4,),
        "n.weight": (4,),
        "n.bias": (4,),
        "d.weight": (5, 24),
        "d.bias": (5,),
        "if.v_th": (5,),
    }
    return layers, {key: rng.random(shape, dtype=np.float32) for key, shape in shapes.items()}


def test_describing_what_was_built_gives_it_back() -> None:
    layers, arrays = everything()
    network = build(layers, arrays, 2e-3)
    again, back = describe(network)
    assert again == layers
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
    assert time_step(network) == 2e-3
    y, _ = network(torch.zeros(2, 2, 4, 8))
    assert y.shape == (2, 5)


def test_building_what_was_described_computes_the_same() -> None:
    torch.manual_seed(2)
    network = norse.SequentialState(
        nn.Conv2d(1, 3, 3, bias=False),
        nn.BatchNorm2d(3, affine=False),
        nn.AvgPool2d(2),
        nn.Flatten(),
        norse.LIFBoxCell(dt=5e-3),
    ).eval()
    again = build(*describe(network), dt=5e-3)
    state, state_again, spikes = None, None, 0.0
    with torch.no_grad():
        for step in 10 * torch.rand(10, 4, 1, 8, 8):
            one, state = network(step, state)
            two, state_again = again(step, state_again)
            assert torch.equal(one, two)
            spikes += float(one.sum())
    assert spikes > 0


@pytest.mark.parametrize("kind", ["lif_box", "li_box"])
def test_what_is_built_steps_exactly_by_a_quarter(kind: str) -> None:
    options = {"tau_mem_inv": 750.0, "v_leak": 0.0}
    if kind == "lif_box":
        options |= {"v_th": 1e9, "v_reset": 0.0}
    network = build([Layer(kind, "n", options)], {}, 1e-3)
    x = np.random.default_rng(0).integers(-64, 65, size=(5, 1, 200)).astype(np.float32) / 16
    v = np.zeros((1, 200), np.float32)
    state = None
    for step in x:
        _, state = network(torch.from_numpy(step), state)
        v = np.float32(0.25) * v + np.float32(0.75) * step
        np.testing.assert_array_equal(state[0].v.detach().numpy(), v)
    # Norse's usual float32 tensors are off by a bit, which is why `build` has none.
    usual = norse.LIBoxCell(norse.LIBoxParameters(torch.tensor(750.0), torch.tensor(0.0)))
    off = usual(torch.ones(1))[0].detach()
    assert float(off) != 0.75
