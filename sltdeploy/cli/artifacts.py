"""``export``, ``run`` and ``verify``: from a model to an artifact, and what an artifact does."""

import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sltdeploy.cli import options
from sltdeploy.cli.models import Flags, resolve_model
from sltdeploy.cli.outcome import Outcome, Table, note
from sltdeploy.cli.progress import bar, on_terminal
from sltdeploy.errors import InputError, raise_all

if TYPE_CHECKING:
    from sltdeploy.program import Array
    from sltdeploy.runtime import RunResult
    from sltdeploy.verification import Verification

PROVING = "holding it against the reference, --no-verify leaves that out"
STEP = re.compile(r"step (\d+) of (\d+)")  # what runners say, and network.py prints
SHOWN = 5  # mismatches printed one by one


def export(
    model: options.ModelPath,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write.")],
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="NAME", help="Machine, or the path of its TOML."),
    ] = None,
    format: Annotated[  # noqa: A002
        options.Format | None, typer.Option("--format", help="Default: the target's own.")
    ] = None,
    quantize: Annotated[options.Quantize, typer.Option("--quantize", help="Weights.")] = "none",
    form: Annotated[
        options.Form,
        typer.Option("--form", help="One time step a call, or a sequence (ONNX)."),
    ] = "step",
    calibrate: Annotated[
        Path | None,
        typer.Option("--calibrate", metavar="X.npy", help="Typical input (T, B, ...) for int8."),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify/--no-verify", help="Hold it against the reference before it gets its name."
        ),
    ] = True,
    dt: options.Dt = None,
    reset: options.Reset = None,
    compare: options.Compare = None,
    decay: options.Decay = None,
    input_kind: options.Kind = None,
    convention: options.Convention = None,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> Outcome:
    """Write the artifact that a machine runs, after it has agreed with the reference."""
    if target is None and format is None:
        raise InputError("export needs --target NAME or --format FORMAT: see `sltdeploy targets`")
    from sltdeploy import delivery
    from sltdeploy.cli import arrays

    flags = Flags(dt, reset, compare, decay, input_kind, convention)
    resolve_model(model, flags)  # says which flags overrule the file
    calibration = None if calibrate is None else arrays.read_one(calibrate)
    with bar() as show:
        show(0, 1, PROVING if verify else "")
        artifact = delivery.export(
            model,
            target,
            out,
            format=format,
            quantize=quantize,
            form=form,
            calibration=calibration,
            verify=verify,
            **vars(flags),
        )
    if artifact.proof is None:
        note(f"not proven: {artifact.unproven}")
    if target is None:
        note("no --target: whether the network fits a machine is not checked")
    manifest = artifact.manifest
    off_chip = manifest.get("not_on_chip", ())
    for line in off_chip:
        note(f"for the simulation only, not available on the chip: {line}")
    if manifest.get("simulation_only") and not off_chip:
        note(f"{target}: the chip itself does not take {manifest['numbers']}, its simulator does")
    sizes = {name: (artifact.path / name).stat().st_size for name in sorted(manifest["files"])}
    rows = tuple((name, f"{size} bytes") for name, size in sizes.items())
    return Outcome(
        {
            "artifact": str(artifact.path),
            "manifest": dict(manifest),
            "bytes": sizes,
            "proof": None if artifact.proof is None else artifact.proof.to_json(),
            "unproven": artifact.unproven,
        },
        (
            str(artifact.path),
            Table(("file", "size"), rows),
            f"latency: {manifest['latency_steps']} steps",
            *(() if artifact.proof is None else (_proven(artifact.proof),)),
        ),
    )


def _proven(found: "Verification") -> str:
    spikes = sum(c.spikes for c in found.compared if c.spikes is not None)
    values = sum(c.elements for c in found.compared if c.spikes is None)
    exact = not any(found.worst.values())
    said = [f"{spikes} spikes", f"{values} values"] if values else [f"{spikes} spikes"]
    much = f"{' and '.join(said)} equal"
    if not exact:
        much = f"{spikes} spikes equal and {values} values within {found.tolerance:g}"
    silent = f"; no spike to compare in: {', '.join(found.silent)}" if found.silent else ""
    return f"proven: {much}, {found.samples} samples of {found.steps} steps{silent}"


