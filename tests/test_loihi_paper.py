"""Loihi's traces in the NIR paper's files (Pedersen et al. 2024, Nat. Commun. 15:8122).

One LIF as Lava simulates it and as the chip ran it, and the Braille reader as Lava runs it.
"""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from lava_there import need_lava
from loihi_comparison import in_lava, in_reference

from sltdeploy import reference
from sltdeploy.graph import read_nir
from sltdeploy.inlining import inline
from sltdeploy.lowering import lower
from sltdeploy.program import (
    Array,
    Convention,
    Input,
    Linear,
    LoihiNeuron,
    Population,
    Program,
    Projection,
)
from sltdeploy.quantize import for_loihi
from sltdeploy.trace import decision

DATA = Path(os.environ.get("SLTDEPLOY_DATA", Path(__file__).parents[2] / "shared" / "data"))
LIF = DATA / "nir-paper" / "lif"
BRAILLE = DATA / "nir-paper" / "braille"
DT = 1e-4  # s
SPIKES = [461, 511, 711, 761]
TAKEN = 128  # v of the chip where it spiked: the sign of a reset to come

pytestmark = pytest.mark.skipif(
    not (LIF.is_dir() and BRAILLE.is_dir()), reason="SLTDEPLOY_DATA has not the NIR paper's files"
)


@pytest.fixture
def lava() -> None:
    """Skip where no interpreter has Lava, but not in CI."""
    need_lava()


def recorded(name: str) -> Array:
    """Input, membrane and spike of each of the 1000 steps."""
    with (LIF / f"{name}.csv").open() as file:
        return np.array([[float(cell) for cell in row] for row in csv.reader(file)])


def lif() -> Program:
    """The paper's LIF in Loihi's integers: weight 10, threshold 25, decay 163 / 4096."""
    neuron = LoihiNeuron(4095, 163, np.zeros(1, np.int16), 0, 16_000.0, 25)
    return Program(
        Convention(DT),
        (Population("input", (1,), Input("spikes")), Population("lif", (1,), neuron)),
        (Projection("input", "lif", (Linear(np.array([[10]], np.int16)),)),),
        ("lif",),
        "loihi",
    )


def in_integers(machine: str) -> Array:
    """Membrane and spike after each step of the paper's run, (1000, 2), in ``machine``.

    The paper's Lava has one synapse between input and neuron, which takes a step. Outputs here
    are on the axis of the input, so that they start one row later.
    """
    p = lif()
    x = {"input": recorded("lif_lava_cpu_fixed")[:, :1, None] > 0}
    if machine == "Lava":
        sent = in_lava(p, x)
        spikes, v = sent["lif"], sent["lif.v"]
    else:
        records, membranes = in_reference(p, x)
        spikes, v = records["lif"], membranes["lif"]
    rows = np.stack([v[:, 0, 0], spikes[:, 0, 0]], axis=1)
    return np.concatenate([np.zeros((1, 2), rows.dtype), rows[:-1]])


@pytest.mark.parametrize("machine", ["reference", "Lava"])
def test_a_lif_in_integers_gives_the_recorded_traces(
    machine: str, request: pytest.FixtureRequest
) -> None:
    """Equal to Lava's own run in all 1000 steps; to the chip's in all but the four with spikes."""
    if machine == "Lava":
        request.getfixturevalue("lava")
    ours = in_integers(machine)
    simulated, chip = (recorded(f"lif_lava_{name}_fixed") for name in ("cpu", "loihi"))
    np.testing.assert_array_equal(ours, simulated[:, 1:])
    assert np.flatnonzero(ours[:, 1]).tolist() == SPIKES
    differs = (ours != chip[:, 1:]).any(axis=1)
    assert np.flatnonzero(differs).tolist() == SPIKES
    assert (~differs).sum() == 996
    assert chip[SPIKES, 1].tolist() == [TAKEN] * 4
    np.testing.assert_array_equal(ours[:, 1], chip[:, 2])


@pytest.mark.usefixtures("lava")
def test_a_lif_in_floats_gives_lavas_recorded_trace() -> None:
    """The paper's .nir file through our exporter: same spikes, membranes to 1e-6."""
    p = lower(read_nir(LIF / "lif_norse.nir"), DT)
    (name,) = p.outputs
    expected = recorded("lif_lava_cpu_float")
    sent = in_lava(p, {"input": expected[:, :1, None].astype(np.float32)})
    np.testing.assert_array_equal(sent[name][:-1, 0, 0], expected[1:, 2] > 0)
    assert np.flatnonzero(expected[:, 2]).tolist() == SPIKES
    np.testing.assert_allclose(sent[f"{name}.v"][:-1, 0, 0], expected[1:, 1], 0, 1e-6)


def braille() -> tuple[Program, Array]:
    """The recurrent network of CubaLIF neurons, and its sample (256, 1, 12)."""
    program = lower(read_nir(BRAILLE / "braille_noDelay_bias_zero.nir"), DT, input_kind="spikes")
    sample = np.load(BRAILLE / "braille_sample0_input_12x256.npy")
    return inline(program), sample.T[:, None] > 0


@pytest.mark.usefixtures("lava")
def test_braille_in_lavas_floats_gives_the_recorded_spikes() -> None:
    """0 of 9,728 hidden spikes differ from those that snnTorch recorded; the class is 1."""
    program, x = braille()
    sent = in_lava(program, {"input": x})
    hidden = np.load(BRAILLE / "snntorch_activity_noDelay_bias_zero.npy") > 0
    assert hidden.size == 9728
    assert hidden.sum() == 119
    assert (sent["lif1.lif"][:, 0] != hidden).sum() == 0
    assert decision(sent[program.outputs[0]]).tolist() == [1]


@pytest.mark.usefixtures("lava")
def test_braille_at_8_bits_in_lava_keeps_the_class(capsys: pytest.CaptureFixture[str]) -> None:
    """Lava's fixed point gives the reference's spikes; few differ from the float program's."""
    program, x = braille()
    quantised = for_loihi(program, x)
    sent = in_lava(quantised, {"input": x})
    records, membranes = in_reference(quantised, {"input": x})
    for name in membranes:
        np.testing.assert_array_equal(sent[name], records[name], err_msg=name)
        np.testing.assert_array_equal(sent[f"{name}.v"], membranes[name], err_msg=name)
    floats = reference.run(program, x).records
    off = {name: int((sent[name] != floats[name]).sum()) for name in membranes}
    spikes = {name: int(floats[name].sum()) for name in membranes}
    with capsys.disabled():
        print(f"\nBraille at 8 bits: spikes that differ {off}, of {spikes} in floats")
    assert decision(sent[program.outputs[0]]).tolist() == [1], off
    assert off["lif1.lif"] <= spikes["lif1.lif"], off
