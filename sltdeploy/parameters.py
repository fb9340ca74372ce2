"""The numbers of a node in a few words each, with units.

NIR leaves the unit of potential to the model; times are in seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from sltdeploy.anatomy import describe, neuron_kind
from sltdeploy.ops import Array, Conv, Linear, Op, Scale, Shape
from sltdeploy.rules import Rule

POTENTIAL, PER_INPUT = "model's potential", "potential per input"
UNITS: Mapping[str, str] = {
    **dict.fromkeys(("tau", "tau_mem", "tau_syn", "delay"), "s"),
    **dict.fromkeys(("v_leak", "v_threshold", "v_reset", "threshold"), POTENTIAL),
    **dict.fromkeys(("v_init", "bias"), POTENTIAL),
    "r": PER_INPUT,
    "steps": "steps",
}
INTEGRATORS = ("IF", "I")  # their r is a slope
NO_PARAMETERS = ("input_type", "output_type", "input_shape", "metadata")
BY_AXIS = ("stride", "padding", "dilation", "kernel_size")  # one number, or one for each axis
PREFIXES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


@dataclass(frozen=True)
class Parameter:
    """One parameter: ``text`` for people; ``low`` and ``high`` of its values, None for words."""

    name: str
    text: str
    unit: str = ""
    shape: Shape = ()
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.text}"


def of_node(node: Any, dt: float) -> tuple[Parameter, ...]:
    """Parameters of a NIR node; ``dt`` [s] tells how many steps a delay takes."""
    found: list[Parameter] = []
    for name, value in vars(node).items():
        if name in NO_PARAMETERS or value is None:
            continue
        if isinstance(value, str):
            found.append(Parameter(name, value))
        elif name in BY_AXIS:
            axes = [str(int(n)) for n in np.atleast_1d(value)]
            found.append(Parameter(name, "x".join(axes)))
        else:
            unit = "" if name == "bias" else UNITS.get(name, "")
            if name == "r" and type(node).__name__ in INTEGRATORS:
                unit += " and second"
            found.append(_range(name, np.asarray(value), unit, dt))
    return tuple(found)


def weights_of(node: Any) -> tuple[int, int]:
    """Weights of a NIR node's matrix or kernel, and how many are not 0."""
    weight = getattr(node, "weight", None)
    if weight is None:
        return 0, 0
    return int(np.size(weight)), int(np.count_nonzero(weight))


def of_rule(rule: Rule) -> tuple[str, tuple[Parameter, ...]]:
    """Kind and parameters of a population."""
    found: list[Parameter] = []
    for f in fields(rule):
        value = getattr(rule, f.name)
        if isinstance(value, np.ndarray | int | float) and not isinstance(value, bool):
            found.append(_range(f.name, np.asarray(value), UNITS.get(f.name, ""), None))
        elif isinstance(value, str):
            found.append(Parameter(f.name, value))
    return neuron_kind(rule), tuple(found)


def of_ops(ops: tuple[Op, ...]) -> tuple[Parameter, ...]:
    """What lies along a projection: each op in words, its weights as a range."""
    found: list[Parameter] = []
    for op in ops:
        found.append(Parameter("op", describe(op)))
        if isinstance(op, Linear | Conv):
            found.append(_range("weight", op.weight, "", None))
        elif isinstance(op, Scale):
            found.append(_range("factor", op.factor, "", None))
    return tuple(found)


def _range(name: str, values: Array, unit: str, dt: float | None) -> Parameter:
    if not values.size:
        return Parameter(name, "empty", unit, values.shape)
    low, high = float(values.min()), float(values.max())
    say = _seconds if unit == "s" else _plain
    text = say(low) if low == high else f"{say(low)} to {say(high)}"
    if name == "delay" and dt is not None:
        few, many = round(low / dt), round(high / dt)
        text += f" ({few if few == many else f'{few} to {many}'} steps)"
    return Parameter(name, text, unit, tuple(int(n) for n in values.shape), low, high)


def _plain(value: float) -> str:
    return f"{value:.4g}"


def _seconds(value: float) -> str:
    factor, unit = next((p for p in PREFIXES if abs(value) >= 0.9995 * p[0]), PREFIXES[-1])
    return "0 s" if value == 0 else f"{value / factor:.4g} {unit}"
