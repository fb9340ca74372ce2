"""Networks that are more than a sequence: spike for spike what Norse itself does."""

from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from norse_nets import (
    BOX,
    DT,
    RESET,
    ByHand,
    assert_same,
    box,
    current,
    dyadic,
    exact,
    in_norse,
    kinds,
    spikes,
)
from random_norse import WIDTH, RandomNetwork
from torch import nn

import sltdeploy as slt
from sltdeploy.search.norse_modules import to_nir

norse = pytest.importorskip("norse.torch")  # by name: its import warns


# ---------------------------------------------------------------------------------- recurrence


@pytest.mark.parametrize("autapses", [False, True])
def test_a_recurrent_cell_is_a_loop(autapses: bool) -> None:
    cell = norse.LIFRecurrentCell(5, 6, current(), autapses=autapses, dt=DT)
    network = norse.SequentialState(dyadic(cell))
    if not autapses:
        with torch.no_grad():
            cell.recurrent_weights.fill_diagonal_(0)
    graph = assert_same(network, (5,))
    assert kinds(graph) == {
        "0_input_weights": "Linear",
        "0_recurrent_weights": "Linear",
        "0": "CubaLIF",
    }
    assert set(graph.edges) == {
        ("input", "0_input_weights"),
        ("0_input_weights", "0"),
        ("0_recurrent_weights", "0"),
        ("0", "0_recurrent_weights"),
        ("0", "output"),
    }
    node: Any = graph.nodes["0_recurrent_weights"]
    assert (np.diag(node.weight) != 0).any() == autapses


def test_given_weights_of_a_recurrent_cell_are_kept() -> None:
    cell = norse.LIFRecurrentCell(
        2,
        2,
        current(),
        input_weights=torch.tensor([[1.0, 0.5], [0.25, 1.0]]),
        recurrent_weights=torch.tensor([[9.0, -1.0], [1.5, 9.0]]),
        dt=DT,
    )
    graph = assert_same(norse.SequentialState(cell), (2,))
    node: Any = graph.nodes["0_recurrent_weights"]
    np.testing.assert_array_equal(node.weight, [[0, -1], [1.5, 0]])


@pytest.mark.parametrize("returned", [-1, 1])
def test_a_sequence_that_feeds_back(returned: int) -> None:
    network = norse.RecurrentSequential(
        dyadic(nn.Linear(4, 4)), box(), dyadic(nn.Linear(4, 4), 2), output_modules=returned
    )
    graph = assert_same(network, (4,))
    # The bias of the last layer is not fed back at the first step: that takes a delay.
    delayed = {"module_2_delay": "Delay"} if returned == -1 else {}
    last = {"module_2": "Affine"} if returned == -1 else {}
    assert kinds(graph) == {"module_0": "Affine", "module_1": "LIF", **last, **delayed}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("zeros", [True, False])
@pytest.mark.parametrize("current_based", [True, False])
def test_recurrence_by_hand(bias: bool, zeros: bool, current_based: bool) -> None:
    cell = norse.LIFCell(current(), dt=DT) if current_based else box()
    graph = assert_same(dyadic(ByHand(bias, zeros, cell)), (4,))
    # Only a bias that does not come at the first step needs a delay.
    assert ("back_delay" in graph.nodes) == (bias and not zeros)
    assert graph.nodes["readout"].__class__.__name__ == "CubaLI"


class Remembers(nn.Module):
    """Keeps its states itself, and sees its input again two steps later."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.cell = nn.Linear(3, 3), box()
        self.state: Any = None
        self.past: list[Any] = []
        self.seen: dict[str, Any] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One step."""
        x = self.fc(x)
        y = x + self.past.pop(0) if len(self.past) == 2 else x
        self.past.append(x)
        self.seen["x"] = x
        z, self.state = self.cell(y, self.state)
        return z


def test_states_may_be_kept_in_the_module_and_are_left_alone() -> None:
    network = dyadic(Remembers())
    graph = to_nir(network, (3,))
    assert network.state is None
    assert network.past == []
    assert network.seen == {}
    delay: Any = graph.nodes["fc_delay_2"]
    np.testing.assert_array_equal(delay.delay, np.full(3, 2 * DT))
    assert_same(network, (3,))


