"""What a population does with its sum: one C function a population, neurons fused in one loop.

Every product and every sum is a statement of its own, so that each is rounded on its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sltdeploy.c_source.plan import Cell
from sltdeploy.c_source.text import C_TYPES, number, power
from sltdeploy.program import Array, DelayLine, LoihiNeuron, Neuron, Relay
from sltdeploy.reference import ALIGN_BITS, DECAY_BITS, STATE_BITS

LOIHI = f"""\
/* Loihi's decay: the magnitude times (4096 - decay) / 4096, rounded towards 0. */
static int64_t decayed(int64_t s, int64_t decay)
{{
    const int64_t kept = {2**DECAY_BITS} - decay;
    return s < 0 ? -((-s * kept) / {2**DECAY_BITS}) : (s * kept) / {2**DECAY_BITS};
}}

/* A 24-bit register that overflows, once around. */
static int64_t wrapped(int64_t u)
{{
    if (u > {2 ** (STATE_BITS - 1)}) {{
        return u - {2**STATE_BITS};
    }}
    return u <= -{2 ** (STATE_BITS - 1)} ? u + {2**STATE_BITS} : u;
}}

/* A 24-bit register that stops at its ends. */
static int64_t clipped(int64_t v)
{{
    const int64_t top = {2 ** (STATE_BITS - 1) - 1};
    return v > top ? top : v < -top ? -top : v;
}}
"""


@dataclass(frozen=True)
class Update:
    """A function ``update_<identifier>(s)``: the constants that it reads, and its text."""

    constants: tuple[tuple[str, Array], ...]
    text: str


def update(cell: Cell) -> Update:
    """Write the rule of ``cell``, which is no input."""
    emit = _Emitter(cell)
    match cell.population.rule:
        case Neuron() as rule:
            emit.neuron(rule)
        case LoihiNeuron() as rule:
            emit.loihi(rule)
        case DelayLine() as rule:
            return Update((), _delay(cell, rule))
        case Relay():
            emit.lines += [f"s->sent_{cell.identifier}[i] = arrives;", emit.emptied()]
        case _:
            raise AssertionError("an input has no rule to write")
    return Update(tuple(emit.constants), _loop(cell, emit.lines))


def arrives(cell: Cell) -> str:
    """Write the sum as what the rule takes: rounded once, or a whole number."""
    assert cell.sum is not None
    value = f"s->x_{cell.identifier}[i]"
    if cell.population.spiking and isinstance(cell.population.rule, DelayLine):
        return f"const uint8_t arrives = {value} != 0;"
    if cell.sent in ("int32", "int64") or isinstance(cell.population.rule, LoihiNeuron):
        return f"const {C_TYPES[cell.sum.kind]} arrives = {value};"
    unit = f" * {power(-cell.sum.bits)}" if cell.sum.bits else ""
    return f"const float arrives = (float){value}{unit};"


def emptied(cell: Cell) -> str:
    """Write what puts the sum back to what is there before anything arrives."""
    assert cell.sum is not None
    value = "0" if cell.sum.constant is None else f"constant_{cell.identifier}[i]"
    return f"s->x_{cell.identifier}[i] = {value};"


def _loop(cell: Cell, lines: list[str]) -> str:
    body = "".join(f"        {line}\n" for line in (arrives(cell), *lines))
    return (
        f"static void update_{cell.identifier}({{state}} *s)\n{{\n"
        f"    for (size_t i = 0; i < {cell.size}u; ++i) {{\n{body}    }}\n}}\n"
    )


class _Emitter:
    """Collects the lines of a loop over neurons, and the arrays that they read."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.lines: list[str] = []
        self.constants: list[tuple[str, Array]] = []

    def emptied(self) -> str:
        return emptied(self.cell)

    def value(self, what: str, values: Array, kind: str = "float32") -> str:
        """Refer to a parameter: a literal where all neurons share it, else an array."""
        flat = np.broadcast_to(values, self.cell.population.shape).reshape(-1).astype(kind)
        if (flat == flat[0]).all():
            return number(flat[0], kind)
        name = f"{what}_{self.cell.identifier}"
        self.constants.append((name, flat))
        return f"{name}[i]"

    def decayed(self, what: str, decay: Array, to: str) -> None:
        """Begin a float with the decayed state ``what``."""
        state = f"s->{what}_{self.cell.identifier}[i]"
        if (decay == 1).all():
            self.lines.append(f"float {to} = {state};")
        else:
            self.lines.append(f"float {to} = {self.value(f'decay_{what}', decay)} * {state};")

    def neuron(self, rule: Neuron) -> None:
        me = self.cell.identifier
        current = "arrives"
        if rule.decay_syn is not None:
            current = "j"
            self.decayed("j", rule.decay_syn, "j")
            self.lines += ["j = j + arrives;", f"s->j_{me}[i] = j;"]
        self.decayed("v", rule.decay, "u")
        self.lines.append(f"u = u + {current};")
        if rule.bias.any():
            self.lines.append(f"u = u + {self.value('bias', rule.bias)};")
        self.lines.append(self.emptied())
        if rule.threshold is None:
            self.lines += [f"s->v_{me}[i] = u;", f"s->sent_{me}[i] = u;"]
            return
        threshold = self.value("threshold", rule.threshold)
        above = ">" if rule.comparison == "gt" else ">="
        if rule.reset == "subtract":
            after = f"u - {threshold}"
        else:
            assert rule.v_reset is not None, "Program checks that the rule is complete"
            after = self.value("v_reset", rule.v_reset)
        self.lines += [
            f"const uint8_t fired = u {above} {threshold};",
            f"s->v_{me}[i] = fired ? {after} : u;",
            f"s->sent_{me}[i] = fired;",
        ]

    def loihi(self, rule: LoihiNeuron) -> None:
        me = self.cell.identifier
        bias = rule.bias_mantissa.astype(np.int64) << rule.bias_exponent
        self.lines += [
            f"const int64_t u = wrapped(decayed(s->j_{me}[i], {rule.du + 1}) + "
            f"(int64_t)arrives * {2**ALIGN_BITS});",
            f"const int64_t w = clipped(decayed(s->v_{me}[i], {rule.dv}) + u + "
            f"{self.value('bias', bias, 'int32')});",
            f"s->j_{me}[i] = u;",
            self.emptied(),
        ]
        if rule.vth is None:
            self.lines += [f"s->v_{me}[i] = (int32_t)w;", f"s->sent_{me}[i] = (int32_t)w;"]
            return
        self.lines += [
            f"const uint8_t fired = w > {rule.vth << ALIGN_BITS};",
            f"s->v_{me}[i] = fired ? 0 : (int32_t)w;",
            f"s->sent_{me}[i] = fired;",
        ]


