"""Tensors that know where they come from: a network's own ``forward``, run to see what it does.

A `Traced` tensor holds zeros, and for each step the nodes whose outputs add up to it. A module's
own Python code runs on such tensors, with its loops, its ``if state is None`` and its shapes.
(torch.fx cannot: it knows neither shapes nor which state belongs to which step.) What each torch
function means for a network of NIR stands in `sltdeploy.search.tensor_functions`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import torch
from torch.overrides import TorchFunctionMode

from sltdeploy.errors import SltError
from sltdeploy.layer_graph import placed
from sltdeploy.layers import ENDS, Layer
from sltdeploy.program import Array, Shape

BATCH = 2  # samples on which a network is run
LOOKS = frozenset(  # what these tell does not depend on values
    f"{'' if called else '.'}{name}"
    for called, names in (
        (False, "shape dtype device ndim is_sparse requires_grad layout is_cuda itemsize is_leaf"),
        (True, "size dim numel __len__ ndimension get_device is_floating_point type stride"),
        (True, "is_contiguous element_size nelement is_complex"),
    )
    for name in names.split()
)
INSTEAD: Mapping[str, str] = {  # function: what to use
    "max_pool2d": "use avg_pool2d as nn.AvgPool2d, or an nn.Conv2d with a stride",
    "_max_pool2d": "use avg_pool2d as nn.AvgPool2d, or an nn.Conv2d with a stride",
    "boolean_dispatch": "use nn.AvgPool2d, or an nn.Conv2d with a stride",
    "avg_pool2d": "use nn.AvgPool2d",
    "conv2d": "use nn.Conv2d",
    "conv1d": "use nn.Conv1d",
    "relu": "use a spiking neuron such as LIFBoxCell",
    "batch_norm": "use nn.BatchNorm2d",
    "cat": "only sums can be kept: give each branch a Linear of its own and add",
    "concat": "only sums can be kept: give each branch a Linear of its own and add",
    "matmul": "use nn.Linear",
    "__matmul__": "use nn.Linear",
    "softmax": "leave it out, the decision is the same",
    "log_softmax": "leave it out, the decision is the same",
    "max": "decide outside of the network",
    "argmax": "decide outside of the network",
    "sum": "add up outside of the network, or with a leaky integrator",
    "mean": "average outside of the network, or with nn.AvgPool2d",
    "__bool__": "what is done must not depend on values",
    "item": "what is done must not depend on values",
    "__setitem__": "make a list of all steps and torch.stack it",
}


class Source(NamedTuple):
    """What left a node at a step."""

    node: str
    step: int


Sum: TypeAlias = tuple[Source, ...]


@dataclass
class Call:
    """One node at one step: its layer, what it takes, the shapes per sample before and after."""

    layer: Layer
    arrays: Mapping[str, Array]
    takes: Sum
    shape: Shape
    after: Shape


class Cannot(Exception):  # noqa: N818
    """Something has no meaning in NIR; the text says what and what to do instead."""


class Stop(Exception):  # noqa: N818
    """Nothing more can be found out: what follows depends on what is wrong."""


class Traced(torch.Tensor):
    """Zeros with a history. ``series``: the sum that it is, one for each step if ``timed``."""

    tracer: "Tracer"
    plain: torch.Tensor
    series: tuple[Sum, ...]
    timed: bool
    unknown: bool  # left something that cannot be translated

    @property
    def constant(self) -> bool:
        """Whether it is 0 at any step."""
        return not any(self.series) and not self.unknown

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Hand each torch function to the tracer."""
        del types
        first = next(_traced_in((args, kwargs)))
        return first.tracer.function(func, args, kwargs or {})


