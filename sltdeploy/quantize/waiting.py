"""Delay lines: which of them pass spikes or inputs on, and where weighted values arrive."""

from collections.abc import Iterator

from sltdeploy.program import DelayLine, Input, Population, Program, Projection, Reshape
from sltdeploy.synapse import constant

INSTEAD = "the onnx exporter takes it, with --quantize int8 as well (--format onnx)"


def origin(program: Program, p: Population) -> Population | None:
    """The input or spiking population whose signal leaves ``p`` as it is, maybe later.

    None for a delay line that carries weighted values.
    """
    seen: set[str] = set()
    while isinstance(p.rule, DelayLine):
        into = program.into(p.name)
        if p.name in seen or len(into) != 1 or not _plain(into[0]):
            return None
        seen.add(p.name)
        p = program.population(into[0].source)
    return p if p.spiking or isinstance(p.rule, Input) else None


def holds_values(program: Program, p: Population) -> bool:
    """Whether ``p`` is a delay line that carries weighted values."""
    return isinstance(p.rule, DelayLine) and origin(program, p) is None


def way(program: Program, p: Population) -> tuple[Projection, ...] | None:
    """Projections from ``p`` to where weighted values that reach it arrive.

    () unless p is a delay line that holds values; None where they do not arrive, as they are, at
    one population.
    """
    found: list[Projection] = []
    while holds_values(program, p):
        behind = [q for q in program.projections if q.source == p.name]
        if len(behind) != 1 or not _plain(behind[0]) or behind[0] in found:
            return None
        found.append(behind[0])
        p = program.population(behind[0].target)
    return tuple(found) if not isinstance(p.rule, DelayLine) else None


def refusals(program: Program) -> Iterator[str]:
    """What integers cannot have of delay lines, one line each."""
    for p in program.populations:
        if not isinstance(p.rule, DelayLine):
            continue
        entry = origin(program, p)
        if entry is not None:
            if p.name in program.outputs and not entry.spiking:
                yield (
                    f"output '{p.name}' shows graded values of the input '{entry.name}', which "
                    f"are integers of another unit on Loihi: take them from the input; {INSTEAD}"
                )
            continue
        if p.name in program.outputs:
            yield (
                f"output '{p.name}' shows values on their way, Loihi shows what neurons hold: "
                f"make it a readout and delay that outside; {INSTEAD}"
            )
        if way(program, p) is None:
            yield (
                f"population '{p.name}' delays weighted values of up to {p.rule.depth} steps "
                "that then go through other weights, to several populations or to none: delay "
                f"the spikes in front of the weights instead; {INSTEAD}"
            )
        for q in program.into(p.name):
            if constant(q.ops, program.population(q.source).shape).any():
                yield (
                    f"projection '{q.name}' brings a bias into a delay, Loihi's biases are there "
                    f"from the first step on: put it behind the delay; {INSTEAD}"
                )


def _plain(q: Projection) -> bool:
    return all(isinstance(op, Reshape) for op in q.ops)
