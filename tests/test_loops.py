"""Loops, delays, thresholds and nested graphs, against plain loops over neurons and steps."""

from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from test_lowering import DT, dyadic

from sltdeploy.errors import InputError
from sltdeploy.graph import problems, read_nir, write_nir
from sltdeploy.loading import load
from sltdeploy.lowering import lower
from sltdeploy.program import Array, DelayLine
from sltdeploy.program_file import from_bytes, to_bytes
from sltdeploy.reference import run
from sltdeploy.resolving import resolve
from sltdeploy.simplification import simplify
from sltdeploy.topology import loops_among, visiting_order, wiring


def lif(n: int, threshold: float = 0.125) -> nir.LIF:
    """Decays by half a step."""
    one = np.ones(n)
    return nir.LIF(2 * DT * one, 2 * one, 0 * one, threshold * one)


def graph(nodes: dict[str, Any], *edges: str, shape: int = 3, out: int = 3) -> nir.NIRGraph:
    """Edges as "a b"."""
    ends = {
        "input": nir.Input({"input": np.array([shape])}),
        "output": nir.Output({"output": np.array([out])}),
    }
    pairs = [(a, b) for a, b in (e.split() for e in edges)]
    return nir.NIRGraph({**ends, **nodes}, pairs, metadata={"dt": DT}, type_check=False)


def spikes(steps: int, n: int, seed: int = 0) -> Array:
    """Half of them 1."""
    return np.random.default_rng(seed).integers(0, 2, (steps, 1, n)).astype(float)


def stepped(v: Array, x: Array, threshold: float = 0.125) -> tuple[Array, Array]:
    """One step of `lif`, neuron by neuron."""
    z = np.zeros(len(v), bool)
    for k in range(len(v)):
        v[k] = v[k] / 2 + x[k]
        if v[k] > threshold:
            z[k], v[k] = True, 0.0
    return v, z


def test_a_recurrent_edge_arrives_one_step_later() -> None:
    """Feed-forward input, own spikes of the step before through a biased layer."""
    rng = np.random.default_rng(12)
    w, r, b = dyadic(rng, 4, 3), dyadic(rng, 4, 4), dyadic(rng, 4)
    net = graph(
        {"fc": nir.Linear(w), "lif": lif(4), "rec": nir.Affine(r, b)},
        *("input fc", "fc lif", "lif rec", "rec lif", "lif output"),
        out=4,
    )
    x = spikes(12, 3)
    v, z = np.zeros(4), np.zeros(4, bool)
    expected: list[Array] = []
    for t in range(12):
        v, z = stepped(v, w @ x[t, 0] + r @ z + b)
        expected.append(z)
    got = run(lower(net), x).output[:, 0]
    assert np.array_equal(got, expected)
    assert 5 < got.sum() < 43


def test_the_edge_that_leads_back_is_the_late_one() -> None:
    """Two populations in a ring: the second hears the first at once, the first the second late."""
    rng = np.random.default_rng(2)
    w, there, back = dyadic(rng, 3, 3), dyadic(rng, 3, 3), dyadic(rng, 3, 3)
    nodes = {
        "w": nir.Linear(w),
        "b": lif(3),
        "a": lif(3),
        "there": nir.Linear(there),
        "back": nir.Linear(back),
    }
    edges = ("input w", "back a", "b back", "w a", "a there", "there b", "b output")
    program = lower(graph(nodes, *edges))
    assert {p.name for p in program.projections if p.recurrent} == {"b -> a"}
    x = spikes(15, 3)
    va, vb, zb = np.zeros(3), np.zeros(3), np.zeros(3, bool)
    expected: list[Array] = []
    for t in range(15):
        va, za = stepped(va, w @ x[t, 0] + back @ zb)
        vb, zb = stepped(vb, there @ za)
        expected.append(zb)
    got = run(program, x).output[:, 0]
    assert np.array_equal(got, expected)
    assert got.any()


