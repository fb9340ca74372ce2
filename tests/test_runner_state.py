"""The state of an opened artifact: taken out, set again, refused, on every engine."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import programs
import pytest
from c_builds import need
from late_programs import late_programs
from test_engines import integers

import sltdeploy as slt
from sltdeploy import reference
from sltdeploy.errors import InputError
from sltdeploy.program import (
    Array,
    DelayLine,
    Input,
    Linear,
    LoihiNeuron,
    Population,
    Program,
    Projection,
)
from sltdeploy.program_file import from_bytes
from sltdeploy.runtime import Runner, RunResult
from sltdeploy.runtime.manifest import PROGRAM, read
from sltdeploy.runtime.program_engine import IntegerEngine, ProgramEngine
from sltdeploy.runtime.stepping import StepRunner

STEPS, CUT = 12, 5
LATE = late_programs()
PROGRAMS: Mapping[str, Program] = {
    "branches": programs.branches(),
    **{
        name: LATE[name]
        for name in (
            *("ring", "self loop of values", "biased relay in a ring", "input late"),
            *("delay of none", "uneven delay", "uneven delay of one or more"),
            *("delayed spikes", "delay in a loop", "threshold"),
        )
    },
}


def by_reference(program: Program, folder: Path) -> Runner:
    """Any artifact's program in plain numpy."""
    slt.export(program, None, folder, format="onnx")
    data = (folder / PROGRAM).read_bytes()
    return StepRunner(read(folder), ProgramEngine(from_bytes(data)))


def by_onnx(program: Program, folder: Path) -> Runner:
    """Open a step in ONNX Runtime."""
    slt.export(program, None, folder, format="onnx")
    return slt.open(folder)


def by_sequence(program: Program, folder: Path) -> Runner:
    """Open a sequence in ONNX Runtime."""
    slt.export(program, None, folder, format="onnx", form="sequence")
    return slt.open(folder)


def by_c(program: Program, folder: Path) -> Runner:
    """Open a C artifact."""
    need("cc", "gcc")
    slt.export(program, None, folder, format="c")
    return slt.open(folder)


ENGINES: Mapping[str, Callable[[Program, Path], Runner]] = {
    "reference": by_reference,
    "onnx step": by_onnx,
    "onnx sequence": by_sequence,
    "c": by_c,
}
Opened = Callable[[Program, Path], Runner]


@pytest.fixture(params=ENGINES)
def opened(request: pytest.FixtureRequest) -> Opened:
    """Export and open on each engine in turn."""
    return ENGINES[request.param]


def at(fed: Mapping[str, Array], t: int) -> dict[str, Array]:
    """Input of one step."""
    return {name: x[t] for name, x in fed.items()}


def go(runner: Runner, fed: Mapping[str, Array], steps: range) -> dict[str, Array]:
    """Outputs of ``steps``."""
    rows = [runner.step(at(fed, t)) for t in steps]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_was_taken_goes_on_where_it_was_taken(
    opened: Opened, name: str, tmp_path: Path
) -> None:
    """After other steps, in the runner it came from and in another; nothing shares memory."""
    program = PROGRAMS[name]
    fed = programs.stimulus(program, steps=STEPS)
    expected = reference.run(program, fed).records
    rest = range(CUT, STEPS)
    with opened(program, tmp_path / "a") as runner, opened(program, tmp_path / "b") as other:
        go(runner, fed, range(CUT))
        taken = runner.state
        kept = {n: a.copy() for n, a in taken.items()}
        go(runner, fed, rest)
        runner.state = taken
        first = go(runner, fed, rest)
        for n, a in kept.items():
            np.testing.assert_array_equal(taken[n], a, n)
        other.state = taken
        for a in taken.values():
            a[...] = 0  # the runner has its own
        second = go(other, fed, rest)
    for n in program.outputs:
        np.testing.assert_array_equal(first[n], expected[n][CUT:], n)
        np.testing.assert_array_equal(second[n], expected[n][CUT:], n)


@pytest.mark.parametrize("name", PROGRAMS)
def test_names_shapes_and_values_are_the_reference_s(
    opened: Opened, name: str, tmp_path: Path
) -> None:
    """But for what fades within a step, which an engine may leave out."""
    program = PROGRAMS[name]
    fed = programs.stimulus(program, steps=CUT)
    held = reference.initial_state(program, 3)
    for t in range(CUT):
        _, held = reference.step(program, held, at(reference_input(program, fed), t))
    known = {
        f"{n}.{what}": values
        for n, state in held.items()
        for what, values in vars(state).items()
        if values is not None and values.size
    }
    with opened(program, tmp_path / "a") as runner:
        go(runner, fed, range(CUT))
        state = runner.state
    fading = {"out.v"} if name in ("threshold", "self loop of values") else set[str]()
    assert set(known) - fading <= set(state) <= set(known)
    for n, values in state.items():
        assert values.dtype == known[n].dtype, n
        np.testing.assert_array_equal(values, known[n], n)