def run(
    artifact: options.ArtifactPath,
    x: Annotated[
        Path | None,
        typer.Option("--input", metavar="X.npy", help="Array (T, B, ...), or .npz by name."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="Y.npz", help="File to write.")
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Also write every population by its name.")
    ] = False,
    stream: Annotated[
        options.Stream | None,
        typer.Option(
            "--stream", help="Frames from stdin, answers to stdout: JSON lines or bare bytes."
        ),
    ] = None,
    deadline: Annotated[
        float | None,
        typer.Option("--deadline-ms", metavar="MS", help="What a frame may take; later is a miss."),
    ] = None,
    on_miss: Annotated[
        options.OnMiss | None,
        typer.Option(
            "--on-miss", help="After a miss: the last answer (default), zeros, or the end."
        ),
    ] = None,
    engine: options.EngineName = None,
    timeout: options.TimeLimit = None,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> Outcome:
    """Run an artifact over an input; Y holds `output` (T, B, n). Or over a stream."""
    if stream is not None:
        files = {"--input": x, "--out": out, "--record": record, "--json": json}
        raise_all(
            f"{flag} does not go with --stream, which steps from stdin to stdout: leave it out"
            for flag, given in {
                **files,
                "--timeout": timeout,
                "--engine lava": engine == "lava",  # it runs whole sequences
            }.items()
            if given
        )
        if on_miss is not None and deadline is None:
            raise InputError("--on-miss needs --deadline-ms MS: without one no frame is late")
        from sltdeploy.cli.streaming import serve

        return serve(artifact, stream, engine, deadline, on_miss or "hold")
    if x is None or out is None:
        raise InputError("run needs --input X.npy and --out Y.npz, or --stream ndjson or raw")
    raise_all(
        f"{flag} goes with --stream only: a run over a file has no deadline"
        for flag, given in {"--deadline-ms": deadline, "--on-miss": on_miss}.items()
        if given is not None
    )
    from sltdeploy import atomic
    from sltdeploy.cli import arrays
    from sltdeploy.runtime import open_artifact

    fed = arrays.read_for(artifact, x)
    with (
        _steps(engine, debug) as on_line,
        open_artifact(artifact, engine=engine, timeout_s=timeout, on_line=on_line) as runner,
    ):
        result = runner.run(fed, record=record)
        written = _named(result, runner.info["outputs"][0]["name"])
    atomic.write_bytes(out, arrays.npz(written))
    shapes = {name: list(array.shape) for name, array in written.items()}
    rows = tuple((name, "x".join(map(str, shape))) for name, shape in shapes.items())
    return Outcome({"out": str(out), "arrays": shapes}, (str(out), Table(("array", "shape"), rows)))


def _named(result: "RunResult", first: str) -> "dict[str, Array]":
    """Arrays of Y.npz: the first output as ``output``, then all that was recorded."""
    named = {"output": result.outputs[first]}
    others = {**result.outputs, **result.records}
    clash = "output" in others and first != "output"
    if clash:
        note("population 'output' is not the first output: it is written as 'output (population)'")
    for name, array in others.items():
        if name != "output":
            if name != first or name in result.records:
                named[name] = array
        elif clash:
            named["output (population)"] = array
    return named


def verify(
    artifact: options.ArtifactPath,
    x: Annotated[
        Path | None,
        typer.Option("--input", metavar="X.npy", help="Array (T, B, ...). Default: seeded."),
    ] = None,
    engine: options.EngineName = None,
    timeout: options.TimeLimit = None,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> Outcome:
    """Hold an artifact against the reference, spike for spike."""
    from sltdeploy import verification
    from sltdeploy.cli import arrays

    fed = None if x is None else arrays.read_for(artifact, x)
    used = engine or verification.proving_engine(artifact)
    with _steps(used, debug) as on_line:
        found = verification.verify(artifact, fed, engine=used, timeout_s=timeout, on_line=on_line)
    return _verdict(artifact, found, used)


@contextmanager
def _steps(engine: str | None, debug: bool) -> Generator[Callable[[str], None]]:
    """Show how far a run is; Lava, which is slow, in lines too, all of them with ``debug``."""
    lava = engine == "lava"
    what = "steps in Lava" if lava else "steps"
    with bar() as show:

        def on_line(line: str) -> None:
            step = STEP.fullmatch(line)
            if step:
                plain = lava and not on_terminal()
                show(int(step[1]), int(step[2]), what, line if plain else "")
            elif debug and line:
                note(line)

        yield on_line


def _verdict(artifact: Path, found: "Verification", engine: str) -> Outcome:
    rows = tuple(
        (
            c.population,
            "values" if c.spikes is None else str(c.spikes),
            str(c.elements),
            str(c.differing),
            f"{c.worst:g}",
        )
        for c in found.compared
    )
    lines = found.lines()
    head = "identical" if found.ok else "differs"
    silent = f"no spike to compare in: {', '.join(found.silent)}"
    return Outcome(
        {"artifact": str(artifact), "engine": engine, **found.to_json()},
        (
            Table(("population", "spikes", "compared", "differ", "worst difference"), rows),
            *lines[:SHOWN],
            *((f"... and {len(lines) - SHOWN} more",) if len(lines) > SHOWN else ()),
            *((silent,) if found.silent else ()),
            f"{artifact}: {head}: {found.samples} samples of {found.steps} steps, engine {engine}",
        ),
        0 if found.ok else 1,
    )
