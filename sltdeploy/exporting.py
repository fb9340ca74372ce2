"""From a model to an artifact: lower, quantise, check, translate, write.

``exporters/<name>.py`` is the exporter ``<name>``; it is imported when asked for.
"""

import hashlib
import importlib
import json
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, cast

from sltdeploy import __version__, golden_file, reference
from sltdeploy.atomic import write_folder
from sltdeploy.checking import too_big, unsupported
from sltdeploy.convention_presets import Framework
from sltdeploy.errors import CheckError, InputError, located, raise_all
from sltdeploy.inlining import inline
from sltdeploy.program import Array, Comparison, Decay, Input, Population, Program, Reset
from sltdeploy.program_file import to_bytes
from sltdeploy.quantize import for_loihi, snap
from sltdeploy.resolving import AnyModel, resolve
from sltdeploy.stimulus import example
from sltdeploy.target import Target
from sltdeploy.target import load as load_target

if TYPE_CHECKING:
    import nir

JSON: TypeAlias = Any  # what json.dumps takes
Quantization: TypeAlias = Literal["none", "int8"]
Form: TypeAlias = Literal["step", "sequence"]

FORMAT = "sltdeploy-artifact"
SCHEMA = 1
MANIFEST = "manifest.json"
PROGRAM = "program.safetensors"
FORMS: tuple[Form, ...] = ("step", "sequence")
SEQUENCE_FORMATS = ("onnx",)  # the others take any number of steps as they are
QUANTIZATIONS = ("none", "int8")


@dataclass(frozen=True)
class Exported:
    """What an exporter gives: files by relative name, and what it adds to the manifest.

    ``latency`` is the number of steps by which a population of the artifact lags the reference;
    a population that is not named lags by 0.
    """

    files: Mapping[str, bytes]
    details: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    latency: Mapping[str, int] = field(default_factory=dict[str, int])


class Exporter(Protocol):
    """What each module in ``exporters/`` offers."""

    def export(
        self, program: Program, header: Mapping[str, JSON], graph: "nir.NIRGraph | None"
    ) -> Exported:
        """Translate ``program``; same input, same bytes.

        ``header`` is the manifest so far; ``graph`` is what the program was lowered from, where
        it was. Raises `InputError` with every feature of the program that the format lacks.
        """
        ...


@dataclass(frozen=True)
class Artifact:
    """A folder that a machine runs; ``manifest`` is its manifest.json."""

    path: Path
    manifest: Mapping[str, JSON]


def load(name: str) -> Exporter:
    """Import the exporter called ``name``."""
    return cast(Exporter, importlib.import_module(f"sltdeploy.exporters.{name}"))


def names() -> list[str]:
    """List the exporters at hand."""
    package = importlib.import_module("sltdeploy.exporters")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name[0] != "_")


def export(
    model: AnyModel,
    target: str | Path | None,
    out: str | Path,
    *,
    format: str | None = None,  # noqa: A002 - the name of the flag
    quantize: Quantization = "none",
    form: Form = "step",
    calibration: Array | Mapping[str, Array] | None = None,
    dt: float | None = None,
    reset: Reset | None = None,
    comparison: Comparison | None = None,
    decay: Decay | None = None,
    input_kind: str | None = None,
    convention: Framework | None = None,
    prove: Callable[[Path], None] | None = None,
) -> Artifact:
    """Write ``model`` as an artifact for ``target`` into the folder ``out``.

    ``model`` is a .nir file, a ticket, either of them loaded, or a `Program`; ``target`` a name
    from ``targets/`` or a path to such a TOML. ``format`` names the exporter and may stand
    without a target; then nothing checks that the network fits. ``quantize="int8"`` gives Loihi's
    integers for the Lava exporter and weights k * 2**-n with |k| <= 127 for the others;
    ``calibration`` (T, B, *shape), or one such array for each input by name, is what scales are
    chosen on; a ticket knows the range of its inputs for Lava without one. For Lava, relays and
    delays of values are moved out of the way first, see `sltdeploy.inlining.inline`. ``form`` is
    how an ONNX model is called: for one time step, or for a whole sequence of any length, several
    times faster where many steps are at hand. The settings from ``dt`` to ``convention`` override
    what the model's metadata says, see `sltdeploy.lowering.lower`. An artifact that lies at
    ``out`` is replaced once the new one is whole and ``prove``, called with it under a temporary
    name, has returned; any other folder is left alone. Where the target's own chip does not take
    the program's numbers but its simulator does (floats on Loihi), the manifest says
    ``simulation_only``.

    Raises `InputError` where the model or an option is wrong or the target lacks an operation,
    `CheckError` where the network does not fit; then nothing is written.
    """
    out = Path(out)
    raise_all(_option_problems(out, target, format, quantize, form))
    machine = None if target is None else load_target(target)
    name = format or (machine.exporter if machine else None)
    if name is None:
        raise InputError(f"target '{target}' has no exporter, it only prices: add --format")
    if form == "sequence" and name not in SEQUENCE_FORMATS:
        raise InputError(
            f"form is 'sequence', exporter {name} has 'step' only: leave --form out, or choose "
            f"--format {' or '.join(SEQUENCE_FORMATS)}"
        )
    resolved = resolve(
        model,
        dt=dt,
        reset=reset,
        comparison=comparison,
        decay=decay,
        input_kind=input_kind,
        convention=convention,
    )
    with located(model) if isinstance(model, str | Path) else nullcontext():
        program = inline(resolved.program) if name == "lava" else resolved.program
        if quantize == "int8" and name == "lava":
            span = resolved.span if calibration is None else None
            program = for_loihi(program, calibration, span=span)
        elif quantize == "int8":
            program = snap(program, calibration=calibration)
        if machine is not None:
            raise_all(unsupported(program, machine))
            over = too_big(program, machine)
            if over:
                raise CheckError(*over)
        header = _header(program, name, form, quantize, machine, resolved.source)
        exported = load(name).export(program, header, resolved.graph)
    files = {
        **exported.files,
        PROGRAM: to_bytes(program),
        golden_file.GOLDEN: golden_file.to_bytes(_golden(program)),
    }
    manifest = _manifest(program, header, exported, files)
    text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    write_folder(out, {**files, MANIFEST: text.encode()}, prove)
    return Artifact(out, manifest)


