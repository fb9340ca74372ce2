"""Files from other frameworks run here, and ours there, spike for spike; where not, why.

Each framework lies in an environment of its own, see ``tests/interop/environments.py``; where it
is not installed its tests are skipped.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from interop.environments import installed, run_script
from interop_networks import DT, networks

from sltdeploy.convention_presets import Framework
from sltdeploy.errors import InputError
from sltdeploy.exporting import export
from sltdeploy.graph import read_nir
from sltdeploy.lowering import lower
from sltdeploy.program import Array
from sltdeploy.reference import run

pytestmark = pytest.mark.interop

Folders = Callable[[str], Path]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Folder with what a framework wrote: NAME.nir and NAME.npz."""
    folders: dict[str, Path] = {}

    def folder(framework: str) -> Path:
        _need(framework)
        if framework not in folders:
            folders[framework] = tmp_path_factory.mktemp(framework)
            run_script(framework, f"write_{framework}.py", folders[framework])
        return folders[framework]

    return folder


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Folder with our files, the reference's outputs and what a framework made of them."""
    folder = tmp_path_factory.mktemp("ours")
    rng = np.random.default_rng(2)
    for name, graph in networks().items():
        artifact = export(graph, None, folder / "artifact", format="nir")
        path = folder / f"{name}.nir"
        path.write_bytes((artifact.path / "network.nir").read_bytes())
        program = lower(read_nir(path))
        x = (rng.random((50, 3, *program.inputs[0].shape)) < 0.5).astype(np.float32)
        np.savez(folder / f"{name}.npz", x=x, output=run(program, x).output)
    seen: set[str] = set()

    def of(framework: str) -> Path:
        _need(framework)
        if framework not in seen:
            run_script(framework, "read_networks.py", framework, folder)
            seen.add(framework)
        return folder

    return of


def _need(framework: str) -> None:
    if not installed(framework):
        pytest.skip(f"python tests/interop/environments.py {framework}")


def _recorded(folder: Path, name: str) -> tuple[nir.NIRGraph, Array, Array]:
    arrays = np.load(folder / f"{name}.npz")
    return read_nir(folder / f"{name}.nir"), arrays["x"], arrays["output"]


def _active(spikes: Array) -> bool:
    """Between 2 % and 98 % of the steps, so that equality says something."""
    return bool(0.02 < (spikes > 0).mean() < 0.98)


EQUAL = [
    *(("snntorch", name, {}) for name in ("leaky", "synaptic", "conv", "rleaky")),
    *(
        ("snntorch", f"{name}_subtract", {"reset": "subtract"})
        for name in ("leaky", "synaptic", "rleaky", "rsynaptic")
    ),
    *(
        ("spikingjelly", name, {})
        for name in ("lif", "exact", "plif", "cuba", "conv", "conv1d", "residual")
    ),
]


@pytest.mark.parametrize(("framework", "name", "options"), EQUAL)
def test_its_files_give_its_spikes(
    written: Folders, framework: Framework, name: str, options: dict[str, Any]
) -> None:
    """0 spikes differ under the framework's convention."""
    graph, x, recorded = _recorded(written(framework), name)
    assert _active(recorded)
    assert np.array_equal(run(lower(graph, convention=framework, **options), x).output, recorded)


def test_the_comparison_matters(written: Folders) -> None:
    """SpikingJelly spikes where v meets the threshold exactly; ``>`` gives other spikes."""
    graph, x, recorded = _recorded(written("spikingjelly"), "exact")
    other = lower(graph, convention="spikingjelly", comparison="gt")
    assert not np.array_equal(run(other, x).output, recorded)


def test_snntorch_loses_an_input_after_each_spike(written: Folders) -> None:
    """Synaptic, to zero, with reset_delay=True: v is 0 in the step after a spike, input or not.

    The file is that of reset_delay=False, so its spikes differ here; so they do in snnTorch's
    own importer, which takes reset_delay=False.
    """
    graph, x, recorded = _recorded(written("snntorch"), "synaptic_delayed")
    program = lower(graph, convention="snntorch")
    assert not np.array_equal(run(program, x).output, recorded)
    layer: Any = graph.nodes["0"]
    i, v, z = (np.zeros((x.shape[1], 8), np.float32) for _ in range(3))
    for t, step in enumerate(x):
        i = np.float32(0.7) * i + (step @ layer.weight.T + layer.bias)
        v = np.where(z > 0, 0, np.float32(0.9) * v + i)
        z = (v > 1).astype(np.float32)
        assert np.array_equal(z, recorded[t])


SINABS: dict[str, Any] = {
    "dt": 1.0,
    "reset": "subtract",
    "comparison": "ge",
    "decay": "exponential",
}


@pytest.mark.parametrize("name", ["lif", "conv"])
def test_sinabs_with_single_spikes(written: Folders, name: str) -> None:
    """0 spikes differ with the flags that the refusal of the convention names."""
    graph, x, recorded = _recorded(written("sinabs"), name)
    assert _active(recorded)
    assert np.array_equal(run(lower(graph, **SINABS), x).output, recorded)
    with pytest.raises(InputError, match=r"--dt 1 --reset subtract --compare ge --decay expo"):
        lower(graph, convention="sinabs")


def test_sinabs_sends_several_spikes(written: Folders) -> None:
    """MultiSpike, its default: the file does not say so, counts above 1 do."""
    graph, x, recorded = _recorded(written("sinabs"), "many")
    assert recorded.max() > 1
    assert not np.array_equal(run(lower(graph, **SINABS), x).output, recorded)