class Delayed(nn.Module):
    """A delay of many steps, by a list."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps, self.cell = steps, box()

    def forward(self, x: torch.Tensor, state: Any = None) -> Any:
        """One step."""
        past, s = state or ([torch.zeros_like(x)] * self.steps, None)
        z, s = self.cell(past[-1], s)
        return z, ([x, *past[:-1]], s)


@pytest.mark.parametrize("steps", [1, 12])
def test_a_delay_by_hand(steps: int) -> None:
    assert_same(Delayed(steps), (3,))


# ------------------------------------------------------------------------------------ branches


class Residual(nn.Module):
    """A residual block with spikes added before the second neuron, and a scaled skip."""

    def __init__(self) -> None:
        super().__init__()
        self.front = norse.SequentialState(nn.Conv2d(2, 4, 3, padding=1), box())
        self.first = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.inner = box(reset_method=RESET.reset_value)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.drop = nn.Dropout2d(0.5)
        self.last = box()
        self.pool, self.fc = nn.AvgPool2d(2), nn.Linear(16, 3)
        self.readout = norse.LIBoxCell(norse.LIBoxParameters(exact(0.5 / DT), exact(0.0)), dt=DT)

    def forward(self, x: torch.Tensor, state: Any = None) -> Any:
        """One step."""
        state = [None] * 4 if state is None else list(state)
        x, state[0] = self.front(x, state[0])
        y, state[1] = self.inner(self.first(x), state[1])
        y = self.drop(self.second(y)) + 0.5 * x - x / 4
        y, state[2] = self.last(y, state[2])
        y = self.fc(self.pool(y).flatten(1))
        y, state[3] = self.readout(y, state[3])
        return y, state


def test_a_residual_block() -> None:
    graph = assert_same(dyadic(Residual()), (2, 4, 4))
    assert {("second", "last"), ("scale", "last")} <= set(graph.edges)
    assert sorted(t for s, t in graph.edges if s == "front_1") == ["first", "scale", "scale_2"]


class Twice(nn.Module):
    """Uses one layer and one cell twice, adds a signal to itself, views it flat."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.cell = nn.Linear(4, 4), box()
        self.scale = nn.Parameter(torch.tensor([1.0, 0.5, 2.0, -1.0]))
        self.weight = nn.Parameter(torch.rand(2, 4))

    def forward(self, x: torch.Tensor, states: Any = None) -> Any:
        """One step."""
        a, b = states if states is not None else (None, None)
        x = x.view(x.size(0), -1)
        y, a = self.cell(self.fc(x), a)
        z, b = self.cell(self.fc(y + y) * self.scale, b)
        return nn.functional.linear(z, self.weight), (a, b)


def test_modules_that_are_used_twice() -> None:
    graph = assert_same(dyadic(Twice()), (2, 2))
    assert {"fc", "fc_2", "cell", "cell_2", "cell_times_2", "flatten", "scale", "linear"} == set(
        kinds(graph)
    )


