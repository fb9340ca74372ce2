"""What the Lava exporter writes, and what it refuses; runs without Lava."""

import ast
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from lava_nets import RNG, dyadic, everything, lif, program, single, small

from sltdeploy.errors import InputError
from sltdeploy.exporting import Exported, load
from sltdeploy.program import (
    Conv,
    Input,
    Linear,
    LoihiNeuron,
    Op,
    Population,
    Program,
    Projection,
    Relay,
)


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
    assert classes["neurons_cuba"] == "LIF"
    assert any(row["class"] == "LIF" for row in details["processes"])  # carries the bias


def imported(text: str) -> set[str]:
    """Modules that ``text`` imports."""
    nodes = list(ast.walk(ast.parse(text)))
    plain = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    return plain | {str(n.module) for n in nodes if isinstance(n, ast.ImportFrom)}


def test_it_imports_only_lava_numpy_and_scipy() -> None:
    text = source(everything())
    roots = {name.split(".")[0] for name in imported(text)}
    assert roots - sys.stdlib_module_names == {"lava", "numpy", "scipy"}
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


def test_no_port_takes_a_name_of_lavas_own() -> None:
    p = program(
        {"ports": ((3,), Input("spikes")), "ports!": ((2,), lif())},
        {("ports", "ports!"): (Linear(dyadic(2, 3)),)},
        ("ports!",),
    )
    assert export(p).details["ports"] == {"ports": "in_ports_2", "ports!": "out_ports_3"}


def test_a_population_that_is_called_as_potentials_are_is_refused() -> None:
    rules = {"in": ((3,), Input("spikes")), "a": ((3,), lif()), "a.v": ((3,), lif())}
    arrows: dict[tuple[str, str], tuple[Op, ...]] = {("in", "a"): (), ("a", "a.v"): ()}
    with pytest.raises(InputError) as error:
        export(program(rules, arrows, ("a.v",)))
    (line,) = error.value.violations
    assert line.startswith("population 'a.v' has the name under which network.py writes")
    without = {**rules, "a": ((3,), Relay())}  # has no potential
    assert export(program(without, arrows, ("a.v",)))


def docstring(p: Program) -> str:
    """What network.py says of itself, on one line."""
    return " ".join(str(ast.get_docstring(ast.parse(source(p)))).split())


def test_the_docstring_speaks_of_what_is_there() -> None:
    plain, biased = docstring(small(lif())), docstring(small(lif(bias=single(0.25))))
    assert "input.npy is (T, B, 4): T steps of B samples" in plain
    assert "Lava's own processes only" in plain
    for void, text in ((False, plain), (True, biased)):
        assert ("it sends is void" in text) == void
    assert "still in a delay" not in biased
    p = small(lif(bias=single(0.25)))
    loop = Projection("n", "n", (Linear(dyadic(3, 3)),), recurrent=True)
    assert "still in a delay" in docstring(replace(p, projections=(*p.projections, loop)))
    assert "starts in step 1" not in biased
    assert "starts in step 1" in docstring(small(lif(v_init=single(0.5))))
    assert "but for SubtractingLIF" in docstring(small(lif(reset="subtract", v_reset=None)))


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


def test_a_comparison_that_lif_lacks_is_refused() -> None:
    with pytest.raises(InputError, match=r"population 'n' compares with >=.*'gt', or take onnx"):
        export(small(lif(comparison="ge")))


def test_reset_by_subtraction_is_marked_as_not_on_the_chip() -> None:
    details = export(small(lif(reset="subtract", v_reset=None))).details
    assert details["not_on_chip"] == ["n: reset by subtraction"]
    assert details["simulation_only"] is True
    text = source(small(lif(reset="subtract", v_reset=None)))
    assert "Not available on the chip: n reset by subtraction" in text.split('"""')[1]
    plain = export(small(lif()))
    assert not {"not_on_chip", "simulation_only"} & plain.details.keys()
    assert b"Subtracting" not in plain.files["network.py"]


def test_first_potentials_are_the_neurons_own() -> None:
    text = source(small(lif(v_init=single(0.5), v_reset=single(-0.25))))
    assert "v=0.75)" in text  # v_reset is at 0
    assert ", u=" not in text


def test_an_integer_neuron_starts_from_its_first_state() -> None:
    rule = LoihiNeuron(0, 0, np.zeros(3, np.int16), 0, 64.0, 9, np.asarray(-7), np.arange(3))
    p = replace(
        small(lif()),
        numbers="loihi",
        populations=(Population("in", (4,), Input("spikes")), Population("n", (3,), rule)),
        projections=(Projection("in", "n", (Linear(np.ones((3, 4), np.int32)),)),),
    )
    text = source(p)
    assert "u=-7" in text
    assert 'v=weights["neurons_n.v"]' in text


def test_all_refusals_come_at_once() -> None:
    ge = lif(comparison="ge")
    p = program(
        {
            "in": ((3,), Input("spikes")),
            "a": ((3,), ge),
            "values": ((3,), lif(threshold=None, v_reset=None)),
            "b": ((3,), lif()),
        },
        {("in", "a"): (), ("a", "b"): (), ("in", "values"): (), ("values", "b"): ()},
        ("b", "in"),
    )
    looped = Projection("b", "a", (), recurrent=True)
    with pytest.raises(InputError) as error:
        export(replace(p, projections=(*p.projections, looped)))
    assert len(error.value.violations) == 4
    for part in ("output 'in'", "'a' compares", "'values' sends values", "loop a -> b -> a"):
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