def reference_input(program: Program, fed: Mapping[str, Array]) -> dict[str, Array]:
    """What enters, of the type that the reference wants."""
    spiking = {p.name for p in program.inputs if p.spiking}
    return {n: x.astype(bool) if n in spiking else x for n, x in fed.items()}


def test_integers_have_a_state_too(tmp_path: Path) -> None:
    """Also of more samples than the simulation takes at once."""
    need("cc", "gcc")
    program = integers()
    slt.export(program, None, tmp_path / "c", format="c")
    slt.export(program, None, tmp_path / "lava", format="lava")
    x = np.random.default_rng(0).uniform(-1, 3, (STEPS, 130, 3))
    expected = reference.run(program, x).records["out"] / np.float32(64)
    by_numpy = StepRunner(read(tmp_path / "c"), ProgramEngine(program))
    for runner in (slt.open(tmp_path / "c"), slt.open(tmp_path / "lava"), by_numpy):
        with runner:
            go(runner, {"in": x}, range(CUT))
            taken = runner.state
            assert set(taken) <= {"hidden.v", "hidden.j", "out.v", "out.j"}
            assert {"hidden.v", "out.v", "out.j"} <= set(taken)
            assert {a.dtype.name for a in taken.values()} == {"int32"}
            runner.reset()
            runner.state = taken
            got = go(runner, {"in": x}, range(CUT, STEPS))["out"]
            np.testing.assert_array_equal(got, expected[CUT:])
            wide = {**taken, "out.j": np.full_like(taken["out.j"], 2**23 + 1)}
            with pytest.raises(InputError, match=r"holds 8388609 at \(0, 0\), must fit 24 bits"):
                runner.state = wide


def looping() -> Program:
    """Integers that go around a loop, through a delay of spikes, uneven, of one step or more."""
    rng = np.random.default_rng(9)
    neurons = LoihiNeuron(2047, 512, np.zeros(4, np.int64), 0, 64.0, vth=40)
    weights = [Linear(rng.integers(-40, 60, (4, n)) * 2) for n in (3, 4, 4)]
    return Program(
        programs.CONVENTION,
        (
            Population("in", (3,), Input("spikes")),
            Population("wait", (4,), DelayLine(np.array([1, 3, 2, 1]), spiking=True)),
            Population("a", (4,), neurons),
            Population("late", (4,), DelayLine(np.array([0, 2, 1, 0]), spiking=True)),
            Population("out", (4,), neurons),
        ),
        (
            Projection("in", "a", (weights[0],), 1),
            Projection("a", "a", (weights[1],), 0, recurrent=True),
            Projection("a", "wait"),
            Projection("a", "late"),
            Projection("wait", "a", (weights[2],)),
            Projection("late", "out", (weights[1],), 1),
        ),
        ("out", "a"),
        "loihi",
    )


def test_loops_and_delays_in_integers(tmp_path: Path) -> None:
    need("cc", "gcc")
    program = looping()
    slt.export(program, None, tmp_path / "c", format="c")
    manifest = read(tmp_path / "c")
    fed = {"in": np.random.default_rng(1).random((STEPS, 130, 3)) < 0.5}
    expected = reference.run(program, fed).records
    names: list[set[str]] = []
    for engine in (IntegerEngine(program), ProgramEngine(program)):
        with StepRunner(manifest, engine) as runner, slt.open(tmp_path / "c") as compiled:
            for one in (runner, compiled):
                go(one, fed, range(CUT))
                state = one.state
                go(one, fed, range(CUT, STEPS))
                one.state = state
                got = go(one, fed, range(CUT, STEPS))
                for name in program.outputs:
                    np.testing.assert_array_equal(got[name], expected[name][CUT:])
                names.append(set(state))
                np.testing.assert_array_equal(state["late.past"], compiled_past(expected, CUT))
    assert all({"a.v", "a.last", "wait.past", "late.past"} <= n for n in names)


def compiled_past(expected: Mapping[str, Array], step: int) -> Array:
    """What waits in "late": the spikes of the two steps before, latest first."""
    return np.stack([expected["a"][step - 1], expected["a"][step - 2]], axis=1)


