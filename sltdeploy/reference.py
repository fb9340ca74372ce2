"""The reference: plain numpy that *defines* what a `Program` does.

Every exporter must agree with `run`, spike for spike. A step visits the populations in program
order, so that in a feed-forward network a spike travels from input to output within the step.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from sltdeploy.arithmetic import apply_ops
from sltdeploy.errors import InputError
from sltdeploy.program import (
    Array,
    Input,
    LoihiNeuron,
    Neuron,
    Population,
    Program,
    Projection,
    Relay,
)
from sltdeploy.trace import Trace

STATE_BITS = 24  # Loihi's u and v
DECAY_BITS = 12
ALIGN_BITS = 6  # Loihi shifts activation and threshold left by this much


@dataclass(frozen=True, eq=False)
class State:
    """Membrane ``v`` and synaptic current ``j`` of one population, (B, *shape); j may be None."""

    v: Array
    j: Array | None = None


def run(program: Program, x: Array | Mapping[str, Array]) -> Trace:
    """Step ``program`` over ``x`` (T, B, *shape), or one such array for each input by name.

    Returns the `Trace`: what left each population at each step. Raises `InputError` where x has
    the wrong shape, is not finite, or is not 0/1 for a spiking input.
    """
    fed = conform(program, x)
    steps, batch = next(iter(fed.values())).shape[:2]
    state = initial_state(program, batch)
    records: dict[str, list[Array]] = {p.name: [] for p in program.populations}
    for t in range(steps):
        sent, state = step(program, state, {name: values[t] for name, values in fed.items()})
        for name, values in sent.items():
            records[name].append(values)
    empty = {p.name: np.zeros((0, batch, *p.shape), np.float32) for p in program.populations}
    return Trace(program, {n: np.stack(r) if r else empty[n] for n, r in records.items()})


def initial_state(program: Program, batch: int) -> dict[str, State]:
    """State of each neuron population before the first step, for ``batch`` samples."""
    return {
        p.name: _initial(p, batch)
        for p in program.populations
        if isinstance(p.rule, Neuron | LoihiNeuron)
    }


def step(
    program: Program, state: Mapping[str, State], x: Mapping[str, Array]
) -> tuple[dict[str, Array], dict[str, State]]:
    """One time step: what each population sends, (B, *shape), and the next state."""
    sent: dict[str, Array] = {}
    after: dict[str, State] = {}
    for population in program.populations:
        name, rule = population.name, population.rule
        if isinstance(rule, Input):
            sent[name] = x[name]
            continue
        arrives = _arrives(program, population, sent)
        match rule:
            case Relay():
                sent[name] = arrives
            case Neuron():
                sent[name], after[name] = _neuron(rule, state[name], arrives)
            case LoihiNeuron():
                sent[name], after[name] = _loihi(rule, state[name], arrives)
    return sent, after


def conform(program: Program, x: Array | Mapping[str, Array]) -> dict[str, Array]:
    """Check ``x`` against the inputs and convert it to what enters: bool, float32 or int32."""
    names = [p.name for p in program.inputs]
    fed = dict(x) if isinstance(x, Mapping) else dict.fromkeys(names[:1], x)
    found = [f"input '{n}' is missing, the program has {names}" for n in names if n not in fed]
    found += [f"input '{n}' is unknown, the program has {names}" for n in fed if n not in names]
    for p in program.inputs:
        if p.name in fed:
            fed[p.name] = np.asarray(fed[p.name])
            found += _input_problems(p, fed[p.name])
    if not found and len({a.shape[:2] for a in fed.values()}) > 1:
        found = [f"inputs disagree in (T, B): {[(n, a.shape[:2]) for n, a in fed.items()]}"]
    if found:
        raise InputError(*found)
    return {p.name: _enter(p, fed[p.name]) for p in program.inputs}


def _input_problems(p: Population, x: Array) -> Iterator[str]:
    assert isinstance(p.rule, Input)
    if x.ndim != 2 + len(p.shape) or x.shape[2:] != p.shape:
        needed = ", ".join(map(str, ("T", "B", *p.shape)))
        yield f"input '{p.name}' has shape {x.shape}, must be ({needed})"
    elif x.dtype.kind not in "biuf":
        yield f"input '{p.name}' has dtype {x.dtype}, must be real numbers"
    elif not np.isfinite(x).all():
        bad = tuple(int(k) for k in np.argwhere(~np.isfinite(x))[0])
        yield f"input '{p.name}' holds {x[bad]} at {bad}, must be finite"
    elif p.rule.kind == "spikes" and not ((x == 0) | (x == 1)).all():
        bad = tuple(int(k) for k in np.argwhere((x != 0) & (x != 1))[0])
        yield f"input '{p.name}' takes spikes (0 or 1), holds {x[bad]} at {bad}"


def _enter(p: Population, x: Array) -> Array:
    assert isinstance(p.rule, Input)
    if p.rule.kind == "spikes":
        return x.astype(bool)
    if p.rule.low is None:
        return x.astype(np.float32)
    whole = np.rint(x.astype(np.float64) * p.rule.scale)
    return np.clip(whole, p.rule.low, p.rule.high).astype(np.int32)


def _initial(p: Population, batch: int) -> State:
    shape = (batch, *p.shape)
    if isinstance(p.rule, LoihiNeuron):
        return State(np.zeros(shape, np.int64), np.zeros(shape, np.int64))
    assert isinstance(p.rule, Neuron)
    v = np.broadcast_to(p.rule.v_init.astype(np.float32), shape).copy()
    return State(v, None if p.rule.decay_syn is None else np.zeros(shape, np.float32))


def _arrives(program: Program, p: Population, sent: Mapping[str, Array]) -> Array:
    wide = np.int64 if program.numbers == "loihi" else np.float64
    shifted: Callable[[Projection, Array], Array] = (
        _shift if program.numbers == "loihi" else lambda _, y: y
    )
    brought = [
        shifted(projection, apply_ops(projection.ops, sent[projection.source].astype(wide)))
        for projection in program.into(p.name)
    ]
    total = np.sum(brought, axis=0)
    return total if program.numbers == "loihi" else total.astype(np.float32)


def _shift(projection: Projection, y: Array) -> Array:
    e = projection.weight_exponent
    return y << e if e >= 0 else y >> -e


def _neuron(rule: Neuron, state: State, x: Array) -> tuple[Array, State]:
    j = x if rule.decay_syn is None else rule.decay_syn.astype(np.float32) * _known(state.j) + x
    u = rule.decay.astype(np.float32) * state.v + j + rule.bias.astype(np.float32)
    kept = None if rule.decay_syn is None else j
    if rule.threshold is None:
        return u, State(u, kept)
    threshold = rule.threshold.astype(np.float32)
    z = u > threshold if rule.comparison == "gt" else u >= threshold
    if rule.reset == "subtract":
        return z, State(np.where(z, u - threshold, u), kept)
    return z, State(np.where(z, _known(rule.v_reset).astype(np.float32), u), kept)


def _loihi(rule: LoihiNeuron, state: State, a: Array) -> tuple[Array, State]:
    u = _wrap(_decayed(_known(state.j), rule.du + 1) + (a << ALIGN_BITS))
    bias = rule.bias_mantissa.astype(np.int64) << rule.bias_exponent
    top = 2 ** (STATE_BITS - 1) - 1
    w = np.clip(_decayed(state.v, rule.dv) + u + bias, -top, top)
    if rule.vth is None:
        return w.astype(np.int32), State(w, u)
    z = w > (rule.vth << ALIGN_BITS)
    return z, State(np.where(z, 0, w), u)


def _decayed(s: Array, decay: int) -> Array:
    return np.sign(s) * (np.abs(s) * (2**DECAY_BITS - decay) >> DECAY_BITS)


def _wrap(u: Array) -> Array:
    """Overflow as Lava does it: once around, not at the lower end itself."""
    top = 2 ** (STATE_BITS - 1)
    return np.where(u > top, u - 2 * top, np.where(u <= -top, u + 2 * top, u))


def _known(array: Array | None) -> Array:
    assert array is not None, "Program checks that the rule is complete"
    return array
