"""C artifacts for tests: compiled and stepped by a small driver, here or in an emulator."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import programs
import pytest

import sltdeploy as slt
from sltdeploy import c_source, reference
from sltdeploy.c_source.plan import plan
from sltdeploy.program import Array, Conv, DelayLine, Input, Population, Program, Projection

WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
C99 = ("-std=c99", "-ffp-contract=off")


def need(tool: str, package: str) -> str:
    """Path of ``tool``; without it the test is skipped, where CI should have it it fails."""
    path = shutil.which(tool)
    if path is None:
        why = f"{tool} is not installed: apt install {package}"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    return path


def whole_numbers(program: Program) -> Program:
    """Replace numpy's integers in shapes, which the builders of tests leave there, by Python's."""

    def plain(item: Any) -> Any:
        if isinstance(item, tuple):
            return tuple(int(i) if isinstance(i, np.integer) else plain(i) for i in item)
        if isinstance(item, DelayLine):
            return replace(item, steps=np.asarray(item.steps))
        if isinstance(item, Population | Projection) or type(item).__module__ == Conv.__module__:
            parts = {f.name: plain(getattr(item, f.name)) for f in fields(item)}
            return type(item)(**parts)
        return item

    return replace(
        program, populations=plain(program.populations), projections=plain(program.projections)
    )


def side_by_side(programs: Mapping[str, Program]) -> Program:
    """Join float programs into one, each under its name: what is compiled at once costs less."""
    return Program(
        next(iter(programs.values())).convention,
        tuple(
            replace(p, name=f"{key}: {p.name}")
            for key, program in programs.items()
            for p in program.populations
        ),
        tuple(
            replace(q, source=f"{key}: {q.source}", target=f"{key}: {q.target}")
            for key, program in programs.items()
            for q in program.projections
        ),
        tuple(f"{key}: {n}" for key, program in programs.items() for n in program.outputs),
    )


def write_driver(program: Program, folder: Path) -> tuple[tuple[str, str], ...]:
    """Write the network and a program that steps it: inputs from stdin, all that left to stdout.

    Returns name and numpy type of each record, in the order in which they come.
    """
    source = c_source.write(program)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "network.c").write_text(source.code, "utf8")
    (folder / "network.h").write_text(source.header, "utf8")
    cells = plan(program).cells
    inputs = [c for c in cells if isinstance(c.population.rule, Input)]
    kinds = {"uint8": "uint8_t", "float32": "float", "int32": "int32_t", "int64": "int64_t"}
    taken = "".join(f"static {kinds[c.sent]} in_{c.identifier}[{c.size}];\n" for c in inputs)
    read = " && ".join(
        f"fread(in_{c.identifier}, sizeof in_{c.identifier}, 1, stdin) == 1" for c in inputs
    )
    arguments = ", ".join([*(f"in_{c.identifier}" for c in inputs), *["NULL"] * _outputs(program)])
    others = [c for c in cells if c not in inputs]
    written = "".join(
        f"        (void)fwrite(s.sent_{c.identifier}, sizeof s.sent_{c.identifier}, 1, stdout);\n"
        for c in others
    )
    (folder / "main.c").write_text(
        f'#include "network.h"\n#include <stdio.h>\n\nstatic network_state s;\n{taken}\n'
        f"int main(void)\n{{\n    network_init(&s);\n    while ({read}) {{\n"
        f"        network_step(&s, {arguments});\n{written}    }}\n    return 0;\n}}\n",
        "utf8",
    )
    return tuple((c.population.name, c.sent) for c in others)


def compile_driver(folder: Path, compiler: Sequence[str], *flags: str) -> Path:
    """Compile what `write_driver` wrote; warnings are errors."""
    command = (*compiler, *C99, *WARNINGS, *flags, "network.c", "main.c", "-o", "driver")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stderr[:4000]}"
    return folder / "driver"


def step_driver(
    program: Program,
    records: Sequence[tuple[str, str]],
    command: Sequence[str],
    fed: Mapping[str, Array],
) -> dict[str, Array]:
    """Run the driver once a sample on ``fed``, entered values (T, B, *shape); what left."""
    steps, batch = next(iter(fed.values())).shape[:2]
    samples: list[dict[str, Array]] = []
    for b in range(batch):
        rows = [fed[p.name][:, b].reshape(steps, -1) for p in program.inputs]
        sent = b"".join(
            b"".join(np.ascontiguousarray(r[t]).tobytes() for r in rows) for t in range(steps)
        )
        done = subprocess.run(tuple(command), input=sent, capture_output=True, check=True)
        kind = np.dtype(
            [(f"r{k}", t, program.population(n).shape) for k, (n, t) in enumerate(records)]
        )
        whole = np.frombuffer(done.stdout, kind)
        assert len(whole) == steps
        samples.append({n: whole[f"r{k}"] for k, (n, _) in enumerate(records)})
    return {n: np.stack([s[n] for s in samples], axis=1) for n, _ in records}


def differing(expected: Mapping[str, Array], got: Mapping[str, Array]) -> dict[str, int]:
    """Number of elements that differ, by population, where any do."""
    wrong = {n: int((expected[n] != got[n]).sum()) for n in got}
    return {n: count for n, count in wrong.items() if count}


def check(program: Program, folder: Path, fed: Mapping[str, Array] | None = None) -> dict[str, int]:
    """Compare what left every population; how many spikes did, by population that sends any."""
    program = whole_numbers(program)
    fed = programs.stimulus(program) if fed is None else fed
    slt.export(program, None, folder, format="c", verify=False)
    with slt.open(folder, verify=False) as runner:
        got = runner.run(fed, record=True)
    trace = reference.run(program, fed)
    sent = {p.name for p in program.populations}
    assert set(got.records) == sent
    assert differing(trace.records, got.records) == {}
    for name in program.outputs:
        assert got.records[name].dtype == trace.records[name].dtype
    return {p.name: int(trace.records[p.name].sum()) for p in program.populations if p.spiking}


def _outputs(program: Program) -> int:
    return len(dict.fromkeys(program.outputs))
