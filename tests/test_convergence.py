r"""Lowering against the exact solutions of NIR's equations, at constant input from rest.

With :math:`u = v_{leak} + r x` (CubaLIF: :math:`i_\infty = w_{in} x`), from v = v_leak and i = 0:

    LIF:      v(t) = u + (v_leak - u) exp(-t / tau)
    CubaLIF:  i(t) = i_inf (1 - exp(-t / tau_syn)),
              v(t) = v_leak + r i_inf (1 - (tau_mem exp(-t / tau_mem) - tau_syn exp(-t / tau_syn))
                                           / (tau_mem - tau_syn))
"""

from typing import Any

import nir
import numpy as np
import pytest

from sltdeploy.lowering import lower
from sltdeploy.reference import initial_state, step

T = 0.02  # s
X, R, LEAK, W = 0.7, 1.3, 0.1, 2.0
TAU, TAU_SYN = 0.01, 0.004
STEPS = (20, 40, 80, 160, 320)


def graph(node: Any) -> nir.NIRGraph:
    """One input, a weight of 1, one neuron that never reaches its threshold."""
    nodes: dict[str, Any] = {
        "input": nir.Input({"input": np.array([1])}),
        "w": nir.Linear(np.array([[1.0]])),
        "n": node,
        "output": nir.Output({"output": np.array([1])}),
    }
    edges = [("input", "w"), ("w", "n"), ("n", "output")]
    return nir.NIRGraph(nodes, edges, metadata={})


def one(value: float) -> Any:
    """An array of one neuron."""
    return np.array([value])


LIF = graph(nir.LIF(one(TAU), one(R), one(LEAK), one(1e3)))
CUBA = graph(nir.CubaLIF(one(TAU_SYN), one(TAU), one(R), one(LEAK), one(1e3), w_in=one(W)))


def lif(t: float) -> float:
    """The exact membrane of `LIF`."""
    u = LEAK + R * X
    return u + (LEAK - u) * np.exp(-t / TAU)


def cuba(t: float) -> float:
    """The exact membrane of `CUBA`."""
    mixed = (TAU * np.exp(-t / TAU) - TAU_SYN * np.exp(-t / TAU_SYN)) / (TAU - TAU_SYN)
    return LEAK + R * W * X * (1 - mixed)


def membrane(net: nir.NIRGraph, steps: int, decay: Any) -> list[float]:
    """V after each of ``steps`` steps to the time T."""
    program = lower(net, T / steps, decay=decay)
    state = initial_state(program, 1)
    values: list[float] = []
    for _ in range(steps):
        _, state = step(program, state, {"input": np.full((1, 1), X, np.float32)})
        v = state["n"].v
        assert v is not None
        values.append(float(v[0, 0]))
    return values


def order(net: nir.NIRGraph, exact: float, decay: Any) -> float:
    """Slope of the error at T against the step, both logarithmic."""
    errors = [abs(membrane(net, n, decay)[-1] - exact) for n in STEPS]
    return float(np.polyfit(np.log([T / n for n in STEPS]), np.log(errors), 1)[0])


@pytest.mark.parametrize(("net", "exact"), [(LIF, lif(T)), (CUBA, cuba(T))], ids=["LIF", "CubaLIF"])
def test_euler_is_of_order_1(net: nir.NIRGraph, exact: float) -> None:
    """Half the step, half the error."""
    assert order(net, exact, "euler") == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("steps", [2, 20, 160])
def test_exponential_lif_is_exact_at_constant_input(steps: int) -> None:
    """At every step, whatever its length, to the rounding of float32."""
    exact = [lif((k + 1) * T / steps) for k in range(steps)]
    assert membrane(LIF, steps, "exponential") == pytest.approx(exact, rel=2e-6)


def test_exponential_cubalif_holds_its_current_over_a_step() -> None:
    """The current is exact, the membrane is of order 1 and exact in the limit of long times."""
    assert order(CUBA, cuba(T), "exponential") == pytest.approx(1.0, abs=0.05)
    program = lower(CUBA, T, decay="exponential")
    state = initial_state(program, 1)
    for _ in range(40):
        _, state = step(program, state, {"input": np.full((1, 1), X, np.float32)})
    v = state["n"].v
    assert v is not None
    assert v[0, 0] == pytest.approx(LEAK + R * W * X, rel=1e-6)
