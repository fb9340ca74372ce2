"""A user's Norse network in NIR: spike for spike what Norse itself does."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import sltdeploy as slt
from sltdeploy.errors import InputError
from sltdeploy.program import Array
from sltdeploy.search.norse_modules import time_step, to_nir

norse = pytest.importorskip("norse.torch")  # by name: its import warns
BOX = pytest.importorskip("norse.torch.functional.lif_box")
RESET = pytest.importorskip("norse.torch.functional.reset")


def scalar(value: float) -> torch.Tensor:
    """Make a float32 scalar, as Norse's own defaults are."""
    return torch.tensor(value)


def cells(dt: float) -> Mapping[str, nn.Module]:
    """Build each kind of cell, with no parameter at a trivial value."""
    mem, syn = scalar(0.2 / dt), scalar(0.3 / dt)
    leak, reset, threshold = scalar(0.15), scalar(-0.4), scalar(0.8)
    box = {"tau_mem_inv": mem, "v_leak": leak, "v_th": threshold, "v_reset": reset}
    return {
        "lif_box": norse.LIFBoxCell(BOX.LIFBoxParameters(**box), dt=dt),
        "lif_box, subtract": norse.LIFBoxCell(
            BOX.LIFBoxParameters(**box, reset_method=RESET.reset_subtract), dt=dt
        ),
        "lif": norse.LIFCell(norse.LIFParameters(tau_syn_inv=syn, **box), dt=dt),
        "li_box": norse.LIBoxCell(norse.LIBoxParameters(mem, leak), dt=dt),
        "li": norse.LICell(norse.LIParameters(syn, mem, leak), dt=dt),
        "iaf": norse.IAFCell(norse.IAFParameters(threshold, reset.clone()), dt=dt),
    }


KINDS = list(cells(1e-3))


def in_norse(network: nn.Module, x: Array) -> dict[str, Array]:
    """Everything that the network's cells send, by module path with _ for dots, (T, B, ...)."""
    seen: dict[str, list[Array]] = {}

    def watch(path: str, module: nn.Module) -> Any:
        def keep(_module: nn.Module, _inputs: Any, outputs: Any) -> None:
            seen.setdefault(path, []).append(outputs[0].detach().numpy())

        return module.register_forward_hook(keep)

    handles = [
        watch(path.replace(".", "_"), module)
        for path, module in network.named_modules()
        if type(module).__name__.endswith("Cell")
    ]
    state = None
    with torch.no_grad():
        for step in torch.from_numpy(x):
            _, state = network(step, state)
    for handle in handles:
        handle.remove()
    return {path: np.stack(values) for path, values in seen.items()}


def assert_same(network: Any, x: Array, graph: nir.NIRGraph | None = None) -> dict[str, Array]:
    """Norse and the reference agree in every spike and every value; what Norse sent."""
    network.eval()
    graph = to_nir(network, x.shape[2:]) if graph is None else graph
    trace = slt.run(slt.lower(graph), x)
    expected = in_norse(network, x)
    assert expected
    for name, values in expected.items():
        if trace.records[name].dtype == bool:
            assert 0 < values.sum() < values.size, f"{name} shows nothing"
            np.testing.assert_array_equal(trace.records[name], values.astype(bool))
        else:
            np.testing.assert_allclose(trace.records[name], values, rtol=1e-4, atol=2e-5)
    return expected


# ------------------------------------------------------------------------------- against Norse


