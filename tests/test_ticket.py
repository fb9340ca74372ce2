"""Tickets: what always holds, the file, and what a damaged or altered file gets."""

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sltdeploy as slt
from sltdeploy.errors import InputError
from sltdeploy.layers import Layer
from sltdeploy.loading import load
from sltdeploy.lowering import lower
from sltdeploy.ticket import Ticket

RECIPE: dict[str, Any] = {
    "name": "tiny",
    "seed": 3,
    "deployment": {
        "dt": 1e-3,
        "steps": 5,
        "grid": "exact",
        "input_bits": 4,
        "input_max": 1.0,
    },
}


def ticket(**changes: Any) -> Ticket:
    """Make a ticket of 4 inputs, 3 LIF neurons and 2 values, 10 of 18 weights pruned."""
    rng = np.random.default_rng(5)
    weights = {
        "a.weight": rng.normal(size=(3, 4)).astype(np.float32),
        "a.bias": rng.normal(size=3).astype(np.float32),
        "n.running_mean": rng.normal(size=3).astype(np.float32),
        "n.running_var": rng.uniform(0.5, 2, size=3).astype(np.float32),
        "b.weight": rng.normal(size=(2, 3)).astype(np.float32),
    }
    masks = {"a.weight": np.arange(12).reshape(3, 4) % 2 == 0, "b.weight": np.eye(2, 3) > 0}
    for name, mask in masks.items():
        weights[name] = weights[name] * mask
    lif = {"tau_mem_inv": 750.0, "v_leak": 0.0, "v_th": 1.0, "v_reset": 0.0, "reset": "zero"}
    fields: dict[str, Any] = {
        "layers": (
            Layer("linear", "a"),
            Layer("batchnorm2d", "n", {"eps": 1e-5}),
            Layer("lif_box", "spikes", lif),
            Layer("linear", "b"),
            Layer("li_box", "values", {"tau_mem_inv": 500.0, "v_leak": 0.0}),
        ),
        "input_shape": (4,),
        "weights": weights,
        "masks": masks,
        "rewind": {"a.weight": weights["a.weight"] / 2},
        "recipe": RECIPE,
        "history": ({"round": 0, "test_accuracy": 0.5},),
    }
    return Ticket(**(fields | changes))


# ------------------------------------------------------------------------------------- content


def test_a_saved_ticket_is_the_same_ticket(tmp_path: Path) -> None:
    one = ticket()
    one.save(tmp_path / "t.safetensors")
    again = load(tmp_path / "t.safetensors")
    assert isinstance(again, Ticket)
    assert again.id == one.id
    assert again.layers == one.layers
    assert (again.input_shape, again.recipe, again.history) == ((4,), RECIPE, one.history)
    for group in ("weights", "masks", "rewind"):
        arrays, expected = getattr(again, group), getattr(one, group)
        assert list(arrays) == list(expected)
        for name, array in arrays.items():
            assert array.dtype == expected[name].dtype
            np.testing.assert_array_equal(array, expected[name])


def test_equal_tickets_are_equal_files(tmp_path: Path) -> None:
    one = ticket()
    turned = ticket(
        weights=dict(reversed(list(one.weights.items()))), recipe=dict(reversed(RECIPE.items()))
    )
    one.save(tmp_path / "one")
    turned.save(tmp_path / "turned")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "turned").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_whatever_changes_changes_the_id() -> None:
    one = ticket()
    weights = {name: array.copy() for name, array in one.weights.items()}
    weights["a.bias"][0] += 1
    others = [
        replace(one, weights=weights),
        replace(one, rewind={}),
        replace(one, rewind={"a.bias": np.ones(3)}),
        replace(one, rewind={"n.running_mean": np.ones(3)}),
        replace(one, weights={**one.weights, "a.bias": one.weights["a.bias"].view(np.int32)}),
        replace(one, history=()),
        replace(one, recipe=RECIPE | {"seed": 4}),
        replace(one, layers=(*one.layers[:-1], Layer("li_box", "values", LIF_VALUES))),
        replace(one, weights={**one.weights, "a.bias": one.weights["a.bias"].astype(np.float64)}),
    ]
    assert len({one.id, *(other.id for other in others)}) == 1 + len(others)


LIF_VALUES = {"tau_mem_inv": 250.0, "v_leak": 0.0}


def test_sparsity_counts_the_masks() -> None:
    one = ticket()
    assert one.nonzero == {"a.weight": 6, "b.weight": 2}
    assert one.sparsity == pytest.approx(10 / 18)
    assert (one.dt, one.steps) == (1e-3, 5)


def test_arrays_are_copies_and_read_only() -> None:
    given = {name: array.copy() for name, array in ticket().weights.items()}
    one = ticket(weights=given)
    given["a.bias"][:] = 9
    assert not (one.weights["a.bias"] == 9).any()
    with pytest.raises(ValueError, match="read-only"):
        one.weights["a.bias"][0] = 1


