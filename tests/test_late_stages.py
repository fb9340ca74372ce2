"""Recurrent projections, delay lines and thresholds through every stage behind the reference."""

from pathlib import Path
from typing import Any

import nir
import numpy as np
import programs
import pytest
from late_programs import delay, late_programs, network, threshold
from test_loops import DT, graph, lif, nested, spikes

from sltdeploy import exporting, reference
from sltdeploy.anatomy import neuron_kind
from sltdeploy.checking import unsupported
from sltdeploy.counting import count
from sltdeploy.errors import InputError
from sltdeploy.exporting import export
from sltdeploy.graph import read_nir
from sltdeploy.lowering import lower
from sltdeploy.mapping import fit
from sltdeploy.program import Linear, Projection, Relay
from sltdeploy.quantize import for_loihi, snap
from sltdeploy.resting import at_rest
from sltdeploy.runtime import open_artifact
from sltdeploy.target import load
from sltdeploy.verification import verify

CASES = late_programs()
EYE = nir.Linear(np.eye(3))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_an_artifact_agrees_with_its_reference(case: str, quantize: Any, tmp_path: Path) -> None:
    """Exported, opened and stepped by the runtime, for two batch sizes in turn."""
    export(CASES[case], "raspberry-pi-5", tmp_path / "a", quantize=quantize)
    with open_artifact(tmp_path / "a") as runner:
        for batch in (3, 2):
            fed = programs.stimulus(CASES[case], batch=batch)
            assert verify(runner, fed).lines() == ()


def test_an_edge_around_a_loop_is_not_late() -> None:
    """A skip edge from the input to what follows a loop makes that no part of the loop."""
    nodes = {"a": EYE, "b": lif(3), "back": EYE, "next": EYE, "d": lif(3)}
    edges = ("input a", "a b", "b back", "back b", "b next", "next d", "input d", "d output")
    late = {p.name for p in lower(graph(nodes, *edges)).projections if p.recurrent}
    assert late == {"b -> b"}


def test_two_loops_in_one_another_are_cut_once_each() -> None:
    """The outer loop where the input enters, the inner one where the outer enters it."""
    nodes = {name: lif(3) for name in "abc"} | {"wait": nir.Delay(np.full(3, DT))}
    edges = ("input a", "a b", "b c", "c b", "c a", "c wait", "wait b", "a output")
    program = lower(graph(nodes, *edges))
    assert {p.name for p in program.projections if p.recurrent} == {"c -> a", "c -> b"}
    assert [p.name for p in program.populations if p.name != "input"] == ["wait", "a", "b", "c"]


def test_a_nested_graph_is_no_entrance() -> None:
    """Its Input is a node like any other: the loop is cut where the network's input arrives."""
    block: Any = graph({"lif": lif(3)}, "input lif", "lif output")
    edges = ("input a", "a b", "b block", "block a", "block output")
    program = lower(graph({"a": lif(3), "b": lif(3), "block": block}, *edges))
    assert {p.name for p in program.projections if p.recurrent} == {"block.lif -> a"}


@pytest.mark.parametrize("probed", [False, True])
def test_reading_a_layer_does_not_change_it(probed: bool) -> None:
    """A biased layer in a loop acts in the first step, also where an output makes it a relay."""
    rec: Any = nir.Affine(np.eye(3) / 4, np.full(3, 0.5))
    net = graph({"lif": lif(3), "rec": rec}, "input lif", "lif rec", "rec lif", "lif output")
    if probed:
        net.nodes["probe"] = nir.Output({"output": np.array([3])})
        net.edges.append(("rec", "probe"))
    program = lower(net)
    assert any(isinstance(p.rule, Relay) for p in program.populations) is probed
    record = reference.run(program, np.zeros((2, 1, 3))).records["lif"]
    assert record[0].all()


def test_what_stood_on_recurrent_projections() -> None:
    """Biases that lie on the way for relays, 0 for other sources of recurrent projections."""
    program = CASES["biased relay in a ring"]
    (op,) = program.projections[-1].ops
    assert isinstance(op, Linear)
    assert op.bias is not None
    assert {n: a.tolist() for n, a in at_rest(program).items()} == {"back": op.bias.tolist()}
    assert at_rest(CASES["self loop"])["out"].tolist() == [0] * 5
    assert at_rest(CASES["delay in a loop"]) == {}


def test_relays_in_a_circle_start_from_nothing() -> None:
    """Where no neuron is in a loop, nothing says what stood there before."""
    program = network(
        {"a": Relay(), "out": Relay()},
        Projection("in", "a"),
        Projection("a", "out", (Linear(np.eye(5), np.ones(5)),)),
        Projection("out", "a", recurrent=True),
    )
    assert not at_rest(program)["out"].any()
    got = reference.run(program, np.zeros((3, 1, 5))).records["out"]
    assert got[:, 0, 0].tolist() == [1, 2, 3]


def test_recurrent_events_are_those_of_the_step_before() -> None:
    """The spikes of the last step never enter the loop."""
    program = CASES["self loop"]
    trace = reference.run(program, programs.stimulus(program))
    spent = trace.records["out"]
    loop = count(program, trace).projections[1]
    weight = loop_weight(program.projections[1])
    assert loop.events.tolist() == spent[:-1].sum(axis=(0, 2)).tolist()
    assert loop.synops.tolist() == [
        int((weight != 0).sum(axis=0) @ spent[:-1, b].sum(axis=0)) for b in range(trace.batch)
    ]
    assert loop.operation == "ac"
    assert spent[-1].any()


