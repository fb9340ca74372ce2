"""The C artifact against the reference: every rule, every op, every kernel, random networks."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import late_programs
import numpy as np
import programs
import pruned_nets
import pytest
from c_builds import check, side_by_side
from random_networks import random_network
from test_engines import integers

from sltdeploy.c_source import costs
from sltdeploy.errors import InputError
from sltdeploy.exporting import load
from sltdeploy.lowering import lower
from sltdeploy.program import (
    Array,
    Conv,
    Input,
    Linear,
    LoihiNeuron,
    Op,
    Pool,
    Population,
    Program,
    Projection,
    Relay,
    Reshape,
    Scale,
)
from sltdeploy.runtime import compiled


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compile into a folder of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile without optimising where there is much to compile."""
    flags = tuple("-O0" if f.startswith("-O") else f for f in compiled.FLAGS)
    assert flags != compiled.FLAGS
    monkeypatch.setattr(compiled, "FLAGS", flags)


def check_each(cases: Mapping[str, Program], folder: Path, fed: Mapping[str, Array]) -> None:
    """Compare ``cases`` in one file; ``fed`` by case and input. All that can spike does."""
    spikes = check(side_by_side(cases), folder, fed)
    silent = [
        case
        for case, program in cases.items()
        if any(p.spiking for p in program.populations[1:])
        and not any(n for name, n in spikes.items() if name.startswith(f"{case}: "))
    ]
    assert silent == []


def fed_each(cases: Mapping[str, Program]) -> dict[str, Array]:
    """Stimuli for `check_each`."""
    return {
        f"{case}: {name}": x
        for case, program in cases.items()
        for name, x in programs.stimulus(program).items()
    }


def test_each_rule_and_op(tmp_path: Path) -> None:
    cases = {**programs.each_rule(), **programs.each_op()}
    check_each(cases, tmp_path / "a", fed_each(cases))


def test_each_way_to_wait(tmp_path: Path) -> None:
    cases = late_programs.late_programs()
    check_each(cases, tmp_path / "a", fed_each(cases))


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    assert min(check(programs.branches(), tmp_path / "a").values()) > 0


def test_a_list_of_spikes_is_made_anew_after_kernels_that_list_rows(tmp_path: Path) -> None:
    """One source into rows, a convolution by events, and rows again."""
    rng = np.random.default_rng(0)
    flat = Reshape((84,))
    ops: dict[str, tuple[Op, ...]] = {
        "a": (flat, Linear(programs.dyadic(rng, 5, 84))),
        "b": (Conv(programs.dyadic(rng, 3, 2, 3, 3)),),
        "c": (flat, Linear(programs.dyadic(rng, 4, 84))),
        "d": (Pool((2, 2), (2, 2)),),
        "e": (flat, Linear(programs.dyadic(rng, 3, 84))),
    }
    shapes = {"a": (5,), "b": (3, 5, 4), "c": (4,), "d": (2, 3, 3), "e": (3,)}
    program = Program(
        programs.CONVENTION,
        (
            Population("in", (2, 7, 6), Input("spikes")),
            *(Population(n, shapes[n], programs.neuron(0.5)) for n in ops),
        ),
        tuple(Projection("in", n, o) for n, o in ops.items()),
        tuple(ops),
    )
    kernels = load("c").export(program, {}, None).details["kernels"]
    assert [k["kernel"].split()[0].rstrip(",") for k in kernels] == [
        "rows",
        "convolution",
        "rows",
        "pool",
        "rows",
    ]
    assert min(check(program, tmp_path / "a").values()) > 0


@pytest.mark.usefixtures("quick")
def test_places_beyond_16_bits(tmp_path: Path) -> None:
    """More neurons than 16 bits count, more pixels, more weights."""
    rng = np.random.default_rng(0)
    size = 70_001
    into, back = np.zeros((3, size), np.float32), np.zeros((size, 3), np.float32)
    into[[0, 1, 2], [size - 1, 65_536, 0]] = 1, 0.5, -1
    back[[size - 1, 65_536, 0], [0, 1, 2]] = 1
    many = np.asarray(rng.integers(1, 5, (300, 300)) / 4, np.float32)
    fires = programs.neuron(0.25)
    wide = Program(
        programs.CONVENTION,
        (
            Population("in", (size,), Input("spikes")),
            Population("narrow", (3,), fires),
            Population("out", (size,), fires),
        ),
        (
            Projection("in", "narrow", (Linear(into),)),
            Projection("narrow", "out", (Linear(back),)),
            Projection("out", "narrow", (Linear(into),), recurrent=True),
        ),
        ("out",),
    )
    cases = {
        "wide": wide,
        "image": programs.chain((1, 260, 260), [Conv(programs.dyadic(rng, 2, 1, 2, 2))], fires),
        "many weights": programs.chain((300,), [Linear(many)], fires),
    }
    check_each(cases, tmp_path / "a", fed_each(cases))