def test_a_state_before_the_first_step_fixes_the_batch_size(opened: Opened, tmp_path: Path) -> None:
    program = PROGRAMS["ring"]
    fed = programs.stimulus(program, steps=STEPS)
    with opened(program, tmp_path / "a") as runner:
        with pytest.raises(InputError, match=r"no state yet.*reset\(batch\) first"):
            _ = runner.state
        runner.reset(3)
        first = runner.state
        runner.reset()
        runner.state = first
        with pytest.raises(InputError, match="the input has 2 samples, the state 3"):
            runner.step({n: x[0, :2] for n, x in fed.items()})
        with pytest.raises(InputError, match=r"state given has 2 samples, the runner's 3: call"):
            runner.state = {n: a[:2] for n, a in first.items()}
        got = go(runner, fed, range(STEPS))
    for n in program.outputs:
        np.testing.assert_array_equal(got[n], reference.run(program, fed).records[n])


Change = Callable[[dict[str, Array]], Any]
BAD: Mapping[str, tuple[Change, list[str]]] = {
    "a name is missing": (
        lambda s: {n: a for n, a in s.items() if n != "a.v"},
        ["state 'a.v' is missing"],
    ),
    "a name too many": (
        lambda s: {**s, "b.v": s["a.v"]},
        ["state 'b.v' is unknown, the network has"],
    ),
    "a shape": (
        lambda s: {**s, "a.v": s["a.v"][:, :4]},
        ["'a.v' has shape (3, 4), must be (3, 5)"],
    ),
    "a dtype": (
        lambda s: {**s, "a.v": s["a.v"].astype(np.float64), "out.last": s["out.last"] * 1.0},
        ["'a.v' has dtype float64, must be float32", "'out.last' has dtype float64, must be bool"],
    ),
    "no array": (lambda s: {**s, "a.v": s["a.v"].tolist()}, ["'a.v' is list, must be an array"]),
    "no mapping": (lambda s: list(s), ["a state is list, must be a mapping of arrays by name"]),
    "not finite": (
        lambda s: {**s, "a.v": s["a.v"] * np.float32(np.inf)},
        ["must be finite"],
    ),
    "all at once": (
        lambda s: {"a.v": s["a.v"][:, 0], "b": s["a.v"], "out.last": s["out.last"] / 2},
        ["'out.v' is missing", "'b' is unknown", "'a.v' has shape (3,)", "'out.last' has dtype"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_state_that_does_not_fit_is_refused_and_nothing_moves(
    opened: Opened, case: str, tmp_path: Path
) -> None:
    program = PROGRAMS["ring"]
    fed = programs.stimulus(program, steps=STEPS)
    change, said = BAD[case]
    with opened(program, tmp_path / "a") as runner:
        go(runner, fed, range(CUT))
        with pytest.raises(InputError) as caught, np.errstate(invalid="ignore"):
            runner.state = change(runner.state)
        got = go(runner, fed, range(CUT, STEPS))
        runner.reset()
        go(runner, fed, range(CUT))
        good = runner.state
        runner.reset()
        with pytest.raises(InputError), np.errstate(invalid="ignore"):
            runner.state = change(good)
        again = runner.step({n: x[0, :1] for n, x in fed.items()})  # any batch size, first state
    assert len(caught.value.violations) == len(said)
    for part in said:  # the order of names is the engine's
        assert any(part in line for line in caught.value.violations), part
    for n in program.outputs:
        expected = reference.run(program, fed).records[n]
        np.testing.assert_array_equal(got[n], expected[CUT:])
        np.testing.assert_array_equal(again[n], expected[0, :1])


def test_without_a_state_in_between_a_runner_says_so(tmp_path: Path) -> None:
    class Whole(Runner):
        """Runs whole sequences, as Lava does."""

        @property
        def latency_steps(self) -> int:
            return 0

        def step(self, x: Array | Mapping[str, Array]) -> dict[str, Array]:
            raise AssertionError

        def run(self, x: Array | Mapping[str, Array], *, record: bool = False) -> RunResult:
            raise AssertionError

        def reset(self, batch: int | None = None) -> None: ...

        def close(self) -> None: ...

    slt.export(PROGRAMS["ring"], None, tmp_path / "a", format="onnx")
    runner = Whole(read(tmp_path / "a"))
    with pytest.raises(InputError, match="no state in between: open the artifact with engine='f"):
        _ = runner.state
    with pytest.raises(InputError, match="no state in between"):
        runner.state = {}
    assert (runner.latency.steps, runner.refusals) == (0, ())


def test_a_closed_runner_has_no_state(opened: Opened, tmp_path: Path) -> None:
    with opened(PROGRAMS["ring"], tmp_path / "a") as runner:
        runner.reset(1)
        taken = runner.state
    with pytest.raises(InputError, match="closed"):
        _ = runner.state
    with pytest.raises(InputError, match="closed"):
        runner.state = taken
