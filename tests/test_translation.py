"""Conventions of other frameworks, stepped by plain loops as each framework's code steps."""

import copy
import os
from pathlib import Path
from typing import Any, get_args

import nir
import numpy as np
import pytest
from test_loops import DT, graph, lif, spikes
from test_lowering import chain, dyadic

from sltdeploy.convention_presets import NAMES, PRESETS, Framework, preset, settings
from sltdeploy.errors import InputError
from sltdeploy.exporting import export
from sltdeploy.graph import read_nir, write_nir
from sltdeploy.lowering import lower
from sltdeploy.program import Array
from sltdeploy.program_file import from_bytes, to_bytes
from sltdeploy.reference import run
from sltdeploy.resolving import resolve
from sltdeploy.translation import translate

DATA = Path(os.environ.get("SLTDEPLOY_DATA", Path(__file__).parents[2] / "shared" / "data"))
PAPER = DATA / "nir-paper"
needs_paper = pytest.mark.skipif(not PAPER.is_dir(), reason="no NIR paper files in SLTDEPLOY_DATA")


def full(n: int, value: float) -> Array:
    """One value for each neuron."""
    return np.full(n, value)


def dense(*nodes: nir.NIRNode, shape: int = 3, out: int = 3) -> nir.NIRGraph:
    """Input -> nodes -> Output, n0, n1, ..."""
    return chain(*nodes, shape=(shape,), out=(out,))


def test_the_table_is_whole() -> None:
    """One row a name, each with version and source; unknown names are refused with all names."""
    assert get_args(Framework) == NAMES == tuple(dict.fromkeys(p.name for p in PRESETS))
    assert all(p.version and p.source for p in PRESETS)
    assert preset("lava").late == "connections"
    assert settings("spikingjelly") == {
        "dt": 1e-4,
        "reset": "zero",
        "comparison": "ge",
        "decay": "euler",
    }
    with pytest.raises(InputError, match=r"'brian' is unknown, these are: norse, snntorch, "):
        lower(dense(lif(3)), DT, convention="brian")  # pyright: ignore[reportArgumentType]


