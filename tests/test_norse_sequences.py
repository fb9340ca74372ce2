"""Networks that take all steps at once, (T, B, ...), mean the same as step by step."""

from collections.abc import Mapping

import pytest
import torch
from norse_nets import DT, assert_same, box, current, dyadic, exact, kinds, leaky
from torch import nn

norse = pytest.importorskip("norse.torch")  # by name: its import warns


def sequences() -> Mapping[str, tuple[nn.Module, tuple[int, ...]]]:
    """Networks over (T, B, ...), and the shape of a sample."""
    return {
        "lif": (norse.SequentialState(nn.Linear(4, 5), norse.LIF(current(), dt=DT)), (4,)),
        "li": (norse.SequentialState(nn.Linear(4, 5), norse.LI(leaky(), dt=DT)), (4,)),
        "iaf": (
            norse.SequentialState(
                nn.Linear(4, 5), norse.IAF(norse.IAFParameters(exact(1), exact(0.5)), dt=DT)
            ),
            (4,),
        ),
        "recurrent": (norse.SequentialState(norse.LIFRecurrent(4, 5, current(), dt=DT)), (4,)),
        "lifted": (
            norse.SequentialState(
                norse.Lift(nn.Conv2d(2, 3, 3)),
                norse.Lift(nn.BatchNorm2d(3)),
                norse.LIF(current(), dt=DT),
                norse.Lift(nn.AvgPool2d(2)),
                nn.Flatten(2),
                nn.Dropout(),
                nn.Linear(12, 5),
                norse.LIFRecurrent(5, 4, current(), dt=DT),
            ),
            (2, 6, 6),
        ),
        "lifted sequence": (
            norse.Lift(norse.SequentialState(nn.Flatten(), nn.Linear(8, 4), box())),
            (2, 2, 2),
        ),
        "lifted feedback": (norse.Lift(norse.RecurrentSequential(nn.Linear(4, 4), box())), (4,)),
        "lifted cell": (
            norse.SequentialState(norse.Lift(box()), norse.Lift(nn.Linear(4, 2))),
            (4,),
        ),
    }


@pytest.mark.parametrize("name", list(sequences()))
def test_all_steps_at_once_mean_the_same(name: str) -> None:
    network, shape = sequences()[name]
    graph = assert_same(dyadic(network), shape, at_once=True)
    assert "Delay" not in kinds(graph).values()


class Loops(nn.Module):
    """Loops over time itself."""

    def __init__(self, iterate: bool) -> None:
        super().__init__()
        self.iterate = iterate
        self.fc, self.cell = nn.Linear(3, 4), norse.LIFRecurrentCell(4, 4, current(), dt=DT)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """All steps."""
        s, sent = None, []
        for t in x if self.iterate else range(x.shape[0]):
            step = t if self.iterate else x[t]
            z, s = self.cell(self.fc(step), s)
            sent.append(z)
        return torch.stack(sent)


@pytest.mark.parametrize("iterate", [True, False])
def test_a_loop_over_time(iterate: bool) -> None:
    assert_same(dyadic(Loops(iterate)), (3,), at_once=True)
