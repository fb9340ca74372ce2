"""The dyadic grid: exact in any order, and no coarser than that needs."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sltdeploy.errors import InputError
from sltdeploy.grid import Dynamics, Grid, Signal, dynamics_of, exact_bits, snap, snapped, worst_sum
from sltdeploy.layers import Layer
from sltdeploy.program import Array

DT = 1e-3
LIF = Layer("lif_box", "n", {"tau_mem_inv": 750.0, "v_leak": 0.0, "v_th": 1.0, "v_reset": 0.0})
CELLS: Mapping[str, Layer] = {
    "lif": LIF,
    "shifted": Layer(
        "lif_box",
        "n",
        {"tau_mem_inv": 500.0, "v_leak": 0.25, "v_th": 1.5, "v_reset": -0.5, "reset": "subtract"},
    ),
    "values": Layer("li_box", "n", {"tau_mem_inv": 125.0, "v_leak": -0.75}),
    "counts": Layer("iaf", "n", {"v_th": 4.0, "v_reset": 0.5}),
    "cuba": Layer(
        "lif",
        "n",
        {"tau_syn_inv": 500.0, "tau_mem_inv": 750.0, "v_leak": 0.5, "v_th": 1.0, "v_reset": 0.0},
    ),
    "overshooting": Layer("li_box", "n", {"tau_mem_inv": 1500.0, "v_leak": 0.0}),
}


def trajectory(
    layer: Layer, weight: Array, x: Array, order: Array, norse: bool, dtype: type
) -> Array:
    """All potentials of a neuron, with sums in ``order``: as Norse, or with folded gains."""
    p = {key: dtype(value) for key, value in layer.options.items() if key != "reset"}
    g = dtype(DT * layer.options.get("tau_mem_inv", 1 / DT))
    g_syn = dtype(DT * layer.options.get("tau_syn_inv", 1 / DT))
    leak = p.get("v_leak", dtype(0))
    counting = layer.kind == "iaf"
    v, i, seen = p["v_reset"] if counting else leak, dtype(0), []
    folded = g if not norse and not counting else dtype(1)
    for step in x:
        current = dtype(0)
        for k in order:
            current = current + dtype(weight[k]) * folded * dtype(step[k])
        current = i + current
        if counting:
            v = v + current
        elif norse:
            v = v + g * (current + leak - v)
        else:
            v = (dtype(1) - g) * v + current + g * leak
        i = current - g_syn * current
        seen += [v, current]
        if "v_th" in p and v > p["v_th"]:
            v = v - p["v_th"] if layer.option("reset") == "subtract" else p["v_reset"]
    return np.array(seen, np.float64)


@given(seed=st.integers(0, 10_000), name=st.sampled_from(sorted(CELLS)), analog=st.booleans())
def test_every_potential_is_exact_in_every_order(seed: int, name: str, analog: bool) -> None:
    rng = np.random.default_rng(seed)
    layer, steps = CELLS[name], 4
    weight = rng.normal(size=(1, 8)) * 2.0 ** rng.integers(-3, 4)
    arriving = Signal(2, 1.0) if analog else Signal(0, 1.0)
    bits = exact_bits("w", weight, None, arriving, dynamics_of(layer, {}, DT, steps))
    rounded = snap(weight, bits)[0]
    x = rng.integers(0, 5, size=(steps, 8)) / 4 if analog else rng.integers(0, 2, (steps, 8))
    x[:2] = rounded > 0  # the worst sum, twice
    exact = trajectory(layer, rounded, x, np.arange(8), True, np.float64)
    for norse in (True, False):
        order = rng.permutation(8)
        single = trajectory(layer, rounded, x, order, norse, np.float32)
        if norse:
            np.testing.assert_array_equal(single, exact)
        else:  # currents carry the gain, potentials are the same
            np.testing.assert_array_equal(single[::2], exact[::2])


def test_without_the_grid_orders_do_disagree() -> None:
    rng = np.random.default_rng(0)
    weight, x = rng.normal(size=8), np.ones((4, 8))
    runs = {
        trajectory(LIF, weight, x, rng.permutation(8), True, np.float32).tobytes() for _ in range(8)
    }
    assert len(runs) > 1


@pytest.mark.parametrize(
    ("weight", "arriving", "steps", "expected"),
    [
        # g = 3/4 adds 2 bits a step; the bracket x - v is at most 2 |x|, times 3/4 is 1.5 |x|
        ([1.0], Signal(0, 1.0), 5, 13),  # 1.5 <= 2**(24 - 13 - 10)
        ([1.0], Signal(4, 1.0), 5, 9),  # pixels k/16
        ([1.0], Signal(0, 1.0), 10, 3),
        ([4 / 3], Signal(0, 1.0), 5, 13),  # rounds below 4/3: 1.5 |x| < 2
        ([1.34375], Signal(0, 1.0), 5, 12),
        ([1.0, -1.0], Signal(0, 1.0), 5, 12),
        ([1.0], Signal(0, 2.0), 5, 12),
    ],
)
def test_the_number_of_bits_follows_the_bound(
    weight: list[float], arriving: Signal, steps: int, expected: int
) -> None:
    dynamics = dynamics_of(LIF, {}, DT, steps)
    assert exact_bits("w", np.array([weight]), None, arriving, dynamics) == expected


def test_a_bias_counts_like_a_weight() -> None:
    dynamics = dynamics_of(LIF, {}, DT, 5)
    weight, bias = np.array([[1.0], [0.25]]), np.array([0.0, -3.0])
    assert worst_sum(weight, bias, 1.0) == 3.25
    assert exact_bits("w", weight, bias, Signal(0, 1.0), dynamics) == 11  # 4.875 <= 2**3


def test_decays_that_are_not_dyadic_leave_the_plain_sum() -> None:
    odd = Layer("li_box", "n", {"tau_mem_inv": 100.0, "v_leak": 0.0})
    assert dynamics_of(odd, {}, DT, 5) is None
    assert exact_bits("w", np.array([[1.0, 1.0]]), None, Signal(4, 1.0), None) == 19
    assert dynamics_of(Layer("iaf", "n", {"v_th": 0.1, "v_reset": 0.0}), {}, DT, 5) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [  # 4 steps: bits, gain, bits of the gain, synapse, membrane, leak, jump, bits of potentials
        ("lif", Dynamics(8, 0.75, 2, 1.0, 1 - 0.25**4, 0.0, 0.0, 0)),
        ("shifted", Dynamics(4, 0.5, 1, 1.0, 1 - 0.5**4, 0.25, 2.25, 2)),
        ("values", Dynamics(12, 0.125, 3, 1.0, 1 - 0.875**4, 0.75, 0.75, 2)),
        ("counts", Dynamics(0, 0.0, 0, 1.0, 4.0, 0.0, 0.5, 1)),
        ("cuba", Dynamics(11, 0.75, 2, 1.875, 1 - 0.25**4, 0.5, 0.5, 1)),
        ("overshooting", Dynamics(4, 1.5, 1, 1.0, 1.5 * 1.875, 0.0, 0.0, 0)),
    ],
)
def test_dynamics_of_each_cell(name: str, expected: Dynamics) -> None:
    assert dynamics_of(CELLS[name], {}, DT, 4) == expected


def test_potentials_finer_than_the_sums_set_the_grid() -> None:
    fine = Dynamics(4, 0.5, 1, 1.0, 1.0, 0.0, 0.0, constant_bits=12)
    weight = np.array([[1.0]])
    assert exact_bits("w", weight, None, Signal(0, 1.0), fine) == 20  # 20 + 4 bits, |v| <= 1
    with pytest.raises(InputError):  # 12 + 4 bits leave 8 for |v| of up to 512
        exact_bits("w", weight * 512, None, Signal(0, 1.0), fine)


def test_dynamics_take_the_worst_of_differing_neurons() -> None:
    arrays = {"n.tau_mem_inv": np.array([500.0, 750.0])}
    layer = Layer("li_box", "n", {"v_leak": 0.0})
    found = dynamics_of(layer, arrays, DT, 3)
    assert isinstance(found, Dynamics)
    assert (found.bits, found.gain, found.membrane) == (6, 0.75, 1 - 0.25**3)


def test_snap_rounds_halves_to_even_and_has_no_minus_zero() -> None:
    got = snap(np.array([0.125, 0.375, -0.01, 0.3], np.float32), 2)
    np.testing.assert_array_equal(got, [0.0, 0.5, 0.0, 0.25])
    assert not np.signbit(got).any()
    assert got.dtype == np.float64


def two_layers(pool: int = 2) -> tuple[tuple[Layer, ...], dict[str, Array]]:
    """Convolution, LIF, average pooling, linear, readout."""
    rng = np.random.default_rng(3)
    layers = (
        Layer("conv2d", "conv", {"padding": [1, 1]}),
        Layer("lif_box", "spikes", LIF.options),
        Layer("avgpool2d", "pool", {"kernel": [pool, pool], "stride": [pool, pool]}),
        Layer("flatten", "flat"),
        Layer("linear", "dense"),
        Layer("li_box", "values", {"tau_mem_inv": 500.0, "v_leak": 0.0}),
    )
    side = 6 // pool
    return layers, {
        "conv.weight": rng.normal(size=(2, 1, 3, 3)),
        "conv.bias": rng.normal(size=2),
        "dense.weight": rng.normal(size=(3, 2 * side * side)) * 0.1,
    }


def fraction_bits(values: Array) -> int:
    """Fewest n for which all values are multiples of 2**-n."""
    return next(n for n in range(40) if (values * 2.0**n == np.rint(values * 2.0**n)).all())


def test_each_layer_gets_its_own_grid() -> None:
    layers, arrays = two_layers()
    _, out = snapped(layers, arrays, DT, Grid(None, 5, input_bits=4))
    conv = exact_bits(
        "conv",
        arrays["conv.weight"],
        arrays["conv.bias"],
        Signal(4, 1.0),
        dynamics_of(layers[1], {}, DT, 5),
    )
    dense = exact_bits(
        "dense",
        arrays["dense.weight"],
        None,
        Signal(2, 1.0),  # averages of four spikes
        dynamics_of(layers[5], {}, DT, 5),
    )
    assert fraction_bits(out["conv.weight"]) == conv
    assert fraction_bits(out["conv.bias"]) <= conv
    assert fraction_bits(out["dense.weight"]) == dense
    assert conv != dense
    for key, value in arrays.items():
        bits = dense if key.startswith("dense") else conv
        np.testing.assert_array_equal(out[key], snap(value, bits))


def test_pooling_before_the_neuron_costs_bits_too() -> None:
    layers, arrays = two_layers()
    swapped = (layers[0], layers[2], layers[1], *layers[3:])
    grid = Grid(None, 5, input_bits=4)
    before = fraction_bits(snapped(layers, arrays, DT, grid)[1]["conv.weight"])
    after = fraction_bits(snapped(swapped, arrays, DT, grid)[1]["conv.weight"])
    assert after == before - 2


def test_a_number_of_bits_is_taken_as_it_is() -> None:
    layers, arrays = two_layers(pool=3)  # a window of 9 has no exact grid
    _, out = snapped(layers, arrays, DT, Grid(5, 5))
    for key, value in arrays.items():
        np.testing.assert_array_equal(out[key], snap(value, 5))


def test_what_has_no_exact_grid_is_named() -> None:
    layers, arrays = two_layers(pool=3)
    with pytest.raises(InputError, match=r"layer 'pool'.*power of two, not 9"):
        snapped(layers, arrays, DT, Grid(None, 5))
    layers, arrays = two_layers()
    with pytest.raises(InputError, match=r"layer 'conv'.*4 fraction bits.*add 40"):
        snapped(layers, arrays, DT, Grid(None, 20, input_bits=4))
    without = (layers[0], *layers[2:])
    with pytest.raises(InputError, match=r"layer 'dense'.*neurons between"):
        snapped(without, arrays, DT, Grid(None, 5))
