"""`lower` against the equations of NIR, stepped neuron by neuron in plain Python."""

import copy
from itertools import pairwise
from typing import Any

import nir
import numpy as np
import pytest

from sltdeploy.errors import InputError
from sltdeploy.lowering import lower
from sltdeploy.program import Array, Conv, Linear, Neuron, Relay, Scale
from sltdeploy.reference import run

DT = 2**-10  # s; dyadic like all parameters here, so that every sum is exact in any order


def dyadic(rng: np.random.Generator, *shape: int, bits: int = 4) -> Array:
    """Multiples of 2**-bits in [-1, 1)."""
    return rng.integers(-(2**bits), 2**bits, shape) / 2**bits


def chain(*nodes: nir.NIRNode, shape: tuple[int, ...], out: tuple[int, ...]) -> nir.NIRGraph:
    """Input -> nodes -> Output, named n0, n1, ..."""
    named: dict[str, Any] = {"input": nir.Input({"input": np.array(shape)})}
    named |= {f"n{k}": node for k, node in enumerate(nodes)}
    named["output"] = nir.Output({"output": np.array(out)})
    names = list(named)
    return nir.NIRGraph(named, list(pairwise(names)), {}, type_check=False)


def neuron(kind: str, n: int, rng: np.random.Generator) -> nir.NIRNode:
    """A node with a different dyadic value of each parameter for each neuron."""
    tau = DT * 2.0 ** rng.integers(0, 2, n)
    leak, reset = dyadic(rng, n) / 4, dyadic(rng, n) / 4
    threshold = (2 + rng.integers(0, 6, n)) / 16
    r = 2.0 ** rng.integers(-1, 2, n)
    match kind:
        case "LIF":
            return nir.LIF(tau, r, leak, threshold, reset)
        case "LI":
            return nir.LI(tau, r, leak)
        case "IF":
            return nir.IF(r / DT, threshold, reset)
        case "I":
            return nir.I(r / DT)
        case "CubaLIF":
            return nir.CubaLIF(2 * tau, tau, r, leak, threshold, reset, np.full(n, 4.0))
        case _:
            return nir.CubaLI(2 * tau, tau, r, leak, np.full(n, 4.0))


def walked(
    node: Any, currents: Array, reset: str, comparison: str
) -> tuple[list[list[float]], list[list[bool]]]:
    """Step one neuron after the other by the equations of NIR: values before reset, spikes."""
    values: list[list[float]] = []
    spikes: list[list[bool]] = []
    for k in range(currents.shape[1]):
        start = 0.0
        for key in ("v_leak", "v_reset"):
            if hasattr(node, key) and not (key == "v_reset" and hasattr(node, "v_leak")):
                start = float(getattr(node, key)[k])
        v, i = start, 0.0
        trace: list[float] = []
        fired: list[bool] = []
        for x in currents[:, k]:
            if hasattr(node, "tau_syn"):
                i += DT / node.tau_syn[k] * (-i + node.w_in[k] * x)
                v += DT / node.tau_mem[k] * (node.v_leak[k] - v + node.r[k] * i)
            elif hasattr(node, "tau"):
                v += DT / node.tau[k] * (node.v_leak[k] - v + node.r[k] * x)
            else:
                v += DT * node.r[k] * x
            trace.append(v)
            if hasattr(node, "v_threshold"):
                threshold = node.v_threshold[k]
                z = v > threshold if comparison == "gt" else v >= threshold
                fired.append(bool(z))
                if z:
                    v = v - threshold if reset == "subtract" else float(node.v_reset[k])
        values.append(trace)
        spikes.append(fired)
    return values, spikes


