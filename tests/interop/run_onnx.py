"""Run ONNX artifacts in the ONNX Runtime or OpenVINO of this environment.

``python run_onnx.py TOOL FOLDER``: TOOL is onnxruntime, openvino or sltdeploy (which uses the
ONNX Runtime at hand). FOLDER holds artifacts; beside each, in NAME.npz, are the inputs ("in NAME")
and what the reference recorded ("out NAME"). Writes FOLDER/TOOL.json: the tool's version, and how
many elements of each artifact were compared and differ.
"""

import json
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

Run = Callable[[dict[str, Any]], Mapping[str, Any]]


def by_onnxruntime(path: Path) -> Run:
    """One call of the model, as its own documentation shows."""
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return lambda fed: dict(zip(names, session.run(names, fed), strict=True))


def by_openvino(path: Path) -> Run:
    """One call of the model, in float32 as it says."""
    openvino: Any = import_module("openvino")
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(str(path), "CPU", options)
    request = compiled.create_infer_request()
    # An output that two populations share has two names.
    names = [(k, name) for k, port in enumerate(compiled.outputs) for name in port.get_names()]

    def run(fed: dict[str, Any]) -> Mapping[str, Any]:
        request.infer(fed)
        return {name: request.get_output_tensor(k).data.copy() for k, name in names}

    return run


def through(run: Run, manifest: Mapping[str, Any], fed: Mapping[str, Any]) -> dict[str, Any]:
    """Go through all steps, the state from call to call; a sequence in three parts."""
    steps, batch = next(iter(fed.values())).shape[:2]
    states = manifest["states"]
    held = {
        s["input"]: np.broadcast_to(np.array(s["init"], np.float32), (batch, *s["shape"])).copy()
        for s in states
    }
    whole = manifest["form"] == "sequence"
    parts: list[Any] = [slice(0, 1), slice(1, 5), slice(5, steps)] if whole else [*range(steps)]
    rows: list[Mapping[str, Any]] = []
    for part in parts:
        sent = run({name: np.ascontiguousarray(x[part]) for name, x in fed.items()} | held)
        held = {s["input"]: sent[s["output"]] for s in states}
        rows.append(sent)
    join = np.concatenate if whole else np.stack
    kept = {s["output"] for s in states}
    return {name: join([row[name] for row in rows]) for name in rows[0] if name not in kept}


def by_sltdeploy(artifact: Path, fed: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `sltdeploy.open` records."""
    import sltdeploy

    with sltdeploy.open(artifact) as runner:
        return runner.run(fed, record=True).records


def main(tool: str, folder: Path) -> None:
    """Compare every artifact of ``folder``."""
    results: dict[str, Any] = {}
    for beside in sorted(folder.glob("*.npz")):
        artifact, arrays = beside.with_suffix(""), np.load(beside)
        manifest = json.loads((artifact / "manifest.json").read_text("utf8"))
        fed = {n[3:]: arrays[n] for n in arrays.files if n.startswith("in ")}
        if tool == "sltdeploy":
            got = by_sltdeploy(artifact, fed)
        else:
            load = by_openvino if tool == "openvino" else by_onnxruntime
            got = through(load(artifact / "model.onnx"), manifest, fed)
        expected = {n[4:]: arrays[n] for n in arrays.files if n.startswith("out ")}
        results[artifact.name] = {
            "elements": sum(int(e.size) for e in expected.values()),
            "differing": sum(int((got[n] != e).sum()) for n, e in expected.items()),
        }
    module: Any = import_module("openvino" if tool == "openvino" else "onnxruntime")
    data = {"version": module.__version__, "artifacts": results}
    (folder / f"{tool}.json").write_text(json.dumps(data), "utf8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
