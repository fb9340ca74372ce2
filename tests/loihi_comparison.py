"""Random programs for Loihi in every machine that steps them, against the reference."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import ceil
from pathlib import Path

import numpy as np
from loihi_features import features
from loihi_oracle import Oracle
from random_loihi import STEPS, Case, random_group
from random_loihi_parts import Kind

from sltdeploy import exporting, lava_host, reference
from sltdeploy.atomic import write_folder
from sltdeploy.errors import SltError
from sltdeploy.feeding import conform
from sltdeploy.inlining import inline
from sltdeploy.integer_simulation import Simulation
from sltdeploy.program import Array, Population, Program, Projection
from sltdeploy.quantize import for_loihi

GROUP = 5
LIMIT_S = 120
TOLERANCE = 1e-6  # of float values, relative to those above 1
SHOWN = 40

# Records and membranes by population, each (T, B, *shape).
Seen = tuple[Mapping[str, Array], Mapping[str, Array]]


@dataclass(eq=False)
class Total:
    """Sums over many programs; numbers by (machine, what)."""

    seed: int
    programs: Counter[str] = field(default_factory=Counter[str])
    features: Counter[str] = field(default_factory=Counter[str])
    compared: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    differing: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    spikes: int = 0
    differences: list[str] = field(default_factory=list[str])

    def check(self, machine: str, case: str, what: str, got: Array, expected: Array) -> None:
        """Count what differs and describe the first of it."""
        kind = "membranes" if what.endswith(".v") else "spikes" if got.dtype == bool else "values"
        if got.dtype.kind == expected.dtype.kind == "f":
            scale = np.maximum(1, np.abs(expected))
            wrong = ~(np.abs(got.astype(float) - expected) <= TOLERANCE * scale)
        else:
            wrong = got != expected
        self.compared[machine, kind] += expected.size
        self.differing[machine, kind] += int(wrong.sum())
        if wrong.any():
            at = tuple(int(k) for k in np.argwhere(wrong)[0])
            self.differences.append(
                f"{machine}, {case}, {what}, step {at[0]}, sample {at[1]}, at {at[2:]}: {got[at]} "
                f"instead of {expected[at]}; {int(wrong.sum())} of {wrong.size} differ"
            )

    def lines(self) -> Iterator[str]:
        """Build the table."""
        counts = ", ".join(f"{n} {kind}" for kind, n in sorted(self.programs.items()))
        yield f"{self.programs.total()} programs from seed {self.seed}: {counts}"
        yield f"{self.spikes} spikes in the reference"
        yield f"{'machine':34}{'what':12}{'compared':>12}{'differing':>12}"
        for machine, what in sorted(self.compared):
            row = self.compared[machine, what], self.differing[machine, what]
            yield f"{machine:34}{what:12}{row[0]:12}{row[1]:12}"
        yield f"differences and refusals {len(self.differences)}"
        yield from (f"  {line}" for line in self.differences[:SHOWN])
        yield "programs with"
        yield from (f"  {n:5} {name}" for name, n in sorted(self.features.items()))


def compare_many(
    seed: int,
    count: int,
    floats: int,
    tell: Callable[[str], None] | None = None,
    *,
    lava: bool = True,
) -> Total:
    """Compare ``count`` programs in integers, built and quantised in turn, and some in floats."""
    total = Total(seed)
    kinds: list[Kind] = ["quantised" if k % 2 else "integers" for k in range(ceil(count / GROUP))]
    kinds.extend("floats" for _ in range(ceil(floats / GROUP)))
    for k, kind in enumerate(kinds):
        known = len(total.differences)
        try:
            compare_group(total, random_group(seed + k, kind, GROUP), lava=lava)
        except Exception as error:
            raise AssertionError(f"random_group({seed + k}, {kind!r}): {error!r}") from error
        if tell is not None and (k % 10 == 9 or known < len(total.differences)):
            tell(f"group {k + 1} of {len(kinds)}, {kind} {seed + k}")
            for line in total.differences[known:]:
                tell(f"  {line}")
    return total


def compare_group(total: Total, cases: list[Case], *, lava: bool = True) -> None:
    """Step each case in each machine."""
    ready: list[tuple[Case, Program, Seen]] = []
    for case in cases:
        total.programs[case.kind] += 1
        total.features.update(features(case.program, STEPS))
        if case.kind == "floats":
            _compare_inlined(total, case)
        try:
            program = compiled(case)
        except SltError as error:
            total.differences.append(f"refused, {case.name}: {error}")
            continue
        expected = in_reference(program, case.x)
        total.spikes += sum(int(r.sum()) for r in expected[0].values() if r.dtype == bool)
        if program.numbers == "loihi":
            _compare_integers(total, case, program, expected)
        try:
            exporting.load("lava").export(program, {}, None)
        except SltError as error:
            total.differences.append(f"refused by Lava's exporter, {case.name}: {error}")
            continue
        ready.append((case, program, expected))
    if ready and lava:
        _compare_lava(total, ready)


def compiled(case: Case) -> Program:
    """What is exported: relays inlined, floats quantised where that is the case's kind."""
    program = inline(case.program)
    return for_loihi(program, case.x) if case.kind == "quantised" else program


