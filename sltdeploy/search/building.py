"""Layers to a Norse network; the inverse of `norse_modules.describe`.

Scalar parameters become float64 tensors, so that Norse's ``dt * tau_mem_inv`` is the product of
two doubles: 0.001 * 750 is exactly 0.75. With Norse's usual float32 tensors it is 0.75000006.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import norse.torch as norse
import torch
from norse.torch.functional.iaf import IAFParameters
from norse.torch.functional.leaky_integrator_box import LIBoxParameters
from norse.torch.functional.lif_box import LIFBoxParameters
from norse.torch.functional.reset import reset_subtract, reset_value
from torch import nn

from sltdeploy.errors import InputError
from sltdeploy.layers import PARAMETERS, Arrays, Layer
from sltdeploy.program import Array

CELLS: Mapping[str, tuple[Callable[..., nn.Module], Callable[..., Any]]] = {
    "lif_box": (norse.LIFBoxCell, LIFBoxParameters),
    "lif": (norse.LIFCell, norse.LIFParameters),
    "li_box": (norse.LIBoxCell, LIBoxParameters),
    "li": (norse.LICell, norse.LIParameters),
    "iaf": (norse.IAFCell, IAFParameters),
}
RESETS: Mapping[str, Callable[..., Any]] = {"zero": reset_value, "subtract": reset_subtract}


def build(layers: Sequence[Layer], arrays: Arrays, dt: float) -> norse.SequentialState:
    """Build the network in Norse, in evaluation mode, with float32 weights; dt in seconds.

    Modules have the names of the layers, so the state dict has the names of the arrays.
    """
    network = norse.SequentialState()
    for layer in layers:
        own = {
            key.removeprefix(f"{layer.name}."): value
            for key, value in arrays.items()
            if key.startswith(f"{layer.name}.")
        }
        network.add_module(layer.name, module_of(layer, own, dt))
        network.stateful_layers.append(layer.kind in PARAMETERS)
    return network.eval()


def module_of(layer: Layer, own: Arrays, dt: float) -> nn.Module:
    """Build the module of one layer from its own arrays (``weight``, not ``conv1.weight``)."""
    if layer.kind in CELLS:
        return _cell(layer, own, dt)
    match layer.kind:
        case "conv2d":
            out, inputs, *kernel = own["weight"].shape
            groups, padding = int(layer.option("groups")), layer.option("padding")
            module = nn.Conv2d(
                inputs * groups,
                out,
                (kernel[0], kernel[1]),
                stride=_pair(layer.option("stride")),
                padding=padding if isinstance(padding, str) else _pair(padding),
                dilation=_pair(layer.option("dilation")),
                groups=groups,
                bias="bias" in own,
            )
        case "conv1d":
            out, inputs, length = own["weight"].shape
            groups, padding = int(layer.option("groups")), layer.option("padding")
            module = nn.Conv1d(
                inputs * groups,
                out,
                length,
                stride=int(layer.option("stride")[0]),
                padding=padding if isinstance(padding, str) else int(padding[0]),
                dilation=int(layer.option("dilation")[0]),
                groups=groups,
                bias="bias" in own,
            )
        case "batchnorm2d" | "batchnorm1d":
            norm = nn.BatchNorm2d if layer.kind == "batchnorm2d" else nn.BatchNorm1d
            module = norm(len(own["running_mean"]), eps=layer.option("eps"), affine="weight" in own)
        case "linear":
            post, pre = own["weight"].shape
            module = nn.Linear(pre, post, bias="bias" in own)
        case "flatten":  # the batch dimension comes before the sample's
            start, end = int(layer.option("start_dim")), int(layer.option("end_dim"))
            return nn.Flatten(start if start < 0 else start + 1, end if end < 0 else end + 1)
        case "avgpool2d" | "sumpool2d":
            kernel, stride, padding = (
                _pair(layer.option(key)) for key in ("kernel", "stride", "padding")
            )
            divisor = 1 if layer.kind == "sumpool2d" else None
            return nn.AvgPool2d(kernel, stride, padding, divisor_override=divisor)
        case _:
            raise InputError(
                f"layer '{layer.name}': a sequence of modules has no {layer.kind}: take it out"
            )
    state = {key: torch.from_numpy(value.astype("float32")) for key, value in own.items()}
    module.load_state_dict(state, strict=False)
    return module


def _cell(layer: Layer, own: Arrays, dt: float) -> nn.Module:
    cell, parameters = CELLS[layer.kind]
    given = {key: _parameter(layer, own.get(key), key) for key in PARAMETERS[layer.kind]}
    if layer.kind == "lif_box":
        return cell(parameters(**given, reset_method=RESETS[layer.option("reset")]), dt=dt)
    return cell(parameters(**given), dt=dt)


def _parameter(layer: Layer, array: Array | None, key: str) -> torch.Tensor:
    if array is None:
        return torch.tensor(layer.options[key], dtype=torch.float64)
    return torch.from_numpy(array.astype("float32"))  # float64 would widen the whole network


def _pair(value: Any) -> tuple[int, int]:
    return (int(value[0]), int(value[1]))
