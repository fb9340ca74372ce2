"""Layers: folding, NIR nodes in the right units, and what is refused by name."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

from sltdeploy.arithmetic import apply_op
from sltdeploy.errors import InputError
from sltdeploy.layer_graph import to_graph
from sltdeploy.layers import Layer, fold, problems
from sltdeploy.lowering import lower
from sltdeploy.program import Array, Conv, Linear

DT = 1e-3
LIF = {"tau_mem_inv": 200.0, "v_leak": 0.1, "v_th": 0.7, "v_reset": -0.2}


def arrays_of(seed: int = 0) -> dict[str, Array]:
    """Arrays of `small`, none of them trivial."""
    rng = np.random.default_rng(seed)
    return {
        "conv.weight": rng.normal(size=(4, 2, 3, 3)).astype(np.float32),
        "conv.bias": rng.normal(size=4).astype(np.float32),
        "norm.running_mean": rng.normal(size=4).astype(np.float32),
        "norm.running_var": rng.uniform(0.1, 3, size=4).astype(np.float32),
        "norm.weight": rng.normal(size=4).astype(np.float32),
        "norm.bias": rng.normal(size=4).astype(np.float32),
        "dense.weight": rng.normal(size=(3, 16)).astype(np.float32),
    }


def small() -> tuple[Layer, ...]:
    """Convolution (2, 4, 4) -> (4, 4, 4), normalised, pooled, 3 outputs."""
    return (
        Layer("conv2d", "conv", {"padding": [1, 1]}),
        Layer("batchnorm2d", "norm", {"eps": 1e-3}),
        Layer("lif_box", "spikes", LIF),
        Layer("avgpool2d", "pool", {"kernel": [2, 2], "stride": [2, 2]}),
        Layer("flatten", "flat"),
        Layer("linear", "dense"),
        Layer("li_box", "values", {"tau_mem_inv": 500.0, "v_leak": 0.0}),
    )


# ------------------------------------------------------------------------------------ folding


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_folding_is_normalising_after_the_layer(bias: bool, affine: bool) -> None:
    given = arrays_of()
    if not bias:
        del given["conv.bias"]
    if not affine:
        del given["norm.weight"], given["norm.bias"]
    layers, folded = fold(small(), given)
    x = np.random.default_rng(1).normal(size=(5, 2, 4, 4))
    y = apply_op(Conv(given["conv.weight"], given.get("conv.bias"), padding=(1, 1, 1, 1)), x)
    mean, variance, gamma, beta = (
        given.get(f"norm.{key}", np.full(4, default)).astype(np.float64)[:, None, None]
        for key, default in (
            ("running_mean", 0),
            ("running_var", 1),
            ("weight", 1),
            ("bias", 0),
        )
    )
    expected = (y - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    conv = Conv(folded["conv.weight"], folded["conv.bias"], padding=(1, 1, 1, 1))
    np.testing.assert_allclose(apply_op(conv, x), expected, rtol=1e-12, atol=1e-12)
    assert folded["conv.weight"].dtype == np.float64
    assert [layer.name for layer in layers] == ["conv", "spikes", "pool", "flat", "dense", "values"]
    assert not any(key.startswith("norm") for key in folded)


def test_two_normalisations_fold_one_after_the_other() -> None:
    layers = (Layer("linear", "a"), Layer("batchnorm2d", "n1"), Layer("batchnorm2d", "n2"))
    arrays = {
        "a.weight": np.array([[2.0]]),
        "n1.running_mean": np.array([1.0]),
        "n1.running_var": np.array([4.0 - 1e-5]),
        "n2.running_mean": np.array([-1.0]),
        "n2.running_var": np.array([0.25 - 1e-5]),
    }
    _, folded = fold(layers, arrays)
    y = apply_op(Linear(folded["a.weight"], folded["a.bias"]), np.array([[3.0]]))
    assert y == pytest.approx(((2 * 3 - 1) / 2 + 1) / 0.5)


@pytest.mark.parametrize(
    "layers",
    [
        (Layer("batchnorm2d", "norm"), Layer("conv2d", "conv")),
        (Layer("conv2d", "conv"), Layer("lif_box", "s", LIF), Layer("batchnorm2d", "norm")),
    ],
)
def test_a_normalisation_that_cannot_be_folded_is_named(layers: tuple[Layer, ...]) -> None:
    with pytest.raises(InputError, match=r"layer 'norm': .*directly after"):
        fold(layers, arrays_of())


def test_a_normalisation_of_another_width_is_named() -> None:
    arrays = arrays_of() | {"norm.running_var": np.ones(5), "norm.bias": np.ones(3)}
    with pytest.raises(InputError, match=r"layer 'norm'.*running_var \(5,\).*bias \(3,\).*\(4,\)"):
        fold(small(), arrays)


# -------------------------------------------------------------------------------------- graph


def test_nodes_carry_the_names_the_order_and_the_metadata() -> None:
    graph = to_graph(small(), arrays_of(), (2, 4, 4), DT)
    names = ["input", "conv", "spikes", "pool", "flat", "dense", "values", "output"]
    assert list(graph.nodes) == names
    assert graph.edges == list(pairwise(names))
    assert graph.metadata == {"dt": DT, "reset": "zero", "comparison": "gt", "decay": "euler"}
    shapes = {n: tuple(node.output_type["output"]) for n, node in graph.nodes.items()}
    assert shapes["conv"] == shapes["spikes"] == (4, 4, 4)
    assert shapes["pool"] == (4, 2, 2)
    assert shapes["flat"] == (16,)
    assert shapes["dense"] == shapes["values"] == shapes["output"] == (3,)
    assert type(graph.nodes["dense"]).__name__ == "Linear"


CELLS: dict[str, tuple[dict[str, float], str, dict[str, float]]] = {
    "lif_box": (LIF, "LIF", {"tau": 5e-3, "r": 1, "v_leak": 0.1, "v_threshold": 0.7}),
    "li_box": (
        {"tau_mem_inv": 100.0, "v_leak": 0.3},
        "LI",
        {"tau": 0.01, "r": 1, "v_leak": 0.3},
    ),
    "iaf": (
        {"v_th": 2.0, "v_reset": 0.5},
        "IF",
        {"r": 1000, "v_threshold": 2.0, "v_reset": 0.5},
    ),
    "lif": (
        LIF | {"tau_syn_inv": 400.0},
        "CubaLIF",
        {"tau_syn": 2.5e-3, "tau_mem": 5e-3, "w_in": 2.5, "v_reset": -0.2, "v_leak": 0.1},
    ),
    "li": (
        {"tau_syn_inv": 400.0, "tau_mem_inv": 50.0, "v_leak": 0.2},
        "CubaLI",
        {"tau_syn": 2.5e-3, "tau_mem": 0.02, "w_in": 2.5, "r": 1, "v_leak": 0.2},
    ),
}


@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_becomes_its_nir_neuron_in_seconds(kind: str) -> None:
    options, node_type, expected = CELLS[kind]
    graph = to_graph([Layer(kind, "cell", options)], {}, (2, 3), DT)
    node: Any = graph.nodes["cell"]
    assert type(node).__name__ == node_type
    for key, value in expected.items():
        array = getattr(node, key)
        assert array.dtype == np.float64
        np.testing.assert_allclose(array, np.full((2, 3), value), rtol=1e-15)


def test_a_parameter_may_differ_by_neuron() -> None:
    layer = Layer("iaf", "cell", {"v_reset": 0.0})
    graph = to_graph([layer], {"cell.v_th": np.array([[1.0], [2.0]])}, (2, 3), DT)
    node: Any = graph.nodes["cell"]
    np.testing.assert_array_equal(node.v_threshold, [[1, 1, 1], [2, 2, 2]])


def test_a_written_graph_loads_with_plain_nir(tmp_path: Path) -> None:
    graph = to_graph(small(), arrays_of(), (2, 4, 4), DT)
    nir.write(tmp_path / "a.nir", graph)
    again = nir.read(tmp_path / "a.nir")
    assert again.metadata["dt"] == DT
    x = np.random.default_rng(0).random((4, 2, 2, 4, 4), dtype=np.float32)
    assert x.any()
    assert lower(again).digest() == lower(graph).digest()


@pytest.mark.parametrize(
    ("weight", "options", "expected"),
    [
        ((6, 2, 3, 3), {"groups": 2, "padding": [1, 1]}, (6, 8, 8)),
        ((6, 4, 3, 5), {}, (6, 6, 4)),
        ((6, 4, 3, 2), {"padding": "same"}, (6, 8, 8)),
        ((6, 4, 3, 3), {"stride": [2, 1], "dilation": [1, 2]}, (6, 3, 4)),
    ],
)
def test_types_of_a_convolution_are_right_where_nir_is_not(
    weight: tuple[int, ...], options: dict[str, Any], expected: tuple[int, ...]
) -> None:
    layers = [Layer("conv2d", "conv", options), Layer("iaf", "s", {"v_th": 1.0, "v_reset": 0.0})]
    graph = to_graph(layers, {"conv.weight": np.ones(weight)}, (4, 8, 8), DT)
    node = graph.nodes["conv"]
    assert tuple(node.input_type["input"]) == (4, 8, 8)
    assert tuple(node.output_type["output"]) == expected
    assert lower(graph).population("s").shape == expected


def test_the_graph_shares_no_memory_with_the_arrays() -> None:
    arrays = {key: value.astype(np.float64) for key, value in arrays_of().items()}
    graph = to_graph(small(), arrays, (2, 4, 4), DT)
    node: Any = graph.nodes["dense"]
    before = node.weight.copy()
    arrays["dense.weight"][:] = 0
    np.testing.assert_array_equal(node.weight, before)


def test_subtraction_reaches_the_metadata() -> None:
    layer = Layer("lif_box", "s", LIF | {"reset": "subtract"})
    assert to_graph([layer], {}, (3,), DT).metadata["reset"] == "subtract"


# ------------------------------------------------------------------------------------ refusals


def test_mixed_reset_rules_are_named() -> None:
    layers = [
        Layer("lif_box", "soft", LIF | {"reset": "subtract"}),
        Layer("iaf", "hard", {"v_th": 1.0, "v_reset": 0.0}),
        Layer("li_box", "values", {"tau_mem_inv": 1.0, "v_leak": 0.0}),
    ]
    with pytest.raises(InputError, match="'soft' subtract, 'hard' zero") as caught:
        to_graph(layers, {}, (3,), DT)
    assert "values" not in str(caught.value)


@pytest.mark.parametrize(
    ("layers", "arrays", "shape", "message"),
    [
        ([Layer("conv2d", "c")], {"c.weight": np.ones((1, 3, 3, 3))}, (2, 8, 8), "'c'.*3 input"),
        ([Layer("conv2d", "c")], {"c.weight": np.ones((1, 1, 9, 9))}, (1, 8, 8), "'c'.*kernel"),
        ([Layer("linear", "d")], {"d.weight": np.ones((2, 5))}, (4,), r"'d'.*\(5,\).*\(4,\)"),
        ([Layer("linear", "d")], {"d.weight": np.ones((2, 4))}, (4, 1, 1), "'d'.*flatten"),
        ([Layer("flatten", "f", {"start_dim": 3})], {}, (2, 2), "'f'.*dims 3"),
        (
            [Layer("avgpool2d", "p", {"kernel": [9, 9], "stride": [1, 1]})],
            {},
            (1, 8, 8),
            "'p'.*window",
        ),
        (
            [Layer("iaf", "n", {"v_reset": 0.0})],
            {"n.v_th": np.ones(5)},
            (4,),
            r"'n': v_th has shape \(5,\), needs \(4,\)",
        ),
    ],
)
def test_a_shape_that_does_not_fit_names_the_layer(
    layers: list[Layer], arrays: dict[str, Array], shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        to_graph(layers, arrays, shape, DT)


def test_all_violations_come_at_once() -> None:
    layers = [
        Layer("conv2s", "first"),
        Layer("linear", "input"),
        Layer("linear", "flat", {"strid": 1}),
        Layer("linear", "bent"),
        Layer("avgpool2d", "pool", {"kernel": [2, 2]}),
        Layer("lif_box", "n", {**LIF, "tau_mem_inv": -1.0, "v_th": float("nan"), "reset": "soft"}),
        Layer("iaf", "n", {"v_th": 1.0}),
    ]
    arrays = {
        "input.weight": np.array([[1.0, np.inf]]),
        "bent.weight": np.ones((2, 2, 2)),
    }
    text = "\n".join(problems(layers, arrays, -1.0))
    for expected in (
        "time step is -1.0 s",
        "layer 'first': kind 'conv2s' is unknown, did you mean 'conv2d'?",
        "layer 'input': names must be unique",
        "array 'input.weight' holds NaN or infinity",
        "layer 'flat': option 'strid' is unknown, linear has none",
        "layer 'flat': array 'flat.weight' is missing",
        "layer 'bent': weight has shape (2, 2, 2), must have 2 axes",
        "layer 'pool': option 'stride' is missing",
        "layer 'n': names must be unique",
        "layer 'n': tau_mem_inv is -1 1/s, must be positive",
        "layer 'n': v_th holds NaN or infinity",
        "layer 'n': reset is 'soft', must be zero or subtract",
        "layer 'n': parameter 'v_reset' is missing",
    ):
        assert expected in text
    with pytest.raises(InputError) as caught:
        to_graph(layers, arrays, (2,), -1.0)
    assert len(caught.value.violations) == 13


def test_an_array_without_a_layer_is_named() -> None:
    lines = list(problems(small(), arrays_of() | {"conv.weihgt": np.ones(1)}, DT))
    assert lines == ["array 'conv.weihgt' belongs to no layer"]


def test_no_layers_are_refused() -> None:
    assert list(problems([], {}, DT)) == ["the network has no layers"]
