"""One module of torch or Norse, read into the layer that it means.

Evaluation mode: batch normalisation uses its running statistics, dropout does nothing. Masks and
parametrizations of ``torch.nn.utils`` are baked in.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import norse.torch as norse
import torch
from norse.torch.functional.reset import reset_subtract, reset_value
from torch import nn
from torch.nn.utils import parametrize

from sltdeploy.layers import PARAMETERS
from sltdeploy.program import Array
from sltdeploy.search.small_cells import Integrator, Scale, Threshold

DROPPED = (
    nn.Identity,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)
STEPPING: Mapping[type, str] = {  # cells that make one step
    norse.LIFBoxCell: "lif_box",
    norse.LIFCell: "lif",
    norse.LIFRecurrentCell: "lif",
    norse.LIBoxCell: "li_box",
    norse.LICell: "li",
    norse.IAFCell: "iaf",
    Integrator: "integrator",
}
ITERATING: Mapping[type, str] = {  # modules that step through time themselves
    norse.LIF: "lif",
    norse.LIFRecurrent: "lif",
    norse.LI: "li",
    norse.IAF: "iaf",
}
CELLS: Mapping[type, str] = {**STEPPING, **ITERATING}
RECURRENT = (norse.LIFRecurrentCell, norse.LIFRecurrent)
INSTEAD: Mapping[str, str] = {  # class name: what to use
    "MaxPool1d": "use a Conv1d with a stride",
    "MaxPool2d": "use AvgPool2d, or a Conv2d with a stride",
    "AdaptiveMaxPool2d": "use AvgPool2d with the kernel that gives the same size",
    "AdaptiveAvgPool2d": "use AvgPool2d with the kernel that gives the same size",
    "AvgPool1d": "use a Conv1d with a stride and equal weights",
    "LPPool2d": "use AvgPool2d",
    "ReLU": "use a spiking neuron such as LIFBoxCell",
    "ConvTranspose2d": "use Conv2d",
    "Conv3d": "use Conv2d",
    "LConv2d": "use Lift(Conv2d)",
    "LazyConv2d": "run one forward pass, which makes it a Conv2d",
    "LazyLinear": "run one forward pass, which makes it a Linear",
    "LayerNorm": "use BatchNorm1d or BatchNorm2d, which can be folded",
    "GroupNorm": "use BatchNorm2d, which can be folded",
    "LSNNCell": "use LIFCell",
    "LSNN": "use LIF",
    "LSNNRecurrentCell": "use LIFRecurrentCell",
    "LSNNRecurrent": "use LIFRecurrent",
    "LIFRefracCell": "use LIFCell",
    "LIFRefracRecurrentCell": "use LIFRecurrentCell",
    "LIFAdExCell": "use LIFCell",
    "LIFAdExRecurrentCell": "use LIFRecurrentCell",
    "LIFExCell": "use LIFCell",
    "LIFExRecurrentCell": "use LIFRecurrentCell",
    "LILinearCell": "use Linear and LICell",
    "RNN": "use LIFRecurrent",
    "Softmax": "leave it out, the decision is the same",
    "LogSoftmax": "leave it out, the decision is the same",
}


@dataclass
class Found:
    """What one module turned out to be: a layer's kind, options and arrays; what is wrong."""

    kind: str
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    arrays: dict[str, Array] = field(default_factory=dict[str, Array])
    wrong: list[str] = field(default_factory=list[str])


def read(leaf: nn.Module) -> Found:
    """Read one module; kind "unknown" where it means nothing in NIR."""
    kind = kind_of(leaf)
    reader = _READERS.get(kind)
    if reader is not None:
        return reader(leaf)
    instead = INSTEAD.get(kind.__name__)
    if instead is None:
        base = next((b.__name__ for b in kind.__mro__[1:] if b in _READERS), None)
        known = ", ".join(k.__name__ for k in _READERS)
        instead = f"use {base} itself, a subclass may differ" if base else f"use one of {known}"
    return Found("unknown", wrong=[f"cannot be translated: {instead}"])


def kind_of(leaf: nn.Module) -> type:
    """Class of a module as its author wrote it, without parametrizations."""
    return parametrize.type_before_parametrizations(leaf)


def derived(leaf: nn.Module) -> bool:
    """Whether the module is of a class that can be read, or of one derived from such a class."""
    return any(b in _READERS or b in DROPPED for b in kind_of(leaf).__mro__)


def _weights_of(leaf: nn.Module, *keys: str) -> tuple[dict[str, Array], list[str]]:
    """Weights as they are used, by key, those that are None left out; and what is wrong."""
    arrays: dict[str, Array] = {}
    wrong: list[str] = []
    for key in keys:
        pruned = getattr(leaf, f"{key}_orig", None), getattr(leaf, f"{key}_mask", None)
        if pruned[0] is not None and pruned[1] is not None:  # torch.nn.utils.prune
            arrays[key] = numpy_of(pruned[0] * pruned[1])
        elif (
            key in dict(leaf.named_parameters(recurse=False))
            or parametrize.is_parametrized(leaf, key)
            or isinstance(leaf, RECURRENT)  # Norse keeps given weights as they are
        ):
            arrays[key] = numpy_of(getattr(leaf, key))
        elif getattr(leaf, key, None) is not None:
            wrong.append(
                f"{key} is computed by a hook: remove it (torch.nn.utils.remove_weight_norm) or "
                "use torch.nn.utils.parametrizations"
            )
    return arrays, wrong


def _conv2d(leaf: Any) -> Found:
    return _convolution("conv2d", leaf, 2)


def _conv1d(leaf: Any) -> Found:
    return _convolution("conv1d", leaf, 1)


