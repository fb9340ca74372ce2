"""A user's own Norse network, read into layers and NIR.

Norse's own exporter gets time constants wrong and loses reset values; this one is tested spike
for spike against Norse itself. It takes ``SequentialState`` and ``Sequential``, nested or not, of

    Conv2d  BatchNorm2d  Linear  Flatten  AvgPool2d  Dropout  Identity
    LIFBoxCell  LIFCell  LIBoxCell  LICell  IAFCell

in evaluation mode: batch normalisation uses its running statistics, dropout does nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import norse.torch as norse
import torch
from norse.torch.functional.reset import reset_subtract, reset_value
from torch import nn
from torch.nn.utils import parametrize

from sltdeploy.errors import InputError, raise_all
from sltdeploy.layer_graph import to_graph
from sltdeploy.layers import ENDS, PARAMETERS, WEIGHTED, Layer
from sltdeploy.program import Array

if TYPE_CHECKING:
    import nir

CONTAINERS = (nn.Sequential, norse.SequentialState)
DROPPED = (
    nn.Identity,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)
CELLS: Mapping[type, str] = {
    norse.LIFBoxCell: "lif_box",
    norse.LIFCell: "lif",
    norse.LIBoxCell: "li_box",
    norse.LICell: "li",
    norse.IAFCell: "iaf",
}
INSTEAD: Mapping[str, str] = {  # class name: what to use
    "MaxPool2d": "use AvgPool2d, or a Conv2d with a stride",
    "AdaptiveAvgPool2d": "use AvgPool2d with the kernel that gives the same size",
    "LPPool2d": "use AvgPool2d",
    "ReLU": "use a spiking neuron such as LIFBoxCell",
    "BatchNorm1d": "fold it into the Linear before, or use BatchNorm2d after a Conv2d",
    "Conv1d": "use Conv2d with a kernel of height 1",
    "ConvTranspose2d": "use Conv2d",
    "LazyConv2d": "run one forward pass, which makes it a Conv2d",
    "LazyLinear": "run one forward pass, which makes it a Linear",
    "LIF": "use LIFCell, which makes one step",
    "LI": "use LICell, which makes one step",
    "IAF": "use IAFCell, which makes one step",
    "LIFRecurrentCell": "recurrent networks cannot be lowered, use LIFCell",
    "LIFRecurrent": "recurrent networks cannot be lowered, use LIFCell",
    "LSNNCell": "use LIFCell",
    "LSNNRecurrentCell": "recurrent networks cannot be lowered, use LIFCell",
    "RecurrentSequential": "recurrent networks cannot be lowered",
    "Lift": "use the lifted module itself, the network makes one step at a time",
    "Softmax": "leave it out, the decision is the same",
    "LogSoftmax": "leave it out, the decision is the same",
}


@dataclass
class _Found:
    """What one module turned out to be."""

    kind: str
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    arrays: dict[str, Array] = field(default_factory=dict[str, Array])
    wrong: list[str] = field(default_factory=list[str])


def to_nir(
    module: nn.Module, input_shape: Sequence[int], dt: float | None = None
) -> "nir.NIRGraph":
    """Write a Norse network as a NIR graph; see `sltdeploy.layer_graph.to_graph`.

    ``input_shape`` is per sample, without time and batch. dt in seconds is that of the cells;
    if given it must agree with them. The graph's metadata carry it. Masks and parametrizations
    of ``torch.nn.utils`` are baked in. The module is left as it is. A cell's first step starts
    from ``v_leak`` (IAFCell: ``v_reset``), as in Norse.

    Raises `InputError` with every module that cannot be translated, by its path, and what to
    use instead.
    """
    layers, arrays = describe(module)
    step = time_step(module)
    if step is None:
        step = dt
    if step is None:
        raise InputError("no cell gives a time step: give dt in seconds, dt=0.001")
    if dt is not None and dt != step:
        raise InputError(f"dt is {dt} s, but the network's cells step by {step} s: make them agree")
    return to_graph(layers, arrays, tuple(int(n) for n in input_shape), step)


def describe(module: nn.Module) -> tuple[tuple[Layer, ...], dict[str, Array]]:
    """Read a Norse network into layers and arrays; the inverse of `building.build`.

    A layer's name is its module's path, with ``_`` for the dots. Raises `InputError` as `to_nir`.
    """
    layers: list[Layer] = []
    arrays: dict[str, Array] = {}
    wrong: list[str] = []
    taken: set[str] = set(ENDS)
    for path, leaf in _leaves(module):
        if isinstance(leaf, DROPPED) and type(leaf) in DROPPED:
            continue
        found = _read(leaf)
        before = layers[-1].kind if layers else ""
        if found.kind == "batchnorm2d" and before not in (*WEIGHTED, "batchnorm2d", "unknown"):
            found.wrong.append("must stand directly after a Conv2d to be folded into it, put it so")
        wrong += [f"module '{path}' ({type(leaf).__name__}): {why}" for why in found.wrong]
        name = path.replace(".", "_") or "layer"
        while name in taken:
            name += "_"
        taken.add(name)
        layers.append(Layer(found.kind, name, found.options))
        arrays |= {f"{name}.{key}": value for key, value in found.arrays.items()}
    raise_all(wrong)
    return tuple(layers), arrays


def time_step(module: nn.Module) -> float | None:
    """Time step in seconds that all cells share, None without cells; `InputError` if mixed."""
    steps = {
        path: float(leaf.dt)
        for path, leaf in _leaves(module)
        if isinstance(leaf, tuple(CELLS)) and isinstance(leaf.dt, int | float | torch.Tensor)
    }
    if len(set(steps.values())) > 1:
        shown = ", ".join(f"'{path}' {dt} s" for path, dt in steps.items())
        raise InputError(f"cells step differently ({shown}): give all the same dt")
    return next(iter(steps.values()), None)


def _leaves(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Modules that compute, with their paths, in order; a module used twice comes twice."""
    if type(module) not in CONTAINERS:
        yield path, module
        return
    for name, child in module.named_modules(remove_duplicate=False):
        if name and "." not in name:
            yield from _leaves(child, f"{path}.{name}" if path else name)


