"""The artifact against the reference, spike for spike."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sltdeploy import agreement, reference
from sltdeploy.potentials import Distance, distance
from sltdeploy.program import Array, DelayLine, Input, Population, Program
from sltdeploy.runtime import Runner, open_artifact
from sltdeploy.runtime.manifest import read, read_files
from sltdeploy.runtime.program_engine import read_program
from sltdeploy.stimulus import example
from sltdeploy.trace import Trace

if TYPE_CHECKING:
    from sltdeploy.exporting import Artifact


@dataclass(frozen=True)
class Compared:
    """One population: what was compared, and how much of it differs.

    ``spikes`` counts those of the reference: where it is 0, agreement means little. It is None
    for values. ``worst`` is the largest absolute difference, in the program's own units.
    """

    population: str
    elements: int
    spikes: int | None
    differing: int
    worst: float


@dataclass(frozen=True)
class Mismatch:
    """The first element in which a population differs, by step, then sample, then neuron."""

    population: str
    step: int
    sample: int
    neuron: tuple[int, ...]
    expected: float
    got: float
    differing: int
    elements: int

    def __str__(self) -> str:
        return (
            f"population '{self.population}', step {self.step}, sample {self.sample}, neuron "
            f"{self.neuron}: reference {self.expected:g}, artifact {self.got:g}; "
            f"{self.differing} of {self.elements} differ"
        )


@dataclass(frozen=True)
class First:
    """Where a difference starts: first in time, then in program order, then sample and neuron.

    Sources precede their targets within a step, so what differs here may explain the rest.
    ``distance`` is the reference's membrane before reset minus its threshold there, None for
    values: a small one says that rounding is to blame, a large one that weights are.
    """

    population: str
    neuron: tuple[int, ...]
    sample: int
    step: int
    expected: float
    got: float
    distance: Distance | None

    def __str__(self) -> str:
        near = "" if self.distance is None else f", membrane {self.distance}"
        return (
            f"first difference: population '{self.population}', step {self.step}, sample "
            f"{self.sample}, neuron {self.neuron}: reference {self.expected:g}{near}, artifact "
            f"{self.got:g}"
        )


@dataclass(frozen=True)
class Verification:
    """What `verify` found. ``missing`` are populations that the artifact should have recorded.

    ``mismatches`` are in program order; ``first`` is None where there are none.
    """

    steps: int
    samples: int
    tolerance: float
    compared: tuple[Compared, ...]
    mismatches: tuple[Mismatch, ...]
    missing: tuple[str, ...]
    worst: Mapping[str, float]
    first: First | None

    def __len__(self) -> int:
        """Number of populations that differ."""
        return len(self.mismatches)

    def __iter__(self) -> Iterator[Mismatch]:
        """The mismatches, in program order."""
        return iter(self.mismatches)

    @property
    def ok(self) -> bool:
        """Whether everything that had to be compared was, and agrees."""
        return not self.lines()

    @property
    def silent(self) -> tuple[str, ...]:
        """Populations that never spiked: for these the comparison shows little."""
        return tuple(c.population for c in self.compared if c.spikes == 0)

    def lines(self) -> tuple[str, ...]:
        """Where it starts to differ, then a line for each mismatch and each missing record.

        Or that nothing was compared.
        """
        if not any(c.elements for c in self.compared) and not self.missing:
            return ("nothing was compared: the input has no steps or no samples",)
        return (
            *((str(self.first),) if self.first is not None else ()),
            *map(str, self.mismatches),
            *(
                f"population '{n}': the artifact has no record of the right shape"
                for n in self.missing
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """Everything as what json.dumps takes; numbers that JSON lacks become text."""
        plain = {**asdict(self), "ok": self.ok, "silent": list(self.silent)}
        return _finite(plain)


def verify(
    artifact: "str | Path | Artifact | Runner",
    x: Array | Mapping[str, Array] | None = None,
    *,
    engine: str | None = None,
    timeout_s: float | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Verification:
    """Run the artifact and the reference of its own program on ``x`` and compare.

    ``artifact`` is its folder, what export returned, or a runner. Without ``engine`` it is
    `proving_engine`'s; ``timeout_s`` is Lava's time limit in seconds, ``on_line`` gets "step k of
    n" now and then, and whatever else Lava prints.

    ``x`` is (T, B, *shape), or one such array for each input by name; without it
    `sltdeploy.stimulus.example` makes one. Spikes of every population must be equal at every
    step. Values of outputs may differ by `sltdeploy.agreement.TOLERANCE` times
    max(1, abs(expected)) in a float32 program, by nothing in integers: a float32 sum depends on
    the order in which a machine adds, unless the weights are k * 2**-n.

    Raises `InputError` for what is no artifact or no fitting input. A mismatch does not raise.
    """
    if isinstance(artifact, Runner):
        return _verify(artifact, read_files(artifact.manifest), x)
    used = engine or proving_engine(artifact)
    # Changed files are refused before anything runs; golden vectors are not asked.
    files = read_files(read(_folder(artifact)))
    with open_artifact(
        artifact, engine=used, verify=False, timeout_s=timeout_s, on_line=on_line
    ) as runner:
        return _verify(runner, files, x)


def proving_engine(artifact: "str | Path | Artifact") -> str:
    """Name the engine that shows something: Lava itself for a Lava artifact.

    Engine "fast" does not look at what a Lava artifact has for Lava: it steps the program beside
    it, in floats with the reference, which agrees with itself.
    """
    return "lava" if read(_folder(artifact)).exporter == "lava" else "fast"


def _folder(artifact: "str | Path | Artifact") -> Path:
    return Path(artifact) if isinstance(artifact, str | Path) else artifact.path


def compare(
    program: Program,
    expected: Trace,
    got: Mapping[str, Array],
    unrecorded: Collection[str] = (),
) -> Verification:
    """Compare records by population; ``got`` must hold every spiking population and output.

    Of delay lines that are no outputs, those in ``unrecorded`` may be missing: some machines have
    them in their synapses.
    """
    tolerance = agreement.tolerance(program.numbers)
    compared: list[Compared] = []
    mismatches: list[Mismatch] = []
    missing: list[str] = []
    for p in program.populations:
        if isinstance(p.rule, Input) or not (p.spiking or p.name in program.outputs):
            continue
        hidden = p.name in unrecorded and p.name not in program.outputs
        if hidden and isinstance(p.rule, DelayLine):
            continue
        if p.name not in got or got[p.name].shape != expected.records[p.name].shape:
            missing.append(p.name)
            continue
        one, first = _compare(p, expected.records[p.name], got[p.name], tolerance)
        compared.append(one)
        mismatches += first
    return Verification(
        expected.steps,
        expected.batch,
        tolerance,
        tuple(compared),
        tuple(mismatches),
        tuple(missing),
        {c.population: c.worst for c in compared if c.population in program.outputs},
        _first(expected, mismatches),
    )


def _verify(
    runner: Runner, files: Mapping[str, bytes], x: Array | Mapping[str, Array] | None
) -> Verification:
    program = read_program(runner.manifest, files)
    fed = example(program) if x is None else x
    expected = reference.run(program, fed)
    unrecorded = runner.manifest.data.get("unrecorded", ())
    return compare(program, expected, runner.run(fed, record=True).records, unrecorded)


def _compare(
    p: Population, expected: Array, got: Array, tolerance: float
) -> tuple[Compared, Iterator[Mismatch]]:
    bad = agreement.beyond(expected, got, tolerance)
    differing = int(bad.sum())
    worst = float(agreement.error(expected, got).max(initial=0))
    spikes = int(expected.sum()) if p.spiking else None
    one = Compared(p.name, expected.size, spikes, differing, worst)
    firsts = (
        Mismatch(
            p.name,
            int(where[0]),
            int(where[1]),
            tuple(int(k) for k in where[2:]),
            float(expected[tuple(where)]),
            float(got[tuple(where)]),
            differing,
            expected.size,
        )
        for where in np.argwhere(bad)[:1]
    )
    return one, firsts


def _first(expected: Trace, mismatches: list[Mismatch]) -> First | None:
    """The earliest mismatch; of several in one step, the one of the earliest population."""
    if not mismatches:
        return None
    m = min(mismatches, key=lambda m: m.step)  # takes the first of equals
    near = distance(expected, m.population, m.neuron, m.sample, m.step)
    return First(m.population, m.neuron, m.sample, m.step, m.expected, m.got, near)


def _finite(item: Any) -> Any:
    match item:
        case dict():
            return {key: _finite(value) for key, value in item.items()}
        case list() | tuple():
            return [_finite(value) for value in item]
        case float() if not isfinite(item):
            return str(item)
        case _:
            return item
