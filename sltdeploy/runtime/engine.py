"""What a machine offers to a runner: to step one network, with its state within."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from sltdeploy.program import Array


class Engine(Protocol):
    """A machine that steps one network. Every array that it returns is the caller's."""

    def begin(self, batch: int) -> None:
        """Go to the first state, for ``batch`` samples."""
        ...

    def advance(self, fed: Mapping[str, Array], *, record: bool) -> dict[str, Array]:
        """One step: what left the outputs, with ``record`` at least every spiking population too.

        Where this raises, the state is what it was before.
        """
        ...

    def state(self) -> dict[str, Array]:
        """Copy what goes from step to step, (B, ...); from `begin` on.

        Names are POPULATION.v, .j, .past and .last, as in `sltdeploy.reference.State`; what
        fades within a step may be missing. Spikes are bool, values float32, integers of a
        "loihi" program int32, but for what relays and delay lines hold there, which may be int64.
        """
        ...

    def restore(self, values: Mapping[str, Array], /) -> None:
        """Go to ``values``, of the names, shapes and dtypes that `state` gives; they are copied."""
        ...

    def close(self) -> None:
        """Give up what is held."""
        ...


@runtime_checkable
class SequenceEngine(Engine, Protocol):
    """An engine that takes many steps faster at once than one by one."""

    def advance_all(
        self,
        fed: Mapping[str, Array],
        *,
        record: bool,
        on_share: Callable[[float], None] | None = None,
    ) -> dict[str, Array]:
        """As `advance` for each step of ``fed`` in turn, all (T, B, *shape).

        ``on_share`` gets the share that is done, now and then.
        """
        ...


@runtime_checkable
class BufferedEngine(Engine, Protocol):
    """An engine that reads its input from arrays of its own and writes its outputs to others."""

    @property
    def buffers(self) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
        """What `tick` reads and writes, (B, *shape), by input and by output.

        From `begin` on, and the same arrays for as long as the batch size stays.
        """
        ...

    @property
    def tick(self) -> Callable[[], None]:
        """One step on what stands in `buffers`. Where it raises, the state is what it was."""
        ...


def backed(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[Array, bytearray]:
    """Zeros on a bytearray, and that: bytes compare at once, arrays element by element."""
    raw = bytearray(int(np.prod(shape)) * dtype.itemsize)
    return np.frombuffer(raw, dtype).reshape(shape), raw


def backing(a: Array) -> bytearray | None:
    """The bytearray that holds just ``a``, where `backed` made it."""
    base: Any = a
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):  # which numpy puts between
        base = base.obj
    whole = isinstance(base, bytearray) and len(base) == a.nbytes and a.flags.c_contiguous
    return base if whole else None