# ------------------------------------------------------------------------------- delays


def slots(rule: DelayLine) -> int:
    """Rows of the ring: what arrives in a step needs one of its own unless all wait."""
    return rule.depth if rule.ends_loops else rule.depth + 1


def _delay(cell: Cell, rule: DelayLine) -> str:
    """Two functions: what leaves now, and what is kept; the order is the caller's."""
    me, many = cell.identifier, slots(rule)
    steps = np.broadcast_to(rule.steps, cell.population.shape).reshape(-1)
    same = (steps == steps[0]).all()
    wait = f"{int(steps[0])}u" if same else f"(size_t)steps_{me}[i]"
    at = f"(s->place_{me}[0] + {many}u - {wait}) % {many}u"
    return (
        f"static void keep_{me}({{state}} *s)\n{{\n"
        f"    for (size_t i = 0; i < {cell.size}u; ++i) {{\n"
        f"        {arrives(cell)}\n"
        f"        s->ring_{me}[s->place_{me}[0] * {cell.size}u + i] = arrives;\n"
        f"        {emptied(cell)}\n    }}\n}}\n\n"
        f"static void send_{me}({{state}} *s)\n{{\n"
        f"    for (size_t i = 0; i < {cell.size}u; ++i) {{\n"
        f"        s->sent_{me}[i] = s->ring_{me}[({at}) * {cell.size}u + i];\n    }}\n}}\n\n"
        f"static void turn_{me}({{state}} *s)\n{{\n"
        f"    s->place_{me}[0] = (s->place_{me}[0] + 1u) % {many}u;\n}}\n"
    )


def delay_constants(cell: Cell, rule: DelayLine) -> Iterator[tuple[str, Array]]:
    """Yield the steps by element, where they differ."""
    steps = np.broadcast_to(rule.steps, cell.population.shape).reshape(-1)
    if not (steps == steps[0]).all():
        kind = np.uint8 if rule.depth < 2**8 else np.uint32
        yield f"steps_{cell.identifier}", steps.astype(kind)
