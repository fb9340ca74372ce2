"""The NIR paper's own files (Pedersen et al. 2024, Nat. Commun. 15:8122), where at hand."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from sltdeploy.graph import read_nir
from sltdeploy.lowering import lower
from sltdeploy.reference import initial_state, run, step
from sltdeploy.trace import decision

DATA = Path(os.environ.get("SLTDEPLOY_DATA", Path(__file__).parents[2] / "shared" / "data"))
LIF = DATA / "nir-paper" / "lif"


@pytest.mark.skipif(not LIF.is_dir(), reason="the NIR paper's files are not in SLTDEPLOY_DATA")
def test_lif_gives_the_recorded_trace_of_norse() -> None:
    """Spikes at 460, 510, 710 and 760; the membrane as Norse recorded it, to 1e-6."""
    with (LIF / "lif_norse.csv").open() as file:
        recorded = np.array([[float(cell) for cell in row] for row in csv.reader(file)])
    program = lower(read_nir(LIF / "lif_norse.nir"), 1e-4)
    x = recorded[:, :1, None]
    spikes = run(program, x).output[:, 0, 0]
    assert np.flatnonzero(spikes).tolist() == [460, 510, 710, 760]
    assert np.array_equal(spikes, recorded[:, 2] > 0)
    state = initial_state(program, 1)
    for t, row in enumerate(recorded):
        _, state = step(program, state, {"input": x[t].astype(np.float32)})
        v = state[program.outputs[0]].v
        assert v is not None
        assert abs(v.item() - row[1]) < 1e-6


BRAILLE = DATA / "nir-paper" / "braille"


@pytest.mark.skipif(not BRAILLE.is_dir(), reason="the NIR paper's files are not in SLTDEPLOY_DATA")
def test_braille_gives_the_recorded_spikes_of_snntorch() -> None:
    """Recurrent CubaLIF: 0 of 9,728 hidden spikes differ, and the sample's class is 1."""
    program = lower(read_nir(BRAILLE / "braille_noDelay_bias_zero.nir"), 1e-4)
    sample = np.load(BRAILLE / "braille_sample0_input_12x256.npy")
    recorded = np.load(BRAILLE / "snntorch_activity_noDelay_bias_zero.npy")
    trace = run(program, sample.T[:, None].astype(float))
    hidden = trace.records["lif1.lif"][:, 0]
    assert hidden.shape == recorded.shape == (256, 38)
    assert (hidden != (recorded > 0)).sum() == 0
    assert decision(trace.output).tolist() == [1]
