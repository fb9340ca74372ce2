"""Numbers, arrays and names as C; names of a network are data and never reach the compiler."""

import re
from collections.abc import Iterable

import numpy as np

from sltdeploy.program import Array

WIDTH = 96
NAME_LENGTH = 40  # C99 promises 63 characters that count; prefixes need some
C_TYPES = {
    "bool": "uint8_t",
    "uint8": "uint8_t",
    "int8": "int8_t",
    "uint16": "uint16_t",
    "int16": "int16_t",
    "uint32": "uint32_t",
    "int32": "int32_t",
    "int64": "int64_t",
    "float32": "float",
    "float64": "double",
}


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """Give each name a C identifier of its own that still reads like it: ``lif/1`` is lif_1.

    None begins with a digit's meaning alone: they are only ever used behind a prefix.
    """
    taken: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9]+", "_", name)[:NAME_LENGTH].strip("_") or "unnamed"
        found, count = plain, 1
        while found in taken.values():
            count += 1
            found = f"{plain}_{count}"
        taken[name] = found
    return taken


def comment(name: str) -> str:
    """Show a name inside a comment; nothing in it can end the comment or splice a line."""
    return re.sub(r"[^A-Za-z0-9_.,:/+ -]", "_", name)[:80]


def number(value: float, kind: str = "float32") -> str:
    """Write one number so that a C compiler reads back the same bits."""
    if kind == "float32":
        return f"{np.float32(value).astype(str)}f"
    return str(int(value))


def power(exponent: int, kind: str = "float32") -> str:
    """Write ``2**exponent``."""
    return f"0x1p{exponent:+d}{'f' if kind == 'float32' else ''}"


def array(name: str, values: Array) -> str:
    """Define a constant array; an empty one gets one element, C has no arrays of none."""
    flat = values.reshape(-1) if values.size else np.zeros(1, values.dtype)
    if values.dtype.name == "float32":
        items = [f"{digits}f" for digits in flat.astype(str).tolist()]  # as few as give it back
    else:
        items = [repr(v) for v in flat.tolist()]
    per = max(1, (WIDTH - 4) // (max(map(len, items)) + 2))
    rows = (", ".join(items[k : k + per]) for k in range(0, len(items), per))
    lines = ",\n".join(f"    {row}" for row in rows)
    return f"static const {C_TYPES[values.dtype.name]} {name}[{len(flat)}] = {{\n{lines}\n}};\n"


def smallest_unsigned(top: int) -> type:
    """Narrowest unsigned type of at least 16 bits that holds ``top``."""
    return np.uint16 if top < 2**16 else np.uint32
