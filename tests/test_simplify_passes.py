"""Identities, merged chains and unread neurons, rule by rule; the laws are in test_simplify."""

import numpy as np
import pytest
from programs import CONVENTION, branches, chain, neuron, scale, stimulus
from simplify_cases import f32, same, two

from sltdeploy.program import (
    Array,
    Conv,
    DelayLine,
    Input,
    Linear,
    Op,
    Pool,
    Population,
    Program,
    Projection,
    Relay,
    Reshape,
    Rule,
    Scale,
)
from sltdeploy.reference import run
from sltdeploy.simplification import simplify
from sltdeploy.simplification.identities import remove_identities
from sltdeploy.simplification.merging import merge_affine
from sltdeploy.simplification.unread import drop_unread


def test_nobody_reads_what_only_reads_itself() -> None:
    """A loop without a way to an output goes, and what feeds only it."""
    one = (Linear(f32([[1]])),)
    program = Program(
        CONVENTION,
        (
            Population("in", (1,), Input("spikes")),
            Population("feeds", (1,), neuron(0.5)),
            Population("itself", (1,), neuron(0.5)),
            Population("out", (1,), neuron(0.5)),
        ),
        (
            Projection("in", "feeds", one),
            Projection("feeds", "itself", one),
            Projection("itself", "itself", one, recurrent=True),
            Projection("in", "out", one),
        ),
        ("out",),
    )
    small = simplify(program)
    same(program, small)
    assert [p.name for p in small.program.populations] == ["in", "out"]
    assert set(small.kept) == {"in", "out"}


def test_nobody_reads_through_a_factor_of_zero() -> None:
    """One-to-one projections couple both ends, so the neuron goes only where a layer follows."""
    behind = (Scale(f32([1, 0])), Linear(f32([[1, 1 / 3]])))
    program = two(neuron(0.5), (Linear(np.ones((2, 2), "f4")),), behind)
    small = drop_unread(program)
    same(program, small)
    assert list(small.kept["hidden"]) == [0]


def test_groups_go_that_nobody_reads() -> None:
    """Two groups of two channels; of the second nothing is read."""
    weight = np.ones((4, 2, 1, 1), np.float32)
    weight[2:] = 0
    ops = (Linear(np.ones((4, 2), "f4")), Reshape((4, 1, 1)))
    behind = (Conv(weight, groups=2), Reshape((4,)), Linear(np.ones((1, 4), "f4")))
    program = two(neuron(0.5), ops, behind)
    small = drop_unread(program)
    same(program, small)
    assert list(small.kept["hidden"]) == [0, 1]
    first_only = np.flip(weight, axis=0)
    program = two(neuron(0.5), ops, (Conv(first_only, groups=2), *behind[1:]))
    small = drop_unread(program)
    same(program, small)
    assert list(small.kept["hidden"]) == [2, 3]


def test_a_circle_of_relays_stays_whole() -> None:
    """In it nothing stands on the recurrent projection before the first step, not even a bias."""
    one = Linear(f32([[1]]))
    program = Program(
        CONVENTION,
        (
            Population("in", (1,), Input("spikes")),
            Population("a", (1,), Relay()),
            Population("b", (1,), Relay()),
        ),
        (
            Projection("in", "a", (one,)),
            Projection("a", "b", (Linear(f32([[0]])),)),
            Projection("in", "b", (Linear(f32([[1]]), f32([1])),)),
            Projection("b", "a", (one,), recurrent=True),
        ),
        ("a",),
    )
    same(program, simplify(program))
    same(program, remove_identities(program))


def test_whole_channels_go() -> None:
    """Of four channels one is not read, one silent, one read at a single place, one whole."""
    rng = np.random.default_rng(0)
    first = rng.integers(1, 8, (4, 1, 2, 2)).astype("f4") / 8
    first[1] = -1
    reader = np.zeros((1, 36), np.float32)
    reader[0, [9, 18, *range(27, 36)]] = 1  # channels 1, 2 and 3 of 3 x 3
    program = Program(
        CONVENTION,
        (
            Population("in", (1, 4, 4), Input("spikes")),
            Population("maps", (4, 3, 3), neuron(f32(np.full((4, 1, 1), 0.5)))),
            Population("out", (1,), neuron(None)),
        ),
        (
            Projection("in", "maps", (Conv(first, f32([0.5, 0, 0, 0.25])),)),
            Projection("maps", "out", (Reshape((36,)), Linear(reader))),
        ),
        ("out",),
    )
    small = simplify(program)
    same(program, small)
    assert list(small.kept["maps"]) == list(range(18, 36))
    conv = small.program.into("maps")[0].ops[0]
    assert isinstance(conv, Conv)
    assert np.array_equal(conv.weight, first[2:])
    assert conv.bias is not None
    assert conv.bias.tolist() == [0, 0.25]