OPS = programs.each_op()
KERNELS = [n for n in OPS if n.startswith(("linear", "conv", "flatten", "pool"))]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("kind", ["spikes", "graded", "real"])
def test_each_kernel_whatever_the_cost_model_says(
    sparse: bool, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spikes in integers, values and reals in float64; compressed or in rows."""
    monkeypatch.setattr(costs, "linear_by_columns", Mock(return_value=sparse))
    monkeypatch.setattr(costs, "conv_by_events", Mock(return_value=sparse))
    cases = {name: OPS[name] for name in KERNELS}
    if kind != "spikes":
        cases = {name: with_input(p, kind) for name, p in cases.items()}
    if kind == "real":
        cases = {name: real(p) for name, p in cases.items()}
    found = load("c").export(side_by_side(cases), {}, None).details["kernels"]
    assert len(found) == len(cases)
    for k in found:
        assert sparse == ("columns" in k["kernel"] or "convolution by events" in k["kernel"])
    check_each(cases, tmp_path / "a", fed_each(cases))


def with_input(program: Program, kind: str) -> Program:
    """The same program for another kind of input."""
    first, *others = program.populations
    entry = Population(first.name, first.shape, Input("graded" if kind == "graded" else "spikes"))
    return replace(program, populations=(entry, *others))


def real(program: Program) -> Program:
    """The same program with weights that lie on no grid."""
    return replace(
        program,
        projections=tuple(
            replace(
                q,
                ops=tuple(
                    replace(op, weight=(op.weight * 1.1).astype(np.float32))
                    if isinstance(op, Linear | Conv)
                    else op
                    for op in q.ops
                ),
            )
            for q in program.projections
        ),
    )


@pytest.mark.usefixtures("quick")
def test_random_programs(tmp_path: Path) -> None:
    """Float32 sums of readouts that fill all bits are not exact: the kernel must round as told."""
    cases = {f"{seed}": programs.random_program(seed) for seed in range(24)}
    spikes = check(side_by_side(cases), tmp_path / "a", fed_each(cases))
    assert sum(spikes.values()) > 1000


@pytest.mark.usefixtures("quick")
def test_random_pruned_programs(tmp_path: Path) -> None:
    cases = {f"{seed}": pruned_nets.pruned_program(seed) for seed in range(48)}
    spikes = check(side_by_side(cases), tmp_path / "a", fed_each(cases))
    assert sum(spikes.values()) > 1000


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("dyadic", [True, False])
def test_random_networks(dyadic: bool, tmp_path: Path) -> None:
    networks = {f"{seed}": random_network(seed, dyadic=dyadic) for seed in range(40)}
    cases = {seed: lower(network.graph) for seed, network in networks.items()}
    fed = {f"{seed}: {name}": x for seed, n in networks.items() for name, x in n.x.items()}
    spikes = check(side_by_side(cases), tmp_path / "a", fed)
    assert sum(spikes.values()) > 1000


# ------------------------------------------------------------------------- Loihi's integers


def test_integers(tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(-1, 3, (40, 2, 3))
    assert min(check(integers(), tmp_path / "a", {"in": x}).values()) > 0


@pytest.mark.parametrize("size", [9, 2**14])
def test_integers_that_overflow_and_clip(size: int, tmp_path: Path) -> None:
    """Activations beyond int32, a current that wraps, a membrane that stops, a right shift."""
    rng = np.random.default_rng(1)
    bias = np.array([4000, -4096, 0, 1])
    hidden = LoihiNeuron(300, 7, bias, 7, 1.0, vth=2**16)
    program = Program(
        programs.CONVENTION,
        (
            Population("in", (3,), Input("graded", 1.0, -100, 100)),
            Population("hidden", (4,), hidden),
            Population("sum", (4,), Relay()),
            Population("out", (4,), LoihiNeuron(0, 0, bias, 7, 1.0)),
        ),
        (
            Projection("in", "hidden", (Linear(rng.integers(-size, size, (4, 3))),), 7),
            Projection("hidden", "sum", (Linear(rng.integers(-99, 99, (4, 4))),), -3),
            Projection("in", "sum", (Linear(rng.integers(-9, 9, (4, 3))),), -2),
            Projection("sum", "out", (), 3),
            Projection("out", "hidden", (Scale(np.array(3)),), -4, recurrent=True),
        ),
        ("out", "hidden"),
        "loihi",
    )
    x = rng.integers(-100, 101, (60, 3, 3))
    assert min(check(program, tmp_path / "a", {"in": x}).values()) > 0


def test_averages_are_no_integers() -> None:
    program = Program(
        programs.CONVENTION,
        (Population("in", (1, 2, 2), Input("spikes")), Population("out", (1, 1, 1), Relay())),
        (Projection("in", "out", (Pool((2, 2), (2, 2), kind="average"),)),),
        ("out",),
        "loihi",
    )
    with pytest.raises(InputError, match="in -> out: averages are no integers"):
        load("c").export(program, {}, None)