@pytest.mark.parametrize("dt", [1e-3, 1e-4, 5e-3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_spikes_as_in_norse(kind: str, dt: float) -> None:
    torch.manual_seed(1)
    network = norse.SequentialState(nn.Linear(6, 5), cells(dt)[kind])
    x = np.random.default_rng(2).normal(size=(80, 3, 6)).astype(np.float32) * 2
    assert_same(network, x)
    assert time_step(network) == dt


def test_the_first_step_starts_where_norse_starts() -> None:
    for kind, cell in cells(1e-3).items():
        network = norse.SequentialState(nn.Linear(2, 2, bias=False), cell)
        nn.init.constant_(network[0].weight, 0.1)
        x = np.ones((1, 1, 2), np.float32)
        graph = to_nir(network, (2,))
        record = slt.run(slt.lower(graph), x).records["1"]
        np.testing.assert_allclose(record, in_norse(network, x)["1"], rtol=1e-6, err_msg=kind)
        rule: Any = slt.lower(graph).population("1").rule
        assert float(rule.v_init) == pytest.approx(-0.4 if kind == "iaf" else 0.15)


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 6, 6), (6,)])
def test_parameters_may_differ_by_neuron(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    p = BOX.LIFBoxParameters(
        tau_mem_inv=torch.rand(shape) * 300 + 200,
        v_th=torch.rand(shape) * 0.2 + 0.1,
        v_leak=torch.zeros(()),
    )
    network = norse.SequentialState(nn.Conv2d(2, 4, 3, padding=1), norse.LIFBoxCell(p))
    assert_same(network, np.random.default_rng(0).random((20, 2, 2, 6, 6), dtype=np.float32))


def normalised(width: int) -> nn.BatchNorm2d:
    """Batch normalisation with statistics and gains that are not trivial."""
    norm = nn.BatchNorm2d(width)
    for name, value in norm.state_dict().items():
        if value.dim():
            value.copy_(torch.rand(width) + (0.5 if name == "running_var" else 0))
    return norm


def low() -> nn.Module:
    """LIF with a threshold low enough to spike often."""
    return norse.LIFBoxCell(BOX.LIFBoxParameters(v_th=scalar(0.2), v_leak=scalar(0.05)))


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 6, 3, padding=1, groups=2),
        nn.Conv2d(4, 6, (3, 5), padding="same", bias=False),
        pytest.param(
            nn.Conv2d(4, 6, (2, 4), padding="same"),
            marks=pytest.mark.filterwarnings("ignore:Using padding='same'"),
        ),
        nn.Conv2d(4, 6, 3, stride=(2, 1), padding=(2, 1), dilation=(1, 2)),
        nn.Conv2d(4, 6, 2, padding="valid"),
    ],
)
def test_a_whole_network_spikes_as_in_norse(convolution: nn.Conv2d) -> None:
    torch.manual_seed(4)
    for parameter in convolution.parameters():
        nn.init.normal_(parameter, std=0.5)
    front = norse.SequentialState(nn.Conv2d(1, 4, 3, padding=1), normalised(4), low())
    block = norse.SequentialState(nn.Dropout(0.5), convolution, nn.Identity(), normalised(6), low())
    pools = nn.Sequential(nn.AvgPool2d(3, stride=2, padding=1), nn.Flatten())
    size = pools(convolution(torch.zeros(1, 4, 8, 8))).shape[1]
    network = norse.SequentialState(front, block, pools, nn.Linear(size, 5), norse.LICell())
    x = np.random.default_rng(1).random((15, 3, 1, 8, 8), dtype=np.float32)
    sent = assert_same(network, x)
    assert list(sent) == ["0_2", "1_4", "4"]


@pytest.mark.parametrize("dims", [(1, -1), (2, 3), (-3, -1), (1, 2)])
def test_flatten_counts_the_batch_dimension_as_torch_does(dims: tuple[int, int]) -> None:
    network = norse.SequentialState(nn.Flatten(*dims), norse.IAFCell())
    x = np.random.default_rng(1).random((6, 2, 3, 2, 2), dtype=np.float32)
    assert_same(network, x)


def test_a_cell_used_twice_keeps_two_states() -> None:
    cell = low()
    network = norse.SequentialState(nn.Linear(4, 4), cell, nn.Linear(4, 4), cell)
    for layer in (network[0], network[2]):
        nn.init.constant_(layer.weight, 0.4)
    program = slt.lower(to_nir(network, (4,)))
    x = np.random.default_rng(1).random((12, 2, 4), dtype=np.float32)
    state, last = None, None
    sent: list[Array] = []
    with torch.no_grad():
        for step in torch.from_numpy(x):
            last, state = network(step, state)
            sent.append(last.numpy())
    assert np.sum(sent) > 0
    np.testing.assert_array_equal(slt.run(program, x).output, np.stack(sent))


def test_the_file_loads_with_plain_nir_and_means_the_same(tmp_path: Path) -> None:
    network = norse.SequentialState(nn.Conv2d(1, 2, 3), norse.LIFCell(dt=2e-3), nn.Flatten())
    graph = to_nir(network, (1, 5, 5))
    nir.write(tmp_path / "a.nir", graph)
    again = nir.read(tmp_path / "a.nir")
    assert slt.lower(again).digest() == slt.lower(graph).digest()
    assert slt.lower(again).dt == 2e-3


def test_the_module_is_left_as_it_is() -> None:
    network = norse.SequentialState(nn.Conv2d(1, 4, 3), normalised(4), low())
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    to_nir(network, (1, 6, 6))
    assert network.training
    assert network[1].training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


# ------------------------------------------------------------------------------- masked weights


def test_masks_of_torch_prune_are_baked_in() -> None:
    network = norse.SequentialState(nn.Linear(6, 5), low())
    prune.random_unstructured(network[0], "weight", amount=0.5)
    prune.l1_unstructured(network[0], "weight", amount=3)
    with torch.no_grad():  # as an optimiser does: `weight` is stale until the next forward pass
        network[0].weight_orig.mul_(3)
    node: Any = to_nir(network, (6,)).nodes["0"]
    assert (node.weight == 0).sum() == 18
    assert_same(network, np.random.default_rng(0).random((20, 2, 6), dtype=np.float32))


class Masked(nn.Module):
    """Parametrization that zeroes the first column."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the weight with zeros in its first column."""
        return weight * (torch.arange(weight.shape[1]) > 0)


def test_parametrizations_are_baked_in() -> None:
    network = norse.SequentialState(nn.Linear(6, 5), low())
    parametrize.register_parametrization(network[0], "weight", Masked())
    node: Any = to_nir(network, (6,)).nodes["0"]
    assert (node.weight[:, 0] == 0).all()
    assert (node.weight[:, 1:] != 0).all()
    normed = norse.SequentialState(parametrizations.weight_norm(nn.Linear(6, 5)), low())
    with torch.no_grad():
        normed[0].parametrizations.weight.original0.mul_(2)
    for each in (network, normed):
        assert_same(each, np.random.default_rng(0).random((20, 2, 6), dtype=np.float32))


