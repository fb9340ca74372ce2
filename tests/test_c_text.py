"""What the C exporter writes: the same text each time, nothing foreign in it, few bytes."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import programs
import pytest
from c_builds import check
from test_engines import integers

import sltdeploy as slt
from sltdeploy.exporting import load
from sltdeploy.program import Input, Linear, Population, Program, Projection


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compile into a folder of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def test_same_program_same_bytes() -> None:
    first, again = (load("c").export(programs.branches(), {}, None) for _ in range(2))
    assert first.files == again.files
    assert set(first.files) == {"network.c", "network.h"}


def test_same_bytes_whatever_the_hash_seed() -> None:
    script = """
import hashlib, programs, pruned_nets
from c_builds import side_by_side
from sltdeploy import c_source
cases = {**programs.each_rule(), **programs.each_op(), "branches": programs.branches()}
cases |= {f"{seed}": pruned_nets.pruned_program(seed) for seed in range(12)}
source = c_source.write(side_by_side(cases))
print(hashlib.sha256((source.code + source.header).encode()).hexdigest())
"""
    digests = {
        subprocess.run(
            (sys.executable, "-c", script),
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 64


def test_nothing_is_allocated_or_included() -> None:
    for program in (programs.branches(), integers(), programs.each_op()["conv all"]):
        text = b"".join(load("c").export(program, {}, None).files.values()).decode()
        included = {line.split()[1] for line in text.splitlines() if line.startswith("#include")}
        assert included == {'"network.h"', "<stddef.h>", "<stdint.h>", "<string.h>"}
        code = text.replace("no malloc", "")
        assert not any(f"{word}(" in code for word in ("malloc", "calloc", "alloca", "free"))


HOSTILE = (
    '*/ int main(void) { return system("x"); } /*',
    'a"b\\',
    "a b",
    "a.b",
    "int",
    "größe\n#error x",
    "??/",
    "",
    "p0_0_in_to_out",
    "x" * 300,
    "x" * 300 + "y",
)


def test_names_cannot_become_code(tmp_path: Path) -> None:
    rules = [programs.neuron(0.5) for _ in HOSTILE]
    weight = np.full((2, 2), 0.25, np.float32)
    names = ["in", *HOSTILE]
    program = Program(
        programs.CONVENTION,
        (
            Population("in", (2,), Input("spikes")),
            *(Population(n, (2,), r) for n, r in zip(HOSTILE, rules, strict=True)),
        ),
        tuple(Projection(a, b, (Linear(weight * 3),)) for a, b in pairwise(names)),
        HOSTILE,
    )
    assert sum(check(program, tmp_path / "a").values()) > len(HOSTILE)
    text = (tmp_path / "a/network.c").read_text("utf8") + (tmp_path / "a/network.h").read_text(
        "utf8"
    )
    assert text.isascii()
    assert "system(" not in text
    assert "#error x" not in text


def test_int8_weights_take_a_thirtieth_of_dense_floats() -> None:
    """784-512-512-10 with 97 % pruned, constants and a state together."""
    rng = np.random.default_rng(0)
    sizes = (784, 512, 512, 10)
    populations = [Population("in", (784,), Input("spikes"))]
    projections: list[Projection] = []
    for k, (pre, post) in enumerate(pairwise(sizes)):
        weight = rng.integers(-127, 128, (post, pre)) / 32 * (rng.random((post, pre)) < 0.03)
        populations.append(Population(f"lif{k}", (post,), programs.neuron()))
        op = Linear(weight.astype(np.float32))
        projections.append(Projection(populations[-2].name, f"lif{k}", (op,)))
    program = Program(
        programs.CONVENTION, tuple(populations), tuple(projections), (populations[-1].name,)
    )
    memory = load("c").export(program, {}, None).details["memory"]
    dense = 4 * sum(a * b for a, b in pairwise(sizes))
    assert sum(memory.values()) <= 0.03 * dense


def test_a_state_has_no_more_space_than_kernels_use() -> None:
    for name, between in (("linear", []), ("linear twice", [6]), ("average 3x3", [12])):
        members = load("c").export(programs.each_op()[name], {}, None).details["members"]
        assert [m["count"] for m in members if m["name"].startswith("between")] == between


MUTATIONS: Mapping[str, tuple[str, str]] = {
    "comparison": ("u > ", "u >= "),
    "decay": ("0.75f *", "0.5f *"),
    "reset": ("fired ? 0.0f", "fired ? 0.0625f"),
    "unit": ("0x1p-4f", "0x1p-5f"),
    "a sum that is not emptied": ("s->x_out[i] = 0;", ""),
    "a weight": ("_weight[5] = {", "_weight[5] = {1 + "),
    "a column": ("_to[5] = {", "_to[5] = {1 + "),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_verify_notices_a_change(name: str, tmp_path: Path) -> None:
    """Sums tie with the threshold, so that not even the comparison goes unseen."""
    weight = np.array([[4, 0, 0, 2], [2, 0, 0, 0], [0, 1, 1, 0]], np.float32) / 16
    program = programs.chain((4,), [Linear(weight)], programs.neuron(0.25))
    artifact = slt.export(program, None, tmp_path / "a", format="c")
    assert slt.verify(artifact).ok
    path = tmp_path / "a/network.c"
    before = path.read_text("utf8")
    assert "columns" in artifact.manifest["kernels"][0]["kernel"]
    path.write_text(before.replace(*MUTATIONS[name]), "utf8")
    assert path.read_text("utf8") != before
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    programs.edit_manifest(
        tmp_path / "a", {"files": {**artifact.manifest["files"], "network.c": digest}}
    )
    assert not slt.verify(artifact).ok
