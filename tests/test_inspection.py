"""The view of a model: its nodes, shapes, parameters with units, loops, and what targets say."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import programs
import pytest
from test_loops import graph, lif

from sltdeploy import target as targets
from sltdeploy.errors import InputError
from sltdeploy.inspection import Edge, Inspection, Node, Verdict, inspected, verdict
from sltdeploy.parameters import POTENTIAL, Parameter
from sltdeploy.program import (
    DelayLine,
    Input,
    Linear,
    Population,
    Program,
    Projection,
    Relay,
    Scale,
)
from sltdeploy.resolving import resolve

RNG = np.random.default_rng(4)


def view(model: nir.NIRGraph | Program, *machines: str | Path) -> Inspection:
    """View without targets, unless some are named."""
    return inspected(resolve(model), machines)


def node(found: Inspection, name: str) -> Node:
    """The node called ``name``."""
    (only,) = (n for n in found.nodes if n.name == name)
    return only


def parameter(found: Inspection, name: str, key: str) -> Parameter:
    """A parameter of a node."""
    (only,) = (p for p in node(found, name).parameters if p.name == key)
    return only


def recurrent() -> nir.NIRGraph:
    """Three neurons that hear themselves, through half of the weights."""
    weight = np.array([[0.5, 0, 0.25], [0, 0, -1], [0, 0, 2.0]])
    nodes = {"lif": lif(3), "rec": nir.Linear(weight)}
    return graph(nodes, "input lif", "lif rec", "rec lif", "lif output")


def nested() -> nir.NIRGraph:
    """Build outer -> inner -> linear, lif: a graph in a graph in a graph."""

    def box(nodes: dict[str, Any], *edges: str) -> nir.NIRGraph:
        return graph(nodes, *edges)

    inner = box({"w": nir.Linear(np.eye(3)), "n": lif(3)}, "input w", "w n", "n output")
    outer = box({"inner": inner}, "input inner", "inner output")
    return box(
        {"outer": outer, "last.one": lif(3)}, "input outer", "outer last.one", "last.one output"
    )


def image() -> nir.NIRGraph:
    """One node of each kind that changes shapes."""
    nodes: dict[str, Any] = {
        "input": nir.Input({"input": np.array([2, 8, 9])}),
        "conv": nir.Conv2d(
            (8, 9), RNG.normal(size=(4, 1, 3, 2)), (1, 2), (1, 0), 1, 2, np.zeros(4)
        ),
        "lif": nir.LIF(np.full((4, 8, 4), 0.02), *(np.ones((4, 8, 4)) for _ in range(3))),
        "pool": nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "rows": nir.Flatten({"input": np.array([4, 4, 2])}, 1, -1),
        "line": nir.Conv1d(8, RNG.normal(size=(3, 4, 5)), 1, "same", 1, 1, np.zeros(3)),
        "scale": nir.Scale(np.full((3, 8), 0.5)),
        "flat": nir.Flatten({"input": np.array([3, 8])}, 0, -1),
        "fc": nir.Affine(RNG.normal(size=(5, 24)), np.zeros(5)),
        "output": nir.Output({"output": np.array([5])}),
    }
    names = list(nodes)
    edges = list(pairwise(names))
    return nir.NIRGraph(nodes, edges, metadata={"dt": 1e-3}, type_check=False)


# ----------------------------------------------------------------------------- nodes


def test_shapes_go_through_every_kind() -> None:
    found = view(image())
    assert [(n.name, n.shape) for n in found.nodes] == [
        ("input", (2, 8, 9)),
        ("conv", (4, 8, 4)),
        ("lif", (4, 8, 4)),
        ("pool", (4, 4, 2)),
        ("rows", (4, 8)),
        ("line", (3, 8)),
        ("scale", (3, 8)),
        ("flat", (24,)),
        ("fc", (5,)),
        ("output", (5,)),
    ]
    assert [n.kind for n in found.nodes][:4] == ["Input", "Conv2d", "LIF", "AvgPool2d"]
    assert [n.weights for n in found.nodes] == [0, 24, 0, 0, 0, 60, 0, 0, 120, 0]


def test_weights_are_counted_and_pruned_ones_are_not() -> None:
    found = view(recurrent())
    assert (node(found, "rec").weights, node(found, "rec").nonzero) == (9, 4)
    assert node(found, "rec").sparsity == found.sparsity == 1 - 4 / 9
    assert (found.weights, found.nonzero) == (9, 4)
    assert node(found, "lif").sparsity is None
    assert view(graph({"lif": lif(3)}, "input lif", "lif output")).sparsity is None


def test_parameters_have_units() -> None:
    found = view(image())
    tau = parameter(found, "lif", "tau")
    assert (tau.text, tau.unit, tau.shape) == ("20 ms", "s", (4, 8, 4))
    assert (tau.low, tau.high) == (0.02, 0.02)
    assert parameter(found, "lif", "v_threshold").unit == POTENTIAL
    assert parameter(found, "lif", "r").unit == "potential per input"
    weight = parameter(found, "fc", "weight")
    assert weight.text == f"{weight.low:.4g} to {weight.high:.4g}"
    assert weight.shape == (5, 24)
    said = {p.name: p.text for p in node(found, "conv").parameters}
    assert (said["stride"], said["padding"], said["groups"]) == ("1x2", "1x0", "2")
    assert {p.name: p.text for p in node(found, "line").parameters}["padding"] == "same"
    assert str(parameter(found, "scale", "scale")) == "scale 0.5"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        ([0.5, 2.0], "500 ms to 2 s"),
        ([1e-3], "1 ms"),
        ([2.5e-5], "25 µs"),
        ([3e-10], "0.3 ns"),
        ([1.0], "1 s"),
    ],
)
def test_times_are_short(seconds: list[float], text: str) -> None:
    tau = np.array(seconds)
    n = len(seconds)
    one = np.ones(n)
    net = graph({"n": nir.LIF(tau, one, one, one)}, "input n", "n output", shape=n, out=n)
    assert parameter(inspected(resolve(net, dt=1e-10), ()), "n", "tau").text == text


def test_an_integrator_s_resistance_is_a_slope() -> None:
    net = graph({"n": nir.IF(np.ones(3), np.ones(3))}, "input n", "n output")
    assert parameter(view(net), "n", "r").unit == "potential per input and second"


def test_vectors_of_neurons_are_ranges() -> None:
    one = np.ones(3)
    w_in = np.array([1.0, 2.0, 4.0])
    cuba = nir.CubaLIF(one * 0.01, one * 0.02, one, one * 0, one, w_in=w_in)
    found = view(graph({"n": cuba}, "input n", "n output"))
    assert parameter(found, "n", "w_in").text == "1 to 4"


def test_nested_graphs_are_told() -> None:
    found = view(nested())
    assert {n.name: n.within for n in found.nodes} == {
        "input": (),
        "outer.input": ("outer",),
        "outer.inner.input": ("outer", "outer.inner"),
        "outer.inner.w": ("outer", "outer.inner"),
        "outer.inner.n": ("outer", "outer.inner"),
        "outer.inner.output": ("outer", "outer.inner"),
        "outer.output": ("outer",),
        "last.one": (),
        "output": (),
    }


# ----------------------------------------------------------------------------- edges


def test_the_edge_that_comes_late_is_told_and_the_loop_named() -> None:
    found = view(recurrent())
    assert set(found.edges) == {
        Edge("input", "lif"),
        Edge("lif", "rec"),
        Edge("rec", "lif", back=True, recurrent=True),
        Edge("lif", "output"),
    }
    assert found.loops == (("lif", "rec", "lif"),)


def test_an_edge_back_into_a_delay_is_not_late() -> None:
    delay = nir.Delay(np.full(3, 3e-3))
    net = graph({"n": lif(3), "echo": delay}, "input n", "n echo", "echo n", "n output")
    found = inspected(resolve(net, dt=1e-3), ())
    assert [e for e in found.edges if e.back] == [Edge("n", "echo", back=True)]
    assert node(found, "echo").shape == (3,)
    assert parameter(found, "echo", "delay").text == "3 ms (3 steps)"
    assert len(found.loops) == 1


def test_every_edge_but_those_back_leads_forward() -> None:
    for model in (recurrent(), nested(), image(), programs.branches()):
        found = view(model)
        place = {n.name: k for k, n in enumerate(found.nodes)}
        assert len(place) == len(found.nodes)
        assert all(place[e.source] < place[e.target] for e in found.edges if not e.back)
        assert all(place[e.source] >= place[e.target] for e in found.edges if e.back)


# ----------------------------------------------------------------------------- programs


def test_a_program_shows_populations_and_what_lies_between() -> None:
    weight = np.array([[1.0, 0], [0, 2], [0, 0]], np.float32)
    program = Program(
        programs.CONVENTION,
        (
            Population("in", (2,), Input("spikes")),
            Population("late", (2,), DelayLine(np.array([1, 2]), spiking=True)),
            Population("n", (3,), programs.neuron(0.5)),
            Population("late -> n", (3,), Relay()),
        ),
        (
            Projection("in", "late"),
            Projection("late", "n", (Scale(np.array(2.0)), Linear(weight))),
            Projection("n", "n", (Linear(np.eye(3, dtype=np.float32)),), recurrent=True),
            Projection("n", "late -> n"),
        ),
        ("late -> n",),
    )
    found = inspected(resolve(program), ())
    assert [(n.name, n.kind, n.shape) for n in found.nodes] == [
        ("in", "spike input", (2,)),
        ("late", "delay", (2,)),
        ("late -> n'", "Scale+Linear", (3,)),
        ("n", "LIF", (3,)),
        ("n -> n", "Linear", (3,)),
        ("late -> n", "relay", (3,)),
    ]
    assert [n.weights for n in found.nodes] == [0, 0, 6, 0, 9, 0]
    assert [n.nonzero for n in found.nodes] == [0, 0, 2, 0, 3, 0]
    assert set(found.edges) == {
        Edge("in", "late"),
        Edge("late", "late -> n'"),
        Edge("late -> n'", "n"),
        Edge("n", "n -> n"),
        Edge("n -> n", "n", back=True, recurrent=True),
        Edge("n", "late -> n"),
    }
    assert [str(p) for p in node(found, "late -> n'").parameters] == [
        "op scale",
        "factor 2",
        "op Linear 2->3",
        "weight 0 to 2",
    ]
    assert parameter(found, "late", "steps").text == "1 to 2"
    assert parameter(found, "n", "threshold").text == "0.5"
    assert found.loops == (("n", "n -> n", "n"),)


# ----------------------------------------------------------------------------- targets


def test_each_target_says_one_line(tmp_path: Path) -> None:
    known = next(Path(p, "targets") for p in _places() if Path(p, "targets").is_dir())
    cortex = (known / "cortex-m7.toml").read_text("utf8")
    (tmp_path / "tiny.toml").write_text(cortex.replace("value = 2097152", "value = 16"), "utf8")
    (tmp_path / "scales.toml").write_text(cortex.replace('"Linear", ', ""), "utf8")
    found = view(recurrent(), "cortex-m7", tmp_path / "tiny.toml", tmp_path / "scales.toml")
    assert [(v.target, v.says) for v in found.verdicts] == [
        ("cortex-m7", "fits"),
        ("tiny", "too big"),
        ("scales", "lacks"),
    ]
    fits, big, lacks = map(str, found.verdicts)
    assert fits == "fits"
    assert big.startswith("too big: ")
    assert "tiny has 16" in big
    assert lacks.startswith("lacks: ")
    assert "scales has no Linear" in lacks
    assert all("\n" not in line for line in (fits, big, lacks))


def _places() -> list[str]:
    import sltdeploy

    return [*sltdeploy.__path__]


def test_a_simulator_is_not_taken_for_the_chip() -> None:
    looped = verdict(resolve(recurrent(), input_kind="spikes").program, targets.load("loihi2"))
    assert looped.says == "fits"  # a layer onto itself has the step that it needs
    program = resolve(image(), input_kind="spikes").program
    said = verdict(program, targets.load("loihi2"))
    assert said.says == "fits"
    assert "simulator only" in str(said)
    assert "--quantize int8" in str(said)


def test_more_than_one_violation_is_counted() -> None:
    assert str(Verdict("t", "lacks", ("a", "b", "c"))) == "lacks: a (and 2 more)"


def test_all_targets_speak_unless_some_are_named() -> None:
    found = inspected(resolve(recurrent()))
    assert [v.target for v in found.verdicts] == targets.names()
    assert view(recurrent()).verdicts == ()
    with pytest.raises(InputError, match="unknown target 'loihi3'"):
        view(recurrent(), "loihi3")


# ----------------------------------------------------------------------------- as a whole


def test_it_goes_through_json_and_leaves_the_graph_alone() -> None:
    net = recurrent()
    before = {name: {k: np.copy(v) for k, v in vars(n).items()} for name, n in net.nodes.items()}
    found = inspected(resolve(net))
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert [n["name"] for n in plain["nodes"]] == [n.name for n in found.nodes]
    rec = next(n for n in plain["nodes"] if n["name"] == "rec")
    assert (rec["shape"], rec["sparsity"]) == ([3], 1 - 4 / 9)
    assert rec["parameters"][0] == {
        "name": "weight",
        "text": "-1 to 2",
        "unit": "",
        "shape": [3, 3],
        "low": -1.0,
        "high": 2.0,
    }
    assert plain["edges"][2] == {"source": "rec", "target": "lif", "back": True, "recurrent": True}
    assert plain["loops"] == [["lif", "rec", "lif"]]
    assert (plain["weights"], plain["nonzero"]) == (9, 4)
    assert plain["verdicts"][0]["target"] == found.verdicts[0].target
    for name, each in net.nodes.items():
        for key, value in vars(each).items():
            np.testing.assert_array_equal(value, before[name][key])
