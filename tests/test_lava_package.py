"""What the Lava exporter writes, and what it refuses; runs without Lava."""

import ast
import json
from dataclasses import replace

import numpy as np
import pytest
from lava_nets import RNG, dyadic, everything, lif, program, single, small

from sltdeploy.errors import InputError
from sltdeploy.exporting import Exported, load
from sltdeploy.program import Conv, Input, Linear, Neuron, Op, Program, Relay


def export(p: Program) -> Exported:
    """What the exporter writes."""
    return load("lava").export(p, {}, None)


def source(p: Program) -> str:
    """The text of network.py."""
    return export(p).files["network.py"].decode()


def test_same_program_same_bytes() -> None:
    p = everything()
    assert export(p) == export(replace(p))
    assert b"1980" not in export(p).files["network.py"]


def test_latency_is_the_number_of_projections() -> None:
    assert export(everything()).latency == {
        "0": 0,
        "pixels": 0,
        'lif "1"': 1,
        "lif_1": 1,
        "cuba": 2,
        "if": 1,
        "wide": 2,
        "li": 3,
        "relay": 2,
    }


def test_details_are_json_and_name_every_process() -> None:
    details = json.loads(json.dumps(export(everything()).details))
    assert details["ports"]["0"] == "in_0"
    assert details["ports"]['lif "1"'] == "out_lif_1"
    assert details["ports"]["lif_1"] == "out_lif_1_2"
    assert details["ports"]["li"] == "v_li"
    classes = {row["name"]: row["class"] for row in details["processes"]}
    assert classes["synapses_0_to_lif_1"] == "Conv"
    assert classes["synapses_pixels_to_if"] == "Dense"
    assert classes["synapses_lif_1_2_to_cuba"] == "Sparse"
    assert classes["neurons_cuba"] == "LIFReset"
    assert any(row["class"] == "LIF" for row in details["processes"])  # carries the bias


def imported(text: str) -> set[str]:
    """Modules that ``text`` imports."""
    nodes = list(ast.walk(ast.parse(text)))
    plain = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    return plain | {str(n.module) for n in nodes if isinstance(n, ast.ImportFrom)}


def test_it_imports_only_lava_numpy_and_scipy() -> None:
    text = source(everything())
    roots = {name.split(".")[0] for name in imported(text)}
    assert roots == {"argparse", "lava", "numpy", "os", "pathlib", "scipy", "tempfile", "zipfile"}
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.parametrize(
    "name",
    [
        'x"""\nimport evil\n"""',
        "x'\nimport evil  #",
        "x\rimport evil",
        "$title ${x} \\",
        "class",
        "__init__",
        "",
        "\u202ex\x00",
        "9",
    ],
)
def test_no_name_becomes_code(name: str) -> None:
    arrows: dict[tuple[str, str], tuple[Op, ...]] = {(name, f"{name}2"): (Linear(dyadic(2, 3)),)}
    p = program({name: ((3,), Input("spikes")), f"{name}2": ((2,), lif())}, arrows, (f"{name}2",))
    text = source(p)
    assert text.isascii()
    tree = ast.parse(text)
    assert "evil" not in imported(text)
    (table,) = (
        n.value
        for n in tree.body
        if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "POPULATIONS"
    )
    assert ast.literal_eval(table)[0][0] == f"{name}2"


def test_pruned_zeros_are_not_stored() -> None:
    weight = dyadic(20, 30, kept=0.1)
    p = program(
        {"in": ((30,), Input("spikes")), "n": ((20,), lif())},
        {("in", "n"): (Linear(weight),)},
        ("n",),
    )
    (row,) = (r for r in export(p).details["processes"] if r["class"] == "Sparse")
    assert row["parameters"] == np.count_nonzero(weight)


@pytest.mark.parametrize(
    ("kept", "channels", "padding", "expected"),
    [
        (1.0, 4, (1, 1, 1, 1), "Conv"),
        (0.3, 4, (1, 1, 1, 1), "Sparse"),  # pruned
        (1.0, 40, (1, 1, 1, 1), "Sparse"),  # too many pairs of channels
        (1.0, 4, (0, 0, 3, 3), "Sparse"),  # Lava pads alike on both sides
    ],
)
def test_which_process_a_convolution_becomes(
    kept: float, channels: int, padding: tuple[int, int, int, int], expected: str
) -> None:
    conv = Conv(np.where(RNG.random((channels, 2, 3, 3)) < kept, 1, 0), padding=padding)
    shape = conv.out_shape((2, 6, 6))
    p = program(
        {"in": ((2, 6, 6), Input("spikes")), "n": (shape, lif())}, {("in", "n"): (conv,)}, ("n",)
    )
    assert export(p).details["processes"][0]["class"] == expected


def test_a_huge_convolution_stays_a_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sltdeploy.lava_package.synapses.MATRIX_TOP", 1000)
    conv = Conv(dyadic(40, 2, 3, 3, kept=0.3), padding=(1, 1, 1, 1))
    p = program(
        {"in": ((2, 6, 6), Input("spikes")), "n": ((40, 6, 6), lif())},
        {("in", "n"): (conv,)},
        ("n",),
    )
    assert export(p).details["processes"][0]["class"] == "Conv"


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (lif(comparison="ge"), "compares with >="),
        (lif(reset="subtract", v_reset=None), "resets by subtraction"),
        (lif(v_init=single(0.5)), r"starts at v = 0\.5.*v_reset = 0"),
    ],
)
def test_what_lif_lacks_is_refused(rule: Neuron, why: str) -> None:
    with pytest.raises(InputError, match=f"population 'n' {why}"):
        export(small(rule))


def test_all_refusals_come_at_once() -> None:
    ge = lif(comparison="ge")
    p = program(
        {
            "in": ((3,), Input("spikes")),
            "a": ((3,), ge),
            "relay": ((3,), Relay()),
            "b": ((3,), lif()),
        },
        {("in", "a"): (), ("a", "b"): (), ("in", "relay"): (), ("in", "b"): (), ("relay", "b"): ()},
        ("b", "in"),
    )
    with pytest.raises(InputError) as error:
        export(p)
    assert len(error.value.violations) == 4
    for part in ("output 'in'", "'a' compares", "'relay' sends values", "2 by 'a', 1 by 'in'"):
        assert part in str(error.value)


def test_parts_that_nothing_joins_are_refused() -> None:
    p = program(
        {"in": ((3,), Input("spikes")), "a": ((3,), lif())}
        | {"left over": ((3,), Input("spikes"))},
        {("in", "a"): ()},
        ("a",),
    )
    with pytest.raises(InputError, match=r"parts that nothing joins: in, a \| left over"):
        export(p)
