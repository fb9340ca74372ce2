"""A module run for a few steps on traced tensors, and what its modules do there."""

import inspect
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import norse.torch as norse
import torch
from torch import nn

from sltdeploy.errors import raise_all
from sltdeploy.search.cell_steps import CellState
from sltdeploy.search.leaf_calls import Leaf
from sltdeploy.search.module_reading import ITERATING, derived, kind_of
from sltdeploy.search.norse_graph import NorseGraph
from sltdeploy.search.tensor_functions import FUNCTIONS
from sltdeploy.search.tracing import BATCH, Call, Cannot, Source, Stop, Sum, Traced, Tracer, Zeros

LIBRARIES = ("torch.nn.modules.", "norse.torch.module.")
COMPOSED = (  # library modules that only call others
    nn.Sequential,
    nn.ModuleList,
    nn.ModuleDict,
    norse.SequentialState,
    norse.RecurrentSequential,
    norse.Lift,
)


@dataclass(frozen=True)
class Unrolled:
    """The nodes of each step by name, in the order in which they ran, and the output's sums.

    ``waiting`` says that something of the first step was left in a state at the end, so that a
    signal may come later than these steps show. States within a run over all steps ``at_once``
    cannot be seen. ``before`` has the nodes that ran on what left the neurons before the first
    step (`NorseGraph.resting`).
    """

    calls: tuple[Mapping[str, Call], ...]
    before: Mapping[str, Call]
    outputs: tuple[Sum, ...]
    waiting: bool
    at_once: bool


def unroll(module: nn.Module, input_shape: Sequence[int], dt: float, steps: int) -> Unrolled:
    """Run ``module`` for ``steps`` steps; what it did.

    A module that contains `norse.Lift` or a module that iterates over time takes all steps at
    once, (T, B, *shape); any other is tried one step at a time first. It is left as it is.

    Raises `InputError` with everything that has no meaning in NIR.
    """
    timed = any(isinstance(m, (norse.Lift, *ITERATING)) for m in module.modules())
    first: tuple[str, ...] = ()
    for at_once in (True,) if timed else (False, True):
        tracer = Tracer(dt, steps, FUNCTIONS)
        with _traced(module, tracer), torch.no_grad(), Zeros(tracer):
            outputs, state = _run(module, tracer, input_shape, at_once)
            held = (state, *(vars(m) for m in module.modules()))
            waiting = any(source.step == 0 for source in _sources(held))
        found = tuple(tracer.violations)
        if outputs and not found:
            return Unrolled(tuple(tracer.calls), tracer.before, outputs, waiting, at_once)
        first = first or found
    raise_all(first)
    raise AssertionError("a run without a result says why")


def _run(
    module: nn.Module, tracer: Tracer, input_shape: Sequence[int], at_once: bool
) -> tuple[tuple[Sum, ...], Any]:
    """Run all steps; the sums that leave, none where that could not be found out, and the state."""
    tracer.where.append(("", type(module).__name__))
    given = [(Source("input", t),) for t in range(tracer.steps)]
    shape = (BATCH, *input_shape)
    takes_state = _takes_state(module)
    sums: list[Sum] = []
    state: Any = None
    try:
        if at_once:
            x = tracer.tensor((tracer.steps, *shape), tuple(given), True)
            result = module(x, None) if takes_state else module(x)
            y, _ = _parted(tracer, result, takes_state)
            if not y.timed:
                raise Cannot("returns a single step: return those of all steps")
            return y.series, None
        for t in range(tracer.steps):
            tracer.now = t
            x = tracer.tensor(shape, (given[t],), False)
            result = module(x, state) if takes_state else module(x)
            y, state = _parted(tracer, result, takes_state)
            sums.append(y.series[0])
    except Stop:
        return (), None
    except Cannot as why:
        tracer.refuse(str(why))
        return (), None
    except Exception as error:  # whatever the user's code raises on zeros
        if not tracer.violations:
            reason = " ".join(str(error).split())[:160]
            tracer.refuse(f"fails when it is run on zeros: {type(error).__name__}: {reason}")
        return (), None
    return tuple(sums), state


def _parted(tracer: Tracer, result: Any, takes_state: bool) -> tuple[Traced, Any]:
    """Output and next state of what ``forward`` returned."""
    state = None
    if takes_state and isinstance(result, tuple):
        state = result[1] if len(result) == 2 else result[1:]
    elif isinstance(result, tuple | list) and sum(isinstance(r, Traced) for r in result) > 1:
        raise Cannot("returns several outputs: return one")
    while isinstance(result, tuple) and result:
        result = result[0]
    if isinstance(result, torch.Tensor):
        return tracer.known(result), state
    raise Cannot(f"returns {type(result).__name__}: return a tensor, or a tensor and a state")


def _sources(held: Any) -> Iterator[Source]:
    """What is kept in states and attributes, in whatever they are packed."""
    if isinstance(held, Traced):
        for terms in held.series:
            yield from terms
    elif isinstance(held, CellState):
        yield from _sources(held.out)
    elif isinstance(held, tuple | list | deque):
        for each in held:
            yield from _sources(each)
    elif isinstance(held, dict):
        for each in held.values():
            yield from _sources(each)