def test_the_graph_is_the_deployed_network() -> None:
    one = ticket()
    graph = one.graph()
    assert graph.metadata["ticket"] == one.id
    assert graph.metadata["dt"] == 1e-3
    assert list(graph.nodes) == ["input", "a", "spikes", "b", "values", "output"]
    node: Any = graph.nodes["a"]
    assert (node.weight * 2**9 == np.rint(node.weight * 2**9)).all()
    assert ((node.weight != 0) <= one.masks["a.weight"]).all()
    assert lower(graph).population("values").shape == (2,)


def test_the_recipe_chooses_the_grid() -> None:
    plain = ticket(recipe={"deployment": RECIPE["deployment"] | {"grid": "none"}})
    coarse = ticket(recipe={"deployment": RECIPE["deployment"] | {"grid": 3}})
    unrounded, rounded = plain.deployed()[1]["a.weight"], coarse.deployed()[1]["a.weight"]
    assert (rounded * 8 == np.rint(rounded * 8)).all()
    assert not (unrounded * 2**12 == np.rint(unrounded * 2**12)).all()
    np.testing.assert_allclose(rounded, unrounded, atol=1 / 16)


# ------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masks": {"a.weight": np.zeros((3, 4), bool)}}, "6 weights are not 0 where the mask"),
        ({"masks": {"a.weight": np.ones((4, 3), bool)}}, r"mask 'a.weight' \(4, 3\)"),
        ({"masks": {"a.weight": np.ones((3, 4), np.uint8)}}, "dtype uint8, must be bool"),
        ({"masks": {"x": np.ones(1, bool)}}, "mask 'x'"),
        ({"masks": {}}, "no masks"),
        ({"rewind": {"a.bias": np.full(3, np.nan)}}, "rewind 'a.bias' holds NaN"),
        ({"rewind": {"a.bias": np.ones(4)}}, "rewind 'a.bias'"),
        ({"weights": {}, "masks": {}, "rewind": {}}, "'a.weight' is missing"),
        ({"recipe": {}}, "no 'deployment'"),
        ({"recipe": {"deployment": {"dt": 1.0, "steps": 2}}}, "no grid, input_bits, input_max"),
    ],
)
def test_what_always_holds(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ticket(**changes)


def rewritten(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a ticket file's metadata as one who edits it would, leaving the tensors."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    content = json.loads(header["__metadata__"]["sltdeploy"])
    change(content)
    header["__metadata__"]["sltdeploy"] = json.dumps(content)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


ALTERATIONS: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda c: c["history"][0].update(test_accuracy=0.99), "altered"),
    (lambda c: c["recipe"].update(seed=9), "altered"),
    (lambda c: c.update(id="0" * 64), "altered"),
    (lambda c: c.update(schema=2), "schema 2, this version reads 1: upgrade"),
    (lambda c: c.update(format="other"), "no ticket"),
    (lambda c: c.pop("layers"), "damaged ticket"),
    (lambda c: c["layers"][0].update(kind="conv9d"), "kind 'conv9d' is unknown"),
    (lambda c: c["layers"].append(3), "damaged ticket"),
]


@pytest.mark.parametrize(("change", "message"), ALTERATIONS)
def test_an_altered_file_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "t.safetensors"
    ticket().save(path)
    rewritten(path, change)
    with pytest.raises(InputError, match=message) as caught:
        Ticket.load(path)
    assert str(path) in str(caught.value)


def test_an_untouched_rewrite_still_loads(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    ticket().save(path)
    rewritten(path, dict[str, Any].copy)
    assert Ticket.load(path).id == ticket().id


def test_one_flipped_bit_in_a_weight_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    ticket().save(path)
    data = bytearray(path.read_bytes())
    bias = data.find(ticket().weights["a.bias"].tobytes())
    assert bias > 0
    data[bias] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="altered"):
        Ticket.load(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save

    path = tmp_path / "t.safetensors"
    with pytest.raises(InputError, match="no such file"):
        Ticket.load(path)
    path.write_bytes(save({"x": np.ones(1)}))
    with pytest.raises(InputError, match="but no ticket"):
        Ticket.load(path)
    path.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{nonsense")
    with pytest.raises(InputError, match="damaged or no safetensors"):
        Ticket.load(path)
    ticket().save(path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match="damaged or no safetensors"):
        Ticket.load(path)


def test_a_ticket_is_lowered_and_written_as_nir() -> None:
    """Without torch, by the public names."""
    one = ticket()
    assert slt.lower(one).digest() == slt.lower(slt.to_nir(one)).digest()
    assert slt.to_nir(one).metadata["ticket"] == one.id
