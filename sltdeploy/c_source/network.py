"""The whole file and its header, put together."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sltdeploy.c_source import kernels, rules
from sltdeploy.c_source.layout import Member, members
from sltdeploy.c_source.plan import Cell, Plan, plan
from sltdeploy.c_source.pushing import Emitted, described, push_all, sent
from sltdeploy.c_source.text import C_TYPES, array, comment, smallest_unsigned
from sltdeploy.c_source.words import FILE, GUARDS, HEADER, TABLES
from sltdeploy.program import Array, DelayLine, Input, LoihiNeuron, Neuron, Program

PREFIX = "network"


@dataclass(frozen=True)
class Source:
    """The two files as text, and what a program that loads them must know.

    ``members`` are in the order of the table of offsets that ``-DNETWORK_TABLES`` compiles in.
    """

    code: str
    header: str
    members: tuple[Member, ...]
    constant_bytes: int
    state_bytes: int
    kernels: tuple[tuple[str, str], ...]


def write(program: Program) -> Source:
    """Write ``program`` as C99; same program, same text."""
    made = plan(program)
    emitted = Emitted()
    body = list(_step(made, emitted))
    updates = {c.identifier: rules.update(c) for c in made.cells if c.sum is not None}
    constants = [
        *emitted.tables,
        *(c for u in updates.values() for c in u.constants),
        *_constants(made),
    ]
    # Equal tables of parallel calls are defined once.
    tables = dict(constants)
    held = members(made, emitted)
    place = C_TYPES[np.dtype(smallest_unsigned(max(emitted.active - 1, 0))).name]
    functions = _functions(made, emitted, updates, place)
    code = FILE.format(
        prefix=PREFIX,
        guards=GUARDS,
        tables="\n".join(array(name, values) for name, values in tables.items()),
        functions="\n".join(functions).replace("{state}", f"{PREFIX}_state"),
        reset="".join(f"    {line}\n" for line in _reset(made)),
        arguments=_arguments(made),
        count="    size_t count;\n" if any("count =" in line for line in body) else "",
        body="".join(f"    {line}\n" if line else "\n" for line in body),
        layout=TABLES.format(
            prefix=PREFIX,
            inputs=len(program.inputs),
            outputs=len(made.outputs),
            members=len(held),
            sizes=", ".join(f"{n}u" for n in _sizes(program)),
            wide=1 + len(program.inputs) + len(made.outputs),
            pointers=", ".join(
                f"p[{k}]" for k in range(1 + len(program.inputs) + len(made.outputs))
            ),
            offsets=",\n    ".join(f"offsetof({PREFIX}_state, {m.name})" for m in held),
        ),
    )
    constant_bytes = sum(values.nbytes for values in tables.values())
    state_bytes = sum(m.bytes for m in held)
    summary = tuple((p.projection.name, ", ".join(map(described, p.stages))) for p in made.pushes)
    header = HEADER.format(
        prefix=PREFIX,
        guard=f"{PREFIX.upper()}_H",
        about=_about(made, constant_bytes, state_bytes),
        members="".join(f"    {C_TYPES[m.kind]} {m.name}[{m.count}];{_why(m)}\n" for m in held),
        arguments=_arguments(made),
    )
    return Source(code, header, held, constant_bytes, state_bytes, summary)


def _why(member: Member) -> str:
    return f" /* {member.why} */" if member.why else ""


def _sizes(program: Program) -> Iterator[int]:
    yield from (p.size for p in program.inputs)
    yield from (program.population(name).size for name in dict.fromkeys(program.outputs))


def _arguments(made: Plan) -> str:
    by_name = {c.population.name: c for c in made.cells}
    taken = [
        f"const {C_TYPES[c.sent]} *in_{c.identifier}"
        for c in made.cells
        if isinstance(c.population.rule, Input)
    ]
    given = [f"{C_TYPES[by_name[n].sent]} *out_{by_name[n].identifier}" for n in made.outputs]
    return ",\n    ".join((f"{PREFIX}_state *s", *taken, *given))


def _about(made: Plan, constant_bytes: int, state_bytes: int) -> str:
    by_name = {c.population.name: c for c in made.cells}
    c = made.program.convention
    lines = [
        f"One step is {c.dt:g} s. Constants take {constant_bytes} bytes, a state about "
        f"{state_bytes}.",
        "",
    ]
    for cell in made.cells:
        if isinstance(cell.population.rule, Input):
            what = "0 or 1" if cell.sent == "uint8" else "values"
            if cell.sent == "int32":
                what = _integers(cell)
            lines.append(
                f"in_{cell.identifier}: {cell.size} {C_TYPES[cell.sent]}, {what} "
                f"(input '{comment(cell.population.name)}')"
            )
    for name in made.outputs:
        cell = by_name[name]
        what = "0 or 1" if cell.sent == "uint8" else "values"
        lines.append(
            f"out_{cell.identifier}: {cell.size} {C_TYPES[cell.sent]}, {what} "
            f"(population '{comment(name)}'), or NULL"
        )
    return "\n".join(f" * {line}".rstrip() for line in lines)


def _integers(cell: Cell) -> str:
    rule = cell.population.rule
    assert isinstance(rule, Input)
    limits = "" if rule.low is None else f", clipped to {rule.low}..{rule.high}"
    return f"x * {rule.scale:g} rounded half to even{limits}"


# ---------------------------------------------------------------------------- constants


def _constants(made: Plan) -> Iterator[tuple[str, Array]]:
    for cell in made.cells:
        me, rule = cell.identifier, cell.population.rule
        if cell.sum is not None and cell.sum.constant is not None:
            yield f"constant_{me}", cell.sum.constant
        if isinstance(rule, Neuron) and rule.v_init.any():
            initial = np.broadcast_to(rule.v_init.astype(np.float32), cell.population.shape)
            yield f"v_init_{me}", initial.reshape(-1)
        if isinstance(rule, DelayLine):
            yield from rules.delay_constants(cell, rule)
        if cell.rest is not None and cell.rest.any():
            yield f"rest_{me}", cell.rest.reshape(-1).astype(cell.sent)


def _reset(made: Plan) -> Iterator[str]:
    yield "memset(s, 0, sizeof *s);"
    for cell in made.cells:
        me, rule = cell.identifier, cell.population.rule
        if cell.sum is not None and cell.sum.constant is not None:
            yield f"memcpy(s->x_{me}, constant_{me}, sizeof constant_{me});"
        if isinstance(rule, Neuron) and rule.v_init.any():
            yield f"memcpy(s->v_{me}, v_init_{me}, sizeof v_init_{me});"
        if cell.rest is not None and cell.rest.any():
            yield f"memcpy(s->sent_{me}, rest_{me}, sizeof rest_{me});"


def _functions(
    made: Plan, emitted: Emitted, updates: dict[str, rules.Update], place: str
) -> Iterator[str]:
    text = dict(emitted.functions)
    if emitted.active:
        yield kernels.ACTIVE.replace("{place}", place)
    if "places" in text:
        yield text.pop("places")
    if any(isinstance(c.population.rule, LoihiNeuron) for c in made.cells):
        yield rules.LOIHI
    yield from (t.replace("{place}", place) for t in text.values())
    for cell in made.cells:
        if cell.sum is not None:
            yield f"/* {comment(cell.population.name)} */\n{updates[cell.identifier].text}"


# ----------------------------------------------------------------------------- the step


def _step(made: Plan, emitted: Emitted) -> Iterator[str]:
    """Lines of a step: what is recurrent first, then each population in its order."""
    for cell in made.cells:
        yield from push_all(made.out_of(cell, recurrent=True), emitted)
    for cell in made.cells:
        yield ""
        yield from _visit(made, cell)
        yield from push_all(made.out_of(cell, recurrent=False), emitted)
    yield ""
    for cell in made.cells:
        me, rule = cell.identifier, cell.population.rule
        if isinstance(rule, DelayLine):
            if rule.ends_loops:
                yield f"keep_{me}(s);"
            yield f"turn_{me}(s);"
    for name in made.outputs:
        cell = next(c for c in made.cells if c.population.name == name)
        source = sent(cell, recurrent=False)
        yield f"if (out_{cell.identifier} != NULL) {{"
        yield (
            f"    memcpy(out_{cell.identifier}, {source}, "
            f"{cell.size}u * sizeof({C_TYPES[cell.sent]}));"
        )
        yield "}"
    for cell in made.cells:
        if isinstance(cell.population.rule, Input) and cell.rest is not None:
            me = cell.identifier
            yield f"memcpy(s->sent_{me}, in_{me}, sizeof s->sent_{me});"


def _visit(made: Plan, cell: Cell) -> Iterator[str]:
    me = cell.identifier
    match cell.population.rule:
        case Input():
            kept = cell.rest is not None or cell.population.name in made.outputs
            if not kept and not made.out_of(cell, recurrent=False):
                yield f"(void)in_{me};"
        case DelayLine() as rule:
            if not rule.ends_loops:
                yield f"keep_{me}(s);"
            yield f"send_{me}(s);"
        case _:
            yield f"update_{me}(s);"