@pytest.mark.parametrize("kind", ["LIF", "LI", "IF", "I", "CubaLIF", "CubaLI"])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("comparison", ["gt", "ge"])
def test_each_neuron_follows_its_equation(kind: str, reset: Any, comparison: Any) -> None:
    """Spikes and values equal those of the equation, neuron by neuron, exactly."""
    rng = np.random.default_rng(7)
    node, weight, bias = neuron(kind, 12, rng), dyadic(rng, 12, 5, bits=2), dyadic(rng, 12, bits=2)
    graph = chain(nir.Affine(weight, bias), node, shape=(5,), out=(12,))
    x = rng.integers(0, 3, (7, 1, 5)).astype(float)
    program = lower(graph, DT, reset=reset, comparison=comparison)
    record = run(program, x).records["n1"][:, 0]
    values, spikes = walked(node, x[:, 0] @ weight.T + bias, reset, comparison)
    if kind in ("LI", "I", "CubaLI"):
        assert np.array_equal(record, np.array(values, dtype=np.float32).T)
        assert len(np.unique(record)) > 20
    else:
        assert np.array_equal(record, np.array(spikes).T)
        assert 10 < record.sum() < record.size - 10


def test_comparison_and_reset_matter() -> None:
    """An exact tie spikes under ge only; what stays after a spike depends on the reset."""
    node = nir.IF(np.array([1 / DT]), np.array([1.0]), np.array([0.0]))
    graph = chain(nir.Linear(np.array([[1.0]])), node, shape=(1,), out=(1,))
    ones = np.ones((4, 1, 1))
    assert run(lower(graph, DT), ones).output[:, 0, 0].tolist() == [False, True, False, True]
    assert run(lower(graph, DT, comparison="ge"), ones).output.all()
    once = run(lower(graph, DT, reset="subtract"), 1.5 * ones).output[:, 0, 0]
    assert once.tolist() == [True, True, True, True]
    assert run(lower(graph, DT), 0.75 * ones).output[:, 0, 0].tolist() == [False, True, False, True]


def test_exponential_decay_is_exact_at_constant_input() -> None:
    """The LI then follows v = r x (1 - exp(-t / tau)) at every step, for any dt."""
    tau, r, x = 7e-3, 1.5, 0.8
    node = nir.LI(np.array([tau]), np.array([r]), np.array([0.0]))
    graph = chain(nir.Linear(np.array([[1.0]])), node, shape=(1,), out=(1,))
    for dt in (1e-3, 5e-3, 2e-2):
        v = run(lower(graph, dt, decay="exponential"), np.full((6, 1, 1), x)).output[:, 0, 0]
        t = dt * np.arange(1, 7)
        assert v == pytest.approx(r * x * (1 - np.exp(-t / tau)), rel=1e-6)


def test_gains_go_into_the_weights() -> None:
    """A uniform gain ends in the last weights, a gain by channel in a convolution, else Scale."""
    rng = np.random.default_rng(1)
    weight = dyadic(rng, 4, 1, 3, 3)
    conv = nir.Conv2d((6, 6), weight, 1, 1, 1, 1, np.zeros(4))
    pool = nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))

    def lif(r: Array) -> nir.LIF:
        one = np.ones(r.shape)
        return nir.LIF(one * 2 * DT, r, 0 * one, one)

    r = np.broadcast_to(np.arange(1.0, 5)[:, None, None], (4, 6, 6))
    ops = lower(chain(conv, lif(r), shape=(1, 6, 6), out=(4, 6, 6)), DT).projections[0].ops
    assert isinstance(ops[0], Conv)
    assert len(ops) == 1
    expected = weight * np.arange(1, 5)[:, None, None, None] / 2
    assert np.array_equal(ops[0].weight, expected.astype(np.float32))
    graph = chain(conv, pool, lif(np.full((4, 3, 3), 3.0)), shape=(1, 6, 6), out=(4, 3, 3))
    ops = lower(graph, DT).projections[0].ops
    assert isinstance(ops[0], Conv)
    assert len(ops) == 2
    assert np.array_equal(ops[0].weight, (weight * 1.5).astype(np.float32))
    r = rng.integers(1, 5, (4, 3, 3)).astype(float)
    ops = lower(chain(conv, pool, lif(r), shape=(1, 6, 6), out=(4, 3, 3)), DT).projections[0].ops
    assert isinstance(ops[2], Scale)
    assert np.array_equal(ops[2].factor, (r / 2).astype(np.float32))


