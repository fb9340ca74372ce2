"""The text of network.py; same plan, same text."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from string import Template

from sltdeploy import __version__
from sltdeploy.lava_package.plan import SUBTRACTING, Plan, Process, Reading
from sltdeploy.program import Input, Program

TEMPLATE = Path(__file__).with_name("network.py.txt")
WIDTH = 100
INDENT = " " * 8
SUBTRACTING_LIF = Path(__file__).with_name("subtracting.py.txt")
DELAYS = Path(__file__).with_name("delays.py.txt")
MODULES = {
    "Conv": "lava.proc.conv.process",
    "DelayDense": "lava.proc.dense.process",
    "DelaySparse": "lava.proc.sparse.process",
    "Dense": "lava.proc.dense.process",
    "Sparse": "lava.proc.sparse.process",
}
SPARSES = {"Sparse", "DelaySparse"}
SPARSE = '''
        def sparse(name, entries="data"):
            """Read a matrix in compressed rows."""
            parts = tuple(weights[f"{name}.{part}"] for part in (entries, "indices", "indptr"))
            return csr_matrix(parts, shape=tuple(weights[f"{name}.shape"]))
'''
NUMBERS = {
    "float32": "float64 in Lava (tag floating_pt), from float32 parameters",
    "loihi": "Loihi's integers, in Lava's bit-accurate models (tag fixed_pt)",
}


def network_py(program: Program, plan: Plan) -> str:
    """Write the Python source of the network."""
    classes = {p.cls for p in plan.processes}
    integers = program.numbers == "loihi"
    connect = [f"    network.{r.port}.connect(yours.a_in)" for r in plan.readings if _sent(r)]
    connect += [
        f"    reader.connect_var(network.{r.variable})"
        for r in plan.readings
        if r.output and r.port is None
    ]
    text = Template(TEMPLATE.read_text("utf8")).substitute(
        title=_title(program),
        version=__version__,
        dt=repr(program.dt),
        numbers=NUMBERS[program.numbers],
        table="\n".join(_table(program, plan)),
        input_help="\n".join(_input_help(program)),
        in_port=next(iter(plan.in_ports.values())),
        connect_help="\n".join(connect),
        start_help="\n".join(_start_help(plan)),
        caveats=_caveats(plan),
        process_imports="\n".join(_imports(classes, integers=integers)),
        scipy_import=_scipy_import(classes),
        lif_model=f"PyLifModel{_suffix(integers)}",
        tag="fixed_pt" if integers else "floating_pt",
        stream_type="np.int32" if integers else "float",
        pause=plan.pause,
        tables="\n".join(_tables(program, plan)),
        own_processes="".join(_own_processes(classes, integers=integers)),
        ports="\n".join(_ports(program, plan)),
        helpers="".join(_helpers(classes)),
        processes="\n".join(_processes(plan)),
    )
    return re.sub(r"\n{4,}", "\n\n\n", text)


def _sent(r: Reading) -> bool:
    return r.output and r.port is not None


def _imports(classes: set[str], *, integers: bool) -> Iterator[str]:
    lines = [
        "from lava.proc.io.source import RingBuffer as Source",
        f"from lava.proc.lif.models import PyLifModel{_suffix(integers)}",
        "from lava.proc.lif.process import LIF, LIFReset",
    ]
    for module in {MODULES[c] for c in classes & set(MODULES)}:
        found = sorted(c for c in classes if MODULES.get(c) == module)
        models = [_model(c, integers) for c in found if c.startswith("Delay")]
        if models:
            lines.append(f"from {module.replace('process', 'models')} import {', '.join(models)}")
        lines.append(f"from {module} import {', '.join(found)}")
    return iter(sorted(lines))


def _own_processes(classes: set[str], *, integers: bool) -> Iterator[str]:
    if SUBTRACTING in classes:
        yield SUBTRACTING_LIF.read_text("utf8")
    for process in sorted(c for c in classes if c.startswith("Delay")):
        compressed = ".tocsr()" if process in SPARSES else ""
        model = _model(process, integers)
        yield Template(DELAYS.read_text("utf8")).substitute(
            process=process, model=model, compressed=compressed
        )


def _helpers(classes: set[str]) -> Iterator[str]:
    if classes & SPARSES:
        yield SPARSE
    late = sorted(c for c in classes if c.startswith("Delay"))
    if late:
        yield "\n"
    for process in late:
        yield (f"{INDENT}{_lower(process)} = {process} if steps == NEVER else Sorted{process}\n")


def _lower(process: str) -> str:
    return re.sub("(?<!^)(?=[A-Z])", "_", process).lower()


def _model(process: str, integers: bool) -> str:
    return f"Py{process}Model{_suffix(integers)}"


def _suffix(integers: bool) -> str:
    return "BitAcc" if integers else "Float"


def _caveats(plan: Plan) -> str:
    names = [shown(r.name) for r in plan.readings if f"neurons_{plan.ids[r.name]}" in _own(plan)]
    if not names:
        return ""
    line = (
        f"Not available on the chip: {', '.join(names)} reset by subtraction, in a process of our "
        "own. This network is for the simulation."
    )
    return "\n" + "\n".join(textwrap.wrap(line, WIDTH - 3)) + "\n"


def _own(plan: Plan) -> set[str]:
    return {p.attribute for p in plan.processes if p.cls == SUBTRACTING}


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
        role = ", an output" if r.output else ""
        if r.port is not None:
            rows.append((r.port, str(r.lag), repr(r.shape), f"spikes of {shown(r.name)}{role}"))
            role = ""
        if r.variable is not None:
            what = f"potential of {shown(r.name)}{role}"
            rows.append((r.variable, str(r.lag), repr(r.shape), what))
    widths = [max(len(row[k]) for row in rows) for k in range(3)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        yield "    " + "  ".join((*cells, row[3]))
    if program.numbers == "loihi":
        yield "\nA potential of 1 in the float network is:"
        for r in plan.readings:
            unit = getattr(program.population(r.name).rule, "unit", None)
            if r.variable is not None and unit is not None:
                yield f"    {r.variable}: {unit!r}"


def _input_help(program: Program) -> Iterator[str]:
    if len(program.inputs) == 1:
        axes = ", ".join(map(str, ("T", "B", *program.inputs[0].shape)))
        yield f"input.npy is ({axes}): T steps of B samples."
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


def _start_help(plan: Plan) -> Iterator[str]:
    """What happens before the first input arrives, as far as it does in this network."""
    layers = [p for p in plan.processes if p.lag is not None]
    biased = any(p.arguments["bias_mant"] not in ("0", "0.0") for p in layers)
    own = " but for SubtractingLIF" if _own(plan) else " only"
    said = [f"Network() consists of Lava's own processes{own}, and runs on and on."]
    if biased:
        said.append(
            "In its first lag steps a layer has nothing but its bias: what it sends is void, and "
            "it is cleared when the first input arrives."
        )
    if biased and plan.pause:
        said.append("Void spikes that are still in a delay or a loop arrive nevertheless.")
    if any({"u", "v"} & p.arguments.keys() for p in layers):
        said.append("A layer with a first potential other than 0 starts in step 1, lag or not.")
    said.append(
        "Network(steps=T) is for the simulation: it takes samples of T steps with PAUSE steps of "
        "zeros behind each; its layers start when a sample reaches them, and rest in between."
    )
    yield from textwrap.wrap(" ".join(said), WIDTH)


def _scipy_import(classes: set[str]) -> str:
    return "from scipy.sparse import csr_matrix\n" if classes & SPARSES else ""


def _tables(program: Program, plan: Plan) -> Iterator[str]:
    yield "# name, port, shape, scale, lowest and highest integer (None: enters as it is)"
    yield "INPUTS = ("
    for p in program.inputs:
        assert isinstance(p.rule, Input)
        scale = None if p.rule.low is None else p.rule.scale
        row = (p.name, plan.in_ports[p.name], p.shape, scale, p.rule.low, p.rule.high)
        yield f"    ({', '.join(map(ascii, row))}),"
    yield ")"
    yield "# name, port for spikes, variable for potentials, shape, lag, type of what it sends,"
    yield "# type of its potentials, what to add to them, is it an output"
    yield "POPULATIONS = ("
    for r in plan.readings:
        plain = (r.name, r.port, r.variable, r.shape, r.lag, r.kind, r.potential)
        yield f"    ({', '.join([*map(ascii, plain), r.offset, repr(r.output)])}),"
    yield ")"


def _ports(program: Program, plan: Plan) -> Iterator[str]:
    for p in program.inputs:
        yield f"{INDENT}self.{plan.in_ports[p.name]} = InPort(shape={p.shape!r})"
    for r in plan.readings:
        if r.port is not None:
            yield f"{INDENT}self.{r.port} = OutPort(shape={r.shape!r})"
        if r.variable is not None:
            yield f"{INDENT}self.{r.variable} = Var(shape={r.shape!r}, init=0)"


def _processes(plan: Plan) -> Iterator[str]:
    for p in plan.processes:
        yield f"{INDENT}# {p.note}"
        yield from _process(p)
    yield ""
    yield from (f"{INDENT}{wire}" for wire in plan.wires)


def _process(p: Process) -> Iterator[str]:
    arguments = [f"{name}={value}" for name, value in p.arguments.items()]
    call = _lower(p.cls) if p.cls.startswith("Delay") else p.cls
    if p.lag is not None:
        call = "layer" if p.cls == "LIF" else p.cls
        arguments = (
            [str(p.lag), *arguments]
            if call == "layer"
            else [f"lag={p.lag}", "**samples", *arguments]
        )
    line = f"{INDENT}self.{p.attribute} = {call}({', '.join(arguments)})"
    if len(line) <= WIDTH:
        yield line
        return
    yield f"{INDENT}self.{p.attribute} = {call}("
    yield from (f"{INDENT}    {argument}," for argument in arguments)
    yield f"{INDENT})"
