"""What goes along a projection, as C: tables of weights, calls of kernels, in their order."""

from dataclasses import dataclass, field

from sltdeploy.c_source import kernels, windows
from sltdeploy.c_source.plan import Cell, Push
from sltdeploy.c_source.stages import (
    Columns,
    ConvEvents,
    ConvRows,
    Divide,
    OneToOne,
    PoolEvents,
    Rows,
    Stage,
)
from sltdeploy.c_source.text import C_TYPES, comment, power
from sltdeploy.program import Array, Input


@dataclass
class Emitted:
    """What the pushes of a plan need besides their lines: functions by name, tables, scratch.

    ``between`` is how many values lie between two kernels, by type and which of the two arrays
    that take turns; ``active`` the longest list of spikes.
    """

    functions: dict[str, str] = field(default_factory=dict[str, str])
    tables: list[tuple[str, Array]] = field(default_factory=list[tuple[str, Array]])
    between: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    active: int = 0


def sent(cell: Cell, *, recurrent: bool) -> str:
    """Expression for what leaves ``cell``: an argument of the step, or in the state."""
    if isinstance(cell.population.rule, Input) and not recurrent:
        return f"in_{cell.identifier}"
    return f"s->sent_{cell.identifier}"


def push_all(pushes: list[Push], into: Emitted) -> list[str]:
    """Lines that send what leaves one source along ``pushes``; a list of spikes serves several."""
    lines: list[str] = []
    listed = False
    for push in pushes:
        recurrent = push.projection.recurrent
        source = sent(push.source, recurrent=recurrent)
        first = push.stages[0]
        if push.source.sent == "uint8" and isinstance(first, Columns | Rows) and not listed:
            listed = True
            into.active = max(into.active, push.source.size)
            lines.append(
                f"count = list_active(s->active, s->groups, {source}, {push.source.size}u);"
            )
        title = f"{comment(push.projection.source)} -> {comment(push.projection.target)}"
        kinds = ", ".join(described(s) for s in push.stages)
        lines.append(f"/* {title}{', from the step before' * recurrent}: {kinds} */")
        lines += _push(push, source, into)
        if isinstance(first, ConvEvents | PoolEvents):
            listed = False  # they list row by row, in the same place
    return lines


def described(stage: Stage) -> str:
    """Say in a few words which kernel it is and how large."""
    match stage:
        case Columns():
            return f"columns, {len(stage.weight)} of {stage.sources} x {stage.size} weights"
        case Rows():
            return f"rows, {stage.sources} x {stage.size} weights"
        case ConvEvents():
            return f"convolution by events, {len(stage.weight)} weights"
        case ConvRows():
            return f"convolution by rows, {len(stage.weight)} weights"
        case PoolEvents():
            return f"pool {stage.window.kernel[0]} x {stage.window.kernel[1]} by events"
        case OneToOne():
            return f"one to one, {stage.size}"
        case Divide():
            return f"division by {stage.by}"


def _push(push: Push, source: str, into: Emitted) -> list[str]:
    assert push.target.sum is not None, "Program checks that no projection leads to an input"
    total, goal = push.target.sum.kind, f"s->x_{push.target.identifier}"
    lines: list[str] = []
    kind = push.source.sent
    late = push.shift < 0
    for k, stage in enumerate(push.stages):
        last = k == len(push.stages) - 1
        to = goal
        if not last or late:
            to = f"s->between_{kernels.short(total)}_{k % 2}"
            into.between[total, k % 2] = max(into.between.get((total, k % 2), 0), stage.size)
            lines.append(_begin(push, to, stage, into, filled=last))
        shift = push.shift if last and not late else 0
        lines.append(_call(stage, push.name(k), (source, kind), (to, total), shift, into))
        source, kind = to, total
    if late:
        function = f"add_shifted_{kernels.short(total)}"
        into.functions[function] = SHIFTED.format(name=function, kind=C_TYPES[total])
        lines.append(f"{function}({goal}, {source}, {push.target.size}u, {-push.shift}u);")
    return lines


SHIFTED = """\
/* Add what a right shift leaves; C leaves the shift of a negative number to the compiler. */
static void {name}({kind} *restrict x, const {kind} *restrict source, size_t size, unsigned shift)
{{
    for (size_t i = 0; i < size; ++i) {{
        x[i] += source[i] >= 0 ? source[i] >> shift : ~(~source[i] >> shift);
    }}
}}
"""


