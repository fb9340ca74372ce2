"""The reference: plain numpy that *defines* what a `Program` does.

Every exporter must agree with `run`, spike for spike. A step visits the populations in program
order, so that in a feed-forward network a spike travels from input to output within the step; a
recurrent projection brings it one step later.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from sltdeploy.arithmetic import brought
from sltdeploy.feeding import conform
from sltdeploy.program import (
    Array,
    DelayLine,
    Input,
    LoihiNeuron,
    Neuron,
    Numbers,
    Population,
    Program,
    Relay,
)
from sltdeploy.resting import at_rest
from sltdeploy.trace import Trace

STATE_BITS = 24  # Loihi's u and v
DECAY_BITS = 12
ALIGN_BITS = 6  # Loihi shifts activation and threshold left by this much


@dataclass(frozen=True, eq=False)
class State:
    """What one population keeps from step to step; None where its rule needs none.

    Membrane ``v`` and synaptic current ``j``, (B, *shape); ``past``, what arrived in the steps
    before, latest first, (B, depth, *shape); ``last``, what left in the step before.
    """

    v: Array | None = None
    j: Array | None = None
    past: Array | None = None
    last: Array | None = None


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
    """State of each population that keeps one before the first step, for ``batch`` samples."""
    seen_again = at_rest(program)
    return {
        p.name: _initial(p, batch, seen_again.get(p.name), program.numbers)
        for p in program.populations
        if isinstance(p.rule, Neuron | LoihiNeuron | DelayLine) or p.name in seen_again
    }


def step(
    program: Program, state: Mapping[str, State], x: Mapping[str, Array]
) -> tuple[dict[str, Array], dict[str, State]]:
    """One time step: what each population sends, (B, *shape), and the next state."""
    sent: dict[str, Array] = {}
    after: dict[str, State] = {}
    for population in program.populations:
        name, rule = population.name, population.rule
        match rule:
            case Input():
                sent[name] = x[name]
            case DelayLine() if rule.ends_loops:
                sent[name] = _delayed(rule.steps, _known(state[name].past))
            case DelayLine():
                arrives = _arrives(program, population, sent, state)
                line = np.concatenate([arrives[:, None], _known(state[name].past)], axis=1)
                sent[name] = _delayed(rule.steps + 1, line)
                after[name] = State(past=line[:, : rule.depth])
            case Relay():
                sent[name] = _arrives(program, population, sent, state)
            case Neuron():
                arrives = _arrives(program, population, sent, state)
                sent[name], after[name] = _neuron(rule, state[name], arrives)
            case LoihiNeuron():
                arrives = _arrives(program, population, sent, state)
                sent[name], after[name] = _loihi(rule, state[name], arrives)
    for population in program.populations:
        name = population.name
        if isinstance(population.rule, DelayLine) and name not in after:
            # What arrives may come from populations that are visited later.
            arrives = _arrives(program, population, sent, state)
            line = np.concatenate([arrives[:, None], _known(state[name].past)], axis=1)
            after[name] = State(past=line[:, : population.rule.depth])
        if name in state and state[name].last is not None:
            after[name] = replace(after.get(name, State()), last=sent[name])
    return sent, after


def _initial(p: Population, batch: int, sent: Array | None, numbers: Numbers) -> State:
    shape = (batch, *p.shape)
    last = None
    if sent is not None:
        last = np.broadcast_to(sent.astype(bool) if p.spiking else sent, shape).copy()
    match p.rule:
        case LoihiNeuron():
            v, u = (
                np.broadcast_to(a.astype(np.int64), shape).copy()
                for a in (p.rule.v_init, p.rule.u_init)
            )
            return State(v, u, last=last)
        case Neuron():
            v = np.broadcast_to(p.rule.v_init.astype(np.float32), shape).copy()
            j = None if p.rule.decay_syn is None else np.zeros(shape, np.float32)
            return State(v, j, last=last)
        case DelayLine():
            values = np.int64 if numbers == "loihi" else np.float32
            kind = bool if p.rule.spiking else values
            past = np.zeros((batch, p.rule.depth, *p.shape), kind)
            return State(past=past, last=last)
        case _:
            return State(last=last)


def _delayed(steps: Array, past: Array) -> Array:
    """Pick from ``past`` (B, depth, *shape) what each element sent ``steps`` (1 or more) ago."""
    at = np.broadcast_to(steps - 1, past.shape[2:])[None, None]
    return np.take_along_axis(past, np.broadcast_to(at, (len(past), 1, *past.shape[2:])), 1)[:, 0]


def _arrives(
    program: Program, p: Population, sent: Mapping[str, Array], state: Mapping[str, State]
) -> Array:
    parts = [
        brought(q, _known(state[q.source].last) if q.recurrent else sent[q.source], program.numbers)
        for q in program.into(p.name)
    ]
    total = np.sum(parts, axis=0)
    if p.spiking and isinstance(p.rule, DelayLine):
        return total.astype(bool)
    return total if program.numbers == "loihi" else total.astype(np.float32)


def _neuron(rule: Neuron, state: State, x: Array) -> tuple[Array, State]:
    j = x if rule.decay_syn is None else rule.decay_syn.astype(np.float32) * _known(state.j) + x
    u = rule.decay.astype(np.float32) * _known(state.v) + j + rule.bias.astype(np.float32)
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
    w = np.clip(_decayed(_known(state.v), rule.dv) + u + bias, -top, top)
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