def _golden(program: Program) -> golden_file.Golden:
    """A few steps of one sample, and what the reference makes of them."""
    x = example(program, steps=golden_file.STEPS, batch=1)
    records = reference.run(program, x).records
    return golden_file.Golden(
        tuple(x[p.name] for p in program.inputs), tuple(records[n] for n in program.outputs)
    )


def _option_problems(
    out: Path, target: str | Path | None, format_: str | None, quantize: str, form: str
) -> Iterator[str]:
    if target is None and format_ is None:
        yield "neither target nor format: give --target NAME, or --format NAME to skip the check"
    if format_ is not None and format_ not in names():
        yield f"format '{format_}' is unknown, these are: {', '.join(names())}"
    if quantize not in QUANTIZATIONS:
        yield f"quantize is '{quantize}', must be one of {', '.join(QUANTIZATIONS)}"
    if form not in FORMS:
        yield f"form is '{form}', must be one of {', '.join(FORMS)}"
    if out.exists() and not _replaceable(out):
        yield f"{out}: exists and holds more than an artifact of sltdeploy; give another folder"


def _replaceable(out: Path) -> bool:
    """Whether ``out`` is an empty folder, or one that holds an artifact and nothing else."""
    if not out.is_dir():
        return False
    there = {p.relative_to(out).as_posix() for p in out.rglob("*") if not p.is_dir()}
    if not there:
        return True
    try:
        manifest = json.loads((out / MANIFEST).read_text("utf8"))
        ours = manifest["format"] == FORMAT and there <= {*manifest["files"], MANIFEST}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(ours)


def _header(
    program: Program,
    exporter: str,
    form: str,
    quantize: str,
    target: Target | None,
    source: Mapping[str, str],
) -> dict[str, JSON]:
    c = program.convention
    return {
        "format": FORMAT,
        "schema": SCHEMA,
        "exporter": exporter,
        "form": form,
        "quantize": quantize,
        "target": None if target is None else target.name,
        "numbers": program.numbers,
        "simulation_only": target is not None and program.numbers in target.simulated,
        "convention": {
            "dt": c.dt,
            "reset": c.reset,
            "comparison": c.comparison,
            "decay": c.decay,
        },
        "inputs": [_input(p) for p in program.inputs],
        "outputs": [_output(program.population(name)) for name in program.outputs],
        "program_digest": program.digest(),
        "provenance": {"sltdeploy": __version__, "source": dict(source)},
    }


def _input(p: Population) -> dict[str, JSON]:
    assert isinstance(p.rule, Input)
    rule = p.rule
    return {
        "name": p.name,
        "shape": list(p.shape),
        "kind": rule.kind,
        "scale": rule.scale,
        "low": rule.low,
        "high": rule.high,
    }


def _output(p: Population) -> dict[str, JSON]:
    return {
        "name": p.name,
        "shape": list(p.shape),
        "kind": "spikes" if p.spiking else "values",
        "unit": None if p.spiking else getattr(p.rule, "unit", None),
    }


def _manifest(
    program: Program, header: Mapping[str, JSON], exported: Exported, files: Mapping[str, bytes]
) -> dict[str, JSON]:
    lag = exported.latency
    return {
        **header,
        **exported.details,
        "populations": [
            {
                "name": p.name,
                "shape": list(p.shape),
                "spiking": p.spiking,
                "latency": lag.get(p.name, 0),
            }
            for p in program.populations
        ],
        "latency_steps": max(lag.get(name, 0) for name in program.outputs),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