# Called, not written out: GCC takes a count of bytes that is the array's length for a mistake.
EMPTY = """\
static void {name}({kind} *x, size_t size)
{{
    memset(x, 0, size * sizeof *x);
}}
"""


def _begin(push: Push, to: str, stage: Stage, into: Emitted, *, filled: bool) -> str:
    """Empty the space behind a stage; the last one begins with the projection's biases."""
    assert push.target.sum is not None
    kind = C_TYPES[push.target.sum.kind]
    if filled and push.constant is not None:
        into.tables.append((f"{push.name(0)}_constant", push.constant))
        return f"memcpy({to}, {push.name(0)}_constant, {stage.size}u * sizeof({kind}));"
    function = f"empty_{kernels.short(push.target.sum.kind)}"
    into.functions[function] = EMPTY.format(name=function, kind=kind)
    return f"{function}({to}, {stage.size}u);"


def _call(
    stage: Stage,
    name: str,
    source: tuple[str, str],
    to: tuple[str, str],
    shift: int,
    into: Emitted,
) -> str:
    """Line that runs one kernel from ``source`` to ``to``, each an expression and a type."""
    values, kind = source
    x, total = to
    unit = _unit(total, shift, stage.bits)
    spikes = kind == "uint8"
    match stage:
        case Columns() | Rows():
            into.tables.append((f"{name}_weight", stage.weight))
            counted = ("s->active", "count") if spikes else (values, f"{stage.sources}u")
            scale = () if unit is None else (unit,)
            weight = stage.weight.dtype.name
            if isinstance(stage, Rows):
                function, text = kernels.rows((kind, weight, total), scaled=unit is not None)
                arguments = (x, f"{stage.size}u", *counted, *scale, f"{name}_weight")
            else:
                into.tables += [(f"{name}_first", stage.first), (f"{name}_to", stage.to)]
                types = (kind, weight, stage.first.dtype.name, stage.to.dtype.name, total)
                function, text = kernels.columns(types, scaled=unit is not None)
                tables = (f"{name}_first", f"{name}_to", f"{name}_weight")
                arguments = (x, *counted, *scale, *tables)
        case ConvEvents() | ConvRows() | PoolEvents():
            function = f"add_{name}"
            text = windows.function(function, stage, kind, total, unit)
            arguments = (x, values)
            if spikes and not isinstance(stage, ConvRows):
                arguments = (*arguments, "s->active", "s->groups")
                into.active = max(into.active, stage.window.before[2])
            _window_tables(stage, function, into)
        case OneToOne() | Divide():
            function = f"add_{name}"
            text = _elementwise(stage, function, kind, total, unit, into)
            arguments = (x, values)
    into.functions[function] = text
    return f"{function}({', '.join(arguments)});"


def _unit(total: str, shift: int, bits: int) -> str | None:
    """Write what a source is multiplied by, None for 1."""
    if total == "float64":
        return power(-bits, "float64") if bits else None
    return str(1 << shift) if shift else None


def _window_tables(stage: ConvEvents | ConvRows | PoolEvents, name: str, into: Emitted) -> None:
    if isinstance(stage, PoolEvents):
        return
    into.tables += [(f"{name}_to", stage.to), (f"{name}_weight", stage.weight)]
    if isinstance(stage, ConvEvents):
        into.tables.append((f"{name}_first", stage.first))
    else:
        into.functions["places"] = kernels.PLACES
        into.tables += [(f"{name}_source", stage.source), (f"{name}_tap", stage.tap)]


def _elementwise(
    stage: OneToOne | Divide, name: str, kind: str, total: str, unit: str | None, into: Emitted
) -> str:
    value = kernels.taken("source[i]", kind, total, unit)
    if isinstance(stage, Divide):
        value = f"{value} / {stage.by}.0"
    elif stage.weight is not None:
        weight = f"{name}_weight[i]"
        if stage.weight.ndim == 0:
            into.tables.append((f"{name}_weight", stage.weight.reshape(1)))
            weight = f"{name}_weight[0]"
        else:
            into.tables.append((f"{name}_weight", stage.weight))
        if stage.weight.dtype.name != total:
            weight = f"({C_TYPES[total]}){weight}"
        value = f"{value} * {weight}"
    return (
        f"static void {name}({C_TYPES[total]} *restrict x, "
        f"const {C_TYPES[kind]} *restrict source)\n{{\n"
        f"    for (size_t i = 0; i < {stage.size}u; ++i) {{\n"
        f"        x[i] += {value};\n    }}\n}}\n"
    )