def test_branches_meet_in_relays() -> None:
    """A sum before a layer, a layer read twice and a bare layer at the end become relays."""
    rng = np.random.default_rng(3)
    w, w2, w3 = (dyadic(rng, 4, 4) for _ in range(3))
    one = np.ones(4)
    nodes: dict[str, Any] = {
        "input": nir.Input({"input": np.array([4])}),
        "a": nir.Linear(w),
        "lif": nir.LIF(DT * one, one, 0 * one, one / 4),
        "b": nir.Linear(w2),
        "last": nir.Affine(w3, one / 2),
        "output": nir.Output({"output": np.array([4])}),
    }
    edges = [("input", "a"), ("a", "lif"), ("a", "b"), ("lif", "b"), ("b", "last")]
    graph = nir.NIRGraph(nodes, [*edges, ("last", "output")], {}, type_check=False)
    program = lower(graph, DT)
    kinds = {p.name: type(p.rule) for p in program.populations}
    assert kinds == {
        "input": kinds["input"],
        "a": Relay,
        "lif": Neuron,
        "b.sum": Relay,
        "last": Relay,
    }
    assert program.outputs == ("last",)
    x = rng.integers(0, 2, (1, 3, 4)).astype(float)
    a = x[0] @ w.T
    expected = (a + (a > 0.25)) @ w2.T @ w3.T + 0.5
    assert np.array_equal(run(program, x).output[0], expected.astype(np.float32))


def test_metadata_counts_and_arguments_win() -> None:
    """dt, reset, comparison, decay and input_kind come from the metadata unless given."""
    graph = chain(nir.Linear(np.eye(2)), nir.I(np.ones(2)), shape=(2,), out=(2,))
    graph.metadata = {
        "dt": 1e-4,
        "reset": "subtract",
        "comparison": "ge",
        "decay": "exponential",
        "input_kind": "spikes",
    }
    program = lower(graph)
    c = program.convention
    assert (c.dt, c.reset, c.comparison, c.decay) == (1e-4, "subtract", "ge", "exponential")
    assert program.population("input").spiking
    c = lower(graph, 1e-3, reset="zero", comparison="gt", decay="euler").convention
    assert (c.dt, c.reset, c.comparison, c.decay) == (1e-3, "zero", "gt", "euler")
    assert not lower(graph, input_kind="graded").population("input").spiking


def test_the_graph_is_left_alone() -> None:
    """Lowering changes neither nodes nor arrays nor metadata."""
    rng = np.random.default_rng(5)
    graph = chain(
        nir.Affine(dyadic(rng, 3, 2), np.ones(3)), neuron("LIF", 3, rng), shape=(2,), out=(3,)
    )
    before = copy.deepcopy(graph)
    lower(graph, DT)
    assert list(graph.nodes) == list(before.nodes)
    assert graph.edges == before.edges
    assert graph.metadata == before.metadata
    for name, node in graph.nodes.items():
        for key, value in vars(node).items():
            assert repr(value) == repr(vars(before.nodes[name])[key])
    weight: Any = graph.nodes["n0"]
    weight.weight[0, 0] = 9  # still the caller's own


