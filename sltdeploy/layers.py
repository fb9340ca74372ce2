r"""A feed-forward network as plain data: layers and their arrays.

A `Layer` holds structure; numbers lie in a mapping of arrays named ``layer.array``
(``conv1.weight``), as in a torch state dict. No torch here: a ticket is read with numpy alone.

============  =============================================  =================================
kind          arrays                                         options
============  =============================================  =================================
conv2d        weight (O, C/groups, kH, kW), bias (O,)?       stride, padding, dilation, groups
conv1d        weight (O, C/groups, k), bias (O,)?            stride, padding, dilation, groups
batchnorm2d   running_mean, running_var, weight?, bias?      eps
batchnorm1d   as batchnorm2d                                 eps
linear        weight (post, pre), bias (post,)?
flatten                                                      start_dim, end_dim (per sample)
avgpool2d                                                    kernel, stride, padding
sumpool2d                                                    kernel, stride, padding
scale         factor (broadcasts to the input)
delay                                                        seconds
lif_box       *                                              reset, and *
lif, li_box   *                                              *
li, iaf       *                                              *
integrator
threshold     v_th *                                         v_th *
============  =============================================  =================================

\* the parameters of Norse's cell of that name (`PARAMETERS`): a number in the options, or an
array that broadcasts to the population's shape. 1/s for ``tau_*_inv``, the model's unit of
potential for ``v_*``. An integrator adds what arrives to its value; a threshold spikes where
what arrives in the step exceeds ``v_th``.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, TypeAlias

import numpy as np

from sltdeploy.errors import raise_all
from sltdeploy.program import Array

Arrays: TypeAlias = Mapping[str, Array]

PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "lif_box": ("tau_mem_inv", "v_leak", "v_th", "v_reset"),
    "lif": ("tau_syn_inv", "tau_mem_inv", "v_leak", "v_th", "v_reset"),
    "li_box": ("tau_mem_inv", "v_leak"),
    "li": ("tau_syn_inv", "tau_mem_inv", "v_leak"),
    "iaf": ("v_th", "v_reset"),
    "integrator": (),
    "threshold": ("v_th",),
}
OPTIONS: Mapping[str, Mapping[str, Any]] = {  # name: default, None where it must be given
    "conv2d": {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1},
    "conv1d": {"stride": [1], "padding": [0], "dilation": [1], "groups": 1},
    "batchnorm2d": {"eps": 1e-5},
    "batchnorm1d": {"eps": 1e-5},
    "linear": {},
    "flatten": {"start_dim": 0, "end_dim": -1},
    "avgpool2d": {"kernel": None, "stride": None, "padding": [0, 0]},
    "sumpool2d": {"kernel": None, "stride": None, "padding": [0, 0]},
    "scale": {},
    "delay": {"seconds": None},
    "lif_box": {"reset": "zero"},
    "lif": {},
    "li_box": {},
    "li": {},
    "iaf": {},
    "integrator": {},
    "threshold": {},
}
NEEDED: Mapping[str, tuple[str, ...]] = {
    "conv2d": ("weight",),
    "conv1d": ("weight",),
    "batchnorm2d": ("running_mean", "running_var"),
    "batchnorm1d": ("running_mean", "running_var"),
    "linear": ("weight",),
    "scale": ("factor",),
}
OPTIONAL: Mapping[str, tuple[str, ...]] = {
    "conv2d": ("bias",),
    "conv1d": ("bias",),
    "batchnorm2d": ("weight", "bias"),
    "batchnorm1d": ("weight", "bias"),
    "linear": ("bias",),
}
AXES = {"conv2d": 4, "conv1d": 3, "linear": 2}  # of the weight
WEIGHTED = tuple(AXES)
NORMS = ("batchnorm2d", "batchnorm1d")
RESETS = ("zero", "subtract")
ENDS = ("input", "output")


@dataclass(frozen=True)
class Layer:
    """One layer: its kind, a name unique in the network, and options that JSON can hold."""

    kind: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def option(self, key: str) -> Any:
        """Option ``key``, or its default."""
        return self.options.get(key, OPTIONS[self.kind].get(key))


def problems(layers: Sequence[Layer], arrays: Arrays, dt: float) -> Iterator[str]:
    """What is wrong with a network before shapes are known, one line each."""
    if not (np.isfinite(dt) and dt > 0):
        yield f"time step is {dt} s, must be positive and finite"
    if not layers:
        yield "the network has no layers"
    for name, times in Counter(layer.name for layer in layers).items():
        if times > 1 or name in ENDS:
            yield f"layer '{name}': names must be unique and not {' or '.join(ENDS)}"
    known: set[str] = set()
    for layer in layers:
        if layer.kind not in OPTIONS:
            yield f"layer '{layer.name}': kind '{layer.kind}' is unknown{_near(layer.kind)}"
            continue
        known |= {f"{layer.name}.{key}" for key in _array_names(layer.kind)}
        yield from (f"layer '{layer.name}': {why}" for why in _layer_problems(layer, arrays))
    for key in sorted({k for k in arrays if k not in known}):
        if all(layer.kind in OPTIONS for layer in layers):
            yield f"array '{key}' belongs to no layer"


def fold(layers: Sequence[Layer], arrays: Arrays) -> tuple[tuple[Layer, ...], dict[str, Array]]:
    r"""Fold each batch normalisation into the convolution or linear layer before it, in float64.

    .. math::
        W' = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}} W,\quad
        b' = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}} (b - \mu) + \beta

    with the running statistics :math:`\mu, \sigma^2`, as in evaluation mode. Other arrays are
    copied as they are. Raises `InputError` where no such layer stands directly before.
    """
    folded: list[Layer] = []
    out = {key: np.array(value) for key, value in arrays.items()}
    found: list[str] = []
    for layer in layers:
        if layer.kind not in NORMS:
            folded.append(layer)
        elif not folded or folded[-1].kind not in WEIGHTED:
            found.append(
                f"layer '{layer.name}': batch normalisation can only be folded directly after a "
                "convolution or linear layer, put it there"
            )
        else:
            why = _fold_into(folded[-1].name, layer, out)
            found += [f"layer '{layer.name}': {why}"] if why else []
    raise_all(found)
    return tuple(folded), out


def reset_of(layers: Sequence[Layer]) -> str:
    """Return the one reset rule of a network's neurons; `InputError` where they differ."""
    rules = {
        layer.name: str(layer.option("reset") or "zero")
        for layer in layers
        if "v_th" in PARAMETERS.get(layer.kind, ()) and layer.kind != "threshold"
    }
    if len(set(rules.values())) > 1:
        shown = ", ".join(f"'{name}' {rule}" for name, rule in rules.items())
        raise_all([f"reset rules are mixed ({shown}): a graph carries one, use the same for all"])
    return next(iter(rules.values()), "zero")


