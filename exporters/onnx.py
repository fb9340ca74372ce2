"""ONNX, one time step a call, or a whole sequence.

Any ONNX runtime runs the model: feed the inputs and the state, get the outputs and the next
state. Nothing is hidden in the file; the manifest names every state and its first value, and
stands in the model's ``metadata_props`` as well.

Source: the forms, operators and versions were chosen by measurement on ONNX Runtime 1.15 to 1.31.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from sltdeploy.errors import raise_all
from sltdeploy.exporting import JSON, Exported
from sltdeploy.onnx_model import OPSET, Model, sequence, step, to_bytes
from sltdeploy.program import Program

if TYPE_CHECKING:
    import nir

MODEL = "model.onnx"
METADATA_KEY = "sltdeploy.manifest"
STEP_OPERATORS = (  # all that a model of one step can contain
    "Add",
    "AveragePool",
    "Cast",
    "Concat",
    "Conv",
    "Div",
    "Flatten",
    "Gather",
    "Gemm",
    "Greater",
    "GreaterOrEqual",
    "Identity",
    "Mul",
    "ReduceSum",
    "Reshape",
    "Slice",
    "Sub",
    "Sum",
    "Unsqueeze",
    "Where",
)
# What the others need besides.
SEQUENCE_OPERATORS = ("Scan", "Shape", "Transpose")
INT8_OPERATORS = ("MatMulInteger",)
OPERATORS = tuple(sorted((*STEP_OPERATORS, *SEQUENCE_OPERATORS, *INT8_OPERATORS)))

FORMS: Mapping[str, Callable[..., Model]] = {"step": step, "sequence": sequence}


def export(
    program: Program, header: Mapping[str, JSON], graph: "nir.NIRGraph | None" = None
) -> Exported:
    """Translate ``program`` into ``model.onnx``: opset 13, IR 7, batch size free.

    ``header["form"]`` is "step" or "sequence". Inputs of a step are the program's inputs under
    their own names, float32 (N, *shape), then the states ``<population>.v`` and for a synaptic
    current ``<population>.j``. Outputs are the program's outputs under their own names, then the
    spikes (0 or 1) of every other spiking population, then the next states ``<population>.v_next``
    and ``<population>.j_next``. Names already taken get a suffix, so read them from the
    manifest's ``states``. A sequence has the same names; inputs and outputs are (T, N, *shape),
    states what they are before the first step and after the last.

    What a recurrent projection brings is the state ``<population>.last`` (N, *shape) of its
    source. A delay keeps what arrived, latest first, in ``<population>.past`` (N, depth, *shape).

    With ``header["quantize"]`` "int8" weights on a grid k * 2**-n with abs(k) <= 127 are int8 in
    the file, and large layers behind spikes multiply them as integers (MatMulInteger): the same
    spikes to the last bit as the float32 model of the same weights.

    ``header`` goes into the model's metadata, ``graph`` is not needed. Raises `InputError` for a
    program in integers, a population of the name '' and an output that is an input.
    """
    raise_all(_refusals(program))
    build = FORMS[header.get("form", "step")]
    model = build(program, integer=header.get("quantize") == "int8")
    details: dict[str, JSON] = {
        "model": MODEL,
        "opset": OPSET,
        "operators": sorted(model.graph.operators()),
        "states": [s.to_json() for s in model.states],
    }
    text = json.dumps({**header, **details}, sort_keys=True)
    return Exported({MODEL: to_bytes(model, {METADATA_KEY: text})}, details)


def _refusals(program: Program) -> Iterator[str]:
    if program.numbers != "float32":
        yield (
            f"exporter onnx takes float32 programs, this one is in integers for "
            f"'{program.numbers}': export to onnx without the loihi target, or use --format lava"
        )
    if any(p.name == "" for p in program.populations):
        yield "a population has the name '', which ONNX keeps for what is left out: give it a name"
    inputs = {p.name for p in program.inputs}
    for name in program.outputs:
        if name in inputs:
            yield f"output '{name}' is an input of the program: name a population behind it"
