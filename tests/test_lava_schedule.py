"""Lags, loops and delays of the Lava exporter; runs without Lava."""

import ast
import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from lava_late_nets import N, delay, floats, integers, neuron, whole, wide, wired
from lava_nets import dyadic, lif, single

from sltdeploy.errors import InputError
from sltdeploy.exporting import Exported, load
from sltdeploy.lava_package.routes import routes
from sltdeploy.lava_package.schedule import schedule, steps
from sltdeploy.program import Input, Linear, Neuron, Population, Program, Projection, Relay, Rule

ONES = (Linear(np.ones((N, N), np.float32)),)


def export(p: Program) -> Exported:
    """What the exporter writes."""
    return load("lava").export(p, {}, None)


def net(rules: Mapping[str, Rule], *arrows: str, out: str) -> Program:
    """Rules behind the input "in"; arrows a>b with weights of 1, a=b without, a~b a step late."""
    projections: list[Projection] = []
    for arrow in arrows:
        source, kind, target = re.split("([>=~])", arrow)
        ops = () if kind == "=" else ONES
        projections.append(Projection(source, target, ops, recurrent=kind == "~"))
    return wired({"in": Input("spikes"), **rules}, tuple(projections), (out,))


def refused(p: Program) -> tuple[str, ...]:
    """Every refusal."""
    with pytest.raises(InputError) as error:
        export(p)
    return error.value.violations


@pytest.mark.parametrize("p", [floats(), integers(), wide()])
def test_lags_are_the_smallest_that_give_every_synapse_a_step(p: Program) -> None:
    found = routes(p)
    names = [q.name for q in (*p.inputs, *found.layers)]
    lags = schedule(names, found.routes, {}).lags
    for route in found.routes:
        assert min(steps(route, lags)) >= 1
    for name in names:
        into = [r for r in found.routes if r.target == name]
        tight = [min(steps(r, lags)) == 1 for r in into]
        assert lags[name] == 0 or any(tight), name
    assert min(lags.values()) == 0


def test_a_skip_waits_for_the_longer_way() -> None:
    made = export(net({"a": lif(), "b": lif(), "c": lif()}, "in>a", "a>b", "b>c", "in>c", out="c"))
    assert made.latency == {"in": 0, "a": 1, "b": 2, "c": 3}
    rows = {r["name"]: r["class"] for r in made.details["processes"]}
    assert rows["synapses_in_to_c"] == "DelayDense"
    assert rows["synapses_b_to_c"] == "Dense"
    assert made.details["pause_steps"] == 0


def test_a_delay_shortens_the_lag_and_hides_in_the_synapses() -> None:
    line = delay(2, spiking=True)
    made = export(net({"a": lif(), "wait": line, "b": lif()}, "in>a", "a=wait", "wait>b", out="b"))
    assert made.latency == {"in": 0, "a": 1, "b": 0}
    assert made.details["unrecorded"] == ["wait"]
    assert made.details["pause_steps"] == 2


def test_too_fast_loops_are_refused_one_by_one_with_what_is_missing() -> None:
    arrows = ("in>a", "a>b", "b>c", "c~a", "a>d", "d>e", "e~d")
    lines = refused(net({name: lif() for name in "abcde"}, *arrows, out="e"))
    assert [line.split(":")[0] for line in lines] == ["loop a -> b -> c -> a", "loop d -> e -> d"]
    assert "spikes take 3 steps" in lines[0]
    assert "and 1 in this network: put delays of 2 more steps into the loop" in lines[0]
    assert "put delays of 1 more step into the loop, or take onnx" in lines[1]


@pytest.mark.parametrize("waits", [1, 2, 3])
def test_a_loop_needs_as_many_steps_of_delay_as_projections(waits: int) -> None:
    rules = {"wait": delay(waits, spiking=True), "a": lif(), "b": lif()}
    p = net(rules, "in>a", "a>b", "b=wait", "wait>a", out="b")
    if waits > 1:
        assert export(p).latency == {"in": 0, "a": 1, "b": 2}
    else:
        (line,) = refused(p)
        assert line.startswith("loop a -> b -> wait -> a:")


def test_a_loop_without_a_neuron_is_refused() -> None:
    rules = {"wait": delay(1), "sum": Relay(), "a": lif()}
    (line,) = refused(net(rules, "in>sum", "wait>sum", "sum>wait", "sum>a", out="a"))
    assert "wait, sum lie on a loop in which no neuron stands" in line


def test_values_cannot_wait_longer_than_synapses_do() -> None:
    graded = wired(
        {"in": Input("graded"), "wait": delay(70), "a": lif()},
        (Projection("in", "wait"), Projection("wait", "a", ONES)),
        ("a",),
    )
    assert export(replace(graded, populations=changed(graded, "wait", delay(63))))
    (line,) = refused(replace(graded, populations=changed(graded, "wait", delay(64))))
    assert "waits 63 steps in its synapses, 62 is the most" in line


def changed(p: Program, name: str, rule: Rule) -> tuple[Population, ...]:
    """Populations with another rule for one."""
    return tuple(replace(q, rule=rule) if q.name == name else q for q in p.populations)


def test_delays_too_different_to_share_relay_neurons_are_refused() -> None:
    rules = {"a": lif(), "wait": delay(1, 9, 80, 3, 4, spiking=True), "b": lif()}
    (line,) = refused(net(rules, "in>a", "a=wait", "wait>b", out="b"))
    assert "a -> wait -> b: waits 79 steps" in line
    assert "too different to be relayed" in line


def test_a_bias_in_front_of_a_delay_is_refused() -> None:
    p = wired(
        {"in": Input("spikes"), "wait": delay(1), "a": lif()},
        (
            Projection("in", "wait", (Linear(dyadic(N, N), dyadic(N)),)),
            Projection("wait", "a"),
        ),
        ("a",),
    )
    (line,) = refused(p)
    assert "before 'wait' delays" in line


def test_integers_that_loihi_does_not_hold_are_refused() -> None:
    for weight, why in (
        (whole(N, N, one_sign=True) + 200, "weights reach from"),
        (np.where(np.eye(N) > 0, 3, -4).astype(np.int32), "must be even"),
    ):
        p = wired(
            {"in": Input("spikes"), "n": neuron()},
            (Projection("in", "n", (Linear(weight),)),),
            ("n",),
            "loihi",
        )
        (line,) = refused(p)
        assert why in line


def test_two_delays_between_the_same_neurons_are_two_processes() -> None:
    twice = wired(
        {"in": Input("spikes"), "wait": delay(0, 2, 0, 1, 1), "a": lif()},
        (Projection("in", "wait", ONES), Projection("wait", "a", ONES)),
        ("a",),
    )
    rows = [r for r in export(twice).details["processes"] if r["name"].startswith("synapses")]
    assert [r["class"] for r in rows] == ["Dense", "DelayDense", "DelayDense"]


def test_what_is_written_is_python_whatever_waits() -> None:
    for p in (floats(), integers(), wide()):
        text = export(p).files["network.py"].decode()
        ast.parse(text)
        assert max(map(len, text.splitlines())) <= 110
        assert export(p) == export(replace(p))


def test_readouts_that_other_neurons_hear_are_refused() -> None:
    rules = {"li": Neuron(single(0.5), single(0), single(0)), "wait": delay(1), "a": lif()}
    (line,) = refused(net(rules, "in>li", "li>wait", "wait>a", out="a"))
    assert "'li' sends values" in line