def test_a_loop_may_close_at_a_connection() -> None:
    """What comes back joins the input before the layer, in a relay."""
    rng = np.random.default_rng(3)
    w, back = dyadic(rng, 3, 3), dyadic(rng, 3, 3)
    nodes = {"w": nir.Linear(w), "lif": lif(3), "back": nir.Linear(back)}
    net = graph(nodes, "input w", "w lif", "lif back", "back w", "lif output")
    x = spikes(12, 3)
    v, z = np.zeros(3), np.zeros(3, bool)
    expected: list[Array] = []
    for t in range(12):
        v, z = stepped(v, w @ (x[t, 0] + back @ z))
        expected.append(z)
    assert np.array_equal(run(lower(net), x).output[:, 0], expected)


def test_a_delay_in_a_loop_adds_no_other_step() -> None:
    """A loop through a delay of two steps takes two steps."""
    rng = np.random.default_rng(4)
    w, back = dyadic(rng, 3, 3), dyadic(rng, 3, 3)
    nodes = {
        "w": nir.Linear(w),
        "lif": lif(3),
        "wait": nir.Delay(np.full(3, 2 * DT)),
        "back": nir.Linear(back),
    }
    edges = ("input w", "w lif", "lif wait", "wait back", "back lif", "lif output")
    program = lower(graph(nodes, *edges))
    assert not any(p.recurrent for p in program.projections)
    x = spikes(14, 3)
    v = np.zeros(3)
    sent: list[Array] = []
    for t in range(14):
        late = sent[t - 2] if t >= 2 else np.zeros(3, bool)
        v, z = stepped(v, w @ x[t, 0] + back @ late)
        sent.append(z)
    assert np.array_equal(run(program, x).output[:, 0], sent)
    assert np.array(sent).any()


@pytest.mark.parametrize("steps", [[0, 0, 0], [2, 2, 2], [0, 1, 3]])
def test_delays(steps: list[int]) -> None:
    """Element by element; 0 before the first step."""
    net = graph({"wait": nir.Delay(np.array(steps) * DT)}, "input wait", "wait output")
    x = np.random.default_rng(5).integers(-4, 4, (6, 2, 3)).astype(float)
    got = run(lower(net), x).output
    for k, d in enumerate(steps):
        assert np.array_equal(got[d:, :, k], x[: 6 - d, :, k])
        assert not got[:d, :, k].any()


def test_delayed_spikes_stay_spikes() -> None:
    """A delay of spikes sends spikes, a delay of currents values; both survive the file."""
    nodes = {"lif": lif(3), "wait": nir.Delay(np.full(3, DT))}
    net = graph(nodes, "input lif", "lif wait", "wait output")
    program = lower(net)
    assert program.population("wait").spiking
    assert run(program, spikes(5, 3)).output.dtype == bool
    again = from_bytes(to_bytes(program))
    assert again.digest() == program.digest()
    assert isinstance(again.population("wait").rule, DelayLine)
    assert (
        not lower(graph({"wait": nodes["wait"]}, "input wait", "wait output"))
        .population("wait")
        .spiking
    )


@pytest.mark.parametrize("comparison", ["gt", "ge"])
def test_threshold(comparison: Any) -> None:
    """No memory, whatever the reset."""
    net = graph({"thr": nir.Threshold(np.array([0.0, 1.0, 2.0]))}, "input thr", "thr output")
    x = np.random.default_rng(6).integers(-1, 4, (8, 2, 3)).astype(float)
    limit = np.array([0.0, 1.0, 2.0])
    expected = x > limit if comparison == "gt" else x >= limit
    for reset in ("zero", "subtract"):
        program = lower(net, comparison=comparison, reset=reset)
        assert np.array_equal(run(program, x).output, expected)


