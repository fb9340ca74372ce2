"""What of a Norse network has no meaning in NIR is named by module path, all at once."""

from typing import Any

import pytest
import torch
from norse_nets import BOX, DT, ByHand, box
from torch import nn

from sltdeploy.errors import InputError
from sltdeploy.search.norse_modules import to_nir

norse = pytest.importorskip("norse.torch")  # by name: its import warns


class Wrong(nn.Module):
    """Does what has no meaning in NIR."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.ModuleDict(
            {
                "max": nn.MaxPool2d(2),
                "conv": nn.Conv2d(1, 2, 3, padding=1),
                "norm": nn.BatchNorm2d(2),
                "cell": box(),
                "fc": nn.Linear(8, 4),
                "late": norse.LIF(dt=DT),
            }
        )

    def forward(self, x: torch.Tensor, state: Any = None) -> Any:
        """One step."""
        inner = self.inner
        x = inner["max"](x)
        y = inner["conv"](x)
        x = inner["norm"](y) + y * torch.sigmoid(y)
        x = torch.cat([x, x], 0)[:1] + 1
        x, _ = inner["cell"](x, state)
        x = nn.functional.max_pool2d(x, 2)
        if x.sum() > 3:
            x = x + x
        x = nn.functional.dropout(x)
        return inner["fc"](x.flatten(1)), None


def test_everything_without_a_meaning_is_named_at_once() -> None:
    network = Wrong()
    del network.inner["late"]
    with pytest.raises(InputError) as caught:
        to_nir(network, (1, 8, 8))
    text = str(caught.value)
    for expected in (
        "module 'inner.max' (MaxPool2d): cannot be translated: use AvgPool2d",
        "module '' (Wrong): sigmoid: has no meaning in NIR",
        "module '' (Wrong): mul: multiplies two signals",
        "module '' (Wrong): cat: only sums can be kept",
        "module '' (Wrong): getitem: takes a part of a signal",
        "module '' (Wrong): add: adds a constant",
        "module '' (Wrong): max_pool2d: use avg_pool2d as nn.AvgPool2d",
        "module '' (Wrong): bool: what is done must not depend on values",
        "module '' (Wrong): dropout: draws at random",
    ):
        assert expected in text
    assert "inner.conv" not in text


def refused(
    network: nn.Module, shape: tuple[int, ...], match: str, dt: float | None = None
) -> None:
    """Check that a network is refused with a text."""
    with pytest.raises(InputError, match=match):
        to_nir(network, shape, dt)


class Cell(nn.Module):
    """A cell, with a way to treat its state."""

    def __init__(self, treat: Any) -> None:
        super().__init__()
        self.cell, self.other, self.treat = box(), box(), treat
        self.readout = norse.LICell(dt=DT)

    def forward(self, x: torch.Tensor, state: Any = None) -> Any:
        """One step."""
        return self.treat(self, x, state)


def swapped(net: Any, x: Any, state: Any) -> Any:
    """Give each cell the state of the other."""
    a, b = state or (None, None)
    y, a = net.cell(x, a)
    z, b = net.other(x, b)
    return y + z, (b, a)


def started(net: Any, x: Any, state: Any) -> Any:
    """Start from a voltage of its own."""
    return net.cell(x, BOX.LIFBoxFeedForwardState(torch.ones(5)) if state is None else state)


def older(net: Any, x: Any, state: Any) -> Any:
    """Give the state of the step before the last."""
    one, two = state or (None, None)
    y, after = net.cell(x, one)
    return y, (two, after)


def frozen(net: Any, x: Any, state: Any) -> Any:
    """Give the state of the first step for ever."""
    y, after = net.cell(x, state)
    return y, after if state is None else state


def voltage(net: Any, x: Any, state: Any) -> Any:
    """Add the voltage to the output."""
    y, state = net.cell(x, state)
    return y + state.v, state


def in_place(net: Any, x: Any, state: Any) -> Any:
    """Change the voltage of a readout through its output."""
    y, state = net.readout(x, state)
    y += x
    return y, state


def rarely(net: Any, x: Any, state: Any) -> Any:
    """Do something else at every second step."""
    count, inner = state or (0, None)
    y, inner = net.cell(x if count % 2 else x * 2, inner)
    return y, (count + 1, inner)


def hoards(net: Any, x: Any, state: Any) -> Any:
    """Keep everything."""
    past, inner = state or ([], None)
    y, inner = net.cell(past[-100] if len(past) >= 100 else x, inner)
    return y, ([*past, x], inner)


def forgotten(net: Any, x: Any, state: Any) -> Any:
    """Throw the state away."""
    del state
    return net.cell(x)[0], None


def constant(net: Any, x: Any, state: Any) -> Any:
    """Return zeros."""
    del net, state
    return torch.zeros(x.shape[0], 5), None


def listed(net: Any, x: Any, state: Any) -> Any:
    """Return a list."""
    del net, state
    return [x, x], None


def split(net: Any, x: Any, state: Any) -> Any:
    """Add an axis."""
    del net, state
    return x.reshape(x.shape[0], 1, 5), None


def mixed(net: Any, x: Any, state: Any) -> Any:
    """Mix the samples."""
    del net, state
    return x.view(-1), None


def broken(net: Any, x: Any, state: Any) -> Any:
    """Fail."""
    del net, state
    return x.unknown_method(), None


def halved(net: Any, x: Any, state: Any) -> Any:
    """Lose half of the bits."""
    del net, state
    return x.half(), None


def unchanged(module: Any, inputs: Any, y: Any) -> Any:
    """Do nothing, as a forward hook."""
    del module, inputs
    return y


@pytest.mark.parametrize(
    ("treat", "match"),
    [
        (swapped, r"module 'cell' \(LIFBoxCell\): is given the state of 'other': give it its own"),
        (
            forgotten,
            r"module 'cell'.* no state after the first step",
        ),
        (started, r"module 'cell' .*starts from a state of its own choice"),
        (older, r"module 'cell' .*is given no state after the first step"),
        (frozen, r"module 'cell' .*is given a state that is not of the step before"),
        (voltage, r"module '' \(Cell\): reads v of the state of 'cell'"),
        (in_place, r"add: changes a readout's own state: write y = y"),
        (rarely, r"'cell' is fed otherwise at step"),
        (hoards, r"keeps what came 64 steps before"),
        (constant, r"does not depend on the input"),
        (listed, r"returns list: return a tensor"),
        (split, r"only neighbouring axes"),
        (mixed, r"mixes batch or time"),
        (
            broken,
            r"fails when it is run on zeros: Attribute",
        ),
        (halved, r"half: has no meaning"),
    ],
)
def test_states_and_shapes_that_have_no_meaning(treat: Any, match: str) -> None:
    refused(Cell(treat), (5,), match)


def test_a_network_that_takes_all_steps_says_what_is_missing() -> None:
    refused(norse.SequentialState(norse.Lift(nn.Linear(3, 3)), box()), (3,), "'1'.*norse.Lift")
    refused(
        norse.SequentialState(nn.Conv2d(1, 1, 1), norse.LIF(dt=DT)), (1, 3, 3), "'0'.*norse.Lift"
    )
    feedback = norse.RecurrentSequential(nn.Linear(3, 3), norse.LIF(dt=DT))
    refused(feedback, (3,), "feeds back between calls, not between steps")
    several = norse.RecurrentSequential(nn.Linear(3, 3), box(), output_modules=[0, 1])
    refused(several, (3,), "output_modules is a list")


def test_a_hook_is_refused() -> None:
    network = norse.SequentialState(nn.Linear(3, 3), box())
    network[1].register_forward_hook(unchanged)
    refused(network, (3,), r"module '1' \(LIFBoxCell\): has a forward hook.*remove it")


def test_a_normalisation_of_a_layer_that_is_read_elsewhere_is_refused() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.norm, self.cell = nn.Linear(3, 3), nn.BatchNorm1d(3), box()

        def forward(self, x: torch.Tensor, state: Any = None) -> Any:
            y = self.fc(x)
            return self.cell(self.norm(y) + y, state)

    refused(Both(), (3,), "'fc', into which it is to be folded, is read elsewhere as well")


def test_a_module_is_left_as_it_is() -> None:
    network = ByHand(True, False, box())
    before = [dict(vars(module)) for module in network.modules()]
    to_nir(network, (4,))
    refused(network, (5,), "needs input")
    assert [dict(vars(module)) for module in network.modules()] == before
    assert network.training