def parameter(layer: Layer, arrays: Arrays, key: str) -> Array:
    """Parameter ``key`` of a neuron layer in float64: from its array or its options."""
    value = arrays.get(f"{layer.name}.{key}", layer.options.get(key))
    return np.array(value, dtype=np.float64)


def _fold_into(before: str, norm: Layer, out: dict[str, Array]) -> str:
    """Fold ``norm`` into layer ``before`` within ``out``; what is wrong, or an empty string."""
    weight = out[f"{before}.weight"].astype(np.float64)
    width = weight.shape[0]
    taken = {key: out.pop(f"{norm.name}.{key}", None) for key in _array_names("batchnorm2d")}
    wrong = [f"{k} {a.shape}" for k, a in taken.items() if a is not None and a.shape != (width,)]
    if wrong:
        return f"{', '.join(wrong)} must be ({width},), as '{before}' has {width} channels"
    mean, variance, gamma, beta = (
        np.full(width, default) if a is None else a.astype(np.float64)
        for a, default in zip(taken.values(), (0.0, 1.0, 1.0, 0.0), strict=True)
    )
    scale = gamma / np.sqrt(variance + norm.option("eps"))
    bias = out.get(f"{before}.bias")
    bias = np.zeros(width) if bias is None else bias.astype(np.float64)
    out[f"{before}.weight"] = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    out[f"{before}.bias"] = (bias - mean) * scale + beta
    return ""


def _array_names(kind: str) -> tuple[str, ...]:
    return (*NEEDED.get(kind, ()), *OPTIONAL.get(kind, ()), *PARAMETERS.get(kind, ()))


def _layer_problems(layer: Layer, arrays: Arrays) -> Iterator[str]:
    own = PARAMETERS.get(layer.kind, ())
    for key in layer.options:
        if key not in OPTIONS[layer.kind] and key not in own:
            allowed = [*OPTIONS[layer.kind], *own]
            yield f"option '{key}' is unknown, {layer.kind} has {', '.join(allowed) or 'none'}"
    for key, default in OPTIONS[layer.kind].items():
        if default is None and key not in layer.options:
            yield f"option '{key}' is missing"
    if layer.option("reset") is not None and layer.option("reset") not in RESETS:
        yield f"reset is '{layer.option('reset')}', must be {' or '.join(RESETS)}"
    for key in NEEDED.get(layer.kind, ()):
        if f"{layer.name}.{key}" not in arrays:
            yield f"array '{layer.name}.{key}' is missing"
    if layer.kind in WEIGHTED:
        shape = arrays.get(f"{layer.name}.weight", np.zeros(AXES[layer.kind] * (1,))).shape
        if len(shape) != AXES[layer.kind]:
            yield f"weight has shape {shape}, must have {AXES[layer.kind]} axes"
    for key in own:
        if f"{layer.name}.{key}" not in arrays and key not in layer.options:
            yield f"parameter '{key}' is missing"
            continue
        value = parameter(layer, arrays, key)
        if key.startswith("tau") and not (value > 0).all():
            yield f"{key} is {value.min():g} 1/s, must be positive"
        if not np.isfinite(value).all():
            yield f"{key} holds NaN or infinity"
    for key in (*NEEDED.get(layer.kind, ()), *OPTIONAL.get(layer.kind, ())):
        if not np.isfinite(arrays.get(f"{layer.name}.{key}", np.zeros(()))).all():
            yield f"array '{layer.name}.{key}' holds NaN or infinity"


def _near(kind: str) -> str:
    near = get_close_matches(kind, OPTIONS, 1)
    return f", did you mean '{near[0]}'?" if near else f", these are: {', '.join(OPTIONS)}"
