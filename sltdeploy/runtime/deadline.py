"""What a step may take, and what it gives where it took longer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Literal, TypeAlias, final, get_args

import numpy as np

from sltdeploy.errors import CheckError, raise_all
from sltdeploy.program import Array

OnMiss: TypeAlias = Literal["hold", "zero", "raise"]
NS_PER_MS = 1e6


@dataclass(frozen=True)
class Deadline:
    """Milliseconds that a step may take; None for as long as it likes.

    A step that takes longer has moved the state on all the same: time went on in the world, too.
    Its outputs come too late to be used, so ``on_miss`` gives others: "hold" those of the last
    step that kept the deadline (zeros where none did since the first state or since a state was
    set), "zero" zeros; "raise" raises `CheckError`.
    """

    ms: float | None = None
    on_miss: OnMiss = "hold"

    def __post_init__(self) -> None:
        raise_all(self._problems())

    @property
    def ns(self) -> int | None:
        """The same in nanoseconds."""
        return None if self.ms is None else round(self.ms * NS_PER_MS)

    def _problems(self) -> Iterator[str]:
        if self.ms is not None and not (isfinite(self.ms) and self.ms > 0):
            yield f"deadline is {self.ms} ms, must be a positive number of milliseconds"
        if self.on_miss not in get_args(OnMiss):
            yield f"on_miss is {self.on_miss!r}, must be one of {', '.join(get_args(OnMiss))}"


@final
class Substitute:
    """Outputs in the place of those that came too late."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._held: dict[str, Array] = {}
        self._any = False

    def forget(self) -> None:
        """Hold zeros again."""
        self._any = False

    def keep(self, sent: Mapping[str, Array]) -> None:
        """Copy the outputs of a step that was in time; memory is allocated at the first."""
        if self._deadline.on_miss != "hold":
            return
        for name, values in sent.items():
            held = self._held.get(name)
            if held is None or held.shape != values.shape:
                self._held[name] = values.copy()
            else:
                held[...] = values
        self._any = True

    def give(self, sent: Mapping[str, Array], step: int, took_ns: int) -> dict[str, Array]:
        """What to return instead of ``sent``; "raise" raises `CheckError`."""
        if self._deadline.on_miss == "raise":
            raise CheckError(
                f"step {step} took {took_ns / NS_PER_MS:.9g} ms, the deadline is "
                f"{self._deadline.ms:g} ms: its outputs are lost, the state has moved on"
            )
        if self._any:
            return {name: values.copy() for name, values in self._held.items()}
        return {name: np.zeros_like(values) for name, values in sent.items()}
