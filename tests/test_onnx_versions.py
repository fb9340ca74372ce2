"""The same models in ONNX Runtime 1.15, 1.18, 1.20 and the newest, and in OpenVINO.

Each lies in an environment of its own, see ``tests/interop/environments.py``; where it is not
installed its tests are skipped.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interop.environments import NEWEST_PYTHON, PINS, installed, run_script
from onnx_models import CASES, recorded
from programs import stimulus

from sltdeploy import reference
from sltdeploy.exporting import Form, Quantization, export
from sltdeploy.onnx_model import integers, projecting
from sltdeploy.program import Program
from sltdeploy.quantize import snap

pytestmark = pytest.mark.interop

RUNTIMES = [name for name in PINS if name.startswith("onnxruntime")]
VERSIONS = {name: pins[0].split("==")[1] for name, pins in PINS.items() if pins}
FORMS: tuple[Form, ...] = ("step", "sequence")
QUANTIZATIONS: tuple[Quantization, ...] = ("none", "int8")


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every case in both forms, in floats and, snapped, in integers wherever these are exact."""
    folder = tmp_path_factory.mktemp("artifacts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(integers, "FASTER_FROM", 1)
        patch.setattr(projecting, "SMALLEST", 1)
        for case, program in CASES.items():
            for form in FORMS:
                for quantize in QUANTIZATIONS:
                    _write(
                        folder / f"{case} {form} {quantize}".replace("/", "-"),
                        program,
                        form,
                        quantize,
                    )
    return folder


def _write(folder: Path, floats: Program, form: Form, quantize: Quantization) -> None:
    """Write the artifact, and beside it what goes in and what must come out."""
    program = snap(floats) if quantize == "int8" else floats
    export(program, None, folder, format="onnx", form=form, quantize=quantize)
    fed = stimulus(program)
    records = reference.run(program, fed).records
    # The sums of snapped weights are exact, what a readout makes of them need not be.
    names = [n for n in recorded(program) if quantize == "none" or program.population(n).spiking]
    arrays = {f"in {n}": x for n, x in fed.items()}
    arrays |= {f"out {n}": records[n].astype(np.float32) for n in names}
    np.savez(folder.with_name(f"{folder.name}.npz"), allow_pickle=False, **arrays)


def results(environment: str, tool: str, folder: Path) -> dict[str, Any]:
    """What ``tool`` in ``environment`` says of the artifacts."""
    newest = NEWEST_PYTHON.get(environment)
    if newest is not None and sys.version_info[:2] > newest:
        pytest.skip(f"{environment} is for Python {newest[0]}.{newest[1]} at most")
    if not installed(environment):
        pytest.skip(f"python tests/interop/environments.py {environment}")
    run_script(environment, "run_onnx.py", tool, folder)
    found = json.loads((folder / f"{tool}.json").read_text("utf8"))
    if environment in VERSIONS:
        assert found["version"].startswith(VERSIONS[environment])
    assert len(found["artifacts"]) == 4 * len(CASES)
    return found["artifacts"]


@pytest.mark.parametrize("tool", ["onnxruntime", "sltdeploy"])
@pytest.mark.parametrize("environment", RUNTIMES)
def test_every_version_gives_the_bits_of_the_reference(
    environment: str, tool: str, artifacts: Path
) -> None:
    found = results(environment, tool, artifacts)
    assert {name: r for name, r in found.items() if r["differing"] or not _compared(name, r)} == {}


def test_openvino_gives_the_bits_of_the_reference(artifacts: Path) -> None:
    found = results("openvino", "openvino", artifacts)
    assert {name: r for name, r in found.items() if r["differing"] or not _compared(name, r)} == {}


def _compared(name: str, result: dict[str, int]) -> bool:
    """Whether there was anything to compare; readouts of snapped programs are not."""
    return result["elements"] > 0 or name.endswith("int8")
