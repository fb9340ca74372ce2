"""A spiking network as a policy: an observation in, some ticks of the network, an action out.

The method names are those of LeRobot's policies, ``select_action(batch)`` and ``reset()``, so
that code written for these takes one; torch is not needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sltdeploy.errors import InputError, raise_all
from sltdeploy.program import Array
from sltdeploy.runtime import Runner

OBSERVATION = "observation.state"  # LeRobot's key of joint positions and the like


@dataclass(frozen=True)
class Coding:
    """How an observation enters a network and an action leaves it.

    Each of ``ticks`` steps takes ``x = clip(rint(o / scale / step) * step, -top, top)``: what an
    analog-to-digital converter would give, and what makes sums exact where the weights are
    ``k * 2**-n`` too. The action is read from the values after the last tick: their argmax
    ("discrete"), or themselves, clipped to ``low`` .. ``high`` ("continuous").
    """

    scale: tuple[float, ...]
    action: Literal["discrete", "continuous"]
    ticks: int = 8
    step: float = 1 / 32
    top: float = 4.0
    low: float = -np.inf
    high: float = np.inf

    def __post_init__(self) -> None:
        positive = bool(self.scale) and all(s > 0 for s in self.scale)  # NaN is not
        raise_all(
            f"{name} is {value}, must be {must}"
            for name, value, must, fine in (
                ("ticks", self.ticks, "at least 1", self.ticks >= 1),
                ("step", self.step, "above 0", self.step > 0),
                ("top", self.top, "at least step", self.top >= self.step),
                ("scale", self.scale, "above 0 each", positive),
                ("low", self.low, "at most high", self.low <= self.high),
                (
                    "action",
                    self.action,
                    "discrete or continuous",
                    self.action in ("discrete", "continuous"),
                ),
            )
            if not fine
        )

    def encode(self, observation: Array) -> Array:
        """What enters the network in each tick, (B, n) float32, for observations (B, n)."""
        scaled = np.asarray(observation, np.float64) / self.scale
        return np.clip(np.rint(scaled / self.step) * self.step, -self.top, self.top).astype(
            np.float32
        )

    def decode(self, values: Array) -> Array:
        """Actions for what the network's output holds after the last tick, (B, m).

        (B,) int64 where they are discrete, else (B, m) float32.
        """
        if self.action == "discrete":
            return values.argmax(axis=1)
        return np.clip(values, self.low, self.high).astype(np.float32)


class SpikingPolicy:
    """Drives something with an opened artifact: one input (n,), one output (m,).

    With ``carry`` the network keeps its state from one action to the next; without, every action
    starts from the first state, and is an inference of its own.
    """

    def __init__(
        self,
        runner: Runner,
        coding: Coding,
        *,
        carry: bool = False,
        key: str = OBSERVATION,
    ) -> None:
        raise_all(_problems(runner, coding))
        self._runner, self._coding = runner, coding
        self._carry, self._key = carry, key
        self._output = str(runner.info["outputs"][0]["name"])

    def reset(self) -> None:
        """Forget the episode: call it whenever the environment is reset."""
        self._runner.reset()

    def select_action(self, batch: Mapping[str, Any] | Array) -> Array:
        """Action for one observation (n,) or several (B, n), or for a mapping that holds them.

        Anything that numpy takes as an array will do, a torch tensor too. Returns what
        `Coding.decode` says, without the B where the observation had none. Raises `InputError`
        for a missing key, a wrong shape, or what is not finite; the state is then what it was.
        """
        observation = self._observation(batch)
        single = observation.ndim == 1
        x = self._coding.encode(observation[None] if single else observation)
        if not self._carry:
            self._runner.reset()
        values = x
        for _ in range(self._coding.ticks):
            values = self._runner.step(x)[self._output]
        actions = self._coding.decode(values)
        return actions[0] if single else actions

    def _observation(self, batch: Mapping[str, Any] | Array) -> Array:
        if isinstance(batch, Mapping):
            if self._key not in batch:
                raise InputError(f"the batch has no '{self._key}', it has {', '.join(batch)}")
            batch = batch[self._key]
        observation = np.asarray(batch)
        n = len(self._coding.scale)
        if observation.ndim not in (1, 2) or observation.shape[-1] != n:
            raise InputError(
                f"observation has shape {observation.shape}, must be ({n},) or (B, {n})"
            )
        if observation.dtype.kind not in "biuf" or not np.isfinite(observation).all():
            raise InputError("observation holds what is no finite real number")
        return observation


def _problems(runner: Runner, coding: Coding) -> list[str]:
    inputs, outputs = runner.info["inputs"], runner.info["outputs"]
    found: list[str] = []
    n = len(coding.scale)
    if [tuple(i["shape"]) for i in inputs] != [(n,)]:
        held = ", ".join(f"'{i['name']}' {tuple(i['shape'])}" for i in inputs)
        found.append(f"{runner.folder}: takes {held}, a policy needs one input of shape ({n},)")
    elif inputs[0]["kind"] != "graded":
        found.append(f"{runner.folder}: takes spikes, a policy needs graded input")
    if len(outputs) != 1 or len(outputs[0]["shape"]) != 1 or outputs[0]["kind"] != "values":
        held = ", ".join(f"'{o['name']}' {tuple(o['shape'])} {o['kind']}" for o in outputs)
        found.append(f"{runner.folder}: gives {held}, a policy needs one output of values, (m,)")
    return found
