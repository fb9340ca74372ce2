"""A folder of models, inputs and targets, and a way to type commands in it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nir
import numpy as np

import sltdeploy
from sltdeploy.cli import call
from sltdeploy.exporting import export

EVIL = "lif\x1b[31m[bold]\u202e"
WEIGHT = np.random.default_rng(1).integers(-8, 9, (4, 6)) / 8
TARGETS = next(d for p in sltdeploy.__path__ if (d := Path(p, "targets")).is_dir())


def say(command: str) -> int:
    """Run ``sltdeploy command``; returns the exit code."""
    return call(command.split())


def network(
    weight: Any = WEIGHT, tau: float = 2e-3, dt: float | None = 1e-3, name: str = "lif"
) -> nir.NIRGraph:
    """6 inputs, 4 LIF neurons called ``name``, 3 outputs without neurons."""
    nodes: dict[str, Any] = {
        "input": nir.Input({"input": np.array([6])}),
        "fc": nir.Affine(weight, np.zeros(4)),
        name: nir.LIF(
            tau=np.full(4, tau),
            r=np.ones(4),
            v_leak=np.zeros(4),
            v_threshold=np.full(4, 0.25),
            v_reset=np.zeros(4),
        ),
        "out": nir.Linear(np.eye(4)[:3] * 2),
        "output": nir.Output({"output": np.array([3])}),
    }
    edges = [("input", "fc"), ("fc", name), (name, "out"), ("out", "output")]
    return nir.NIRGraph(nodes, edges, metadata={} if dt is None else {"dt": dt})


def write_files(folder: Path) -> None:
    """Models, inputs, a target that lacks Linear, and an ONNX artifact of net.nir."""
    models = {
        "net": network(),
        "nodt": network(dt=None),
        "negative": network(tau=-1.0),
        "nan": network(weight=np.full((4, 6), np.nan)),
        "both": network(weight=np.full((4, 6), np.inf), tau=0.0),
        "evil": network(name=EVIL),
        "worse": network(name=EVIL, tau=-1.0),
    }
    for name, graph in models.items():
        nir.write(str(folder / f"{name}.nir"), graph)
    (folder / "text.nir").write_text("not HDF5")
    drawn = np.random.default_rng(2).random((10, 2, 6)).astype(np.float32)
    np.save(folder / "x.npy", drawn)
    np.save(folder / "wrong.npy", np.zeros((10, 2, 5), np.float32))
    np.save(folder / "nan.npy", np.full((10, 2, 6), np.nan, np.float32))
    np.save(folder / "pickle.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (folder / "occupied").mkdir()
    (folder / "occupied" / "precious.txt").write_text("mine")
    known = (TARGETS / "raspberry-pi-4.toml").read_text("utf8")
    (folder / "convs.toml").write_text(known.replace('"Linear", ', ""), "utf8")
    known = (TARGETS / "cortex-m7.toml").read_text("utf8")
    (folder / "tiny.toml").write_text(known.replace("value = 2097152", "value = 16"), "utf8")
    export(folder / "net.nir", "raspberry-pi-4", folder / "artifact")


def content(folder: Path) -> dict[str, bytes]:
    """Every file under ``folder`` and what it holds."""
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def only_object(text: str) -> Mapping[str, Any]:
    """The one JSON object that ``text`` is, and nothing else."""
    value, end = json.JSONDecoder().raw_decode(text)
    assert text[end:] == "\n"
    assert isinstance(value, dict)
    return value
