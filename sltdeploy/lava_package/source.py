"""The text of network.py and the bytes of weights.npz; same plan, same bytes."""

import io
import re
import textwrap
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template

import numpy as np

from sltdeploy import __version__
from sltdeploy.lava_package.plan import Plan, Process
from sltdeploy.program import Array, Input, Program

TEMPLATE = Path(__file__).with_name("network.py.txt")
WIDTH = 100
INDENT = " " * 8
MODULES = {
    "Conv": "lava.proc.conv.process",
    "Dense": "lava.proc.dense.process",
    "LIF": "lava.proc.lif.process",
    "Sparse": "lava.proc.sparse.process",
}
SPARSE = '''
        def sparse(name):
            """Read a matrix in compressed rows."""
            parts = tuple(weights[f"{name}.{part}"] for part in ("data", "indices", "indptr"))
            return csr_matrix(parts, shape=tuple(weights[f"{name}.shape"]))
'''
NUMBERS = {
    "float32": "float64 in Lava (tag floating_pt), from float32 parameters",
    "loihi": "integers, bit for bit as on Loihi (tag fixed_pt)",
}


def network_py(program: Program, plan: Plan) -> str:
    """Write the Python source of the network."""
    classes = {p.cls for p in plan.processes}
    spiking = [r for r in plan.readings if r.kind == "bool"]
    values = [r for r in plan.readings if r.kind != "bool"]
    connect = [f"    network.{r.port}.connect(yours.a_in)" for r in spiking if r.output]
    connect += [f"    reader.connect_var(network.{r.port})" for r in values]
    imports = [f"from {MODULES[c]} import {c}" for c in sorted(classes & set(MODULES))]
    text = Template(TEMPLATE.read_text("utf8")).substitute(
        title=_title(program),
        version=__version__,
        dt=repr(program.dt),
        numbers=NUMBERS[program.numbers],
        table="\n".join(_table(program, plan)),
        input_help="\n".join(_input_help(program)),
        in_port=next(iter(plan.in_ports.values())),
        connect_help="\n".join(connect),
        process_imports="\n".join(imports),
        scipy_import=_scipy_import(classes),
        tag="floating_pt" if program.numbers == "float32" else "fixed_pt",
        stream_type="float" if program.numbers == "float32" else "np.int32",
        tables="\n".join(_tables(program, plan)),
        ports="\n".join(_ports(program, plan)),
        sparse_helper=SPARSE if "Sparse" in classes else "",
        processes="\n".join(_processes(plan)),
    )
    return re.sub(r"\n{4,}", "\n\n\n", text)


def npz(arrays: Mapping[str, Array]) -> bytes:
    """Write ``arrays`` as .npz, without the time of writing."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            part = io.BytesIO()
            little = arrays[name].astype(arrays[name].dtype.newbyteorder("<"), copy=False)
            np.lib.format.write_array(part, little, allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            archive.writestr(info, part.getvalue(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def shown(name: str) -> str:
    """``name`` as it may stand in a comment or docstring, whatever the file called it."""
    return re.sub(r"[^A-Za-z0-9 _.:/+-]", "?", name)


def _title(program: Program) -> str:
    inputs = ", ".join(shown(p.name) for p in program.inputs)
    outputs = ", ".join(map(shown, program.outputs))
    line = f"A spiking network as a Lava process, from {inputs} to {outputs}."
    return "\n".join(textwrap.wrap(line, WIDTH - 3))


def _table(program: Program, plan: Plan) -> Iterator[str]:
    rows = [("port or variable", "lag", "shape", "what")]
    for p in program.inputs:
        assert isinstance(p.rule, Input)
        rows.append((plan.in_ports[p.name], "0", repr(p.shape), f"input of {p.rule.kind}"))
    for r in plan.readings:
        what = "spikes of" if r.kind == "bool" else "potential of"
        role = ", an output" if r.output else ""
        rows.append((r.port, str(r.lag), repr(r.shape), f"{what} {shown(r.name)}{role}"))
    widths = [max(len(row[k]) for row in rows) for k in range(3)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        yield "    " + "  ".join((*cells, row[3]))
    units = [
        (r.port, getattr(program.population(r.name).rule, "unit", None)) for r in plan.readings
    ]
    if program.numbers == "loihi":
        yield "\nA potential of 1 in the float network is:"
        yield from (f"    {port}: {unit!r}" for port, unit in units if port.startswith("v_"))


def _input_help(program: Program) -> Iterator[str]:
    if len(program.inputs) == 1:
        yield f"input.npy is (T, B, *{program.inputs[0].shape}): T steps of B samples."
    else:
        names = ", ".join(f"{shown(p.name)} {p.shape}" for p in program.inputs)
        yield from textwrap.wrap(f"input is an .npz with (T, B, *shape) for each of: {names}.", 95)
    for p in program.inputs:
        assert isinstance(p.rule, Input)
        if p.rule.low is not None:
            yield (
                f"{shown(p.name)} enters as clip(rint(x * {p.rule.scale!r}), {p.rule.low}, "
                f"{p.rule.high}); the port takes these integers."
            )


def _scipy_import(classes: set[str]) -> str:
    return "from scipy.sparse import csr_matrix\n" if "Sparse" in classes else ""


def _tables(program: Program, plan: Plan) -> Iterator[str]:
    yield "# name, port, shape, scale, lowest and highest integer (None: enters as it is)"
    yield "INPUTS = ("
    for p in program.inputs:
        assert isinstance(p.rule, Input)
        scale = None if p.rule.low is None else p.rule.scale
        row = (p.name, plan.in_ports[p.name], p.shape, scale, p.rule.low, p.rule.high)
        yield f"    ({', '.join(map(ascii, row))}),"
    yield ")"
    yield "# name, port or variable, shape, lag, type, what to add to its values, is it an output"
    yield "POPULATIONS = ("
    for r in plan.readings:
        cells = [ascii(v) for v in (r.name, r.port, r.shape, r.lag, r.kind)]
        yield f"    ({', '.join([*cells, r.offset, repr(r.output)])}),"
    yield ")"


def _ports(program: Program, plan: Plan) -> Iterator[str]:
    for p in program.inputs:
        yield f"{INDENT}self.{plan.in_ports[p.name]} = InPort(shape={p.shape!r})"
    for r in plan.readings:
        made = "OutPort(shape={0!r})" if r.kind == "bool" else "Var(shape={0!r}, init=0)"
        yield f"{INDENT}self.{r.port} = {made.format(r.shape)}"


def _processes(plan: Plan) -> Iterator[str]:
    for p in plan.processes:
        yield f"{INDENT}# {p.note}"
        yield from _process(p)
    yield ""
    yield from (f"{INDENT}{wire}" for wire in plan.wires)


def _process(p: Process) -> Iterator[str]:
    arguments = [f"**{v}" if name == "**" else f"{name}={v}" for name, v in p.arguments.items()]
    line = f"{INDENT}self.{p.attribute} = {p.cls}({', '.join(arguments)})"
    if len(line) <= WIDTH:
        yield line
        return
    yield f"{INDENT}self.{p.attribute} = {p.cls}("
    yield from (f"{INDENT}    {argument}," for argument in arguments)
    yield f"{INDENT})"