def _takes_state(module: nn.Module) -> bool:
    if _is_plain_sequence(module):
        return False
    parameters = list(inspect.signature(type(module).forward).parameters.values())[2:]
    return any(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


# --------------------------------------------------------------------------- modules replaced


@contextmanager
def _traced(module: nn.Module, tracer: Tracer) -> Generator[None]:
    """Let every module tell the tracer what it does; afterwards all is as before."""
    paths: dict[int, list[str]] = {}
    for path, inner in module.named_modules(remove_duplicate=False):
        paths.setdefault(id(inner), []).append(path)
    modules = list(module.modules())
    before = [(m, _kept(m)) for m in modules]
    try:
        for inner in modules:
            _refuse_hooks(inner, paths[id(inner)][0], tracer)
            vars(inner)["forward"] = _forward_of(inner, paths[id(inner)], tracer)
            vars(inner)["training"] = False
            if isinstance(inner, NorseGraph):
                vars(inner)["resting"] = _before_the_first(inner.resting, tracer)
        yield
    finally:
        for inner, kept in before:
            vars(inner).clear()
            for key, (value, content) in kept.items():
                vars(inner)[key] = value
                if isinstance(value, dict):
                    value.clear()
                    value.update(content)
                elif isinstance(value, list):
                    value[:] = content


def _kept(module: nn.Module) -> dict[str, tuple[Any, Any]]:
    """Attributes of a module, and what those hold that are dicts or lists."""
    return {
        key: (value, value.copy() if isinstance(value, dict | list) else None)
        for key, value in vars(module).items()
    }


def _before_the_first(resting: Callable[..., Any], tracer: Tracer) -> Callable[..., Any]:
    """Let what `NorseGraph.resting` does count as done a step before the first."""

    def run(*args: Any) -> Any:
        now, tracer.now = tracer.now, -1
        value = resting(*args)
        tracer.now = now
        return value

    return run


def _refuse_hooks(module: nn.Module, path: str, tracer: Tracer) -> None:
    weighted = isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)  # pruning, weight norm
    hooks = [] if weighted else list(module._forward_pre_hooks.values())  # pyright: ignore[reportPrivateUsage]
    if hooks or module._forward_hooks:  # pyright: ignore[reportPrivateUsage]
        tracer.where.append((path, kind_of(module).__name__))
        tracer.refuse("has a forward hook, which may change what passes: remove it")
        tracer.where.pop()


def _forward_of(module: nn.Module, paths: Sequence[str], tracer: Tracer) -> Callable[..., Any]:
    """What a module does instead of its own ``forward`` while it is traced."""
    kind, own = kind_of(module), module.forward
    inner: Callable[..., Any]
    if _is_plain_sequence(module):
        inner = _as_sequence(module, tracer)
    elif isinstance(module, norse.RecurrentSequential):
        inner = _fed_back(module)
    elif derived(module) or (
        kind.__module__.startswith(LIBRARIES) and not isinstance(module, COMPOSED)
    ):
        inner = Leaf(module, own, paths, tracer)
    else:
        inner = own

    @wraps(own)  # Norse asks for the signature
    def forward(*args: Any, **kwargs: Any) -> Any:
        tracer.where.append((paths[0], kind.__name__))
        try:
            result = inner(*args, **kwargs)
        except Cannot as why:
            tracer.refuse(str(why))
            raise Stop from None
        tracer.where.pop()  # not after an exception, so that its place is known
        return result

    return forward


def _is_plain_sequence(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _as_sequence(module: Any, tracer: Tracer) -> Callable[..., Any]:
    """nn.Sequential, which torch itself cannot run with cells in it, read as SequentialState."""
    states: dict[tuple[int, str], Any] = {}
    turns: Counter[int] = Counter()  # times that it ran in each step

    def run(x: Any) -> Any:
        turn = turns[tracer.now]
        turns[tracer.now] += 1
        for name, child in module.named_children():
            if _takes_state(child) and not _is_plain_sequence(child):
                x, states[turn, name] = child(x, states.get((turn, name)))
            else:
                x = child(x)
        return x

    return run


def _fed_back(module: Any) -> Callable[..., Any]:
    """What norse.RecurrentSequential does, with what Norse cannot do either refused."""
    state_type = norse.RecurrentSequentialState

    def run(x: Any, state: Any = None) -> Any:
        if not isinstance(module.output_modules, int):
            raise Cannot("output_modules is a list, which Norse cannot feed back: give one index")
        if isinstance(x, Traced) and x.timed:
            raise Cannot("feeds back between calls, not between steps: use cells, Lift around it")
        inner = None if state is None else state.state
        outputs, after = module.module(x if state is None else x + state.cache, inner)
        y = outputs[module.output_modules]
        return y, state_type(y, after)

    return run
