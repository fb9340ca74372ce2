"""The NIR paper's own files (Pedersen et al. 2024, Nat. Commun. 15:8122), where at hand."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from sltdeploy.graph import read_nir
from sltdeploy.lowering import lower
from sltdeploy.reference import initial_state, run, step

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
        assert abs(state[program.outputs[0]].v.item() - row[1]) < 1e-6