def _convolution(kind: str, leaf: Any, axes: int) -> Found:
    found = _weighted(kind, leaf)
    stride, dilation = _numbers(leaf.stride, axes), _numbers(leaf.dilation, axes)
    found.options = {"stride": stride, "dilation": dilation, "groups": int(leaf.groups)}
    found.options["padding"] = _padding(leaf.padding, _numbers(leaf.kernel_size, axes), dilation)
    if leaf.padding_mode != "zeros":
        found.wrong.append(f"padding_mode is '{leaf.padding_mode}': use 'zeros'")
    return found


def _padding(padding: Any, kernel: list[int], dilation: list[int]) -> list[int] | str:
    if padding == "valid":
        return [0] * len(kernel)
    if padding != "same":
        return _numbers(padding, len(kernel))
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return "same" if any(r % 2 for r in reach) else [r // 2 for r in reach]


def _linear(leaf: Any) -> Found:
    return _weighted("linear", leaf)


def _weighted(kind: str, leaf: Any) -> Found:
    arrays, wrong = _weights_of(leaf, "weight", "bias")
    return Found(kind, arrays=arrays, wrong=wrong)


def _batchnorm2d(leaf: Any) -> Found:
    return _normalisation("batchnorm2d", leaf)


def _batchnorm1d(leaf: Any) -> Found:
    return _normalisation("batchnorm1d", leaf)


def _normalisation(kind: str, leaf: Any) -> Found:
    found = Found(kind, {"eps": float(leaf.eps)})
    if leaf.running_mean is None or leaf.running_var is None:
        found.wrong.append("has no running statistics to fold: use track_running_stats=True")
        return found
    for key in ("running_mean", "running_var", "weight", "bias"):
        if getattr(leaf, key) is not None:
            found.arrays[key] = numpy_of(getattr(leaf, key))
    return found


def _flatten(leaf: Any) -> Found:
    start, end = int(leaf.start_dim), int(leaf.end_dim)
    found = Found("flatten")
    if start == 0 or end == 0:
        found.wrong.append(f"dims {start}..{end} flatten the batch: use start_dim=1")
    found.options = {  # per sample there is no batch dimension
        "start_dim": start - 1 if start > 0 else start,
        "end_dim": end - 1 if end > 0 else end,
    }
    return found


def _avgpool2d(leaf: Any) -> Found:
    kernel, padding = _numbers(leaf.kernel_size, 2), _numbers(leaf.padding, 2)
    stride = kernel if leaf.stride is None else _numbers(leaf.stride, 2)
    summed = leaf.divisor_override == 1
    found = Found("sumpool2d" if summed else "avgpool2d")
    found.options = {"kernel": kernel, "stride": stride, "padding": padding}
    if leaf.ceil_mode:
        found.wrong.append("ceil_mode=True: use ceil_mode=False, pad where the size needs it")
    if any(padding) and not leaf.count_include_pad and not summed:
        found.wrong.append("count_include_pad=False with padding: use count_include_pad=True")
    if leaf.divisor_override not in (None, 1, kernel[0] * kernel[1]):
        found.wrong.append(f"divisor_override={leaf.divisor_override}: scale the weights instead")
    return found


def _cell(leaf: Any) -> Found:
    kind = CELLS[kind_of(leaf)]
    found = _parameters(kind, getattr(leaf, "p", None))
    if kind == "lif_box":
        rules: dict[Callable[..., Any], str] = {reset_value: "zero", reset_subtract: "subtract"}
        rule = rules.get(leaf.p.reset_method)
        if rule is None:
            found.wrong.append("reset_method is neither reset_value nor reset_subtract of Norse")
        found.options["reset"] = rule or "zero"
    if isinstance(leaf, RECURRENT):
        arrays, wrong = _weights_of(leaf, "input_weights", "recurrent_weights")
        found.arrays |= arrays
        found.wrong += wrong
    return found


def _parameters(kind: str, p: Any) -> Found:
    found = Found(kind)
    for key in PARAMETERS[kind]:
        value = getattr(p, key, None)
        if value is None:
            found.wrong.append(f"parameters {type(p).__name__} have no {key}")
            continue
        array = numpy_of(torch.as_tensor(value))
        if array.size == 1:
            found.options[key] = float(array.reshape(()))
        else:  # a leading axis of 1 may stand for the batch, and broadcasts anyway
            ones = next(k for k, n in enumerate(array.shape) if n > 1)
            found.arrays[key] = array.reshape(array.shape[ones:])
    return found


def _threshold(leaf: Any) -> Found:
    return _parameters("threshold", leaf)


def _scale(leaf: Any) -> Found:
    return Found("scale", arrays={"factor": numpy_of(leaf.factor)})


def _numbers(value: Any, count: int) -> list[int]:
    return [int(n) for n in value] if isinstance(value, tuple | list) else [int(value)] * count


def numpy_of(tensor: torch.Tensor) -> Array:
    """Copy a tensor as float32, or as float64 if it is."""
    whole = tensor.detach().cpu()
    if whole.dtype not in (torch.float32, torch.float64):
        whole = whole.to(torch.float32)
    return whole.numpy().copy()


_READERS: Mapping[type, Callable[[Any], Found]] = {
    nn.Conv2d: _conv2d,
    nn.Conv1d: _conv1d,
    nn.BatchNorm2d: _batchnorm2d,
    nn.BatchNorm1d: _batchnorm1d,
    nn.Linear: _linear,
    nn.Flatten: _flatten,
    nn.AvgPool2d: _avgpool2d,
    **dict.fromkeys(CELLS, _cell),
    Threshold: _threshold,
    Scale: _scale,
}