@pytest.mark.parametrize(
    ("nodes", "shape", "said"),
    [
        ([nir.Linear(np.eye(3))], (2,), "node 'n0': Linear: weight (3, 3) needs input (3,)"),
        ([nir.Linear(np.full((2, 2), np.nan))], (2,), "node 'n0': Linear.weight is nan at (0, 0)"),
        (
            [nir.LIF(np.array([-1.0, 1]), np.ones(2), np.zeros(2), np.ones(2))],
            (2,),
            "node 'n0': LIF.tau is -1 s, must be positive",
        ),
        ([nir.LI(np.full(2, 1e-6), np.ones(2), np.zeros(2))], (2,), "diverges from dt > 2 tau"),
        ([nir.I(np.ones(3))], (2,), "I.r has shape (3,), what arrives has (2,)"),
        ([nir.Delay(np.full(2, 1.5 * DT))], (2,), "1.5 steps of 0.000976562 s: must be a whole"),
        (
            [nir.Conv2d((4, 4), np.ones((2, 3, 3, 3)), 1, 0, 1, 1, np.zeros(2))],
            (1, 4, 4),
            "needs 3 input channels, gets 1",
        ),
    ],
)
def test_what_is_wrong_is_named(nodes: list[Any], shape: tuple[int, ...], said: str) -> None:
    """Node, value and limit stand in the message."""
    with pytest.raises(InputError) as caught:
        lower(chain(*nodes, shape=shape, out=shape), DT)
    assert said in str(caught.value)


def test_all_violations_come_at_once() -> None:
    """Three wrong nodes give three lines."""
    bad = nir.LI(np.array([0.0, 1]), np.ones(2), np.zeros(2))
    graph = chain(bad, nir.Linear(np.full((2, 2), np.inf)), bad, shape=(2,), out=(2,))
    with pytest.raises(InputError) as caught:
        lower(graph, DT)
    assert len(caught.value.violations) == 3


def test_no_time_step_and_loops_are_refused() -> None:
    """Neither is guessed."""
    graph = chain(nir.Linear(np.eye(2)), nir.I(np.ones(2)), shape=(2,), out=(2,))
    with pytest.raises(InputError, match="no time step"):
        lower(graph)
    with pytest.raises(InputError, match="time step is -1"):
        lower(graph, -1)
    nodes: Any = graph.nodes
    nodes["again"] = nir.Linear(np.eye(2))
    graph.edges += [("n0", "again"), ("again", "n0")]
    with pytest.raises(InputError, match="loop n0 -> again -> n0 has neither a neuron nor"):
        lower(graph, DT)


def test_linear_layers_fold_in_float64() -> None:
    """The gain is multiplied in float64 and rounded once."""
    weight = np.array([[0.1]], dtype=np.float32)
    node = nir.LI(np.array([0.003]), np.array([1.0]), np.array([0.0]))
    ops = lower(chain(nir.Linear(weight), node, shape=(1,), out=(1,)), 1e-3).projections[0].ops
    assert isinstance(ops[0], Linear)
    assert ops[0].weight[0, 0] == np.float32(np.float64(weight[0, 0]) * (1e-3 / 0.003))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"reset": "hard"}, "reset is 'hard', must be zero or subtract"),
        ({"comparison": ">"}, "comparison is '>', must be gt or ge"),
        ({"decay": "exact"}, "decay is 'exact', must be euler or exponential"),
        ({"input_kind": "analog"}, "input_kind is 'analog', must be spikes or graded"),
    ],
)
def test_unknown_words_are_refused(given: dict[str, Any], said: str) -> None:
    """Nothing is taken for something else."""
    graph = chain(nir.Linear(np.eye(2)), nir.I(np.ones(2)), shape=(2,), out=(2,))
    with pytest.raises(InputError) as caught:
        lower(graph, DT, **given)
    assert said in str(caught.value)


@pytest.mark.parametrize("dt", ["1 ms", [1e-3, 2e-3], -1e-3, float("nan"), True])
def test_a_time_step_in_the_metadata_is_a_positive_number(dt: Any) -> None:
    graph = chain(nir.Linear(np.eye(2)), nir.I(np.ones(2)), shape=(2,), out=(2,))
    graph.metadata["dt"] = dt
    with pytest.raises(
        InputError, match=r"metadata dt is .*, must be a positive number of seconds"
    ):
        lower(graph)
