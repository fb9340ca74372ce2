"""Steps an `Eager` module over frames, for `sltdeploy.benching`: eager, or by torch.compile."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias, final

import numpy as np
import torch

from sltdeploy.errors import MissingComponentError
from sltdeploy.program import Array, Program
from sltdeploy.search.eager import Cells, Eager, State

Sent: TypeAlias = Mapping[str, torch.Tensor]


@contextmanager
def one_thread() -> Generator[None]:
    """Let torch use one thread inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@final
class EagerStepper:
    """`sltdeploy.benching.measuring.Contender` in torch; ``frames`` (T, 1, *shape) by input.

    Raises `InputError` for what `Eager` refuses, `MissingComponentError` where torch.compile
    fails: it is for machines with a C++ compiler.
    """

    def __init__(
        self,
        name: str,
        program: Program,
        frames: Mapping[str, Array],
        cells: Cells,
        *,
        compiled: bool = False,
    ) -> None:
        self.name = name
        self._spiking = {n for n in program.outputs if program.population(n).spiking}
        module = Eager(program, cells)
        tensors = {n: torch.from_numpy(a.astype(np.float32)) for n, a in frames.items()}
        steps = range(len(next(iter(tensors.values()))))
        self._fed = [{n: a[k] for n, a in tensors.items()} for k in steps]
        self._first = module.first(1)
        self._state: State = self._first
        self._module: Any = _compiled(module, self._fed[0], self._first) if compiled else module

    def begin(self) -> None:
        """Go to the first state."""
        self._state = self._first

    def step(self, frame: int) -> Sent:
        """Take one step."""
        with torch.inference_mode():
            sent, self._state = self._module(self._fed[frame], self._state)
        return sent

    def read(self, sent: Sent) -> dict[str, Array]:
        """Outputs as numpy has them, spikes as bool."""
        return {n: a.numpy() != 0 if n in self._spiking else a.numpy() for n, a in sent.items()}


def _compiled(module: Eager, x: Mapping[str, torch.Tensor], state: State) -> Any:
    """Compile by the first two steps: the second has other state tensors than the first."""
    found = torch.compile(module)
    try:
        with torch.inference_mode():
            for _ in range(2):
                _, state = found(x, state)
    except Exception as error:  # torch has a class for each of its many stages
        lines = str(error).strip().splitlines() or [""]
        raise MissingComponentError(
            f"torch.compile failed ({type(error).__name__}: {lines[0]}): it needs a C++ compiler: "
            "apt install g++, or set CXX"
        ) from None
    return found
