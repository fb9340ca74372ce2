"""Exact counts of what a program did: events, synaptic operations, neuron updates.

Method. The fan-out map F of a weighted op is the adjoint of its non-zero mask applied to ones:
``F[j]`` is the number of non-zero synapses that leave input site j, borders, stride, dilation
and groups included. With e[j] the events at site j, ``SynOps = sum_j e[j] F[j]``: an event
through a weight of 0 (pruned, or quantised to 0) costs nothing.

- A spike that meets a weight is an accumulation ("ac"); a non-zero graded value, a
  multiply-accumulate ("mac"), in each step in which it is sent.
- Pooling is no neuron: it forwards each spike to every window that contains it, its factor
  lies in the next weights. Graded values are pooled first, and what is not 0 then counts.
- A second weighted op in a chain sees graded values: its actual non-zero inputs are counted.
- A projection without weighted op is one connection of weight 1 for each value it forwards;
  into a relay or a delay, where no neuron is, it is no synaptic operation.
- A recurrent projection sees what left its source in the step before.
- Biases are no synaptic operations: they are part of the neuron update.
- Placed on cores, a spike is one message to each distinct core on which it meets a synapse.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from sltdeploy.anatomy import describe, fan_out, forwarded, neuron_kind
from sltdeploy.arithmetic import apply_op
from sltdeploy.counts import Counts as Counts
from sltdeploy.counts import MessageCount as MessageCount
from sltdeploy.counts import Operation as Operation
from sltdeploy.counts import PopulationCount as PopulationCount
from sltdeploy.counts import ProjectionCount as ProjectionCount
from sltdeploy.errors import raise_all
from sltdeploy.ops import Array, Conv, Linear, Op, Pool, Scale, Shape
from sltdeploy.program import Population, Program, Projection, op_shapes
from sltdeploy.resources import Fit, Reach
from sltdeploy.resting import at_rest
from sltdeploy.rules import DelayLine, LoihiNeuron, Neuron, Relay
from sltdeploy.trace import Trace


def count(program: Program, trace: Trace, fit: Fit | None = None) -> Counts:
    """Count what ``program`` did in ``trace``; see the module's docstring for the method.

    With ``fit``, where `sltdeploy.mapping.fit` places this program, messages between cores are
    counted as well.

    Returns exact integers per sample. Raises `InputError` where the trace belongs to another
    program or holds no step or no sample.
    """
    raise_all(_problems(program, trace))
    rest = at_rest(program)
    return Counts(
        steps=trace.steps,
        samples=trace.batch,
        dt=program.dt,
        numbers=program.numbers,
        projections=tuple(
            c
            for p in program.projections
            for c in _projection(program, p, _entered(p, trace.records[p.source], rest))
        ),
        populations=tuple(_population(p, trace.records[p.name]) for p in program.populations),
        messages=tuple(_messages(r, trace) for r in (fit.reaches if fit is not None else ())),
    )


def _problems(program: Program, trace: Trace) -> Iterator[str]:
    if trace.program is not program and trace.program.digest() != program.digest():
        yield "the trace was recorded from another program: run this one and count its trace"
    if not trace.steps or not trace.batch:
        yield f"the trace holds {trace.steps} steps of {trace.batch} samples, needs 1 or more each"


def _population(population: Population, record: Array) -> PopulationCount:
    steps, samples = record.shape[:2]
    sent = np.count_nonzero(record, axis=0).astype(np.int64)  # (B, *shape)
    events = sent.reshape(samples, -1).sum(axis=1)
    stateful = isinstance(population.rule, Neuron | LoihiNeuron)
    return PopulationCount(
        name=population.name,
        kind=neuron_kind(population.rule),
        neurons=population.size,
        spiking=population.spiking,
        spikes=events if population.spiking else np.zeros_like(events),
        events=events,
        updates=population.size * steps if stateful else 0,
        silent=int((sent.sum(axis=0) == 0).sum()),
        rate=float(events.sum() / (population.size * steps * samples)),
    )


def _messages(reach: Reach, trace: Trace) -> MessageCount:
    """``sum_j e[j] C[j]``, with e[j] the events of neuron j and C[j] the cores it sends to."""
    sent = np.count_nonzero(trace.records[reach.source], axis=0).astype(np.int64)
    messages = sent.reshape(len(sent), -1) @ reach.cores.ravel()
    return MessageCount(reach.source, reach.target, int(reach.cores.max(initial=0)), messages)


def _entered(projection: Projection, record: Array, rest: Mapping[str, Array]) -> Array:
    """What entered ``projection`` in each step, (T, B, *shape)."""
    if not projection.recurrent:
        return record
    first = rest[projection.source].astype(record.dtype)
    return np.concatenate([np.broadcast_to(first, record[:1].shape), record[:-1]])


def _projection(
    program: Program, projection: Projection, record: Array
) -> Iterator[ProjectionCount]:
    source, ops = program.population(projection.source), projection.ops
    shapes = op_shapes(projection, source.shape)
    weighted = [k for k, op in enumerate(ops) if isinstance(op, Linear | Conv)]
    stops = weighted or [len(ops)]
    entering = _entering(program, ops, stops, source.spiking, record, shapes)
    for number, stop in enumerate(stops):
        spikes = source.spiking and number == 0
        before = 0 if number == 0 else stops[number - 1] + 1
        leading = ops[before:stop]
        op = ops[stop] if weighted else None
        if isinstance(op, Linear | Conv):
            operation: Operation = "ac" if spikes else "mac"
            weights, nonzero = op.weight.size, int(np.count_nonzero(op.weight))
            whole, kept = fan_out(op, shapes[stop], dense=True), fan_out(op, shapes[stop])
            synapses, synapses_nonzero = int(whole.sum()), int(kept.sum())
        else:  # weight 1 for all that arrives
            multiplies = any(isinstance(o, Scale) or _averages(o) for o in leading)
            operation = "mac" if multiplies and not spikes else "ac"
            weights = nonzero = 0
            passed_on = isinstance(program.population(projection.target).rule, Relay | DelayLine)
            whole = kept = np.full(shapes[stop], 0 if passed_on else 1, np.int64)
            unscaled = tuple(o for o in leading if not isinstance(o, Scale))
            synapses, synapses_nonzero = (
                0 if passed_on else _paths(ops, source) for ops in (unscaled, leading)
            )
        events = entering[stop].reshape(record.shape[1], -1)
        yield ProjectionCount(
            name=projection.name + f", op {number + 1}" * (len(stops) > 1),
            source=projection.source,
            target=projection.target,
            ops=", ".join(describe(o) for o in (*leading, op) if o is not None) or "identity",
            operation=operation,
            weights=weights,
            nonzero=nonzero,
            synapses=synapses,
            synapses_nonzero=synapses_nonzero,
            events=events.sum(axis=1),
            synops=events @ kept.ravel(),
            synops_unpruned=events @ whole.ravel(),
            synops_dense=record.shape[0] * synapses,
        )


def _entering(
    program: Program,
    ops: tuple[Op, ...],
    stops: list[int],
    spiking: bool,
    record: Array,
    shapes: tuple[Shape, ...],
) -> dict[int, Array]:
    """Events at the input of each op in ``stops`` over all steps, (B, *shape) int64."""
    found = {k: np.zeros((record.shape[1], *shapes[k]), np.int64) for k in stops}
    graded = stops
    if spiking:
        events = record.sum(axis=0, dtype=np.int64)
        for op in ops[: stops[0]]:
            events = forwarded(op, events)
        found[stops[0]] = events
        graded = stops[1:]
    wide = np.int64 if program.numbers == "loihi" else np.float64
    for values in record if graded else ():
        x = values.astype(wide)
        for k in range(graded[-1] + 1):
            if k in graded:
                found[k] += x != 0
            if k < graded[-1]:
                x = apply_op(ops[k], x)
    return found


def _paths(ops: tuple[Op, ...], source: Population) -> int:
    events = np.ones((1, *source.shape), np.int64)
    for op in ops:
        events = forwarded(op, events)
    return int(events.sum())


def _averages(op: Op) -> bool:
    return isinstance(op, Pool) and op.kind == "average"
