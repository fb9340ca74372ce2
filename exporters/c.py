"""C99 for anything with a compiler: ``network.c`` and ``network.h``, without a dependency.

Event-driven over compressed columns, rows or kernels of weights, in a state that the caller
owns; see `sltdeploy.c_source`. What leaves a population stays readable in the state.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from sltdeploy import c_source
from sltdeploy.errors import raise_all
from sltdeploy.exporting import JSON, Exported
from sltdeploy.program import Pool, Program

if TYPE_CHECKING:
    import nir

CODE, HEADER = "network.c", "network.h"


def export(
    program: Program, header: Mapping[str, JSON], graph: "nir.NIRGraph | None" = None
) -> Exported:
    """Write ``program``, in float32 or in Loihi's integers, as one C99 file and its header.

    The manifest says which kernel each projection got, how many bytes constants and a state
    take, and what the members of the state hold. ``header`` and ``graph`` are not needed.
    """
    raise_all(_refusals(program))
    source = c_source.write(program)
    details: dict[str, JSON] = {
        "code": CODE,
        "header": HEADER,
        "memory": {"constant_bytes": source.constant_bytes, "state_bytes": source.state_bytes},
        "kernels": [{"projection": p, "kernel": k} for p, k in source.kernels],
        "members": [
            {
                "name": m.name,
                "dtype": m.kind,
                "count": m.count,
                "population": m.population,
                "what": m.what,
                "depth": m.depth,
            }
            for m in source.members
        ],
    }
    return Exported({CODE: source.code.encode(), HEADER: source.header.encode()}, details)


def _refusals(program: Program) -> Iterator[str]:
    if program.numbers == "loihi":
        for q in program.projections:
            if any(isinstance(op, Pool) and op.kind == "average" for op in q.ops):
                yield f"{q.name}: averages are no integers: export the float program"
