"""Steps a C artifact through a shared object that the local compiler made of it.

All memory is allocated once a batch size: one state a sample, one buffer an input and output.
The library only ever sees pointers into these.
"""

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import numpy as np

from sltdeploy.errors import InputError
from sltdeploy.program import Array
from sltdeploy.runtime.c_state import PREFIX, SENT, Member, copied, layout, write
from sltdeploy.runtime.compiled import shared_object
from sltdeploy.runtime.manifest import EXPORT_AGAIN, Manifest

TABLES = ("inputs", "outputs", "members", "sizes", "offsets")
ALIGNMENT = 64  # bytes; a cache line


@dataclass(frozen=True, eq=False)
class _Memory:
    """Everything that the library reads and writes for one batch size.

    ``call`` steps every sample on ``pointers``; ``sent`` is what left each population, seen in
    the states.
    """

    batch: int
    states: Array
    fed: Mapping[str, Array]
    given: Mapping[str, Array]
    sent: Mapping[str, Array]
    pointers: Array
    call: Callable[[], None]


@final
class CEngine:
    """`sltdeploy.runtime.engine.BufferedEngine` for exporter c.

    ``tick`` runs one step on what stands in `buffers`; nothing is checked, copied or allocated.
    """

    def __init__(self, manifest: Manifest, files: Mapping[str, bytes]) -> None:
        self._manifest = manifest
        self._outputs = tuple(dict.fromkeys(o.name for o in manifest.outputs))
        names, texts = _sources(manifest, files)
        self._library: Any = _loaded(manifest, shared_object(*texts, names))
        self._members: tuple[Member, ...]
        self._members, self._size = layout(manifest, self._library)
        self._step: Any = self._library.network_step_all
        self._step.restype = None
        self._reset: Any = self._library.network_reset
        self._reset.argtypes, self._reset.restype = [ctypes.c_void_p], None
        self._memory: _Memory | None = None
        # The library's own function: a method would cost as much again.
        self.tick: Callable[[], None] = _too_early

    def begin(self, batch: int) -> None:
        """Go to the first state; allocate where the batch size is new."""
        memory = self._memory
        if memory is None or memory.batch != batch:
            memory = self._memory = self._allocate(batch)
            self.tick = memory.call
        for row in memory.states:
            self._reset(row.ctypes.data)

    def advance(self, fed: Mapping[str, Array], *, record: bool) -> dict[str, Array]:
        """Run one step."""
        memory = self._memory
        assert memory is not None, "begin comes first"
        for name, values in fed.items():
            memory.fed[name][...] = values
        memory.call()
        if record:
            found = {name: values.copy() for name, values in memory.sent.items()}
            found |= {n: v.copy() for n, v in memory.given.items() if n not in found}
            return found
        return {name: values.copy() for name, values in memory.given.items()}

    @property
    def buffers(self) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
        """What `tick` reads and writes, (B, *shape), by input and by output; from `begin` on."""
        assert self._memory is not None, "begin comes first"
        return self._memory.fed, self._memory.given

    def state(self) -> dict[str, Array]:
        """Copy what goes from step to step."""
        assert self._memory is not None, "begin comes first"
        return copied(self._manifest, self._members, self._memory.states)

    def restore(self, state: Mapping[str, Array]) -> None:
        """Go to ``state``."""
        assert self._memory is not None, "begin comes first"
        write(self._manifest, self._members, self._memory.states, state)

    def close(self) -> None:
        """Drop the memory; the library stays loaded, another engine may use it."""
        self._memory = None
        self.tick = _too_early

    def _allocate(self, batch: int) -> _Memory:
        shapes = self._manifest.shapes
        fed = {
            p.name: _aligned((batch, *p.shape), _in_kind(self._manifest, p.name))
            for p in self._manifest.inputs
        }
        dtypes = {m.population: m.dtype for m in self._members if m.what in SENT}
        given: dict[str, Array] = {}
        for name in self._outputs:
            kind = dtypes[name] if name in dtypes else str(fed[name].dtype)
            spikes = name in self._manifest.spiking
            given[name] = _aligned((batch, *shapes[name]), "bool" if spikes else kind)
        stride = -(-self._size // ALIGNMENT) * ALIGNMENT
        states = _aligned((batch, stride), "uint8")
        inputs = {p.name for p in self._manifest.inputs}
        sent = {
            m.population: _as_sent(
                m.of(states),
                shapes[m.population],
                spikes=m.population in self._manifest.spiking,
            )
            for m in self._members
            if m.what in SENT and m.population not in inputs
        }
        arrays = (states, *fed.values(), *given.values())
        pointers = np.zeros(batch * len(arrays) + 1, np.uintp)  # the last one is NULL
        for k, a in enumerate(arrays):
            pointers[k : -1 : len(arrays)] = [row.ctypes.data for row in a]
        call = partial(self._step, ctypes.c_void_p(pointers.ctypes.data))
        return _Memory(batch, states, fed, given, sent, pointers, call)


def _too_early() -> None:
    raise AssertionError("begin comes first")


def _aligned(shape: tuple[int, ...], kind: str) -> Array:
    """Zeros that begin at a multiple of `ALIGNMENT` bytes."""
    dtype = np.dtype(kind)
    room = int(np.prod(shape)) * dtype.itemsize
    raw = np.zeros(room + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + room].view(dtype).reshape(shape)


def _as_sent(values: Array, shape: tuple[int, ...], *, spikes: bool) -> Array:
    shaped = values.reshape(len(values), *shape)  # splits the last axis: a view
    return shaped.view(bool) if spikes else shaped


def _in_kind(manifest: Manifest, name: str) -> str:
    if name in manifest.spiking:
        return "bool"
    return "int32" if manifest.numbers == "loihi" else "float32"


def _sources(
    manifest: Manifest, files: Mapping[str, bytes]
) -> tuple[tuple[str, str], tuple[bytes, bytes]]:
    names = (str(manifest.data.get("code")), str(manifest.data.get("header")))
    missing = [n for n in names if n not in files]
    if missing:
        raise InputError(f"{manifest.folder}: '{missing[0]}' is none of the files: {EXPORT_AGAIN}")
    return names, (files[names[0]], files[names[1]])


def _loaded(manifest: Manifest, path: Any) -> Any:
    try:
        # A step is over in microseconds: handing the interpreter lock on would cost more, and
        # getting it back may take milliseconds.
        library = ctypes.PyDLL(str(path))
        for name in ("step_all", "reset", "state_size", *TABLES):
            getattr(library, f"{PREFIX}_{name}")
    except OSError as error:
        raise InputError(
            f"{manifest.folder}: the compiled artifact cannot be loaded ({error}): remove {path} "
            "and open it again"
        ) from None
    except AttributeError as error:
        raise InputError(
            f"{manifest.folder}: the code lacks what a runner calls ({error}): {EXPORT_AGAIN}"
        ) from None
    return library