class Zeros(TorchFunctionMode):
    """Gives zeros that a forward makes a history too, so that what is done to them is seen."""

    def __init__(self, tracer: "Tracer") -> None:
        super().__init__()
        self.tracer = tracer

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace what torch.zeros makes."""
        del types
        made = func(*args, **(kwargs or {}))
        return self.tracer.tensor(made.shape, ((),), False) if func is torch.zeros else made


@dataclass
class Tracer:
    """What a run has shown so far. dt in seconds; ``meanings`` of torch functions by name."""

    dt: float
    steps: int
    meanings: Mapping[str, Callable[..., Any]]
    now: int = 0
    violations: dict[str, None] = field(default_factory=dict[str, None])
    calls: list[dict[str, Call]] = field(default_factory=list[dict[str, Call]])
    before: dict[str, Call] = field(default_factory=dict[str, Call])  # at step -1, of what rests
    where: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])  # path, class
    counts: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    names: dict[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])
    shapes: dict[tuple[str, Shape], Shape] = field(default_factory=dict[tuple[str, Shape], Shape])

    def __post_init__(self) -> None:
        self.calls = [{} for _ in range(self.steps)]

    def tensor(
        self, shape: Sequence[int], series: tuple[Sum, ...], timed: bool, unknown: bool = False
    ) -> Traced:
        """Make zeros of ``shape`` (with batch, and time if ``timed``) with a history."""
        # Without memory of its own; not by torch.zeros, see Zeros.
        plain = torch.empty(()).zero_().expand(tuple(shape))
        made = plain.as_subclass(Traced)
        made.tracer, made.plain, made.series = self, plain, series
        made.timed, made.unknown = timed, unknown
        return made

    def known(self, x: Any) -> Traced:
        """Take what a module is given: a traced tensor, zeros, or either with a state."""
        if isinstance(x, tuple) and x:  # as Lift takes it
            return self.known(x[0])
        if isinstance(x, Traced):
            return x
        if isinstance(x, torch.Tensor) and not x.any():
            return self.tensor(x.shape, ((),), False)
        raise Cannot("gets a constant, which is not 0: put it into a bias")

    def name(self, base: str, others: Sequence[str] = ()) -> str:
        """Name the node of this call, the same at each step; ``others`` for calls after the first.

        ``base`` is a path with dots.
        """
        count = self.counts.get((base, self.now), 0)
        self.counts[base, self.now] = count + 1
        if (base, count) not in self.names:
            path = [base, *others][count] if count <= len(others) else f"{base}_{count + 1}"
            name = path.replace(".", "_") or "layer"
            while name in ENDS or name in self.names.values():
                name += "_"
            self.names[base, count] = name
        return self.names[base, count]

    def record(
        self,
        name: str,
        kind: str,
        x: Traced,
        options: Mapping[str, Any] | None = None,
        arrays: Mapping[str, Array] | None = None,
    ) -> Traced:
        """Put down that node ``name`` takes x (a single step) in this step; what leaves it."""
        layer = Layer(kind, name, options or {})
        held = {f"{name}.{key}": value for key, value in (arrays or {}).items()}
        shape = tuple(x.plain.shape[1:])
        after = self.shapes.get((name, shape))
        if after is None:
            norm = kind.startswith("batchnorm")
            after = shape if norm else placed(layer, held, shape, self.dt)[1]
            self.shapes[name, shape] = after
        self.at_step(self.now)[name] = Call(layer, held, x.series[0], shape, after)
        return self.tensor((len(x.plain), *after), ((Source(name, self.now),),), False)

    def at_step(self, step: int) -> dict[str, Call]:
        """What ran at a step."""
        return self.before if step < 0 else self.calls[step]

    def kind_of(self, sums: Sum) -> str:
        """Kind of the one node that a sum is, empty where there is none or several."""
        if len(sums) != 1 or sums[0].node not in self.at_step(sums[0].step):
            return ""
        return self.at_step(sums[0].step)[sums[0].node].layer.kind

    def each(self, x: Traced, do: Callable[[Traced], Traced]) -> Traced:
        """Apply ``do`` to x, or to each step of it if it is timed."""
        return self.joined([do(step) for step in self.split(x)]) if x.timed else do(x)

    def split(self, x: Traced) -> Iterator[Traced]:
        """Give each step of a timed tensor, in the step itself."""
        for step in range(self.steps):
            self.now = step
            yield self.at(x, step)

    def at(self, x: Traced, step: int) -> Traced:
        """One step of a timed tensor."""
        return self.tensor(x.plain.shape[1:], (x.series[step],), False, x.unknown)

    def joined(self, steps: Sequence[Traced]) -> Traced:
        """All steps as one timed tensor."""
        shape = (len(steps), *steps[0].plain.shape)
        unknown = any(step.unknown for step in steps)
        return self.tensor(shape, tuple(step.series[0] for step in steps), True, unknown)

    # ------------------------------------------------------------------------------ functions

    def function(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Do what a torch function does to traced tensors; what has no meaning is refused."""
        name = getattr(func, "__name__", str(func))
        if name == "__get__":
            name = f".{func.__self__.__name__}"
        if name in LOOKS:
            return func(*plain(args), **plain(kwargs))
        try:
            if name not in self.meanings:
                raise Cannot(INSTEAD.get(name, "has no meaning in NIR"))
            return self.meanings[name](self, *args, **kwargs)
        except Cannot as why:
            self.refuse(f"{name.strip('._')}: {why}")
        except SltError as error:
            self.refuse_layer(error)
            raise Stop from None
        return self.guess(func(*plain(args), **plain(kwargs)), (args, kwargs))

    def refuse(self, why: str) -> None:
        """Put down what is wrong in the module that runs."""
        path, kind = self.where[-1]
        self.violations[f"module '{path}' ({kind}): {why}"] = None

    def refuse_layer(self, error: SltError) -> None:
        """Put down what is wrong with the layer that a module is: its path instead of its name."""
        for line in error.violations:
            self.refuse(line.partition(": ")[2] if line.startswith("layer '") else line)

    def here(self, function: str) -> str:
        """Name a node after the module that runs and the function that it calls."""
        path = self.where[-1][0]
        return self.name(f"{path}.{function}" if path else function)

    def guess(self, result: Any, given: Any) -> Any:
        """What goes on after something that was refused, so that more can be found."""
        if isinstance(result, tuple | list):
            return type(result)(self.guess(each, given) for each in result)
        if not isinstance(result, torch.Tensor):
            return result
        takes = tuple(
            dict.fromkeys(s for x in _traced_in(given) for sums in x.series for s in sums)
        )
        timed = any(x.timed for x in _traced_in(given)) and result.shape[:1] == (self.steps,)
        return self.tensor(result.shape, (takes,) * (self.steps if timed else 1), timed, True)


def _traced_in(given: Any) -> Iterator[Traced]:
    if isinstance(given, Traced):
        yield given
    elif isinstance(given, tuple | list):
        for each in given:
            yield from _traced_in(each)
    elif isinstance(given, dict):
        yield from _traced_in(list(given.values()))


def plain(given: Any) -> Any:
    """Replace each traced tensor by its zeros."""
    if isinstance(given, Traced):
        return given.plain
    if isinstance(given, tuple | list):
        return type(given)(plain(each) for each in given)
    if isinstance(given, dict):
        return {key: plain(value) for key, value in given.items()}
    return given
