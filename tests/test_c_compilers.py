"""The C artifact under several compilers, for three machines: warnings, equality, sizes."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from unittest.mock import Mock

import late_programs
import numpy as np
import programs
import pytest
from c_builds import (
    WARNINGS,
    compile_driver,
    differing,
    need,
    side_by_side,
    step_driver,
    whole_numbers,
    write_driver,
)
from long_nets import convolutional, spikes
from test_engines import integers

from sltdeploy import reference
from sltdeploy.c_source import costs
from sltdeploy.exporting import load
from sltdeploy.feeding import conform
from sltdeploy.program import Array, Input, Linear, Population, Program, Projection

CORTEX = ("-mcpu=cortex-m7", "-mthumb", "-mfpu=fpv5-d16", "-mfloat-abi=hard")
STEPS = 10_000


def medium() -> Program:
    """784-512-512-10 on the grid k / 32, 97 % pruned; decays keep a float32 membrane inexact."""
    rng = np.random.default_rng(0)
    sizes = (784, 512, 512, 10)
    populations = [Population("in", (784,), Input("spikes"))]
    projections: list[Projection] = []
    for k, (pre, post) in enumerate(pairwise(sizes)):
        weight = np.clip(np.rint(rng.normal(0, 18, (post, pre))), -127, 127) / 32
        weight[rng.random((post, pre)) > 0.03] = 0
        populations.append(Population(f"lif{k}", (post,), programs.neuron(1.5, decay=0.9)))
        op = Linear(weight.astype(np.float32))
        projections.append(Projection(populations[-2].name, f"lif{k}", (op,)))
    return Program(programs.CONVENTION, tuple(populations), tuple(projections), ("lif2",))


def recurrent() -> Program:
    """Real weights, a loop, a synaptic current, a readout."""
    rng = np.random.default_rng(1)

    def real(post: int, pre: int) -> Linear:
        return Linear(rng.normal(0, 0.6, (post, pre)).astype(np.float32))

    return Program(
        programs.CONVENTION,
        (
            Population("in", (8,), Input("spikes")),
            Population("hidden", (24,), programs.neuron(1.1, decay=0.7, decay_syn=0.3)),
            Population("out", (3,), programs.neuron(None, decay=0.8)),
        ),
        (
            Projection("in", "hidden", (real(24, 8),)),
            Projection("hidden", "hidden", (real(24, 24),), recurrent=True),
            Projection("hidden", "out", (real(3, 24),)),
        ),
        ("out",),
    )


def layer_by_layer(program: Program, x: Array) -> dict[str, Array]:
    """What `reference.run` gives for a chain of LIF, all steps of a layer's sums at once."""
    sent = {"in": x}
    for p in program.populations[1:]:
        (projection,) = program.into(p.name)
        (op,) = projection.ops
        assert isinstance(op, Linear)
        came = x.astype(np.float64) @ op.weight.astype(np.float64).T
        v, rows = np.zeros(p.shape, np.float32), []
        for row in came.astype(np.float32):
            u = np.float32(0.9) * v + row
            z = u > np.float32(1.5)
            v = np.where(z, np.float32(0), u)
            rows.append(z)
        sent[p.name] = x = np.stack(rows)
    return sent


def spikes_for(program: Program, steps: int, rate: float) -> dict[str, Array]:
    """Random spikes for the one input, a single sample."""
    rng = np.random.default_rng(3)
    return {"in": rng.random((steps, 1, *program.inputs[0].shape)) < rate}


@cache
def long_runs() -> Mapping[str, tuple[Program, dict[str, Array], dict[str, Array]]]:
    """Program, input and what must leave."""
    m, r, c = medium(), recurrent(), convolutional()
    fed = spikes_for(m, STEPS, 0.05)
    expected = {n: v[:, None] for n, v in layer_by_layer(m, fed["in"][:, 0]).items()}
    start = reference.run(m, {"in": fed["in"][:50]}).records
    assert differing(start, {n: v[:50] for n, v in expected.items()}) == {}
    others = {
        "recurrent": (r, spikes_for(r, STEPS, 0.2)),
        "C": (c, {"in": spikes(c, 400, 1)}),  # all 10,000 steps take a minute in the emulator
    }
    found = {n: (p, x, dict(reference.run(p, x).records)) for n, (p, x) in others.items()}
    return {"M": (m, fed, expected), **found}


def compare(folder: Path, compiler: tuple[str, ...], emulator: tuple[str, ...]) -> None:
    """Step the long runs and compare what left every population."""
    for name, (program, fed, expected) in long_runs().items():
        records = write_driver(program, folder / name)
        driver = compile_driver(folder / name, compiler, "-O3")
        got = step_driver(program, records, (*emulator, str(driver)), fed)
        assert differing(expected, got) == {}, name
        for p in program.populations[1:]:
            assert not p.spiking or expected[p.name].sum() > 100


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_x86_takes_10000_steps_as_the_reference(compiler: str, tmp_path: Path) -> None:
    compare(tmp_path, (need(compiler, compiler),), ())


