"""What a module that is one node does to traced tensors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from sltdeploy.errors import SltError
from sltdeploy.layers import NORMS
from sltdeploy.search.cell_steps import step_cell
from sltdeploy.search.module_reading import CELLS, DROPPED, kind_of, read
from sltdeploy.search.tracing import Cannot, Stop, Traced, Tracer

PER_LAST_AXES = ("linear", "flatten")  # what torch applies to all steps at once as to each


class Leaf:
    """A module that is one node, or cannot be translated."""

    def __init__(
        self, module: nn.Module, own: Callable[..., Any], paths: Sequence[str], tracer: Tracer
    ) -> None:
        self.module, self.own, self.paths, self.tracer = module, own, paths, tracer
        self.kind = kind_of(module)
        self.found = None if self.kind in DROPPED else read(module)

    def __call__(self, x: Any, state: Any = None, *more: Any, **named: Any) -> Any:
        """Do for the tracer what the module does; what is wrong is put down."""
        tracer, found = self.tracer, self.found
        if found is None:
            return x
        value = tracer.known(x)
        for why in found.wrong:
            tracer.refuse(why)
        if found.wrong:
            return self._guess(value, state)
        try:
            if self.kind in CELLS:
                return step_cell(tracer, self.module, found, self.paths, value, state)
            if found.kind in NORMS:
                self._check_place(value)
            if value.timed and found.kind not in PER_LAST_AXES:
                raise Cannot("gets all steps at once: put it into norse.Lift")
            options = dict(found.options)
            if value.timed and found.kind == "flatten":
                options = _one_axis_more(options)
            return tracer.each(value, lambda step: self._record(step, options))
        except Cannot as why:
            tracer.refuse(str(why))
            return self._guess(value, state)
        except SltError as error:
            tracer.refuse_layer(error)
            raise Stop from None

    def _record(self, step: Traced, options: Mapping[str, Any]) -> Traced:
        assert self.found is not None
        name = self.tracer.name(self.paths[0], self.paths[1:])
        return self.tracer.record(name, self.found.kind, step, options, self.found.arrays)

    def _check_place(self, x: Traced) -> None:
        """Batch normalisation must follow what it can be folded into."""
        assert self.found is not None
        flat = self.found.kind == "batchnorm1d"
        fits = ("linear", "conv1d") if flat else ("conv2d",)
        kinds = [self.tracer.kind_of(sums) for sums in x.series]
        if not x.unknown and not all(kind in (*fits, self.found.kind) for kind in kinds):
            what = "Linear or Conv1d" if flat else "Conv2d"
            raise Cannot(f"must stand directly after a {what} to be folded into it, put it so")

    def _guess(self, x: Traced, state: Any) -> Any:
        """Go on with what the module itself makes of zeros, so that more can be found."""
        tracer = self.tracer
        if not isinstance(state, torch.Tensor):
            state = None
        try:
            result = self.own(x.plain)
        except Exception:
            raise Stop from None
        if isinstance(result, tuple) and isinstance(result[0], torch.Tensor):
            return tracer.guess(result[0], x), None
        return tracer.guess(result, x)


def _one_axis_more(options: Mapping[str, Any]) -> dict[str, Any]:
    """Axes of a Flatten that were counted without the batch, without the time as well."""
    return {key: axis - 1 if axis > 0 else axis for key, axis in options.items()}
