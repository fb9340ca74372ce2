"""One time step: state in, state out."""

from collections.abc import Mapping, Sequence

from sltdeploy.onnx_model.delays import send, shift
from sltdeploy.onnx_model.graph import Port
from sltdeploy.onnx_model.neurons import Goals, Signal, neuron
from sltdeploy.onnx_model.projecting import Writer, through, writer
from sltdeploy.onnx_model.state import State, claimed, kept
from sltdeploy.onnx_model.writing import Model
from sltdeploy.program import DelayLine, Input, Neuron, Population, Program, Projection

States = Mapping[str, Mapping[str, State]]  # by population, then by name


def step(program: Program, *, integer: bool = False) -> Model:
    """Translate one step of ``program``; ``integer``: its weights are integers of 8 bits.

    Inputs and outputs are (N, *shape) under the populations' own names: all outputs of the
    program, then the spikes of every other population.
    """
    to = writer(program, integer=integer)
    states = tuple(claimed(to.graph, what) for what in kept(program))
    members = [p for p in program.populations if not isinstance(p.rule, Input)]
    sent = {p.name: Signal(p.name, p.name) for p in program.inputs}
    emit(to, members, sent, by_population(states), {}, {p.name: Goals(p.name) for p in members})
    return Model(
        "step",
        to.graph,
        tuple(Port(p.name, p.shape) for p in program.inputs),
        tuple(Port(p.name, p.shape) for p in observed(program)),
        states,
    )


def observed(program: Program) -> tuple[Population, ...]:
    """Populations that a model gives: outputs first, then what else spikes."""
    spiking = [p.name for p in program.populations if p.spiking and not isinstance(p.rule, Input)]
    return tuple(program.population(n) for n in dict.fromkeys((*program.outputs, *spiking)))


def by_population(states: Sequence[State]) -> States:
    """Sort ``states``."""
    sorted_: dict[str, dict[str, State]] = {}
    for s in states:
        sorted_.setdefault(s.population, {})[s.name] = s
    return sorted_


def emit(
    to: Writer,
    members: Sequence[Population],
    sent: dict[str, Signal],
    states: States,
    outside: Mapping[str, str],
    goals: Mapping[str, Goals],
) -> None:
    """Write one step of ``members`` into ``to.graph``, in their order.

    ``sent`` is what is known from the start and grows. Projections from populations that are
    neither there nor members are left out: ``outside`` names the tensor of what they bring, for
    each population that has such. ``goals`` are the tensors to write.
    """
    inside = {*sent, *(p.name for p in members)}
    waiting: list[tuple[Population, DelayLine, State]] = []

    def signal(q: Projection) -> str:
        if q.recurrent:
            return states[q.source]["last"].input
        form = sent[q.source].spikes if q in to.whole else sent[q.source].values
        assert form is not None, "goals name what is read"
        return form

    def terms(p: Population) -> list[str]:
        first = [outside[p.name]] if p.name in outside else []
        within = [q for q in to.program.into(p.name) if q.source in inside]
        return first + [through(to, q, signal(q)) for q in within]

    def arrives(p: Population) -> str:
        found = terms(p)
        return found[0] if len(found) == 1 else to.graph.total(found, to.graph.claim(f"{p.name}.x"))

    for p in members:
        goal = goals[p.name]
        if isinstance(p.rule, Neuron):
            held = states.get(p.name, {})
            sent[p.name] = neuron(to.graph, p, p.rule, arrives(p), held, goal)
            continue
        assert goal.sent is not None, "only neurons send bool"
        if isinstance(p.rule, DelayLine) and p.rule.depth:
            line = states[p.name]["past"]
            if p.rule.ends_loops:  # what arrives may come from populations that follow
                send(to.graph, p, p.rule.steps - 1, line.input, p.rule.depth, goal.sent)
                waiting.append((p, p.rule, line))
            else:
                shift(to.graph, p, p.rule, line, arrives(p), goal.sent)
        else:
            to.graph.total(terms(p), goal.sent)
        sent[p.name] = Signal(goal.sent, goal.sent)
    for p, rule, line in waiting:
        shift(to.graph, p, rule, line, arrives(p), "")
    for name, held in states.items():
        if "last" in held:
            values = sent[name].values
            assert values is not None, "goals name what is read"
            to.graph.add("Identity", [values], held["last"].output)
