"""All time steps of a run: what needs no state for all of them at once, a Scan around the rest.

Block by block. Projections from other blocks are computed for all steps in one Gemm or Conv, with
steps times samples as the batch. A neuron without a loop is then a Scan of a handful of nodes; the
populations of a loop share one Scan, their weights inside its body.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sltdeploy.onnx_model.axes import Axes
from sltdeploy.onnx_model.blocks import Block, blocks, inside
from sltdeploy.onnx_model.delays import pass_by
from sltdeploy.onnx_model.graph import BATCH, BOOL, FLOAT, STEPS, Body, Port
from sltdeploy.onnx_model.neurons import Goals, Signal, neuron
from sltdeploy.onnx_model.projecting import Writer, through, writer
from sltdeploy.onnx_model.state import claimed, kept, kept_by
from sltdeploy.onnx_model.step import States, by_population, emit, observed
from sltdeploy.onnx_model.writing import Model
from sltdeploy.program import DelayLine, Input, Neuron, Population, Program, Projection


@dataclass(frozen=True)
class _Growing:
    """A model while it grows; ``sent`` holds timed or flat tensors, by population."""

    to: Writer
    axes: Axes
    states: States
    sent: dict[str, Signal]
    around: frozenset[str]  # populations whose last value goes around in a Scan


def sequence(program: Program, *, integer: bool = False) -> Model:
    """Translate all steps of ``program``; ``integer``: its weights are integers of 8 bits.

    Inputs and outputs are those of the step, (T, N, *shape); states enter and leave as there, so
    a long run can be cut into parts. T and N are 1 or more.
    """
    to = writer(program, integer=integer)
    states = tuple(claimed(to.graph, what) for what in kept(program))
    order = blocks(program)
    scanned = [b for b in order if _needs_scan(program, b)]
    around = {q.source for b in scanned for q in inside(program, b) if q.recurrent}
    growing = _Growing(
        to,
        Axes(to.graph, program.inputs[0].name),
        by_population(states),
        {p.name: Signal(p.name, p.name) for p in program.inputs},
        frozenset(around),
    )
    for block in order:
        if block in scanned:
            _scan(growing, block)
        elif not isinstance(block[0].rule, Input):
            growing.sent[block[0].name] = _at_once(growing, block[0])
    for p in observed(program):
        timed = growing.axes.timed(_values(growing, p), p.shape, p.name)
        if timed != p.name:
            to.graph.add("Identity", [timed], p.name)
    for name, held in growing.states.items():
        if "last" in held and name not in around:
            p = program.population(name)
            timed = growing.axes.timed(_values(growing, p), p.shape)
            end = to.graph.index(-1, "end")
            to.graph.add("Gather", [timed, end], held["last"].output, {"axis": 0})
    free = (STEPS, BATCH)
    return Model(
        "sequence",
        to.graph,
        tuple(Port(p.name, p.shape, free) for p in program.inputs),
        tuple(Port(p.name, p.shape, free) for p in observed(program)),
        states,
    )


def _needs_scan(program: Program, block: Block) -> bool:
    """Whether a step needs what the step before computed."""
    keeps = isinstance(block[0].rule, Neuron) and bool(kept_by(block[0]))
    return keeps or bool(inside(program, block))


def _values(s: _Growing, p: Population) -> str:
    values = s.sent[p.name].values
    assert values is not None, "what leaves a block leaves as float32 as well"
    return values


def _arrives(s: _Growing, p: Population, projections: Sequence[Projection]) -> str:
    """Flat tensor of what ``projections`` from other blocks bring to ``p``."""
    terms = [through(s.to, q, _flat(s, q)) for q in projections]
    x = terms[0] if len(terms) == 1 else s.to.graph.total(terms, s.to.graph.claim(f"{p.name}.x"))
    return s.axes.declared_flat(x)


def _flat(s: _Growing, q: Projection) -> str:
    """Flat tensor at which the projection starts."""
    source = s.to.program.population(q.source)
    if not q.recurrent:
        signal = s.sent[q.source]
        form = signal.spikes if q in s.to.whole else signal.values
        assert form is not None, "what leaves a block leaves in both forms"
        return s.axes.flat(form, source.shape)
    graph, last = s.to.graph, s.states[q.source]["last"].input
    timed = s.axes.timed(_values(s, source), source.shape)
    first, zero, end = (graph.integers((n,), f"late.{n}") for n in (0, 0, -1))
    before = graph.once("Unsqueeze", [last, first], f"{q.source}.before")
    all_but_last = graph.once("Slice", [timed, zero, end, first], f"{q.source}.all_but_last")
    late = graph.once("Concat", [before, all_but_last], f"{q.source}.late", {"axis": 0})
    return s.axes.flat(late, source.shape)


def _at_once(s: _Growing, p: Population) -> Signal:
    """Emit a population whose steps do not wait for each other."""
    x, graph = _arrives(s, p, s.to.program.into(p.name)), s.to.graph
    if isinstance(p.rule, DelayLine) and p.rule.depth:
        pass_by(graph, p, p.rule, s.states[p.name]["past"], s.axes.timed(x, p.shape), p.name)
        return Signal(p.name, p.name)
    if not isinstance(p.rule, Neuron):
        return Signal(x, x)
    goals = Goals(s.axes.declared_flat(graph.claim(f"{p.name}.flat")))
    signal = neuron(graph, p, p.rule, x, {}, goals)
    if signal.spikes is not None:
        s.axes.declared_flat(signal.spikes)
    return signal


def _scan(s: _Growing, block: Block) -> None:
    """Emit the populations of ``block`` as the body of one Scan."""
    program, graph, inner = s.to.program, s.to.graph, s.to.graph.inner()
    names = {p.name for p in block}
    held = [
        state
        for p in block
        for name, state in s.states.get(p.name, {}).items()
        if name != "last" or p.name in s.around
    ]
    begun = [claimed(inner, state) for state in held]
    fed: list[str] = []
    outside: dict[str, str] = {}
    for p in block:
        before = [q for q in program.into(p.name) if q.source not in names]
        if before:
            fed.append(s.axes.timed(_arrives(s, p, before), p.shape))
            outside[p.name] = inner.claim(f"{p.name}.x")
    goals = {p.name: _goals(s, block, p, inner.claim(p.name)) for p in block}
    emit(s.to.within(inner), block, {}, by_population(begun), outside, goals)
    leaving = [p for p in block if _leaves(program, p, names)]
    ends = [_end(p, goals[p.name]) for p in leaving]
    sent = [
        graph.claim(f"{p.name}.spikes") if e.type == BOOL else p.name
        for p, e in zip(leaving, ends, strict=True)
    ]
    inputs = [Port(b.input, b.shape) for b in begun]
    inputs += [Port(outside[p.name], p.shape) for p in block if p.name in outside]
    outputs = [*(Port(b.output, b.shape) for b in begun), *ends]
    graph.scan(
        [*(h.input for h in held), *fed],
        [*(h.output for h in held), *sent],
        Body(inner, tuple(inputs), tuple(outputs)),
        len(fed),
    )
    for p, end, tensor in zip(leaving, ends, sent, strict=True):
        if end.type == BOOL:
            graph.add("Cast", [tensor], p.name, {"to": FLOAT})
        s.sent[p.name] = Signal(p.name, tensor)


def _goals(s: _Growing, block: Block, p: Population, name: str) -> Goals:
    """Write spikes as bool, and as ``name`` in float32 only where the body itself reads those."""
    if not (p.spiking and isinstance(p.rule, Neuron)):
        return Goals(name)
    read = (q for q in inside(s.to.program, block) if q.source == p.name)
    floats = any(q.recurrent or q not in s.to.whole for q in read)
    return Goals(name if floats else None, s.to.graph.claim(f"{p.name}.fired"))


def _end(p: Population, goals: Goals) -> Port:
    """What of ``p`` leaves the body in each step."""
    if goals.fired is not None:
        return Port(goals.fired, p.shape, type=BOOL)
    assert goals.sent is not None, "values leave as float32"
    return Port(goals.sent, p.shape)


def _leaves(program: Program, p: Population, names: set[str]) -> bool:
    """Whether anything outside of the block reads ``p``, or the model gives it."""
    read = any(q.source == p.name and q.target not in names for q in program.projections)
    return read or p.spiking or p.name in program.outputs