def test_the_documentation_says_what_the_table_says() -> None:
    """Version and settings of each row stand in docs/conventions.md."""
    text = (Path(__file__).parents[1] / "docs" / "conventions.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    for row in PRESETS:
        assert any(line.lower().startswith(f"| {row.name} {row.version} |") for line in lines)
        (line,) = (line for line in lines if line.startswith(f"| `{row.name}` |"))
        said = [part.strip().strip("`") for part in line.split("|")[2].split(",")]
        values = settings(row.name)
        dt = [f"dt {values.pop('dt'):g}"] if "dt" in values else []
        assert said == [*dt, *values.values()]


def test_flags_win_over_the_preset_and_the_preset_over_the_file() -> None:
    """Setting by setting; what the preset leaves open the file says."""
    net = graph({"lif": lif(3)}, "input lif", "lif output")
    net.metadata |= {"dt": DT / 2, "comparison": "gt", "decay": "exponential", "reset": "subtract"}
    before = copy.deepcopy(net.metadata)
    plain = lower(net).convention
    assert (plain.dt, plain.reset) == (DT / 2, "subtract")
    assert (plain.comparison, plain.decay) == ("gt", "exponential")
    got = lower(net, convention="spikingjelly", dt=DT, reset="subtract").convention
    assert (got.dt, got.reset, got.comparison, got.decay) == (DT, "subtract", "ge", "euler")
    norse = lower(net, convention="norse").convention
    assert (norse.dt, norse.reset, norse.decay) == (DT / 2, "subtract", "euler")
    assert lower(net, convention="snntorch", reset="zero").dt == 1e-4
    assert net.metadata == before


def subtracted_late(x: Array, beta: float, threshold: float, update_first: bool) -> Array:
    """The Leaky of snnTorch with reset_delay=True, or spyx's LIF, neuron by neuron."""
    v, before = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    sent: list[Array] = []
    for t in range(len(x)):
        for k in range(len(v)):
            v[k] = beta * v[k] + x[t, k] - threshold * before[k]
        spike = (v > threshold).astype(float)
        sent.append(spike if update_first else before)
        before = spike
    return np.array(sent)


@pytest.mark.parametrize("beta", [0.5, 0.75])
def test_snntorch_subtracts_after_the_leak(beta: float) -> None:
    """reset_delay=True: v <- beta v + x - threshold z, which differs from ours."""
    tau = 2.0**-13 / (1 - beta)
    rng = np.random.default_rng(1)
    w = dyadic(rng, 5, 3)
    node = nir.LIF(full(5, tau), full(5, 1 / (1 - beta)), full(5, 0), full(5, 0.5))
    net = dense(nir.Linear(w), node, out=5)
    x = spikes(40, 3)
    expected = subtracted_late(x[:, 0] @ w.T, beta, 0.5, True)
    flags: dict[str, Any] = {"dt": 2.0**-13, "reset": "subtract"}
    got = run(lower(net, convention="snntorch", **flags), x).output[:, 0]
    assert 10 < expected.sum() < 190
    assert np.array_equal(got, expected)
    assert not np.array_equal(run(lower(net, **flags), x).output[:, 0], expected)


def test_snntorch_subtracts_behind_the_synapse() -> None:
    """Synaptic with reset_delay=True: the current decays, what is subtracted does not."""
    rng = np.random.default_rng(7)
    w = dyadic(rng, 5, 3)
    dt = 2.0**-13
    cuba = (2 * dt, 4 * dt, 4.0, 0.0, 1.0, 0.0, 2.0)
    net = dense(nir.Linear(w), nir.CubaLIF(*(full(5, value) for value in cuba)), out=5)
    x = spikes(40, 3)
    got = run(lower(net, dt, reset="subtract", convention="snntorch"), x).output[:, 0]
    i, v, z = np.zeros(5), np.zeros(5), np.zeros(5)
    for t in range(40):
        for k in range(5):
            i[k] = i[k] / 2 + w[k] @ x[t, 0]
            v[k] = v[k] * 0.75 + i[k] - z[k]
        z = (v > 1).astype(float)
        assert np.array_equal(got[t], z)
    assert 10 < got.sum() < 190


def spyx_lif(n: int, beta: float, threshold: float, dt: float = 1.0) -> nir.LIF:
    """As spyx writes it, with r = beta."""
    return nir.LIF(full(n, dt / (1 - beta)), full(n, beta), full(n, 0), full(n, threshold))


def test_spyx_spikes_before_it_updates() -> None:
    """Two layers, two steps late; r is not the gain; dt = 1 unless given."""
    rng = np.random.default_rng(2)
    w, u = dyadic(rng, 4, 3), dyadic(rng, 3, 4)
    net = dense(
        *(nir.Linear(w), spyx_lif(4, 0.5, 0.25)),
        *(nir.Linear(u), spyx_lif(3, 0.75, 0.125)),
    )
    x = spikes(40, 3)
    hidden = subtracted_late(x[:, 0] @ w.T, 0.5, 0.25, False)
    expected = subtracted_late(hidden @ u.T, 0.75, 0.125, False)
    got = run(lower(net, convention="spyx"), x).output[:, 0]
    assert 5 < expected.sum() < 115
    assert np.array_equal(got, expected)
    late: Any = translate(net, "spyx").nodes["n1.late"]
    assert np.array_equal(late.delay, full(4, 1.0))


def test_spyx_integrators_and_currents() -> None:
    """IF: no leak, the same reset; CuBaLIF: subtracts before the leak; both one step late."""
    rng = np.random.default_rng(1)
    w = dyadic(rng, 4, 3) / 4
    x = spikes(30, 3)
    drive = x[:, 0] @ w.T
    net = dense(nir.Linear(w), nir.IF(full(4, 1.0), full(4, 0.5)), out=4)
    for dt in (1.0, 0.5):
        got = run(lower(net, dt, convention="spyx"), x).output[:, 0]
        assert np.array_equal(got, subtracted_late(drive, 1.0, 0.5, False))
    assert 10 < got.sum() < 110
    cuba = nir.CubaLIF(
        full(4, 2.0), full(4, 4.0), full(4, 0.75), full(4, 0.0), full(4, 0.5), full(4, 0.0)
    )
    got = run(lower(dense(nir.Linear(2 * w), cuba, out=4), convention="spyx"), x).output[:, 0]
    i, v = np.zeros(4), np.zeros(4)
    for t in range(30):
        z = v > 0.5
        v = v - 0.5 * z
        i = 0.5 * i + 2 * drive[t]
        v = 0.75 * v + i
        assert np.array_equal(got[t], z)
    assert 10 < got.sum() < 110


def test_spyx_without_a_reset() -> None:
    """PSU_LIF is written as LI and Threshold: v <- beta v + x, and no step is lost."""
    w = dyadic(np.random.default_rng(8), 4, 3)
    leak = nir.LI(full(4, 4.0), full(4, 1.0), full(4, 0.0))
    net = dense(nir.Linear(w), leak, nir.Threshold(full(4, 0.5)), out=4)
    x = spikes(30, 3)
    got = run(lower(net, convention="spyx"), x).output[:, 0]
    v = np.zeros(4)
    for t in range(30):
        v = 0.75 * v + w @ x[t, 0]
        assert np.array_equal(got[t], v > 0.5)
    assert got.any()


def test_what_spyx_writes_otherwise_is_refused() -> None:
    """Another dt, recurrent layers, padded pools, images laid flat: each by name, all at once."""
    nodes = {
        "pool": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([1, 1])),
        "flat": nir.Flatten({"input": np.array([2, 3, 3])}, 0, -1),
        "lif": spyx_lif(18, 0.5, 1.0),
        "rec": nir.Linear(np.eye(18)),
    }
    edges = ("input pool", "pool flat", "flat lif", "lif rec", "rec lif", "lif output")
    with pytest.raises(InputError) as caught:
        lower(graph(nodes, *edges), convention="spyx")
    assert [line.split(":")[0] for line in caught.value.violations] == [
        "node 'pool'",
        "node 'flat'",
        "loop lif -> rec -> lif",
    ]
    other = dense(spyx_lif(3, 0.5, 1.0, dt=0.001))
    with pytest.raises(InputError, match=r"node 'n0': LIF.r is 0.5, with dt 1 s spyx writes"):
        lower(other, convention="spyx")
    assert lower(other, 0.001, convention="spyx").dt == 0.001


