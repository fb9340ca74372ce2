"""Loops, delays and skips in real Lava against the reference, with every membrane."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from lava_late_nets import delay, floats, integers, wide, wired
from lava_nets import RNG, lif, small
from lava_there import need_lava
from programs import edit_manifest

from sltdeploy.array_file import npz
from sltdeploy.atomic import write_folder
from sltdeploy.exporting import Exported, load
from sltdeploy.exporting import export as slt_export
from sltdeploy.program import Array, Input, Linear, LoihiNeuron, Neuron, Program, Projection
from sltdeploy.reference import initial_state, run, step
from sltdeploy.verification import verify

LIMIT_S = 300.0  # on a machine that does much else, too


def export(p: Program) -> Exported:
    """What the exporter writes."""
    return load("lava").export(p, {}, None)


@pytest.fixture(scope="module")
def python() -> Path:
    """An interpreter with Lava."""
    return need_lava()


def expected(p: Program, x: Mapping[str, Array]) -> dict[str, Array]:
    """What the reference sends, and its membranes as NAME.v."""
    found = dict(run(p, x).records)
    state = initial_state(p, next(iter(x.values())).shape[1])
    membranes: dict[str, list[Array]] = {}
    for t in range(len(next(iter(x.values())))):
        _, state = step(p, state, {q.name: found[q.name][t] for q in p.inputs})
        for q in p.populations:
            v = state[q.name].v if isinstance(q.rule, Neuron | LoihiNeuron) else None
            if v is not None:
                membranes.setdefault(f"{q.name}.v", []).append(v)
    return found | {name: np.stack(v) for name, v in membranes.items()}


def shell(python: Path, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """What becomes of ``python a/network.py ARGUMENTS`` in ``folder``; nothing stays behind."""
    process = subprocess.Popen(
        [str(python), "a/network.py", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=LIMIT_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(process.args, process.returncode, said)


def in_lava(python: Path, p: Program, sent: Mapping[str, Array], folder: Path) -> dict[str, Array]:
    """Run network.py from a shell in another folder, with everything recorded."""
    write_folder(folder / "a", export(p).files)
    folder.joinpath("x.npz").write_bytes(npz({q.name: sent[q.name] for q in p.inputs}))
    done = shell(python, folder, "x.npz", "y.npz", "--as-sent", "--record", "--potentials")
    assert done.returncode == 0, done.stdout
    with np.load(folder / "y.npz") as arrays:
        return dict(arrays)


def assert_equal(p: Program, got: Mapping[str, Array], wanted: Mapping[str, Array]) -> None:
    """Every record is there, of the same type, equal and not always the same."""
    unrecorded = set(export(p).details["unrecorded"])
    assert set(got) == set(wanted) - unrecorded - {q.name for q in p.inputs}
    for name, values in got.items():
        np.testing.assert_array_equal(values, wanted[name], err_msg=name)
        assert name.endswith(".v") or values.dtype == wanted[name].dtype
        assert len(np.unique(values)) > 1, name


@pytest.mark.parametrize("build", [floats, integers])
def test_what_waits_in_lava_equals_the_reference(
    build: Callable[[], Program], python: Path, tmp_path: Path
) -> None:
    p = build()
    steps, batch = 11, 3
    x = {
        "in": RNG.random((steps, batch, 5)) < 0.4,
        "graded": np.rint(RNG.normal(size=(steps, batch, 4)) * 8).astype(np.float32) / 8,
    }
    wanted = expected(p, {q.name: x[q.name] for q in p.inputs})
    assert_equal(p, in_lava(python, p, wanted, tmp_path), wanted)


FAILURES = {
    "in a step": ("        if step % given", "        if step == 3:"),
    "at the start": ("    def run_spk", "    def __init__(self, params):"),
}


@pytest.mark.parametrize("when", FAILURES)
def test_network_py_ends_when_a_process_of_lava_fails(
    when: str, python: Path, tmp_path: Path
) -> None:
    write_folder(tmp_path / "a", export(small(lif())).files)
    network, (before, line) = tmp_path / "a" / "network.py", FAILURES[when]
    head, tail = network.read_text().split(before, 1)
    network.write_text(f"{head}{line}\n            raise ValueError('boom')\n\n{before}{tail}")
    np.save(tmp_path / "x.npy", np.ones((9, 1, 4), bool))
    done = shell(python, tmp_path, "x.npy", "y.npz")
    assert done.returncode == 1
    assert "ValueError: boom" in done.stdout
    assert not (tmp_path / "y.npz").exists()


@pytest.mark.usefixtures("python")
def test_verify_looks_past_lines_that_lie_in_synapses(tmp_path: Path) -> None:
    rules = {"in": Input("spikes"), "wait": delay(2, spiking=True), "a": lif(), "b": lif()}
    arrows = (("in", "a"), ("a", "b"), ("wait", "a"))
    ops = (Linear(np.ones((5, 5), np.float32)),)
    projections = (Projection("b", "wait"), *(Projection(*a, ops) for a in arrows))
    artifact = slt_export(wired(rules, projections, ("b",)), None, tmp_path / "a", format="lava")
    assert artifact.manifest["unrecorded"] == ["wait"]
    found = verify(artifact)
    assert found.ok
    assert [c.population for c in found.compared] == ["a", "b"]
    edit_manifest(tmp_path / "a", {"unrecorded": ["a", "b"]})
    assert verify(tmp_path / "a").missing == ("wait",)


def test_wide_layers_and_long_delays_pass_relay_neurons(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sltdeploy.lava_package.synapses.MATRIX_TOP", 100)
    p = wide()
    x = {"in": RNG.random((80, 2, 2, 4, 4)) < 0.2}
    wanted = expected(p, x)
    got = in_lava(python, p, wanted, tmp_path)
    for name, values in got.items():
        tolerance = 1e-6 if name.endswith(".v") else 0  # Lava's floats have 64 bits
        np.testing.assert_allclose(values, wanted[name], tolerance, tolerance, err_msg=name)
    assert got["first"].any()
    rows = export(p).details["processes"]
    assert sum(row["name"].startswith("relay_") for row in rows) == 2
    assert sum(row["class"] == "Conv" for row in rows) == 4