@pytest.mark.parametrize("padding", [0, 2, "same", "valid"])
def test_conv1d(padding: Any) -> None:
    """Tap by tap."""
    rng = np.random.default_rng(7)
    weight, bias = dyadic(rng, 4, 1, 3), dyadic(rng, 4)
    stride = 1 if padding == "same" else 2
    node = nir.Conv1d(9, weight, stride, padding, 2, 2, bias)
    ends: dict[str, Any] = {
        "input": nir.Input({"input": np.array([2, 9])}),
        "conv": node,
        "output": nir.Output({"output": np.array([])}),
    }
    net = nir.NIRGraph(ends, [("input", "conv"), ("conv", "output")], {}, type_check=False)
    x = rng.integers(-3, 4, (1, 1, 2, 9)).astype(float)
    got = run(lower(net, DT), x).output[0, 0]
    before = {"same": 2, "valid": 0, 0: 0, 2: 2}[padding]
    for o in range(4):
        for m in range(got.shape[1]):
            at = [m * stride + 2 * k - before for k in range(3)]
            taps = [weight[o, 0, k] * x[0, 0, o // 2, n] for k, n in enumerate(at) if 0 <= n < 9]
            assert got[o, m] == np.float32(sum(taps) + bias[o])


def nested(inner_loop: bool = False) -> nir.NIRGraph:
    """A graph in a graph, two deep."""
    rng = np.random.default_rng(8)
    core = graph({"lif": lif(3)}, "input lif", "lif output")
    block: dict[str, Any] = {"fc": nir.Linear(dyadic(rng, 3, 3)), "core": core}
    edges = ["input fc", "fc core", "core output"]
    if inner_loop:
        block["back"] = nir.Linear(dyadic(rng, 3, 3))
        edges += ["core back", "back core"]
    middle: Any = graph(block, *edges)
    last: Any = nir.Affine(dyadic(rng, 3, 3), dyadic(rng, 3))
    return graph({"block": middle, "last": last}, "input block", "block last", "last output")


@pytest.mark.parametrize("inner_loop", [False, True])
def test_nested_graphs_are_inlined(inner_loop: bool, tmp_path: Path) -> None:
    """Equal to the same network written flat, also after a file."""
    net = nested(inner_loop)
    block: Any = net.nodes["block"]
    flat = {
        "fc": block.nodes["fc"],
        "lif": block.nodes["core"].nodes["lif"],
        "last": net.nodes["last"],
    }
    edges = ["input fc", "fc lif", "lif last", "last output"]
    if inner_loop:
        flat["back"] = block.nodes["back"]
        edges += ["lif back", "back lif"]
    x = spikes(10, 3)
    expected = run(lower(graph(flat, *edges)), x).output
    program = lower(net)
    assert "block.core.lif" in {p.name for p in program.populations}
    assert np.array_equal(run(program, x).output, expected)
    path = tmp_path / "nested.nir"
    path.write_bytes(write_nir(net))
    assert lower(read_nir(path)).digest() == program.digest()


def test_endless_loops_are_named() -> None:
    """Every one of them, with all of its nodes."""
    one: Any = nir.Linear(np.eye(3))
    nodes = dict.fromkeys("abcd", one) | {"lif": lif(3), "ok": one}
    edges = ("input a", "a b", "b a", "b c", "c d", "d c", "d lif", "lif ok", "ok lif")
    with pytest.raises(InputError) as caught:
        lower(graph(nodes, *edges, "lif output"))
    assert sorted(caught.value.violations) == [
        "loop a -> b -> a has neither a neuron nor a delay in it: put one there",
        "loop c -> d -> c has neither a neuron nor a delay in it: put one there",
    ]


def test_order_is_the_same_every_time_and_linear() -> None:
    """A chain with a loop at each node; the order is that of the chain."""
    n = 3000
    nodes: dict[str, Any] = {f"n{k}": lif(1) for k in range(n)}
    edges = [f"n{k} n{k + 1}" for k in range(n - 1)] + [f"n{k} n{k}" for k in range(n)]
    wires = wiring(graph(nodes, "input n0", *edges, f"n{n - 1} output", shape=1, out=1))
    order = visiting_order(wires, lambda name: False)
    assert [m for m in order.names if m.startswith("n")] == [f"n{k}" for k in range(n)]
    assert len(order.closing) == n
    assert len(list(loops_among(wires, set(nodes)))) == n


def test_edges_are_checked_in_nested_graphs_too() -> None:
    """Missing ends, missing nodes and double edges, with the path."""
    inner = graph({"lif": lif(3)}, "input lif", "lif output")
    inner.edges += [("lif", "ghost"), ("input", "lif")]
    del inner.nodes["output"]
    bad: Any = inner
    found = list(problems(graph({"block": bad}, "input block", "block output")))
    assert found == [
        "edge block.input -> block.lif appears 2 times",
        "edge block.lif -> block.output: node 'output' is missing",
        "edge block.lif -> block.ghost: node 'ghost' is missing",
        "nested graph 'block' has no Output node",
    ]


def test_the_order_of_the_nodes_does_not_matter(tmp_path: Path) -> None:
    """Two populations that the input reaches at once, in a ring: files sort nodes by name."""
    rng = np.random.default_rng(9)
    layers = {name: nir.Linear(dyadic(rng, 3, 3)) for name in ("in_b", "in_a", "ab", "ba")}
    nodes = {"b": lif(3), **layers, "a": lif(3)}
    edges = ("input in_a", "input in_b", "in_a a", "in_b b", "a ab", "ab b", "b ba", "ba a")
    net = graph(nodes, *edges, "b output")
    path = tmp_path / "ring.nir"
    path.write_bytes(write_nir(net))
    x = spikes(12, 3)
    one, two = lower(net), lower(read_nir(path))
    assert [p.name for p in one.projections if p.recurrent] == ["b -> a"]
    assert [p.name for p in two.projections if p.recurrent] == ["b -> a"]
    assert np.array_equal(run(one, x).output, run(two, x).output)
    assert run(one, x).output.any()


def wrong_in_many_ways() -> dict[str, Any]:
    """A negative tau, a weight that does not fit, a loop without time, a NaN."""
    one = np.ones(3)
    return {
        "fc": nir.Linear(np.ones((3, 5))),
        "lif": nir.LIF(-one, one, 0 * one, one),
        "r": nir.Linear(np.full((3, 3), np.nan)),
        "last": nir.Linear(np.eye(3)),
    }


def test_values_shapes_and_loops_are_named_at_once(tmp_path: Path) -> None:
    """In one message, for a graph and for its file."""
    edges = ("input fc", "input lif", "lif r", "r r", "r last", "last output")
    net = graph(wrong_in_many_ways(), *edges)
    path = tmp_path / "wrong.nir"
    path.write_bytes(write_nir(net))
    for attempt in (lambda: lower(net), lambda: resolve(path)):
        with pytest.raises(InputError) as caught:
            attempt()
        lines = "\n".join(caught.value.violations)
        for said in (
            "node 'lif': LIF.tau is -1 s, must be positive",
            "node 'r': Linear.weight is nan",
            "node 'fc': Linear: weight (3, 5) needs input (5,), gets (3,)",
            "loop r -> r has neither a neuron nor a delay in it",
        ):
            assert lines.count(said) == 1, said
        assert len(caught.value.violations) == 4


def test_unknown_nodes_are_named_with_wrong_values(tmp_path: Path) -> None:
    """Edges to what could not be built are not missing edges."""
    net = graph(wrong_in_many_ways(), "input lif", "lif last", "last output")
    path = tmp_path / "wrong.nir"
    path.write_bytes(write_nir(net))
    with h5py.File(path, "r+") as file:
        del file["node/nodes/last/type"]
        file["node/nodes/last/type"] = "Quantum"
    with pytest.raises(InputError) as caught:
        load(path)
    assert [line.split(": ", 1)[1] for line in caught.value.violations] == [
        f"node 'last': nir {nir.version} has no type 'Quantum'",
        "node 'lif': LIF.tau is -1 s, must be positive: is it in seconds?",
        "node 'r': Linear.weight is nan at (0, 0) (9 of 9), must be finite",
    ]


def test_the_ends_of_a_graph_are_its_ends() -> None:
    """Nothing leads into an Input or out of an Output."""
    net = graph({"lif": lif(3)}, "input lif", "lif output", "lif input", "output lif")
    assert list(problems(net)) == [
        "edge lif -> input: leads into an Input, which takes what is outside",
        "edge output -> lif: leads out of an Output, which ends the graph",
    ]


def test_outputs_come_in_the_order_of_their_names() -> None:
    """Whatever reads what; the first is the first also after a file."""
    net = graph({"lif": lif(3), "w": nir.Linear(np.eye(3))}, "input lif", "lif output", "lif w")
    nodes: Any = net.nodes
    nodes["a_output"] = nir.Output({"output": np.array([3])})
    net.edges.append(("w", "a_output"))
    assert lower(net).outputs == ("w", "lif")


def test_what_is_no_graph_is_refused() -> None:
    wrong: Any = lif(3)
    whole: Any = nested()
    with pytest.raises(InputError, match="lower takes a NIR graph or a ticket, this is LIF"):
        lower(wrong, DT)
    with pytest.raises(InputError, match="simplify takes a Program, this is NIRGraph"):
        simplify(whole)