def test_spikingjelly_files_tell_their_dt() -> None:
    """IF, CubaLIF and LIF with decay_input=False; LIF with r = 1 says nothing."""
    other = 1e-3
    steps = nir.IF(full(3, 1 / other), full(3, 1.0))
    leak = nir.LIF(full(3, 2 * other), full(3, 2.0), full(3, 0), full(3, 1.0))
    quiet = nir.LIF(full(3, 2 * other), full(3, 1.0), full(3, 0), full(3, 1.0))
    cuba = nir.CubaLIF(*(full(3, v) for v in (2 * other, 4 * other, 4.0, 0.0, 1.0, 0.0, 2.0)))
    with pytest.raises(InputError) as caught:
        lower(dense(steps, leak, quiet, cuba), convention="spikingjelly")
    assert [line.split(":")[0] for line in caught.value.violations] == [
        *("node 'n0'", "node 'n1'", "node 'n3'")
    ]
    assert lower(dense(steps, leak, quiet, cuba), other, convention="spikingjelly").dt == other


def test_several_spikes_in_a_step_are_refused() -> None:
    """Every neuron by name, with the flags to give; also where the time step is missing."""
    nodes = (lif(3), nir.IF(full(3, 1.0), full(3, 1.0)), nir.LI(full(3, 4.0), *[full(3, 1)] * 2))
    with pytest.raises(InputError) as caught:
        lower(dense(*nodes), convention="sinabs")
    assert [line.split(" sends")[0] for line in caught.value.violations] == [
        "node 'n0': LIF of sinabs",
        "node 'n1': IF of sinabs",
    ]
    with pytest.raises(InputError) as caught:
        lower(dense(lif(3)), convention="rockpool")
    assert len(caught.value.violations) == 2
    assert caught.value.violations[1].startswith("no time step")


