"""What a network of layers means: its NIR graph."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sltdeploy.errors import InputError, raise_all
from sltdeploy.layers import PARAMETERS, Arrays, Layer, fold, parameter, problems, reset_of
from sltdeploy.program import Array, Pair, Shape
from sltdeploy.shapes import ops_of, through

if TYPE_CHECKING:
    import nir


def to_graph(
    layers: Sequence[Layer], arrays: Arrays, input_shape: Shape, dt: float
) -> "nir.NIRGraph":
    r"""Write the network as a NIR graph; nodes have the names of the layers.

    Batch normalisation is folded (`fold`). Norse's cells step by Euler, so that with
    :math:`\tau = 1/\tau^{-1}`:

    .. math::
        lif\_box \to LIF(\tau, r=1),\quad li\_box \to LI(\tau, r=1),\quad iaf \to IF(r=1/dt)\\
        lif \to CubaLIF(\tau_{syn}, \tau_{mem}, r=1, w_{in}=\tau_{syn}/dt),\quad
        li \to CubaLI(\ldots)

    ``w_in = tau_syn / dt`` because in Norse an input jumps the current by its full weight.
    ``input_shape`` is per sample, dt in seconds. Neuron parameters are expanded to the
    population's shape (NIR takes no scalars), everything is float64, and the metadata carry dt,
    reset, comparison and decay. nir 1.0.8 mistypes grouped and non-square convolutions: a graph
    with one is built unchecked and plain `nir.read` needs ``type_check=False`` for it.

    Raises `InputError` naming the layer for what does not fit.
    """
    import nir

    raise_all(problems(layers, arrays, dt))
    reset = reset_of(layers)
    layers, arrays = fold(layers, arrays)
    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array(input_shape)})}
    shape = tuple(input_shape)
    for layer in layers:
        nodes[layer.name], shape = placed(layer, arrays, shape, dt)
    nodes["output"] = nir.Output({"output": np.array(shape)})
    return joined(nodes, list(pairwise(nodes)), dt, reset)


def joined(
    nodes: Mapping[str, Any], edges: Sequence[tuple[str, str]], dt: float, reset: str
) -> "nir.NIRGraph":
    """Join nodes into a graph with Norse's convention in its metadata; dt in seconds."""
    import nir

    return nir.NIRGraph(
        dict(nodes),
        list(edges),
        metadata={"dt": float(dt), "reset": reset, "comparison": "gt", "decay": "euler"},
        type_check=not any(_mistyped(node) for node in nodes.values()),
    )


def placed(layer: Layer, arrays: Arrays, shape: Shape, dt: float) -> tuple[Any, Shape]:
    """Build the NIR node of ``layer`` for an input of ``shape``; also the shape after it.

    Raises `InputError` naming the layer where it does not fit.
    """
    node: Any = None
    if layer.kind in PARAMETERS:
        node = _neuron(layer, arrays, shape, dt)
        after = shape
    elif layer.kind == "delay":
        node = _delay(layer, shape)
        after = shape
    else:
        if layer.kind == "linear" and len(shape) != 1:
            raise InputError(
                f"layer '{layer.name}': linear needs an input (n,), gets {shape}: flatten it first"
            )
        try:
            node = _connection(layer, arrays, shape)
            after, wrong = through(ops_of(node, shape), shape)
        except ValueError as error:
            after, wrong = shape, [str(error)]
        raise_all(f"layer '{layer.name}': {why}" for why in wrong)
    node.input_type = {"input": np.array(shape)}
    node.output_type = {"output": np.array(after)}
    return node, after


def _connection(layer: Layer, arrays: Arrays, shape: Shape) -> Any:
    import nir

    if layer.kind == "scale":
        factor = arrays[f"{layer.name}.factor"].astype(np.float64)
        return nir.Scale(np.broadcast_to(factor, shape).copy())
    weight = arrays.get(f"{layer.name}.weight", np.zeros((1, 1))).astype(np.float64)
    bias = arrays.get(f"{layer.name}.bias")
    bias = None if bias is None else bias.astype(np.float64)
    match layer.kind:
        case "conv2d":
            padding = layer.option("padding")
            return nir.Conv2d(
                input_shape=cast(Pair, shape[1:]),
                weight=weight,
                stride=tuple(layer.option("stride")),
                padding=padding if isinstance(padding, str) else tuple(padding),
                dilation=tuple(layer.option("dilation")),
                groups=int(layer.option("groups")),
                bias=np.zeros(weight.shape[0]) if bias is None else bias,
            )
        case "conv1d":
            padding = layer.option("padding")
            return nir.Conv1d(
                input_shape=shape[-1],
                weight=weight,
                stride=int(layer.option("stride")[0]),
                padding=padding if isinstance(padding, str) else int(padding[0]),
                dilation=int(layer.option("dilation")[0]),
                groups=int(layer.option("groups")),
                bias=np.zeros(weight.shape[0]) if bias is None else bias,
            )
        case "linear":
            return nir.Linear(weight) if bias is None else nir.Affine(weight, bias)
        case "avgpool2d" | "sumpool2d":
            pool = nir.AvgPool2d if layer.kind == "avgpool2d" else nir.SumPool2d
            kernel, stride, padding = (
                np.array(layer.option(key)) for key in ("kernel", "stride", "padding")
            )
            return pool(kernel, stride, padding)
        case _:
            return nir.Flatten(
                {"input": np.array(shape)}, layer.option("start_dim"), layer.option("end_dim")
            )


def _delay(layer: Layer, shape: Shape) -> Any:
    import nir

    return nir.Delay(np.full(shape, float(layer.option("seconds"))))


def _neuron(layer: Layer, arrays: Arrays, shape: Shape, dt: float) -> Any:
    import nir

    p: dict[str, Array] = {}
    found: list[str] = []
    for key in PARAMETERS[layer.kind]:
        value = parameter(layer, arrays, key)
        try:
            p[key] = np.broadcast_to(value, shape).copy()
        except ValueError:
            found.append(f"layer '{layer.name}': {key} has shape {value.shape}, needs {shape}")
    raise_all(found)
    r, zero = np.ones(shape), np.zeros(shape)
    leak, threshold, to = (p.get(key, zero) for key in ("v_leak", "v_th", "v_reset"))
    tau, tau_syn = (1 / p.get(key, r) for key in ("tau_mem_inv", "tau_syn_inv"))
    match layer.kind:
        case "lif_box":
            return nir.LIF(tau, r, leak, threshold, to)
        case "li_box":
            return nir.LI(tau, r, leak)
        case "iaf":
            return nir.IF(r / dt, threshold, to)
        case "integrator":
            return nir.I(r / dt)
        case "threshold":
            return nir.Threshold(threshold)
        case "li":
            return nir.CubaLI(tau_syn, tau, r, leak, w_in=tau_syn / dt)
        case _:
            return nir.CubaLIF(tau_syn, tau, r, leak, threshold, to, w_in=tau_syn / dt)


def _mistyped(node: Any) -> bool:
    """Whether nir 1.0.8 gets this node's types wrong when it checks a graph."""
    if type(node).__name__ == "Conv1d":
        return True  # takes its channels for the batch
    if type(node).__name__ != "Conv2d":
        return False
    return node.groups != 1 or node.weight.shape[2] != node.weight.shape[3]
