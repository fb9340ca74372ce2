"""Random programs for Loihi: oracle, reference, fast path and Lava, spike by spike.

A share of the full comparison with a fixed seed and one with a fresh seed, which is printed; the
whole of it is ``python tests/random_loihi.py --count 500 --seed N``.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace

import loihi_comparison
import pytest
from lava_there import need_lava
from loihi_comparison import GROUP, Total, compare_group, compare_many, in_reference
from loihi_oracle import Oracle
from random_loihi import BATCH, STEPS, random_group

from sltdeploy.program import Array, LoihiNeuron, Population, Program

SHARE, FLOATS = 50, 10  # half a minute of Lava on two cores, all of it for starting processes
FEATURES = (
    *("CubaLI", "CubaLIF", "I", "IF", "LI", "LIF", "average pool", "sum pool", "padded pool"),
    *("sum pool, windows overlap", "bias", "bias into a synaptic current", "bias of a layer"),
    *("conv", "conv, dilation", "conv, groups", "conv, not square", "conv, padding"),
    *("conv, padding on one side", "conv, stride", "linear", "no op", "reshape", "scale"),
    *("delay behind weights", "delay by element", "one delay", "delay longer than a sample"),
    *("delay line as output", "delayed graded input", "delayed spikes input", "self loop", "loop"),
    *("loop through a delay line", "paths of different length", "negative exponent"),
    *("positive exponent", "pruned", "nothing left", "relay", "reset by subtraction"),
    *("graded input", "spikes input", "two inputs", "several outputs", "u starts elsewhere"),
    *("v starts elsewhere", "v_reset", "parameters by neuron", "weights above 0"),
    *("weights below 0", "weights of both signs", "u wraps", "v is clipped"),
    "two projections between the same two",
)


@pytest.fixture
def lava() -> None:
    """Skip where no interpreter has Lava, but not in CI."""
    need_lava()


def assert_same(total: Total, machines: set[str]) -> None:
    """Nothing differs and nothing is refused, and there was much to compare."""
    assert total.differences == []
    assert {machine for machine, _ in total.compared} == machines
    assert total.spikes > 30 * total.programs.total()
    assert min(total.compared.values()) > 1000


SIMULATED = {"reference against oracle", "fast path", "inlined"}
EVERYWHERE = SIMULATED | {"Lava, fixed point", "Lava, floating point"}


def test_many_without_lava() -> None:
    """The oracle and the fast path on programs that hold everything that the generator knows."""
    total = compare_many(2026, 200, 60, lava=False)
    assert_same(total, SIMULATED)
    assert {name: total.features[name] for name in FEATURES if total.features[name] < 2} == {}


@pytest.mark.usefixtures("lava")
def test_a_share_in_lava_with_a_fixed_seed() -> None:
    """The same programs in each run."""
    assert_same(compare_many(2026, SHARE, FLOATS), EVERYWHERE)


@pytest.mark.usefixtures("lava")
def test_a_share_in_lava_with_a_fresh_seed(capsys: pytest.CaptureFixture[str]) -> None:
    """Others in each run; a difference names its program."""
    seed = secrets.randbelow(2**40)
    with capsys.disabled():
        print(
            f"\n{SHARE // 5} random programs for Loihi, {FLOATS // 2} in floats, from seed {seed}"
        )
    total = compare_many(seed, SHARE // 5, FLOATS // 2)
    assert total.differences == [], seed
    assert total.compared["Lava, fixed point", "membranes"] > 1000


def test_a_seed_names_its_programs() -> None:
    """The same in each process, other ones for another seed."""
    digests = [[c.program.digest() for c in random_group(s, "integers", GROUP)] for s in (3, 3, 4)]
    assert digests[0] == digests[1]
    assert len({*digests[0], *digests[2]}) == 2 * GROUP


def neurons(program: Program, change: Callable[[Population, LoihiNeuron], LoihiNeuron]) -> Program:
    """``program`` with its neurons changed."""
    return replace(
        program,
        populations=tuple(
            replace(p, rule=change(p, p.rule)) if isinstance(p.rule, LoihiNeuron) else p
            for p in program.populations
        ),
    )


CHANGES: Mapping[str, Callable[[Program], Program]] = {
    "decay of v": lambda p: neurons(p, lambda _, n: replace(n, dv=max(0, n.dv - 1))),
    "decay of u": lambda p: neurons(p, lambda _, n: replace(n, du=max(0, n.du - 1))),
    "first v": lambda p: neurons(p, lambda _, n: replace(n, v_init=n.v_init + 1)),
    "first u": lambda p: neurons(p, lambda _, n: replace(n, u_init=n.u_init + 1)),
    "threshold": lambda p: neurons(p, lambda _, n: replace(n, vth=n.vth and n.vth + 1)),
    "bias": lambda p: neurons(p, lambda _, n: replace(n, bias_exponent=n.bias_exponent + 1)),
    "exponents": lambda p: replace(
        p, projections=tuple(replace(q, weight_exponent=0) for q in p.projections)
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_program_shows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each change of what the oracle is given is found among twenty programs."""

    def changed(program: Program, x: dict[str, Array]) -> Oracle:
        return Oracle(CHANGES[name](program), x)

    monkeypatch.setattr(loihi_comparison, "Oracle", changed)
    total = Total(2026)
    for seed in range(2026, 2030):
        compare_group(total, random_group(seed, "integers", GROUP), lava=False)
    assert any(line.startswith("reference against oracle") for line in total.differences)


def reference_for_lava(program: Program, x: Mapping[str, Array]) -> dict[str, Array]:
    """What Lava should send, with the last membrane of one population off by one."""
    rates = {p.name: getattr(p.rule, "scale", 1.0) for p in program.inputs}
    fed = {name: values / rates[name] if rates[name] != 1 else values for name, values in x.items()}
    records, membranes = in_reference(program, fed)
    sent = {**records, **{f"{name}.v": v.copy() for name, v in membranes.items()}}
    sent["1/layer0.v"].flat[-1] += 1
    return sent


@pytest.mark.parametrize("kind", ["integers", "floats"])
def test_one_membrane_off_by_one_shows(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of all, of the second of five programs that share a network."""
    monkeypatch.setattr(loihi_comparison, "in_lava", reference_for_lava)
    total = Total(5)
    compare_group(total, random_group(5, "integers" if kind == "integers" else "floats", GROUP))
    (line,) = total.differences
    point = "fixed" if kind == "integers" else "floating"
    assert line.startswith(f"Lava, {point} point, {kind} 5.1, layer0.v, step 11, sample 2, at (")
    assert line.endswith(f"1 of {total_size(kind)} differ")


def total_size(kind: str) -> int:
    """Membranes of the population that is off."""
    case = random_group(5, "integers" if kind == "integers" else "floats", GROUP)[1]
    return case.program.population("layer0").size * STEPS * BATCH