def test_aarch64_takes_10000_steps_as_the_reference(tmp_path: Path) -> None:
    compiler = need("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
    emulator = need("qemu-aarch64", "qemu-user")
    compare(tmp_path, (compiler, "-static"), (emulator,))


def many() -> dict[str, Program]:
    """Programs that together have every line that the exporter can write."""
    rules = {n: p for n, p in programs.each_rule().items() if "by neuron" in n or "li" in n}
    floats = {**programs.each_op(), **rules, **late_programs.late_programs()}
    floats |= {"branches": programs.branches(), "recurrent": recurrent()}
    little = programs.chain((3,), [programs.scale(0.5)], programs.neuron(), kind="graded")
    unread = Population("unread", (2,), Input("spikes"))
    return {
        "floats": side_by_side(floats),
        "integers": integers(),
        # GCC warns of memset where bytes of one array are as many as elements of the other.
        "four and sixteen": side_by_side({"4": through(4), "16": through(16)}),
        "no spikes come in": replace(little, populations=(unread, *little.populations)),
    }


def through(size: int) -> Program:
    """Two layers in one projection, ``size`` values between them."""
    ops = [Linear(np.ones((size, 3), np.float32)), Linear(np.ones((2, size), np.float32))]
    return programs.chain((3,), ops, programs.neuron())


@pytest.mark.parametrize("sparse", [True, False])
def test_sanitizers_find_nothing(
    sparse: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No access beyond an array, no shift or sum that C leaves undefined."""
    monkeypatch.setattr(costs, "linear_by_columns", Mock(return_value=sparse))
    monkeypatch.setattr(costs, "conv_by_events", Mock(return_value=sparse))
    flags = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    for name, program in many().items():
        whole = whole_numbers(program)
        records = write_driver(whole, tmp_path / name)
        driver = compile_driver(tmp_path / name, (need("gcc", "gcc"),), *flags)
        x = programs.stimulus(whole)
        entered = conform(whole.inputs, x, ("T", "B"))
        got = step_driver(whole, records, (str(driver),), entered)
        assert differing(reference.run(whole, x).records, got) == {}


@pytest.mark.parametrize(
    ("tool", "package", "flags"),
    [
        ("gcc", "gcc", ("-std=c99", "-O2")),
        ("gcc", "gcc", ("-std=gnu17", "-O1", "-DNETWORK_TABLES")),
        ("clang", "clang", ("-std=c99", "-O1", "-DNETWORK_TABLES", "-Wmissing-prototypes")),
        ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu", ("-std=c99", "-O2")),
        ("arm-none-eabi-gcc", "gcc-arm-none-eabi libnewlib-arm-none-eabi", (*CORTEX, "-std=c99")),
    ],
    ids=lambda v: v if isinstance(v, str) else " ".join(v),
)
def test_no_compiler_warns(tool: str, package: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    compiler = need(tool, package)
    for name, program in many().items():
        write_driver(whole_numbers(program), tmp_path / name)
        done = subprocess.run(
            (compiler, *flags, *WARNINGS, "-c", "network.c"),
            cwd=tmp_path / name,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_gcc_fuses_nothing_even_where_it_may(tmp_path: Path) -> None:
    """In its own dialect GCC contracts by default; a pragma in the file forbids it."""
    compiler = need("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
    write_driver(recurrent(), tmp_path)
    text = (tmp_path / "network.c").read_text("utf8")
    pragma = '#pragma GCC optimize("fp-contract=off")'
    assert pragma in text
    (tmp_path / "bare.c").write_text(text.replace(pragma, ""), "utf8")
    fused: dict[str, bool] = {}
    for name in ("network", "bare"):
        subprocess.run((compiler, "-std=gnu99", "-O3", "-S", f"{name}.c"), cwd=tmp_path, check=True)
        assembly = (tmp_path / f"{name}.s").read_text("utf8")
        fused[name] = "fmadd" in assembly or "fmla" in assembly
    assert fused == {"network": False, "bare": True}


def test_fast_math_is_refused(tmp_path: Path) -> None:
    write_driver(recurrent(), tmp_path)
    done = subprocess.run(
        (need("gcc", "gcc"), "-std=c99", "-ffast-math", "-c", "network.c"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "-ffast-math changes the results" in done.stderr


def test_the_example_in_the_docs_compiles(tmp_path: Path) -> None:
    page = Path(__file__).parents[1].joinpath("docs/c.md").read_text("utf8")
    (example,) = re.findall(r"```c\n(.*?)```", page, re.DOTALL)
    weight = np.eye(16, 200, dtype=np.float32)
    entry, end = programs.chain((200,), [Linear(weight)], programs.neuron()).populations
    joined = (Projection("in", "b", (Linear(weight),)),)
    end = replace(end, name="b")
    write_driver(Program(programs.CONVENTION, (entry, end), joined, ("b",)), tmp_path)
    told = "void read_sensor(uint8_t *x);\nvoid drive_motors(const uint8_t *x);\n"
    (tmp_path / "main.c").write_text(f"#include <stdint.h>\n{told}{example}", "utf8")
    command = (need("gcc", "gcc"), "-std=c99", *WARNINGS, "-c", "network.c", "main.c")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_cortex_m7_fits(tmp_path: Path) -> None:
    """Code and constants in flash, a state in memory: as many bytes as the manifest says."""
    compiler = need("arm-none-eabi-gcc", "gcc-arm-none-eabi libnewlib-arm-none-eabi")
    program = medium()
    write_driver(program, tmp_path)
    (tmp_path / "state.c").write_text('#include "network.h"\nnetwork_state state;\n', "utf8")
    subprocess.run(
        (compiler, *CORTEX, "-std=c99", "-Os", "-c", "network.c", "state.c"),
        cwd=tmp_path,
        check=True,
    )
    sizes = [
        [int(n) for n in line.split()[:3]]
        for line in subprocess.run(
            (compiler.removesuffix("gcc") + "size", "network.o", "state.o"),
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.splitlines()[1:]
    ]
    memory = load("c").export(program, {}, None).details["memory"]
    text, data, zero = sizes[0]
    assert data == zero == 0  # nothing but constants and code: several instances are safe
    assert memory["constant_bytes"] < text < memory["constant_bytes"] + 4096
    assert memory["state_bytes"] <= sizes[1][2] <= memory["state_bytes"] + 8
