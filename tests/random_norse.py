"""Random Norse networks written as by hand: branches, skips, loops, delays."""

import random
from typing import Any

import torch
from norse_nets import DT, RESET, box, current, exact, norse
from torch import nn

WIDTH = 4


class RandomNetwork(nn.Module):
    """A list of things to do with the signals so far, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = random.Random(seed)
        self.zeros = draw.random() < 0.5  # what has not come yet: 0, or left out
        self.plan: list[tuple[str, list[int], list[int]]] = []  # what, of which, of which before
        for k in range(draw.randint(2, 6)):
            what = draw.choice(["linear", "cell", "cell", "scale"])
            now = draw.sample(range(k + 1), draw.randint(1, min(2, k + 1)))
            late = draw.sample(range(1, 7), draw.choice([0, 0, 1, 2]))
            self.plan.append((what, now, late))
            self.add_module(f"m{k}", self._module(what, draw))
        self.last = norse.LIFCell(current(), dt=DT)

    def _module(self, what: str, draw: random.Random) -> nn.Module:
        if what == "linear":
            return nn.Linear(WIDTH, WIDTH, bias=draw.random() < 0.5)
        if what == "scale":
            return nn.Identity()
        iaf = norse.IAFParameters(exact(1), exact(0.25))
        return draw.choice(
            [
                lambda: box(),
                lambda: box(reset_method=RESET.reset_value),
                lambda: norse.LIFCell(current(), dt=DT),
                lambda: norse.IAFCell(iaf, dt=DT),
                lambda: norse.LIFRecurrentCell(WIDTH, WIDTH, current(), dt=DT),
                lambda: norse.LIBoxCell(norse.LIBoxParameters(exact(0.5 / DT), exact(0)), dt=DT),
            ]
        )()

    def forward(self, x: torch.Tensor, state: Any = None) -> Any:
        """One step."""
        past, states = state if state is not None else ({}, {})
        signals, after = [x], {}
        for k, (what, now, late) in enumerate(self.plan):
            value: Any = sum(signals[i] for i in now)
            for i in late:
                if i in past:
                    value = value + past[i]
                elif self.zeros and i <= len(self.plan):
                    value = value + torch.zeros(x.shape[0], WIDTH)
            module = self.get_submodule(f"m{k}")
            if what == "cell":
                value, after[k] = module(value, states.get(k))
            else:
                value = module(value) if what == "linear" else 0.5 * value
            signals.append(value)
        y, after["last"] = self.last(sum(signals[1:]), states.get("last"))
        return y, (dict(enumerate(signals)), after)