def test_identities_go() -> None:
    ops = (Reshape((2, 2)), scale(1), Reshape((4,)), Linear(np.eye(4, dtype="f4")), Reshape((4,)))
    program = chain((4,), ops, neuron(0.5))
    (projection,) = remove_identities(program).program.projections
    assert projection.ops == (ops[3],)
    image = chain((1, 2, 2), (Pool((1, 1), (1, 1)), Pool((1, 1), (2, 1))), neuron(0.5))
    assert len(remove_identities(image).program.projections[0].ops) == 1


def test_projections_that_bring_nothing_go_but_the_last() -> None:
    nothing = Linear(np.zeros((2, 2), "f4"))
    for ops, left in (
        ((nothing,), 2),
        ((nothing, scale(2)), 2),
        ((nothing, Linear(f32([[1, 1]]), f32([1]))), 3),
    ):
        program = two(neuron(0.5), (nothing,), ops)
        small = remove_identities(program)
        same(program, small)
        assert len(small.program.projections) == left
        assert small.program.projections[0] is program.projections[0]


def forwarding(rule: Rule, *, recurrent: tuple[bool, bool]) -> Program:
    """Input -> a, neurons with bias -> "between" -> out."""
    spread = (Linear(f32([[1, 0.5], [-0.5, 1]])),)
    return Program(
        CONVENTION,
        (
            Population("in", (2,), Input("spikes")),
            Population("a", (2,), neuron(0.5)),
            Population("between", (2, 1), rule),
            Population("out", (2,), neuron(None, decay=0.5)),
        ),
        (
            Projection("in", "a", spread),
            Projection("a", "between", (Reshape((2, 1)),), recurrent=recurrent[0]),
            Projection("between", "out", (Reshape((2,)), *spread), recurrent=recurrent[1]),
            Projection("in", "out", spread),
        ),
        ("out",),
    )


@pytest.mark.parametrize("rule", [Relay(), DelayLine(np.zeros((), int), True)], ids=["relay", "0"])
@pytest.mark.parametrize("recurrent", [(False, False), (True, False), (False, True), (True, True)])
def test_what_only_forwards_goes_with_its_delay_kept(
    rule: Rule, recurrent: tuple[bool, bool]
) -> None:
    program = forwarding(rule, recurrent=recurrent)
    small = remove_identities(program)
    same(program, small)
    late = sum(recurrent)
    stays = late == 2 or (recurrent[1] and isinstance(rule, DelayLine))
    assert ("between" in small.kept) == stays
    if not stays:
        (moved,) = (p for p in small.program.projections if p.source == "a")
        assert moved.recurrent == (late == 1)
        assert moved.ops[-1] is program.projections[2].ops[-1]


def test_a_delay_of_some_steps_stays() -> None:
    program = forwarding(DelayLine(np.array([[0], [2]]), True), recurrent=(False, False))
    assert simplify(program).program is program


def test_exact_chains_merge() -> None:
    a, b = f32([[1, 2], [0, 0.5]]), f32([[0.25, 1]])
    cases: list[tuple[tuple[Op, ...], Array, list[float] | None]] = [
        ((Linear(a, f32([1, 3])), Linear(b, f32([0.5]))), b @ a, [3.75]),
        ((Linear(a, f32([1, 3])), Scale(f32([0.5, 2]))), a * [[0.5], [2]], [0.5, 6]),
        ((Scale(f32([0.5, 2])), Linear(a)), a * [0.5, 2], None),
        ((scale(2), scale(0.25), Linear(a)), a / 2, None),
    ]
    for ops, weight, bias in cases:
        program = chain((2,), ops, neuron(0.5), kind="graded")
        small = merge_affine(program)
        (op,) = small.program.projections[0].ops
        assert isinstance(op, Linear)
        assert np.array_equal(op.weight, weight)
        assert (op.bias is None) == (bias is None)
        assert op.bias is None or op.bias.tolist() == bias
        same(program, small)