def in_reference(program: Program, x: Mapping[str, Array]) -> Seen:
    """Step ``program``, and read the membranes after each step."""
    records = reference.run(program, x).records
    fed = conform(program.inputs, x, ("T", "B"))
    steps, batch = next(iter(fed.values())).shape[:2]
    state = reference.initial_state(program, batch)
    membranes: dict[str, list[Array]] = {}
    for t in range(steps):
        _, state = reference.step(program, state, {n: v[t] for n, v in fed.items()})
        for name, kept in state.items():
            if kept.v is not None:
                membranes.setdefault(name, []).append(kept.v)
    return records, {name: np.stack(kept) for name, kept in membranes.items()}


def _compare_integers(total: Total, case: Case, program: Program, expected: Seen) -> None:
    records, membranes = expected
    oracle = Oracle(program, {p.name: records[p.name] for p in program.inputs})
    for name, values in oracle.sent.items():
        sent = values.astype(bool) if records[name].dtype == bool else values
        total.check("reference against oracle", case.name, name, records[name], sent)
    for name, values in oracle.membranes.items():
        total.check("reference against oracle", case.name, f"{name}.v", membranes[name], values)
    total.features.update({"u wraps"} if oracle.wraps else ())
    total.features.update({"v is clipped"} if oracle.clips else ())
    for name, values in in_fast_path(program, case.x).items():
        population = name.removesuffix(".v") if name.removesuffix(".v") in membranes else name
        shown = membranes[population] if population != name else records[name]
        total.check("fast path", case.name, name, values, shown)


def in_fast_path(program: Program, x: Mapping[str, Array]) -> dict[str, Array]:
    """Step the integer simulation in pieces; everything it sent, and membranes as ``name.v``."""
    fed = conform(program.inputs, x, ("T", "B"))
    steps, batch = next(iter(fed.values())).shape[:2]
    simulation = Simulation(program)
    simulation.begin(batch)
    cuts = [0, 5, 6, steps]
    pieces = [
        simulation.advance({n: v[start:stop] for n, v in fed.items()}, record=True, potentials=True)
        for start, stop in pairwise(cuts)
    ]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def _compare_inlined(total: Total, case: Case) -> None:
    """Sums of dyadic programs are exact in any order; those of others may differ in a bit."""
    whole = reference.run(case.program, case.x).records
    kept = reference.run(inline(case.program), case.x).records
    for name in kept.keys() & whole.keys():  # lines that moved have other names
        total.check("inlined", case.name, name, kept[name], whole[name])


def _compare_lava(total: Total, ready: list[tuple[Case, Program, Seen]]) -> None:
    """Run all in one network; where that fails, one by one, to see which it was."""
    machine = f"Lava, {'fixed' if ready[0][1].numbers == 'loihi' else 'floating'} point"
    try:
        sent = in_lava(merged(ready), _fed(ready))
    except SltError as error:
        if len(ready) == 1:
            total.differences.append(f"{machine}, {ready[0][0].name}: {error}")
        else:
            for one in ready:
                _compare_lava(total, [one])
        return
    for k, (case, program, (records, membranes)) in enumerate(ready):
        recorded = [n for n in records if f"{k}/{n}" in sent]
        needed = {p.name for p in program.populations if p.name in membranes} | {*program.outputs}
        for name in needed - {*recorded}:
            total.differences.append(f"{machine}, {case.name}, {name}: is not recorded")
        for name in recorded:
            total.check(machine, case.name, name, sent[f"{k}/{name}"], records[name])
        for name, values in membranes.items():
            total.check(machine, case.name, f"{name}.v", sent[f"{k}/{name}.v"], values)


def merged(ready: Iterable[tuple[Case, Program, Seen]]) -> Program:
    """All programs as one, joined by the input that they share; names get a number in front."""
    programs = [program for _, program, _ in ready]

    def named(k: int, name: str) -> str:
        return name if name == "in" else f"{k}/{name}"

    populations: list[Population] = [programs[0].population("in")]
    projections: list[Projection] = []
    for k, p in enumerate(programs):
        populations += [replace(q, name=named(k, q.name)) for q in p.populations if q.name != "in"]
        projections += [
            replace(q, source=named(k, q.source), target=named(k, q.target)) for q in p.projections
        ]
    outputs = tuple(named(k, n) for k, p in enumerate(programs) for n in p.outputs)
    return replace(
        programs[0],
        populations=tuple(populations),
        projections=tuple(projections),
        outputs=outputs,
    )


def _fed(ready: Iterable[tuple[Case, Program, Seen]]) -> dict[str, Array]:
    """What enters, in integers where the network takes integers."""
    return {
        p.name if p.name == "in" else f"{k}/{p.name}": records[p.name]
        for k, (_, program, (records, _)) in enumerate(ready)
        for p in program.inputs
    }


def in_lava(program: Program, x: Mapping[str, Array]) -> dict[str, Array]:
    """Export, run in real Lava; everything it sent, and membranes as ``name.v``."""
    with tempfile.TemporaryDirectory() as folder:
        files = exporting.load("lava").export(program, {}, None).files
        write_folder(Path(folder, "a"), files)
        return lava_host.run_package(Path(folder, "a"), x, timeout_s=LIMIT_S, potentials=True)
