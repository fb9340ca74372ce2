"""What torch functions do to traced tensors: sums, factors, shapes, steps."""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np
import torch

from sltdeploy.layers import PARAMETERS
from sltdeploy.program import Array, Shape
from sltdeploy.search.module_reading import numpy_of
from sltdeploy.search.tracing import Cannot, Traced, Tracer, plain


def _same(_tracer: Tracer, x: Traced, *_args: Any, **_kwargs: Any) -> Traced:
    return x


def _clone(tracer: Tracer, x: Traced, **_kwargs: Any) -> Traced:
    return tracer.tensor(x.plain.shape, x.series, x.timed, x.unknown)


def _converted(tracer: Tracer, x: Traced, *args: Any, **kwargs: Any) -> Traced:
    dtype = x.plain.to(*plain(args), **plain(kwargs)).dtype
    if dtype not in (torch.float32, torch.float64):
        raise Cannot(f"{dtype} loses values: keep float32")
    return x


def _zeros(tracer: Tracer, x: Traced, *args: Any, **_kwargs: Any) -> Traced:
    size = args[0] if args and not isinstance(args[0], int) else (args or x.plain.shape)
    return tracer.tensor(tuple(size), ((),), False)


def _dropout(
    tracer: Tracer, x: Traced, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Traced:
    del tracer, inplace
    if training and p:
        raise Cannot("draws at random: pass training=self.training, or use nn.Dropout")
    return x


def _add(tracer: Tracer, x: Any, y: Any, alpha: float = 1) -> Any:
    if alpha != 1:
        y = _multiply(tracer, y, alpha)
    if not isinstance(x, Traced) or (x.constant and isinstance(y, Traced)):
        x, y = y, x
    if isinstance(y, Traced) and y.constant:
        y = y.plain
    if not isinstance(y, Traced):
        if isinstance(y, torch.Tensor) and torch.broadcast_shapes(y.shape, x.plain.shape) != (
            x.plain.shape
        ):
            raise Cannot(f"{tuple(y.shape)} does not fit {tuple(x.plain.shape)}")
        if torch.as_tensor(y).any():
            raise Cannot("adds a constant: put it into the bias of a layer")
        return x
    if x.plain.shape != y.plain.shape or x.timed != y.timed:
        raise Cannot(f"adds {tuple(x.plain.shape)} and {tuple(y.plain.shape)}: give both one shape")
    series = tuple(a + b for a, b in zip(x.series, y.series, strict=True))
    return tracer.tensor(x.plain.shape, series, x.timed, x.unknown or y.unknown)


def _add_in_place(tracer: Tracer, x: Any, y: Any, alpha: float = 1) -> Any:
    both = _add(tracer, x, y, alpha)
    if not isinstance(x, Traced):
        return both
    kinds = [tracer.kind_of(sums) for sums in x.series]
    if any(kind in PARAMETERS and "v_th" not in PARAMETERS[kind] for kind in kinds):
        raise Cannot("changes a readout's own state: write y = y + x")
    x.series, x.unknown = both.series, both.unknown
    return x


def _subtract(tracer: Tracer, x: Any, y: Any, alpha: float = 1) -> Any:
    return _add(tracer, x, _multiply(tracer, y, -alpha))


def _subtract_from(tracer: Tracer, x: Any, y: Any) -> Any:
    return _subtract(tracer, y, x)


def _negate(tracer: Tracer, x: Traced) -> Any:
    return _multiply(tracer, x, -1)


def _multiply(tracer: Tracer, x: Any, y: Any) -> Any:
    if not isinstance(x, Traced):
        x, y = y, x
    if not isinstance(x, Traced):
        return x * y
    if isinstance(y, Traced):
        raise Cannot("multiplies two signals: only a constant factor can be kept")
    factor = torch.as_tensor(y).detach().cpu()
    whole = x.plain.shape
    if torch.broadcast_shapes(factor.shape, whole) != whole or (
        factor.ndim > len(whole) - 1 - x.timed and factor.shape[: 1 + x.timed].numel() != 1
    ):
        raise Cannot(f"factor {tuple(factor.shape)} does not broadcast to a sample")
    lead = max(0, factor.ndim - (len(whole) - 1 - x.timed))
    array: Array = np.array(factor.double().numpy()).reshape(factor.shape[lead:])
    if array.size == 1 and array.item() == 1:
        return x
    return tracer.each(
        x, lambda s: tracer.record(tracer.here("scale"), "scale", s, {}, {"factor": array})
    )


def _divide(tracer: Tracer, x: Any, y: Any) -> Any:
    if isinstance(y, Traced):
        raise Cannot("divides by a signal: only a constant factor can be kept")
    return _multiply(tracer, x, 1 / torch.as_tensor(y).double())


def _reshaped(func: str) -> Callable[..., Any]:
    def meaning(tracer: Tracer, x: Traced, *args: Any, **kwargs: Any) -> Any:
        after = tuple(getattr(x.plain, func)(*plain(args), **plain(kwargs)).shape)
        lead = 1 + x.timed
        if after[:lead] != tuple(x.plain.shape[:lead]):
            raise Cannot(f"{tuple(x.plain.shape)} becomes {after}, which mixes batch or time")
        before, new = tuple(x.plain.shape[lead:]), after[lead:]
        if before == new:
            return x
        dims = _flattened(before, new)
        if dims is None:
            raise Cannot(f"{before} becomes {new}: only neighbouring axes can be joined")
        options = {"start_dim": dims[0], "end_dim": dims[1]}
        return tracer.each(
            x, lambda s: tracer.record(tracer.here("flatten"), "flatten", s, options)
        )

    return meaning


def _flattened(before: Shape, after: Shape) -> tuple[int, int] | None:
    """Axes of ``before`` that are joined to give ``after``, or None."""
    for start in range(len(before)):
        for end in range(start + 1, len(before)):
            if (*before[:start], prod(before[start : end + 1]), *before[end + 1 :]) == after:
                return start, end
    return None


def _linear(tracer: Tracer, x: Any, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Any:
    arrays = {"weight": numpy_of(weight)}
    if bias is not None:
        arrays["bias"] = numpy_of(bias)
    return tracer.each(
        tracer.known(x),
        lambda s: tracer.record(tracer.here("linear"), "linear", s, {}, arrays),
    )


def _pick(tracer: Tracer, x: Any, index: Any) -> Any:
    if not isinstance(x, Traced) or not x.timed or not isinstance(index, int):
        raise Cannot("takes a part of a signal: only one step of all can be taken")
    tracer.now = range(tracer.steps)[index]
    return tracer.at(x, tracer.now)


def _unbind(tracer: Tracer, x: Traced, dim: int = 0) -> Any:
    if not x.timed or dim != 0:
        raise Cannot("takes a part of a signal: only one step of all can be taken")
    return tracer.split(x)


def _stack(tracer: Tracer, tensors: Any, dim: int = 0) -> Any:
    given = list(tensors)
    if dim != 0 or len(given) != tracer.steps or any(_is_timed(x) for x in given):
        raise Cannot("only the outputs of all steps can be stacked, along axis 0")
    return tracer.joined([tracer.known(x) for x in given])


def _is_timed(x: Any) -> bool:
    return isinstance(x, Traced) and x.timed


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    **dict.fromkeys(("contiguous", "detach", "requires_grad_", "cpu", "float", "double"), _same),
    "clone": _clone,
    "to": _converted,
    **dict.fromkeys(("zeros_like", "new_zeros"), _zeros),
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "dropout3d"), _dropout),
    **dict.fromkeys(("alpha_dropout", "feature_alpha_dropout"), _dropout),
    **dict.fromkeys(("add", "__add__", "__radd__"), _add),
    **dict.fromkeys(("add_", "__iadd__"), _add_in_place),
    **dict.fromkeys(("sub", "subtract", "__sub__"), _subtract),
    **dict.fromkeys(("rsub", "__rsub__"), _subtract_from),
    **dict.fromkeys(("mul", "multiply", "__mul__", "__rmul__"), _multiply),
    **dict.fromkeys(("div", "divide", "true_divide", "__truediv__"), _divide),
    **dict.fromkeys(("neg", "negative", "__neg__"), _negate),
    **{name: _reshaped(name) for name in ("flatten", "reshape", "view", "squeeze", "unsqueeze")},
    "linear": _linear,
    "__getitem__": _pick,
    **dict.fromkeys(("unbind", "__iter__"), _unbind),
    "stack": _stack,
}