def test_leaks_of_sinabs_and_rockpool() -> None:
    """A leak a: a v + x in sinabs, a (v + x) in Rockpool; its shapes hold batch and time."""
    kept = np.exp(-1 / 4)
    x = spikes(20, 3)
    v, w = np.zeros(3), np.zeros(3)
    ends = dense(nir.LI(full(3, 4.0), full(3, 1.0), full(3, 0.0)))
    got = run(lower(ends, convention="sinabs"), x).output[:, 0]
    rock = dense(nir.LI(full(3, 4e-3), full(3, 4 * kept), full(3, 0.0)))
    for key, shape in (("input", [1, 3]), ("output", [1, 1, 3])):
        end: Any = rock.nodes[key]
        end.input_type = end.output_type = {key: np.array(shape)}
    there = run(lower(rock, 1e-3, convention="rockpool"), x).output[:, 0]
    for t in range(20):
        v, w = kept * v + x[t, 0], kept * (w + x[t, 0])
        assert got[t] == pytest.approx(v, rel=1e-6)
        assert there[t] == pytest.approx(w, rel=1e-6)
    with pytest.raises(InputError, match=r"node 'n0': LI.r is 3.1.*with dt 0.002 s rockpool"):
        lower(rock, 2e-3, convention="rockpool")


def test_lava_is_one_step_late_at_each_connection() -> None:
    """Two layers: two steps late, one in the hidden layer; layers without a neuron between, one."""
    rng = np.random.default_rng(5)
    nodes: dict[str, Any] = {
        "w": nir.Linear(dyadic(rng, 4, 3)),
        "s": nir.Scale(full(4, 2.0)),
        "a": lif(4),
        "u": nir.Linear(dyadic(rng, 3, 4)),
        "b": lif(3),
    }
    net = graph(nodes, "input w", "w s", "s a", "a u", "u b", "b output")
    x = spikes(30, 3)
    plain, late = run(lower(net), x), run(lower(net, convention="lava"), x)
    assert plain.output.sum() > 5
    assert np.array_equal(late.records["a"][1:], plain.records["a"][:-1])
    assert np.array_equal(late.output[2:], plain.output[:-2])
    assert not late.output[:2].any()


@pytest.mark.parametrize("nested", [False, True])
def test_lava_loops(nested: bool) -> None:
    """A loop through one connection takes one step, through two connections two."""
    rng = np.random.default_rng(6)
    w, there, back, own = (dyadic(rng, 3, 3) for _ in range(4))
    inner: dict[str, Any] = {
        "a": lif(3),
        "b": lif(3),
        "there": nir.Linear(there),
        "back": nir.Linear(back),
        "own": nir.Linear(own),
    }
    edges = ["a there", "there b", "b back", "back a", "a own", "own a"]
    if nested:
        block: Any = graph(inner, "input a", *edges, "b output")
        net = graph({"w": nir.Linear(w), "x": block}, "input w", "w x", "x output")
    else:
        net = graph({"w": nir.Linear(w), **inner}, "input w", "w a", *edges, "b output")
    x = spikes(25, 3)
    got = run(lower(net, convention="lava"), x).output[:, 0]
    va, vb, za, zb = (np.zeros(3) for _ in range(4))
    before = np.zeros(3)
    for t in range(25):
        va = va / 2 + w @ before + back @ zb + own @ za
        vb = vb / 2 + there @ za
        za, zb = (va > 0.125).astype(float), (vb > 0.125).astype(float)
        va, vb, before = va * (za == 0), vb * (zb == 0), x[t, 0]
        assert np.array_equal(got[t], zb)
    assert got.any()