def test_scales_by_channel_merge_with_convolutions() -> None:
    rng = np.random.default_rng(3)
    weight = rng.integers(-4, 5, (2, 3, 2, 2)).astype("f4") / 4
    before, after = Scale(f32([[[1]], [[2]], [[0.5]]])), Scale(f32([[[4]], [[0.25]]]))
    program = chain((3, 4, 4), (before, Conv(weight, f32([1, 2])), after), neuron(0.5))
    small = merge_affine(program)
    (op,) = small.program.projections[0].ops
    assert isinstance(op, Conv)
    assert np.array_equal(op.weight[1, 2], weight[1, 2] / 8)
    same(program, small)
    by_pixel = Scale(rng.integers(1, 3, (2, 3, 3)).astype("f4"))
    program = chain((3, 4, 4), (Conv(weight), by_pixel), neuron(0.5))
    assert merge_affine(program).program is program
    grouped = Scale(f32([[[1]], [[2]]])), Conv(weight[:, :1], groups=2)
    program = chain((2, 4, 4), grouped, neuron(0.5))
    assert merge_affine(program).program is program
    program = chain((2, 4, 4), (scale(2), grouped[1]), neuron(0.5))
    small = merge_affine(program)
    same(program, small)
    assert len(small.program.projections[0].ops) == 1


def test_what_would_round_or_grow_is_not_merged() -> None:
    third = f32([[1 / 3, 1], [1, 1]])
    for ops in (
        (Linear(third), scale(0.1)),
        (scale(0.1), Linear(third)),
        (Linear(third), Linear(third)),
        (Linear(np.ones((1, 8), "f4")), Linear(np.ones((8, 1), "f4"))),
        (Linear(f32([[1.0]]), f32([1])), Linear(f32([[1.0]]), f32([2.0**-30]))),
    ):
        first = ops[0]
        size = first.weight.shape[1] if isinstance(first, Linear) else 2
        program = chain((size,), ops, neuron(0.5))
        assert merge_affine(program).program is program


def test_branches_of_every_kind_are_left_alone() -> None:
    """All there is read: nothing to do but forward the relay that only copies."""
    program = branches()
    small = simplify(program)
    same(program, small)
    assert "copy" not in small.kept
    assert len(small.kept) == len(program.populations) - 1


def test_one_source_stays_for_a_neuron_that_needs_none() -> None:
    """Its bias makes it fire now and then; a population must have something that leads to it."""
    rule = neuron(1.0, bias=0.75)
    program = chain((3,), (Linear(np.zeros((1, 3), "f4")),), rule)
    assert drop_unread(program).program is program
    between = two(neuron(0.5), (Linear(np.ones((4, 2), "f4")),), (Linear(np.zeros((1, 4), "f4")),))
    alone = Program(
        CONVENTION,
        (*between.populations[:2], Population("out", (1,), rule)),
        between.projections[:2],
        ("out",),
    )
    small = simplify(alone)
    same(alone, small)
    assert list(small.kept["hidden"]) == [0]


def test_a_bias_behind_silent_neurons_stays() -> None:
    """The readout still gets what the layer between added."""
    behind = (Linear(np.ones((3, 2), "f4"), f32([1, 2, 3])), Linear(f32([[1, 1, 1 / 3]])))
    program = two(neuron(1.0), (Linear(np.zeros((2, 2), "f4")),), behind)
    small = simplify(program)
    same(program, small)
    assert run(small.program, stimulus(program)).output.max() > 3


def test_a_bias_of_a_channel_on_its_own_stays() -> None:
    """Channel 1 of two is silent, but the grouped convolution behind adds 1 to it."""
    apart = Conv(np.ones((2, 1, 1, 1), "f4"), f32([0, 1]), groups=2)
    ops = (Linear(f32([[1, 1], [0, 0]])), Reshape((2, 1, 1)))
    program = two(neuron(0.5), ops, (apart, Reshape((2,)), Linear(f32([[1, 1]]))))
    small = simplify(program)
    same(program, small)
    assert run(small.program, stimulus(program)).output.min() >= 1