class Plumbing(nn.Module):
    """Moves signals about in ways that change nothing, and adds in place."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.cell: Any = box()
        self.recurrent = norse.LIFRecurrentCell(3, 3, current(), dt=DT)

    def forward(self, x: torch.Tensor, state: Any = None) -> Any:
        """One step."""
        a, b = state if state is not None else (self.cell.initial_state(x), None)
        x = nn.functional.dropout(x.to(torch.float32).contiguous(), training=self.training)
        y = self.fc(x)
        kept = y.clone()
        y += x
        y, a = self.cell(y - kept * torch.tensor([[0.5, 1.0, 2.0]]), a)
        z, b = self.recurrent(-y, b)
        z += y  # Norse feeds this back, as z is the cell's state as well
        return z, (a, b)


def test_plumbing_changes_nothing() -> None:
    assert_same(dyadic(Plumbing()), (3,))


def test_cells_in_a_plain_sequence_keep_their_state() -> None:
    plain = nn.Sequential(nn.Linear(3, 3), nn.Sequential(box(), nn.Linear(3, 3)), box())
    nested = norse.SequentialState(nn.Linear(3, 3), box(), nn.Linear(3, 3), box())
    dyadic(nested).load_state_dict(
        dict(zip(nested.state_dict(), dyadic(plain).state_dict().values(), strict=True))
    )
    x = spikes((12, 2, 3))
    y = slt.run(slt.lower(to_nir(plain, (3,))), x).output
    np.testing.assert_array_equal(y, in_norse(nested, x))
    assert 0 < y.mean() < 1


def test_a_sum_of_neurons_is_an_output() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = box(), norse.IAFCell(norse.IAFParameters(exact(1), exact(0)), dt=DT)

        def forward(self, x: torch.Tensor, state: Any = None) -> Any:
            a, b = state or (None, None)
            y, a = self.a(x, a)
            z, b = self.b(x, b)
            return y + z + x, (a, b)

    assert_same(Sum(), (3,))


# ------------------------------------------------------------------------- layers and parameters


def test_one_dimensional_layers_and_their_normalisation() -> None:
    front = norse.SequentialState(nn.Conv1d(2, 4, 3, stride=2, groups=2), nn.BatchNorm1d(4), box())
    back = norse.SequentialState(nn.Flatten(), nn.Linear(16, 5), nn.BatchNorm1d(5), box())
    network = dyadic(norse.SequentialState(front, back))
    with torch.no_grad():
        for norm, width in ((network[0][1], 4), (network[1][2], 5)):
            norm.eps = 0.0
            norm.running_mean.copy_(torch.arange(width) / 4)
            norm.running_var.copy_(4.0 ** torch.randint(-1, 2, (width,)))
    graph = assert_same(network, (2, 9))
    assert list(kinds(graph).values()) == ["Conv1d", "LIF", "Flatten", "Affine", "LIF"]


@pytest.mark.parametrize("dt", [1e-4, 1e-3, 5e-3])
@pytest.mark.parametrize("recurrent", [False, True])
def test_random_floats_spike_alike(dt: float, recurrent: bool) -> None:
    torch.manual_seed(3)
    p = norse.LIFParameters(
        tau_syn_inv=torch.tensor(0.3 / dt),
        tau_mem_inv=torch.tensor(0.2 / dt),
        v_leak=torch.tensor(0.05),
        v_th=torch.tensor(0.3),
        v_reset=torch.tensor(-0.1),
    )
    cell = norse.LIFRecurrentCell(6, 6, p, dt=dt) if recurrent else norse.LIFCell(p, dt=dt)
    soft = BOX.LIFBoxParameters(
        tau_mem_inv=torch.rand(5) * 0.2 / dt + 0.1 / dt, v_th=torch.tensor(0.1)
    )
    network = norse.SequentialState(
        nn.Linear(4, 6), cell, nn.Linear(6, 5), norse.LIFBoxCell(soft, dt=dt)
    ).eval()
    graph = to_nir(network, (4,))
    node: Any = graph.nodes["1"]
    np.testing.assert_allclose(node.tau_syn, dt / 0.3, rtol=1e-6)
    np.testing.assert_allclose(node.tau_mem, dt / 0.2, rtol=1e-6)
    np.testing.assert_allclose(node.w_in, 1 / 0.3, rtol=1e-6)
    x = spikes((80, 3, 4))
    program = slt.lower(graph)
    assert program.dt == dt
    expected = in_norse(network, x)
    assert 0.02 < expected.mean() < 0.98
    np.testing.assert_array_equal(slt.run(program, x).output, expected)


@pytest.mark.parametrize("block", range(4))
def test_random_networks(block: int, tmp_path: Path) -> None:
    lively = 0
    for seed in range(15 * block, 15 * block + 15):
        network = dyadic(RandomNetwork(seed), seed)
        x = spikes((12, 2, WIDTH), seed)
        graph = to_nir(network, (WIDTH,))
        expected = in_norse(network, x)
        y = slt.run(slt.lower(graph), x).output
        np.testing.assert_array_equal(y, expected, err_msg=f"to NIR, seed {seed}")
        nir.write(tmp_path / "a.nir", graph)  # sorts the nodes
        y = slt.run(slt.lower(nir.read(tmp_path / "a.nir", type_check=False)), x).output
        np.testing.assert_array_equal(y, expected, err_msg=f"in a file, seed {seed}")
        again = in_norse(slt.to_norse(graph), x)
        np.testing.assert_array_equal(again, expected, err_msg=f"and back, seed {seed}")
        lively += 0 < expected.mean() < 1
    assert lively > 10