def loop_weight(projection: Projection) -> np.ndarray:
    """Weights of a projection of one layer."""
    (op,) = projection.ops
    assert isinstance(op, Linear)
    return op.weight


def test_relays_and_delays_are_no_neurons() -> None:
    """What only passes through them costs no synaptic operation and no update, but messages."""
    program = network(
        {"wait": delay(2), "sum": Relay(), "out": programs.neuron(0.5)},
        Projection("in", "wait"),
        Projection("wait", "sum"),
        Projection("in", "sum"),
        Projection("sum", "out"),
    )
    trace = reference.run(program, programs.stimulus(program))
    counts = count(program, trace)
    assert [int(p.synops.sum()) for p in counts.projections[:3]] == [0, 0, 0]
    assert [p.synapses for p in counts.projections] == [0, 0, 0, 5]
    assert all(p.events.all() for p in counts.projections)
    expected = np.count_nonzero(trace.records["sum"], axis=(0, 2))
    assert counts.synops.tolist() == expected.tolist()
    assert [p.updates for p in counts.populations] == [0, 0, 0, 5 * trace.steps]
    assert [p.kind for p in counts.populations] == ["graded input", "delay", "relay", "LIF"]


def test_kinds() -> None:
    """A Threshold is told from a LIF by its memory alone."""
    assert neuron_kind(threshold(0.5)) == "Threshold"
    assert neuron_kind(programs.neuron(0.5, decay=np.array([0, 0.5]))) == "LIF"
    assert neuron_kind(programs.neuron(None, decay=0)) == "LI"
    assert neuron_kind(programs.neuron(1, decay=0, decay_syn=0.5)) == "CubaLIF"


def test_targets_say_what_they_have() -> None:
    """Processors take delays and thresholds; on Loihi delays lie in the synapses."""
    for case in ("delay of one", "threshold", "self loop"):
        for name in ("cortex-m7", "loihi2"):
            assert unsupported(CASES[case], load(name)) == []


def test_memory_for_what_waits() -> None:
    """A state is kept twice: a delay of 3 keeps 3 values more for each of 5 elements."""

    def ram(case: str) -> int:
        return next(
            r.used for r in fit(CASES[case], load("cortex-m7")).resources if "val" in r.name
        )

    assert ram("delay of three") - ram("delay of none") == 2 * 4 * 5 * 3
    assert ram("self loop") - ram("threshold") == 2 * 4 * 5


def test_integers_take_loops_and_delays() -> None:
    """What waits is left as it is, its weights become integers with those around it."""
    program = network(
        {"wait": delay(3), "out": programs.neuron(0.5)},
        Projection("in", "wait"),
        Projection("wait", "out"),
        Projection("out", "out", recurrent=True),
    )
    quantised = for_loihi(program, programs.stimulus(program)["in"])
    assert quantised.population("wait").rule is program.population("wait").rule
    assert [p.recurrent for p in quantised.projections] == [False, False, True]
    assert snap(program).projections[2].recurrent


def test_lava_refuses_by_name_all_at_once() -> None:
    """A comparison that Lava lacks, a bias that would be late, a loop without time enough."""
    program = network(
        {"wait": delay(3), "mid": programs.neuron(0.5), "out": programs.neuron(0.5, ge=True)},
        Projection("in", "wait", (Linear(np.eye(5), np.ones(5)),)),
        Projection("wait", "mid"),
        Projection("mid", "out"),
        Projection("out", "mid", recurrent=True),
    )
    with pytest.raises(InputError) as caught:
        exporting.load("lava").export(program, {}, None)
    compares, bias, loop = caught.value.violations
    assert "population 'out' compares with >=" in compares
    assert "a bias is added before 'wait' delays" in bias
    assert loop.startswith("loop mid -> out -> mid: spikes take 2 steps around it on Loihi")
    assert "delays of 1 more step into the loop" in loop


def test_lava_takes_loops_and_delays() -> None:
    """A loop onto itself through a delay and without one."""
    for case in ("self loop", "delay in a loop"):
        assert exporting.load("lava").export(CASES[case], {}, None).latency["out"] == 1


def looped() -> nir.NIRGraph:
    """A ring through a delay, a loop, a threshold and a nested graph with a loop in it."""
    block: Any = nested(inner_loop=True)
    nodes = {
        "block": block,
        "lif": lif(3),
        "back": EYE,
        "wait": nir.Delay(np.full(3, 2 * DT)),
        "thr": nir.Threshold(np.full(3, 0.25)),
    }
    edges = ("input block", "block lif", "lif back", "back lif", "lif wait", "wait thr")
    return graph(nodes, *edges, "thr lif", "thr output")


@pytest.mark.parametrize("net", [looped(), nested(inner_loop=True)])
def test_nir_artifacts_mean_the_same_program(net: nir.NIRGraph, tmp_path: Path) -> None:
    """Written, read by plain nir and by us, and run."""
    export(net, None, tmp_path / "a", format="nir")
    program = lower(net)
    assert any(p.recurrent for p in program.projections)
    path = tmp_path / "a" / "network.nir"
    assert lower(read_nir(path)).digest() == program.digest()
    assert lower(nir.read(path, type_check=False)).digest() == program.digest()
    with open_artifact(tmp_path / "a") as runner:
        x = spikes(10, 3)
        assert np.array_equal(
            runner.run(x).outputs[program.outputs[0]], reference.run(program, x).output
        )
        assert verify(runner, x).ok
