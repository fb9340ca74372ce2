"""The reference: plain numpy that *defines* what a `Program` does.

Every exporter must agree with `run`, spike for spike. A step visits the populations in program
order, so that in a feed-forward network a spike travels from input to output within the step.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from sltdeploy.arithmetic import apply_ops
from sltdeploy.feeding import conform
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
    fed = conform(program.inputs, x, ("T", "B"))
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