def _read(leaf: nn.Module) -> _Found:
    kind = parametrize.type_before_parametrizations(leaf)
    reader = _READERS.get(kind)
    if reader is not None:
        return reader(leaf)
    instead = INSTEAD.get(kind.__name__)
    if instead is None:
        base = next((b.__name__ for b in kind.__mro__[1:] if b in _READERS), None)
        known = ", ".join(k.__name__ for k in _READERS)
        instead = f"use {base} itself, a subclass may differ" if base else f"use one of {known}"
    return _Found("unknown", wrong=[f"cannot be translated: {instead}"])


def _conv2d(leaf: Any) -> _Found:
    found = _weighted("conv2d", leaf)
    stride, dilation = _pair(leaf.stride), _pair(leaf.dilation)
    found.options = {"stride": stride, "dilation": dilation, "groups": int(leaf.groups)}
    found.options["padding"] = _padding(leaf.padding, _pair(leaf.kernel_size), dilation)
    if leaf.padding_mode != "zeros":
        found.wrong.append(f"padding_mode is '{leaf.padding_mode}': use 'zeros'")
    return found


def _padding(padding: Any, kernel: list[int], dilation: list[int]) -> list[int] | str:
    if padding == "valid":
        return [0, 0]
    if padding != "same":
        return _pair(padding)
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    return "same" if any(r % 2 for r in reach) else [r // 2 for r in reach]


def _linear(leaf: Any) -> _Found:
    return _weighted("linear", leaf)


def _weighted(kind: str, leaf: Any) -> _Found:
    found = _Found(kind)
    for key in ("weight", "bias"):
        pruned = getattr(leaf, f"{key}_orig", None), getattr(leaf, f"{key}_mask", None)
        if pruned[0] is not None and pruned[1] is not None:  # torch.nn.utils.prune
            found.arrays[key] = _numpy(pruned[0] * pruned[1])
        elif key in dict(leaf.named_parameters(recurse=False)) or parametrize.is_parametrized(
            leaf, key
        ):
            found.arrays[key] = _numpy(getattr(leaf, key))
        elif getattr(leaf, key, None) is not None:
            found.wrong.append(
                f"{key} is computed by a hook: remove it (torch.nn.utils.remove_weight_norm) or "
                "use torch.nn.utils.parametrizations"
            )
    return found


def _batchnorm2d(leaf: Any) -> _Found:
    found = _Found("batchnorm2d", {"eps": float(leaf.eps)})
    if leaf.running_mean is None or leaf.running_var is None:
        found.wrong.append("has no running statistics to fold: use track_running_stats=True")
        return found
    for key in ("running_mean", "running_var", "weight", "bias"):
        if getattr(leaf, key) is not None:
            found.arrays[key] = _numpy(getattr(leaf, key))
    return found


def _flatten(leaf: Any) -> _Found:
    start, end = int(leaf.start_dim), int(leaf.end_dim)
    found = _Found("flatten")
    if start == 0 or end == 0:
        found.wrong.append(f"dims {start}..{end} flatten the batch: use start_dim=1")
    found.options = {  # per sample there is no batch dimension
        "start_dim": start - 1 if start > 0 else start,
        "end_dim": end - 1 if end > 0 else end,
    }
    return found


def _avgpool2d(leaf: Any) -> _Found:
    kernel, padding = _pair(leaf.kernel_size), _pair(leaf.padding)
    stride = kernel if leaf.stride is None else _pair(leaf.stride)
    found = _Found("avgpool2d", {"kernel": kernel, "stride": stride, "padding": padding})
    if leaf.ceil_mode:
        found.wrong.append("ceil_mode=True: use ceil_mode=False, pad where the size needs it")
    if any(padding) and not leaf.count_include_pad:
        found.wrong.append("count_include_pad=False with padding: use count_include_pad=True")
    if leaf.divisor_override not in (None, kernel[0] * kernel[1]):
        found.wrong.append(f"divisor_override={leaf.divisor_override}: scale the weights instead")
    return found


def _cell(leaf: Any) -> _Found:
    kind = CELLS[type(leaf)]
    found = _Found(kind)
    for key in PARAMETERS[kind]:
        value = getattr(leaf.p, key, None)
        if value is None:
            found.wrong.append(f"parameters {type(leaf.p).__name__} have no {key}")
            continue
        array = _numpy(torch.as_tensor(value))
        if array.size == 1:
            found.options[key] = float(array.reshape(()))
        else:  # a leading axis of 1 may stand for the batch, and broadcasts anyway
            ones = next(k for k, n in enumerate(array.shape) if n > 1)
            found.arrays[key] = array.reshape(array.shape[ones:])
    if kind == "lif_box":
        rules: dict[Callable[..., Any], str] = {reset_value: "zero", reset_subtract: "subtract"}
        rule = rules.get(leaf.p.reset_method)
        if rule is None:
            found.wrong.append("reset_method is neither reset_value nor reset_subtract of Norse")
        found.options["reset"] = rule or "zero"
    return found


def _pair(value: Any) -> list[int]:
    return [int(n) for n in value] if isinstance(value, tuple | list) else [int(value)] * 2


def _numpy(tensor: torch.Tensor) -> Array:
    whole = tensor.detach().cpu()
    if whole.dtype not in (torch.float32, torch.float64):
        whole = whole.to(torch.float32)
    return whole.numpy().copy()


_READERS: Mapping[type, Callable[[Any], _Found]] = {
    nn.Conv2d: _conv2d,
    nn.BatchNorm2d: _batchnorm2d,
    nn.Linear: _linear,
    nn.Flatten: _flatten,
    nn.AvgPool2d: _avgpool2d,
    **dict.fromkeys(CELLS, _cell),
}
