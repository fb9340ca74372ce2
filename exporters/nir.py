"""NIR: the network itself, with time step, reset and comparison in its metadata."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sltdeploy.annotation import annotated
from sltdeploy.errors import InputError
from sltdeploy.exporting import Exported
from sltdeploy.graph import write_nir
from sltdeploy.lowering import lower
from sltdeploy.program import Program

if TYPE_CHECKING:
    import nir

FILE = "network.nir"


def export(program: Program, header: Mapping[str, Any], graph: "nir.NIRGraph | None") -> Exported:
    """Write the graph that ``program`` was lowered from, so that plain ``nir.read`` loads it.

    The metadata holds the program's convention. NIR means continuous time and real numbers:
    a program without a graph, or one that was quantised since, is refused with `InputError`.
    """
    if graph is None:
        raise InputError("NIR is written from a graph, this is a bare Program: give the graph")
    whole = annotated(graph, program, header["provenance"])
    if lower(whole).digest() != program.digest():
        raise InputError(
            "NIR holds the network before quantisation: export it with --quantize none"
        )
    return Exported({FILE: write_nir(whole)})
