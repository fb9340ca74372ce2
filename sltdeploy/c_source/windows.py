"""Kernels over images: one function for each convolution or pool, with its sizes in it."""

from sltdeploy.c_source.kernels import added, taken
from sltdeploy.c_source.stages import ConvEvents, ConvRows, PoolEvents
from sltdeploy.c_source.text import C_TYPES


def function(
    name: str, stage: ConvEvents | ConvRows | PoolEvents, source: str, total: str, unit: str | None
) -> str:
    """Text of ``static void name(x, source[, active])``; ``unit`` multiplies every source."""
    spikes = source == "uint8"
    listed = isinstance(stage, ConvEvents | PoolEvents) and spikes
    signature = f"{C_TYPES[total]} *restrict x, const {C_TYPES[source]} *restrict source"
    if listed:
        signature += ", {place} *restrict active, {place} *restrict groups"
    body = (
        _rows(name, stage, source, total, unit)
        if isinstance(stage, ConvRows)
        else _events(name, stage, source, total, unit)
    )
    return f"APART static void {name}({signature})\n{{\n{body}}}\n"


def _events(
    name: str, stage: ConvEvents | PoolEvents, source: str, total: str, unit: str | None
) -> str:
    w = stage.window
    spikes = source == "uint8"
    value = unit if spikes else "value"
    if isinstance(stage, PoolEvents):
        place = f"x[(c * {w.after[1]}u + y) * {w.after[2]}u + across / {w.stride[1]}u]"
        inner = [added(place, value, None, ("", total))]
    else:
        add = added("at[to[k]]", value, "weight[k]", (stage.weight.dtype.name, total))
        add = add.replace("to[k]", f"{name}_to[k]").replace("weight[k]", f"{name}_weight[k]")
        inner = [
            f"{C_TYPES[total]} *at = x + y * {w.after[2]}u + across / {w.stride[1]}u;",
            f"const size_t tap = (c * {w.kernel[0]}u + i) * {w.kernel[1]}u + j;",
            f"const size_t end = {name}_first[tap + 1u];",
            f"for (size_t k = {name}_first[tap]; k < end; ++k) {{",
            f"    {add}",
            "}",
        ]
    if spikes:
        begin = [
            f"const size_t count = list_active(active, groups, row, {w.before[2]}u);",
            "if (count == 0) {",
            "    continue;",
            "}",
        ]
        head = ["for (size_t n = 0; n < count; ++n) {", "    const size_t column = active[n];"]
    else:
        begin = []
        value = taken("row[column]", source, total, unit)
        head = [
            f"for (size_t column = 0; column < {w.before[2]}u; ++column) {{",
            "    if (row[column] == 0) {",
            "        continue;",
            "    }",
            f"    const {C_TYPES[total]} value = {value};",
        ]
    lines = [
        f"for (size_t c = 0; c < {w.before[0]}u; ++c) {{",
        f"    for (size_t h = 0; h < {w.before[1]}u; ++h) {{",
        f"        const {C_TYPES[source]} *restrict row = "
        f"source + (c * {w.before[1]}u + h) * {w.before[2]}u;",
        *(f"        {line}" for line in begin),
        f"        for (size_t i = 0; i < {w.kernel[0]}u; ++i) {{",
        f"            const size_t down = h + {w.padding[0]}u - i * {w.dilation[0]}u;",
        f"            const size_t y = down / {w.stride[0]}u;",
        f"            if (h + {w.padding[0]}u < i * {w.dilation[0]}u || "
        f"down % {w.stride[0]}u != 0 || y >= {w.after[1]}u) {{",
        "                continue;",
        "            }",
        *(f"            {line}" for line in head),
        f"                for (size_t j = 0; j < {w.kernel[1]}u; ++j) {{",
        f"                    const size_t across = column + {w.padding[1]}u - "
        f"j * {w.dilation[1]}u;",
        f"                    if (column + {w.padding[1]}u < j * {w.dilation[1]}u || "
        f"across % {w.stride[1]}u != 0 ||",
        f"                        across / {w.stride[1]}u >= {w.after[2]}u) {{",
        "                        continue;",
        "                    }",
        *(f"                    {line}" for line in inner),
        "                }",
        "            }",
        "        }",
        "    }",
        "}",
    ]
    return "".join(f"    {line}\n" for line in lines)


def _rows(name: str, stage: ConvRows, source: str, total: str, unit: str | None) -> str:
    w, kind = stage.window, C_TYPES[total]
    weight = f"{name}_weight[k]"
    if stage.weight.dtype.name != total:
        weight = f"({kind}){weight}"
    scale = "" if unit is None else f" * {unit}"
    add = added("out[z]", taken(f"in[z * {w.stride[1]}u]", source, total, None), "w", ("", ""))
    return f"""\
    for (size_t k = 0; k < {max(1, len(stage.weight))}u; ++k) {{
        const {kind} w = {weight}{scale};
        const size_t i = {name}_tap[k] / {w.kernel[1]}u * {w.dilation[0]}u;
        const size_t j = {name}_tap[k] % {w.kernel[1]}u * {w.dilation[1]}u;
        const size_t bottom = end_place(
            i, {w.stride[0]}u, {w.padding[0] + w.before[1]}u, {w.after[1]}u);
        const size_t left = first_place(j, {w.stride[1]}u, {w.padding[1]}u);
        const size_t right = end_place(
            j, {w.stride[1]}u, {w.padding[1] + w.before[2]}u, {w.after[2]}u);
        if (left >= right) {{
            continue;
        }}
        for (size_t y = first_place(i, {w.stride[0]}u, {w.padding[0]}u); y < bottom; ++y) {{
            const {C_TYPES[source]} *restrict in = source + {name}_source[k] +
                (y * {w.stride[0]}u + i - {w.padding[0]}u) * {w.before[2]}u +
                (left * {w.stride[1]}u + j - {w.padding[1]}u);
            {kind} *restrict out = x + {name}_to[k] + y * {w.after[2]}u + left;
            for (size_t z = 0; z < right - left; ++z) {{
                {add}
            }}
        }}
    }}
"""
