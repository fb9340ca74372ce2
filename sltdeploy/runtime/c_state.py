"""The struct that holds a C network's state, seen from here: which member lies where."""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sltdeploy.errors import InputError
from sltdeploy.program import Array, Shape
from sltdeploy.runtime.manifest import EXPORT_AGAIN, Manifest

PREFIX = "network"
SENT = ("sent", "last")  # what left a population; "last" is read again in the step after
KEPT = ("v", "j", "past", "last")  # what goes from step to step


@dataclass(frozen=True)
class Member:
    """An array in the state of a sample; see `sltdeploy.c_source.layout.Member`."""

    name: str
    dtype: str
    count: int
    population: str
    what: str
    depth: int
    offset: int

    @property
    def end(self) -> int:
        """Offset behind it."""
        return self.offset + np.dtype(self.dtype).itemsize * self.count

    def of(self, states: Array) -> Array:
        """View of it in ``states`` (B, bytes), (B, count)."""
        return states[:, self.offset : self.end].view(self.dtype)


def layout(manifest: Manifest, library: Any) -> tuple[tuple[Member, ...], int]:
    """Members of the state and its size; `InputError` where library and manifest disagree."""
    outputs = dict.fromkeys(o.name for o in manifest.outputs)
    named = [p.size for p in manifest.inputs]
    named += [int(np.prod(manifest.shapes[n])) for n in outputs]
    counts = (_number(library, "inputs"), _number(library, "outputs"))
    held = list((ctypes.c_size_t * sum(counts)).in_dll(library, f"{PREFIX}_sizes"))
    if counts != (len(manifest.inputs), len(outputs)) or held != named:
        raise InputError(
            f"{manifest.folder}: the code takes and gives arrays of {held}, the manifest names "
            f"{named}: {EXPORT_AGAIN}"
        )
    size, many = _number(library, "state_size"), _number(library, "members")
    offsets = (ctypes.c_size_t * many).in_dll(library, f"{PREFIX}_offsets")
    try:
        members = tuple(
            Member(
                m["name"],
                m["dtype"],
                int(m["count"]),
                m["population"],
                m["what"],
                int(m["depth"]),
                at,
            )
            for m, at in zip(manifest.data["members"], offsets, strict=True)
        )
        wrong = any(m.end > size or m.count < 1 for m in members) or not _whole(manifest, members)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{manifest.folder}: the manifest's members are damaged ({error}): {EXPORT_AGAIN}"
        ) from None
    if wrong:
        raise InputError(
            f"{manifest.folder}: the manifest's members do not fit the code: {EXPORT_AGAIN}"
        )
    return members, size


def _number(library: Any, name: str) -> int:
    return ctypes.c_size_t.in_dll(library, f"{PREFIX}_{name}").value


def _whole(manifest: Manifest, members: tuple[Member, ...]) -> bool:
    """Whether what left each population is there, and each array has its population's size."""
    inputs = {p.name for p in manifest.inputs}
    sizes = {name: int(np.prod(shape)) for name, shape in manifest.shapes.items()}
    sent = {m.population for m in members if m.what in SENT}
    plain = [m for m in members if m.what in (*SENT, "v", "j")]
    rings = [m for m in members if m.what == "past"]
    return (
        sent | inputs == set(sizes)
        and all(m.count == sizes[m.population] for m in plain)
        and all(0 <= m.count // sizes[m.population] - m.depth <= 1 for m in rings)
        and {m.population for m in rings} == {m.population for m in members if m.what == "place"}
    )


# ----------------------------------------------------------------- what goes on, by name


def copied(manifest: Manifest, members: tuple[Member, ...], states: Array) -> dict[str, Array]:
    """What goes from step to step as `sltdeploy.runtime.engine.Engine.state` names it."""
    places = {m.population: m.of(states)[:, 0] for m in members if m.what == "place"}
    found: dict[str, Array] = {}
    for m in members:
        shape = manifest.shapes.get(m.population, ())
        spikes = m.population in manifest.spiking
        if m.what == "past" and m.depth:
            ring = _ring(m, states, shape)
            ago = np.arange(1, m.depth + 1)
            rows = [
                line[(int(at) - ago) % len(line)]
                for line, at in zip(ring, places[m.population], strict=True)
            ]
            found[f"{m.population}.past"] = _typed(np.stack(rows), spikes=spikes)
        elif m.what in KEPT and m.what != "past":
            values = m.of(states).reshape(len(states), *shape)
            if m.what == "j" and values.dtype == np.int64:
                values = values.astype(np.int32)  # 24 bits; the sum of a step needs more
            found[f"{m.population}.{m.what}"] = _typed(values, spikes=spikes and m.what == "last")
    return found


def _ring(m: Member, states: Array, shape: Shape) -> Array:
    """View of a delay's ring, (B, slots, *shape)."""
    return m.of(states).reshape(len(states), -1, *shape)  # splits the last axis: a view


def _typed(values: Array, *, spikes: bool) -> Array:
    return values != 0 if spikes else values.copy()


def write(
    manifest: Manifest, members: tuple[Member, ...], states: Array, given: Mapping[str, Array]
) -> None:
    """Put what `copied` gave back into ``states``."""
    for place in (m for m in members if m.what == "place"):
        place.of(states)[...] = 0
    for m in members:
        if m.what == "past" and m.depth:
            ring = _ring(m, states, manifest.shapes[m.population])
            values = given[f"{m.population}.past"]
            for ago in range(1, m.depth + 1):
                ring[:, -ago % ring.shape[1]] = values[:, ago - 1]
        elif m.what in KEPT and m.what != "past":
            values = given[f"{m.population}.{m.what}"]
            m.of(states)[...] = values.reshape(len(values), -1)
