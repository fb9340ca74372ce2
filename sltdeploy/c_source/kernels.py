"""Kernels that any projection shares: text by the types that they meet.

Each adds to ``x``. A function's name ends in the types: source, weight, first, to, x. Spikes come
as a list of who is active, values as an array; what is 0 is skipped.
"""

from sltdeploy.c_source.text import C_TYPES

ACTIVE = """\
/*
 * List the places of `z` that are not 0; return how many there are. First the groups of eight
 * that hold any, then the places within these: no branch depends on who spikes.
 */
APART static size_t list_active(
    {place} *restrict active,
    {place} *restrict groups,
    const uint8_t *restrict z,
    size_t size)
{
    size_t found = 0;
    size_t count = 0;
    size_t i = 0;
    for (; i + 8u <= size; i += 8u) {
        uint64_t eight;
        memcpy(&eight, z + i, sizeof eight);
        groups[found] = ({place})i;
        found += eight != 0;
    }
    for (size_t n = 0; n < found; ++n) {
        for (size_t k = groups[n]; k < groups[n] + 8u; ++k) {
            active[count] = ({place})k;
            count += z[k] != 0;
        }
    }
    for (; i < size; ++i) {
        active[count] = ({place})i;
        count += z[i] != 0;
    }
    return count;
}
"""

PLACES = """\
/* First y with y * stride + offset >= padding. */
static size_t first_place(size_t offset, size_t stride, size_t padding)
{
    return offset >= padding ? 0u : (padding - offset + stride - 1u) / stride;
}

/* How many y below `most` have y * stride + offset < end. */
static size_t end_place(size_t offset, size_t stride, size_t end, size_t most)
{
    const size_t found = offset >= end ? 0u : (end - offset + stride - 1u) / stride;
    return found < most ? found : most;
}
"""


def short(kind: str) -> str:
    """Abbreviation of a numpy type in a function's name: int8 is i8."""
    return kind.replace("uint", "u").replace("int", "i").replace("float", "f").replace("bool", "u8")


def added(to: str, value: str | None, weight: str | None, kinds: tuple[str, str]) -> str:
    """Write ``to += value * weight`` for (weight type, type of the sum); None is 1."""
    weight_kind, sum_kind = kinds
    if weight is not None and sum_kind != "int32" and weight_kind != sum_kind:
        weight = f"({C_TYPES[sum_kind]}){weight}"
    if weight is None and value is None:
        return f"{to} += 1;"
    return f"{to} += {' * '.join(filter(None, (value, weight)))};"


def taken(source: str, source_kind: str, sum_kind: str, unit: str | None) -> str:
    """Write the value of a source in the numbers of the sum, times ``unit``."""
    value = source if source_kind == sum_kind else f"({C_TYPES[sum_kind]}){source}"
    if source_kind == "uint8":
        value = f"({C_TYPES[sum_kind]})({source} != 0)"
    return value if unit is None else f"{value} * {unit}"


def columns(kinds: tuple[str, str, str, str, str], *, scaled: bool) -> tuple[str, str]:
    """Name and text of the kernel over compressed sparse columns."""
    source, weight, first, to, total = kinds
    name = f"add_columns_{'_'.join(map(short, kinds))}{'_scaled' * scaled}"
    spikes = source == "uint8"
    value = None if spikes and not scaled else "unit" if spikes else "value"
    add = added("x[to[k]]", value, "weight[k]", (weight, total))
    body = f"""\
        const size_t end = first[i + 1u];
        for (size_t k = first[i]; k < end; ++k) {{
            {add}
        }}"""
    signature = (
        f"{C_TYPES[total]} *restrict x",
        *_sources(source, scaled=scaled, total=total),
        f"const {C_TYPES[first]} *restrict first",
        f"const {C_TYPES[to]} *restrict to",
        f"const {C_TYPES[weight]} *restrict weight",
    )
    return name, _over_sources(name, signature, kinds, body, scaled=scaled)


def rows(kinds: tuple[str, str, str], *, scaled: bool) -> tuple[str, str]:
    """Name and text of the kernel over rows that are stored whole.

    A row is added by a function of its own: GCC at -O3 would swap the loops.
    """
    source, weight, total = kinds
    name = f"add_rows_{'_'.join(map(short, kinds))}{'_scaled' * scaled}"
    spikes = source == "uint8"
    value = None if spikes and not scaled else "value"
    add = added("x[k]", value, "row[k]", (weight, total))
    given = "" if value is None else f", {C_TYPES[total]} value"
    row = (
        f"APART static void {name}_row(\n    {C_TYPES[total]} *restrict x, size_t size"
        f"{given}, const {C_TYPES[weight]} *restrict row)\n{{\n"
        f"    for (size_t k = 0; k < size; ++k) {{\n        {add}\n    }}\n}}\n\n"
    )
    passed = "" if value is None else ", unit" if spikes else ", value"
    body = f"        {name}_row(x, size{passed}, weight + i * size);"
    signature = (
        f"{C_TYPES[total]} *restrict x",
        "size_t size",
        *_sources(source, scaled=scaled, total=total),
        f"const {C_TYPES[weight]} *restrict weight",
    )
    return name, row + _over_sources(name, signature, kinds, body, scaled=scaled)


def _sources(source: str, *, scaled: bool, total: str) -> tuple[str, ...]:
    unit = (f"{C_TYPES[total]} unit",) if scaled else ()
    if source == "uint8":
        return ("const {place} *restrict active", "size_t count", *unit)
    return (f"const {C_TYPES[source]} *restrict source", "size_t sources", *unit)


def _over_sources(
    name: str, signature: tuple[str, ...], kinds: tuple[str, ...], body: str, *, scaled: bool
) -> str:
    """Put ``body`` into a loop over the active sources, or over the values that are not 0."""
    source, total = kinds[0], kinds[-1]
    if source == "uint8":
        head = """\
    for (size_t n = 0; n < count; ++n) {
        const size_t i = active[n];"""
    else:
        value = taken("source[i]", source, total, "unit" if scaled else None)
        head = f"""\
    for (size_t i = 0; i < sources; ++i) {{
        if (source[i] == 0) {{
            continue;
        }}
        const {C_TYPES[total]} value = {value};"""
    arguments = ",\n    ".join(signature)
    return f"APART static void {name}(\n    {arguments})\n{{\n{head}\n{body}\n    }}\n}}\n"