# ------------------------------------------------------------------------------------ refusals


class Sharper(nn.Conv2d):
    """Someone's own convolution."""


def test_everything_that_cannot_be_translated_is_named_at_once() -> None:
    network = norse.SequentialState(
        nn.BatchNorm2d(1),
        norse.SequentialState(nn.Conv2d(1, 2, 3, padding_mode="reflect", padding=1), nn.ReLU()),
        nn.MaxPool2d(2),
        norse.LIFBoxCell(),
        nn.BatchNorm2d(2),
        Sharper(2, 2, 3),
        nn.BatchNorm2d(2, track_running_stats=False),
        nn.AvgPool2d(2, ceil_mode=True, padding=1, count_include_pad=False, divisor_override=3),
        nn.Flatten(0),
        nn.Tanh(),
    )
    with pytest.raises(InputError) as caught:
        to_nir(network, (1, 8, 8))
    text = str(caught.value)
    for expected in (
        "module '0' (BatchNorm2d): must stand directly after a Conv2d",
        "module '1.0' (Conv2d): padding_mode is 'reflect': use 'zeros'",
        "module '1.1' (ReLU): cannot be translated: use a spiking neuron",
        "module '2' (MaxPool2d): cannot be translated: use AvgPool2d",
        "module '4' (BatchNorm2d): must stand directly after a Conv2d",
        "module '5' (Sharper): cannot be translated: use Conv2d itself",
        "module '6' (BatchNorm2d): has no running statistics",
        "module '7' (AvgPool2d): ceil_mode=True",
        "module '7' (AvgPool2d): count_include_pad=False with padding",
        "module '7' (AvgPool2d): divisor_override=3",
        "module '8' (Flatten): dims 0..-1 flatten the batch",
        "module '9' (Tanh): cannot be translated: use one of Conv2d",
    ):
        assert expected in text
    assert len(caught.value.violations) == 12


def test_pooling_that_means_the_same_is_taken() -> None:
    pool = nn.AvgPool2d(2, count_include_pad=False, divisor_override=4)
    network = norse.SequentialState(pool, norse.IAFCell())
    assert_same(network, np.random.default_rng(0).random((6, 2, 1, 4, 4), dtype=np.float32))


def test_a_custom_reset_is_refused() -> None:
    def own(_z: Any, v: Any, _reset: Any, _threshold: Any) -> Any:
        return v

    p = BOX.LIFBoxParameters(reset_method=own)
    with pytest.raises(InputError, match=r"module '0' .*reset_method"):
        to_nir(norse.SequentialState(norse.LIFBoxCell(p)), (3,))


def test_mixed_resets_are_refused_by_name() -> None:
    soft = norse.LIFBoxCell(BOX.LIFBoxParameters(reset_method=RESET.reset_subtract))
    with pytest.raises(InputError, match="'0' subtract, '1' zero"):
        to_nir(norse.SequentialState(soft, norse.IAFCell()), (3,))


def test_a_weight_from_a_hook_is_refused() -> None:
    layer = nn.Linear(3, 3)
    del layer.weight
    layer.register_forward_pre_hook(lambda module, _: setattr(module, "weight", torch.eye(3)))
    layer(torch.zeros(1, 3))
    with pytest.raises(InputError, match=r"module '0' \(Linear\): weight is computed by a hook"):
        to_nir(norse.SequentialState(layer, norse.IAFCell()), (3,))


def test_the_time_step_must_be_one() -> None:
    mixed = norse.SequentialState(norse.LIFBoxCell(dt=1e-3), norse.LICell(dt=2e-3))
    with pytest.raises(InputError, match=r"'0' 0.001 s, '1' 0.002 s"):
        to_nir(mixed, (3,))
    one = norse.SequentialState(norse.LIFBoxCell(dt=2e-3))
    assert to_nir(one, (3,), dt=2e-3).metadata["dt"] == 2e-3
    with pytest.raises(InputError, match=r"dt is 0.001 s, but .* 0.002 s"):
        to_nir(one, (3,), dt=1e-3)
    none = norse.SequentialState(nn.Linear(3, 3))
    with pytest.raises(InputError, match="give dt in seconds"):
        to_nir(none, (3,))
    assert to_nir(none, (3,), dt=2e-3).metadata["dt"] == 2e-3


def test_a_wrong_input_shape_names_the_layer() -> None:
    with pytest.raises(InputError, match=r"module '0' \(Conv2d\).*1 input channels, gets 3"):
        to_nir(norse.SequentialState(nn.Conv2d(1, 2, 3), norse.IAFCell()), (3, 8, 8))


def test_names_that_nir_needs_itself_are_changed() -> None:
    network = nn.Sequential(OrderedDict(input=nn.Linear(2, 2), output=norse.IAFCell()))
    assert list(to_nir(network, (2,)).nodes) == ["input", "input_", "output_", "output"]