def test_sinabs_leaves_norm_input_out(written: Folders) -> None:
    """With norm_input=False the file's r should be 1 / (1 - exp(-1 / tau)), it is 1."""
    graph, x, recorded = _recorded(written("sinabs"), "whole")
    neuron: Any = graph.nodes["1"]
    assert (neuron.r == 1).all()
    assert not np.array_equal(run(lower(graph, **SINABS), x).output, recorded)
    neuron.r = 1 / (1 - np.exp(-1 / neuron.tau))
    assert np.array_equal(run(lower(graph, **SINABS), x).output, recorded)


@pytest.mark.parametrize(("framework", "dt"), [("sinabs", None), ("rockpool", 1e-3)])
def test_leaks_without_spikes(written: Folders, framework: Framework, dt: float | None) -> None:
    """ExpLeak and ExpSyn, to float32's precision."""
    graph, x, recorded = _recorded(written(framework), "leak")
    got = run(lower(graph, dt, convention=framework), x).output
    assert abs(recorded).max() > 1
    assert got == pytest.approx(recorded, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", ["cuba", "lif"])
def test_rockpool_leaves_the_gains_out(written: Folders, name: str) -> None:
    """Refused by name. With max_spikes_per_dt=1 and the gains that r and w_in should say: equal.

    Rockpool adds an input as it is, times exp(-dt / tau_syn) at a synapse; it writes
    r = tau / dt exp(-dt / tau), and w_in = 1.
    """
    graph, x, recorded = _recorded(written("rockpool"), name)
    assert _active(recorded)
    assert recorded.max() == 1
    with pytest.raises(InputError, match=r"floor\(v / threshold\) spikes in one step"):
        lower(graph, 1e-3, convention="rockpool")
    (neuron,) = (n for n in graph.nodes.values() if type(n).__name__ in ("LIF", "CubaLIF"))
    assert isinstance(neuron, nir.LIF | nir.CubaLIF)
    flags: dict[str, Any] = SINABS | {"dt": 1e-3}
    for key, shape in (("input", 6), ("output", 8)):  # it declares (1, 6) and (1, 1, 8)
        end: Any = graph.nodes[key]
        end.input_type = end.output_type = {key: np.array([shape])}
    assert not np.array_equal(run(lower(graph, **flags), x).output, recorded)
    if isinstance(neuron, nir.CubaLIF):
        neuron.r = 1 / (1 - np.exp(-1e-3 / neuron.tau_mem))
        kept = np.exp(-1e-3 / neuron.tau_syn)
        neuron.w_in = kept / (1 - kept)
    else:
        neuron.r = 1 / (1 - np.exp(-1e-3 / neuron.tau))
    assert np.array_equal(run(lower(graph, **flags), x).output, recorded)


def test_nir_reads_our_files(ours: Folders) -> None:
    """Plain `nir.read`, with its type check, gives the nodes and edges that we wrote."""
    folder = ours("norse")
    for name, graph in networks().items():
        read = nir.read(folder / f"{name}.nir")
        assert set(read.nodes) == set(graph.nodes)
        assert sorted(read.edges) == sorted(graph.edges)


WRONG_THERE = {  # why the importer makes something else of our file
    ("norse", "conv"): "nirtorch 2.6 knows no AvgPool2d, and its Flatten takes the batch along",
    ("norse", "recurrent"): "nirtorch 2.6 returns what the recurrent layer sent, not the output",
    ("norse", "recurrent_bias"): "nirtorch 2.6 returns what the recurrent layer sent",
    ("snntorch", "conv"): "its Flatten takes the batch along",
    ("snntorch", "recurrent"): "it leads the input through the recurrent weights",
    ("snntorch", "recurrent_bias"): "it leads the input through the recurrent weights",
    ("spikingjelly", "recurrent_bias"): "nirtorch 2.6 leaves the bias out of the first step",
}


@pytest.mark.parametrize("name", list(networks()))
@pytest.mark.parametrize("framework", ["norse", "snntorch", "spikingjelly"])
def test_our_files_there(ours: Folders, framework: str, name: str) -> None:
    """0 spikes differ wherever the framework's importer is right."""
    folder = ours(framework)
    expected = np.load(folder / f"{name}.npz")["output"]
    assert _active(expected)
    got, error = (folder / f"{name}.{framework}.{end}" for end in ("npz", "txt"))
    assert got.is_file() != error.is_file()
    equal = got.is_file() and np.array_equal(np.load(got)["output"], expected)
    assert equal == ((framework, name) not in WRONG_THERE)


def test_the_first_bias_explains_spikingjelly(ours: Folders) -> None:
    """Without the recurrent layer's bias in the first step the spikes are SpikingJelly's."""
    folder = ours("spikingjelly")
    expected = np.load(folder / "recurrent_bias.spikingjelly.npz")["output"]
    graph = networks()["recurrent_bias"]
    first, loop, last = (graph.nodes[n] for n in ("n0", "back", "n2"))
    assert isinstance(first, nir.Affine)
    assert isinstance(loop, nir.Affine)
    assert isinstance(last, nir.Linear)
    x = np.load(folder / "recurrent_bias.npz")["x"]
    v, w = np.zeros((3, 8)), np.zeros((3, 4))
    z = np.zeros((3, 8))
    for t, step in enumerate(x):
        back = z @ loop.weight.T + loop.bias if t else 0
        v = 0.8 * v + 0.2 * (step @ first.weight.T + first.bias + back)
        z = (v > 0.2).astype(float)
        v = v * (z == 0)
        w = 0.8 * w + 0.2 * z @ last.weight.T
        out = w > 0.2
        w = w * ~out
        assert np.array_equal(out, expected[t] > 0)
    assert lower(graph).dt == DT
