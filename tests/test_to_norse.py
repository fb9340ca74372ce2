"""NIR graphs run by Norse: spike for spike what the reference does."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import nir
import numpy as np
import pytest
import torch

import sltdeploy as slt
from sltdeploy.errors import InputError
from sltdeploy.program import Array

norse = pytest.importorskip("norse.torch")  # by name: its import warns
DT = 2.0**-10
UNKNOWN: Any = None


def full(value: float, *shape: int) -> Array:
    """An array of one value."""
    return np.full(shape, value)


def eighths(rng: np.random.Generator, *shape: int) -> Array:
    """Multiples of 1/8, so that sums are exact in any order."""
    return rng.integers(-8, 13, shape) / 8


def neurons(shape: tuple[int, ...]) -> Mapping[str, Any]:
    """One node of each kind with a state, no parameter at a trivial value, all powers of two."""
    r, tau, syn = full(2, *shape), full(2 * DT, *shape), full(4 * DT, *shape)
    leak, threshold, reset = full(0.125, *shape), full(0.5, *shape), full(-0.25, *shape)
    return {
        "LIF": nir.LIF(tau, r, leak, threshold, reset),
        "LI": nir.LI(tau, r, leak),
        "IF": nir.IF(r / DT / 4, threshold, reset),
        "I": nir.I(r / DT / 4),
        "CubaLIF": nir.CubaLIF(syn, tau, r, leak, threshold, reset, w_in=full(8, *shape)),
        "CubaLI": nir.CubaLI(syn, tau, r, leak, w_in=full(2, *shape)),
        "Threshold": nir.Threshold(threshold),
        "Delay": nir.Delay(full(3 * DT, *shape)),
    }


def graph_of(
    nodes: Mapping[str, Any], edges: Sequence[tuple[str, str]], shape: tuple[int, ...], **more: Any
) -> nir.NIRGraph:
    """A graph with one input and one output."""
    ends = {"input": nir.Input({"input": np.array(shape)}), "output": nir.Output(UNKNOWN)}
    metadata = {"dt": DT, **more}
    return nir.NIRGraph({**ends, **nodes}, list(edges), metadata=metadata, type_check=False)


def chain(shape: tuple[int, ...], **nodes: Any) -> nir.NIRGraph:
    """Nodes one after the other."""
    names = ["input", *nodes, "output"]
    return graph_of(nodes, list(pairwise(names)), shape)


def in_norse(network: Any, x: Array) -> Array:
    """Output of a module over x (T, B, ...)."""
    state, sent = None, []
    with torch.no_grad():
        for step in torch.from_numpy(x):
            y, state = network(step, state)
            sent.append(y.numpy())
    return np.stack(sent)


def assert_same(graph: nir.NIRGraph) -> None:
    """Norse gives what the reference gives, there and back as well, on 30 steps of spikes."""
    shape = tuple(int(n) for n in graph.nodes["input"].input_type["input"])
    x = (np.random.default_rng(0).random((30, 2, *shape)) < 0.4).astype(np.float32)
    expected = slt.run(slt.lower(graph), x).output
    assert len(np.unique(expected)) > 1, "shows nothing"
    network = slt.to_norse(graph)
    again = slt.to_nir(network, shape)
    back = slt.run(slt.lower(again), x).output.astype(np.float32)
    found = {"there": in_norse(network, x), "back": back}
    exact_for = 30 if expected.dtype == bool else 6  # as long as float32 holds the values
    for where, y in found.items():
        first = expected[:exact_for].astype(np.float32)
        np.testing.assert_array_equal(y[:exact_for], first, err_msg=where)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5, err_msg=where)


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4)])
@pytest.mark.parametrize("kind", list(neurons((1,))))
def test_a_node_does_what_it_means(kind: str, shape: tuple[int, ...]) -> None:
    weight = eighths(np.random.default_rng(3), *shape) + 0.5
    assert_same(chain(shape, scale=nir.Scale(weight), **{kind: neurons(shape)[kind]}))


def test_parameters_may_differ_by_neuron() -> None:
    rng = np.random.default_rng(0)
    one, several = np.ones(4), 2.0 ** rng.integers(-2, 2, (5, 4))
    tau = DT * np.array([2, 4, 8, 2.0])
    node = nir.CubaLIF(
        tau[::-1], tau, several[0], 0.125 * several[1], several[2], -one, w_in=several[3]
    )
    assert_same(chain((4,), w=nir.Affine(eighths(rng, 4, 4), eighths(rng, 4)), node=node))
    node = nir.LIF(tau, 4 * several[0], 0.125 * several[1], several[2] / 4, -one)
    assert_same(chain((4,), w=nir.Linear(eighths(rng, 4, 4)), node=node))
    delays = nir.Delay(DT * np.array([0.0, 1, 2, 5]))
    assert_same(chain((4,), delay=delays, w=nir.Linear(eighths(rng, 4, 4)), node=node))


def test_connections_and_pools() -> None:
    rng = np.random.default_rng(0)
    lif = neurons((4, 3, 3))["LIF"]
    conv = nir.Conv2d(None, eighths(rng, 4, 1, 3, 2), (2, 1), "valid", (1, 2), 2, eighths(rng, 4))
    assert_same(chain((2, 7, 5), conv=conv, lif=lif, flat=nir.Flatten(UNKNOWN, 0, -1)))
    conv = nir.Conv2d(None, eighths(rng, 4, 2, 3, 3), 1, "same", 1, 1, eighths(rng, 4))
    flat = nir.Flatten({"input": np.array([4, 3, 3])}, 1, 2)
    two = np.array([2, 2])
    for pool in (
        nir.SumPool2d(two, two, np.array([0, 0])),
        nir.AvgPool2d(two, two, np.array([0, 0])),
    ):
        assert_same(chain((2, 6, 6), conv=conv, pool=pool, lif=lif, flat=flat))
    padded = nir.AvgPool2d(two, two, np.array([1, 1]))
    assert_same(chain((4, 4, 4), pool=padded, lif=lif))
    one = nir.Conv1d(None, eighths(rng, 3, 2, 3), 2, 1, 1, 1, eighths(rng, 3))
    assert_same(chain((2, 8), conv=one, lif=neurons((3, 4))["LIF"]))
    # A file may leave out the Flatten before a matrix.
    assert_same(chain((6, 1, 1), w=nir.Linear(eighths(rng, 4, 6)), lif=neurons((4,))["LIF"]))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", ["LIF", "CubaLIF", "IF"])
def test_loops(kind: str, bias: bool) -> None:
    rng = np.random.default_rng(1)
    weight = eighths(rng, 5, 5)
    nodes = {
        "w": nir.Linear(eighths(rng, 5, 3)),
        "n": neurons((5,))[kind],
        "back": nir.Affine(weight, eighths(rng, 5)) if bias else nir.Linear(weight),
    }
    edges = [("input", "w"), ("w", "n"), ("n", "back"), ("back", "n"), ("n", "output")]
    assert_same(graph_of(nodes, edges, (3,)))
    nodes["read"] = nir.Linear(eighths(rng, 2, 5))
    edges = [*edges[:-1], ("back", "read"), ("read", "output")]
    assert_same(graph_of(nodes, edges, (3,)))


def test_a_loop_through_a_delay_and_through_several_layers() -> None:
    rng = np.random.default_rng(1)
    lif = neurons((4,))["LIF"]
    weights = {f"w{k}": nir.Affine(eighths(rng, 4, 4), eighths(rng, 4)) for k in range(3)}
    nodes = {**weights, "a": lif, "b": neurons((4,))["CubaLIF"]}
    edges = [("input", "w0"), ("w0", "a"), ("a", "w1"), ("w1", "b"), ("b", "w2"), ("b", "output")]
    assert_same(graph_of(nodes, [*edges, ("w2", "a")], (4,)))
    assert_same(graph_of(nodes, [*edges, ("w2", "w0")], (4,)))
    # Where a loop ends in a layer that is read twice, as well.
    assert_same(graph_of(nodes, [*edges, ("w2", "w0"), ("w0", "b")], (4,)))
    for steps in (1, 2):
        delay = nir.Delay(full(steps * DT, 4))
        back = [("w2", "delay"), ("delay", "a")]
        assert_same(graph_of({**nodes, "delay": delay}, [*edges, *back], (4,)))


def test_branches_add_up() -> None:
    rng = np.random.default_rng(2)
    nodes = {
        "a": neurons((4,))["LIF"],
        "w": nir.Linear(eighths(rng, 4, 4)),
        "half": nir.Scale(full(0.5, 4)),
        "b": neurons((4,))["IF"],
    }
    edges = [("input", "a"), ("a", "w"), ("w", "b"), ("a", "half"), ("half", "b"), ("b", "output")]
    assert_same(graph_of(nodes, edges, (4,)))
    assert_same(graph_of(nodes, [*edges, ("input", "b"), ("a", "output")], (4,)))


def test_nested_graphs_are_inlined() -> None:
    rng = np.random.default_rng(2)
    inner = chain((3,), w=nir.Linear(eighths(rng, 3, 3)), n=neurons((3,))["LIF"])
    graph = chain((3,), first=inner, w=nir.Linear(eighths(rng, 2, 3)), n=neurons((2,))["IF"])
    assert_same(graph)
    names = {name for name, _ in slt.to_norse(graph).named_children()}
    assert names == {"first_w", "first_n", "first_n_gain", "w", "n", "n_gain"}


def test_several_inputs_and_outputs_go_by_name() -> None:
    ends = {
        **{n: nir.Input({"input": np.array([3])}) for n in ("left", "right")},
        **{n: nir.Output({"output": np.array([3])}) for n in ("sum", "one")},
    }
    nodes: dict[str, Any] = {**ends, "a": neurons((3,))["LIF"], "b": neurons((3,))["IF"]}
    edges = [("left", "a"), ("right", "b"), ("a", "b"), ("b", "sum"), ("a", "one")]
    graph = nir.NIRGraph(nodes, edges, metadata={"dt": DT}, type_check=False)
    rng = np.random.default_rng(0)
    x = {n: (rng.random((12, 2, 3)) < 0.5).astype(np.float32) for n in ("left", "right")}
    trace = slt.run(slt.lower(graph), x)
    network, state = slt.to_norse(graph), None
    for t in range(12):
        with torch.no_grad():
            y, state = network({n: torch.from_numpy(v[t]) for n, v in x.items()}, state)
        assert set(y) == {"sum", "one"}
        np.testing.assert_array_equal(y["sum"].numpy(), trace.records["b"][t])
        np.testing.assert_array_equal(y["one"].numpy(), trace.records["a"][t])


@pytest.mark.parametrize("decay", ["euler", "exponential"])
@pytest.mark.parametrize("dt", [1e-4, 2e-3])
def test_random_floats_spike_alike(decay: Any, dt: float) -> None:
    rng = np.random.default_rng(5)
    tau = rng.uniform(3, 20, (4, 6)) * dt
    threshold = rng.uniform(0.02, 0.1, 6)
    nodes = {
        "w": nir.Affine(rng.uniform(0, 2, (6, 4)), rng.normal(size=6) / 8),
        "a": nir.CubaLIF(
            tau[0], tau[1], np.ones(6), threshold / 9, threshold, -threshold, w_in=tau[0] / dt
        ),
        "back": nir.Linear(rng.normal(size=(6, 6)) / 4),
        "m": nir.Linear(rng.uniform(-1, 2, (6, 6))),
        "b": nir.LIF(tau[2], np.full(6, 1.5), threshold / 7, threshold, threshold / 5),
    }
    edges = [
        ("input", "w"),
        ("w", "a"),
        ("a", "back"),
        ("back", "a"),
        ("a", "m"),
        ("m", "b"),
        ("b", "output"),
    ]
    graph = graph_of(nodes, edges, (4,))
    x = (rng.random((60, 2, 4)) < 0.4).astype(np.float32)
    expected = slt.run(slt.lower(graph, dt, decay=decay), x).output
    assert 0.05 < expected.mean() < 0.95
    network = slt.to_norse(graph, dt, decay=decay)
    np.testing.assert_array_equal(in_norse(network, x), expected)
    again = slt.lower(slt.to_nir(network, (4,)))
    assert again.dt == dt
    np.testing.assert_array_equal(slt.run(again, x).output, expected)


def test_soft_reset_is_kept_where_norse_has_it() -> None:
    shape = (4,)
    lif = chain(
        shape, w=nir.Linear(eighths(np.random.default_rng(0), 4, 4)), n=neurons(shape)["LIF"]
    )
    x = np.random.default_rng(0).random((20, 1, 4), dtype=np.float32)
    soft, hard = (slt.run(slt.lower(lif, reset=r), x).output for r in ("subtract", "zero"))
    assert (soft != hard).any()
    np.testing.assert_array_equal(in_norse(slt.to_norse(lif, reset="subtract"), x), soft)
    again = slt.to_nir(slt.to_norse(lif, reset="subtract"), shape)
    assert again.metadata["reset"] == "subtract"


@pytest.mark.parametrize("kind", ["LIF", "IF", "CubaLIF", "Threshold"])
def test_spikes_at_the_threshold_itself(kind: str) -> None:
    node = neurons((3,))[kind]
    if kind == "CubaLIF":
        node.v_leak = full(0, 3)
    graph = chain((3,), n=node)
    x = np.random.default_rng(0).integers(0, 5, (30, 2, 3)).astype(np.float32) / 8
    at, above = (slt.run(slt.lower(graph, comparison=c), x).output for c in ("ge", "gt"))
    assert (at != above).any()
    np.testing.assert_array_equal(in_norse(slt.to_norse(graph, comparison="ge"), x), at)
    again = slt.lower(slt.to_nir(slt.to_norse(graph, comparison="ge"), (3,)))
    np.testing.assert_array_equal(slt.run(again, x).output, at)


def test_what_norse_cannot_do_is_named_at_once() -> None:
    nodes = {k: neurons((3,))[k] for k in ("LIF", "IF", "CubaLIF", "LI")}
    with pytest.raises(InputError) as caught:
        slt.to_norse(chain((3,), **nodes), reset="subtract", comparison="ge")
    text = str(caught.value)
    assert "node 'IF': IF resets by subtraction, in Norse only LIF" in text
    assert "node 'CubaLIF': CubaLIF resets by subtraction" in text
    assert "node 'LIF': LIF resets by subtraction where v >= threshold" in text
    assert len(caught.value.violations) == 3
    with pytest.raises(InputError, match="no time step"):
        slt.to_norse(
            nir.NIRGraph(dict(chain((3,), **nodes).nodes), [("input", "output")], type_check=False)
        )


def test_a_file_that_is_wrong_is_refused_as_by_lower() -> None:
    with pytest.raises(InputError, match=r"node 'w'.*needs input \(3,\), gets \(2,\)"):
        slt.to_norse(chain((2,), w=nir.Linear(np.ones((2, 3)))))


def test_it_can_be_trained() -> None:
    graph = chain((3,), w=nir.Affine(np.ones((2, 3)), np.zeros(2)), n=neurons((2,))["LIF"])
    network = slt.to_norse(graph)
    y, state = network(torch.ones(4, 3))
    y, _ = network(torch.ones(4, 3), state)
    y.sum().backward()
    gradient = network.get_parameter("w.weight").grad
    assert gradient is not None
    assert (gradient != 0).all()
    assert {"w.weight", "w.bias"} == {name for name, _ in network.named_parameters()}


def test_names_that_a_module_needs_itself_are_changed() -> None:
    nodes = neurons((2,))
    graph = chain((2,), forward=nodes["LIF"], forward_gain=nodes["LI"], dt=nodes["Threshold"])
    network = slt.to_norse(graph)
    names = [name for name, _ in network.named_children()]
    assert names == ["dt_", "forward_", "forward_gain", "forward_gain_", "forward_gain_gain"]
    assert network.dt == DT
    assert_same(graph)