def test_lava_resets_to_zero_and_starts_there() -> None:
    """Other values are refused by node."""
    one = full(3, 1.0)
    with pytest.raises(InputError) as caught:
        lower(
            dense(nir.LIF(one, one, one, one, one), nir.LI(one, one, one)), 0.1, convention="lava"
        )
    assert [line.split(",")[0] for line in caught.value.violations] == [
        "node 'n0': LIF.v_reset is not 0",
        "node 'n0': LIF.v_leak is not 0",
        "node 'n1': LI.v_leak is not 0",
    ]


def test_a_translated_graph_is_a_graph_like_any_other(tmp_path: Path) -> None:
    """It is exported, lowers to the same program without the convention, and only once."""
    net = graph({"w": nir.Linear(np.eye(3)), "a": lif(3)}, "input w", "w a", "a output")
    before = write_nir(net)
    resolved = resolve(net, convention="lava")
    assert resolved.source["convention"] == "lava"
    artifact = export(net, None, tmp_path / "a", format="nir", convention="lava")
    again = read_nir(artifact.path / "network.nir")
    assert (
        lower(again).digest() == resolved.program.digest() == lower(net, convention="lava").digest()
    )
    with pytest.raises(InputError, match=r"metadata convention is 'lava': its steps are in the"):
        lower(again, convention="lava")
    assert write_nir(net) == before


def test_names_of_new_nodes_are_free() -> None:
    """A node that is called so already keeps its name."""
    nodes: dict[str, Any] = {"input.late": nir.Linear(np.eye(3)), "a": lif(3)}
    net = graph(nodes, "input input.late", "input.late a", "a output")
    moved = translate(net, "lava")
    assert set(moved.nodes) == {*net.nodes, "input.late_"}
    assert isinstance(moved.nodes["input.late"], nir.Linear)


def test_a_uniform_gain_on_a_bare_edge_is_kept_in_a_file() -> None:
    """The factor of an edge without weights survives as an array."""
    net = graph({"a": lif(3)}, "input a", "a output")
    node: Any = net.nodes["a"]
    node.r = full(3, 3.0)
    program = lower(net)
    assert from_bytes(to_bytes(program)).digest() == program.digest()


@needs_paper
def test_lava_gives_the_spikes_of_the_chip() -> None:
    """The NIR paper's LIF, on Lava and on Loihi: one step later than in Norse."""
    recorded = np.loadtxt(PAPER / "lif" / "lif_lava_cpu_float.csv", delimiter=",")
    program = lower(read_nir(PAPER / "lif" / "lif_norse.nir"), 1e-4, convention="lava")
    output = run(program, recorded[:, :1, None]).output[:, 0, 0]
    assert np.flatnonzero(output).tolist() == [461, 511, 711, 761]
    chip = np.loadtxt(PAPER / "lif" / "lif_lava_loihi_fixed.csv", delimiter=",")
    assert np.array_equal(output, recorded[:, 2] > 0)
    assert np.array_equal(output, chip[:, 2] > 0)


@needs_paper
def test_snntorch_gives_its_recorded_spikes_without_a_flag() -> None:
    """Braille: its time step is in the convention."""
    folder = PAPER / "braille"
    graph = read_nir(folder / "braille_noDelay_bias_zero.nir")
    sample = np.load(folder / "braille_sample0_input_12x256.npy")
    recorded = np.load(folder / "snntorch_activity_noDelay_bias_zero.npy")
    trace = run(lower(graph, convention="snntorch"), sample.T[:, None].astype(float))
    assert np.array_equal(trace.records["lif1.lif"][:, 0], recorded > 0)
