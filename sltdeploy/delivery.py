"""Export with proof: an artifact takes its name after it has agreed with the reference."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sltdeploy import exporting
from sltdeploy.convention_presets import Framework
from sltdeploy.errors import CheckError, MissingComponentError, SltError
from sltdeploy.exporting import Artifact, Form, Quantization
from sltdeploy.program import Array, Comparison, Decay, Reset
from sltdeploy.resolving import AnyModel
from sltdeploy.verification import Verification, verify

NOT_ASKED = "verify is off"
NOTHING_WRITTEN = "nothing was written; --no-verify (verify=False) writes it anyway"


@dataclass(frozen=True)
class Delivered(Artifact):
    """An artifact and how it was held against the reference.

    ``proof`` is None where it was not; ``unproven`` says why, with what would help.
    """

    proof: Verification | None
    unproven: str


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
    verify: bool = True,
) -> Delivered:
    """Write ``model`` as an artifact for ``target`` into ``out``; see `sltdeploy.exporting.export`.

    With ``verify`` the new folder is held against the reference first, by
    `sltdeploy.verification.verify` on its own input of 25 steps and 4 samples: every spike of every
    population must be equal. Until then it has a temporary name, and what lay at ``out`` stays.
    Where what runs the artifact is not installed (ONNX Runtime, a C compiler, Lava), it is written
    and ``unproven`` says what is missing.

    Raises what `sltdeploy.exporting.export` raises, and `CheckError` with every population that
    differs; then nothing of the new artifact is left.
    """
    found = _Proof(Path(out))
    artifact = exporting.export(
        model,
        target,
        out,
        format=format,
        quantize=quantize,
        form=form,
        calibration=calibration,
        dt=dt,
        reset=reset,
        comparison=comparison,
        decay=decay,
        input_kind=input_kind,
        convention=convention,
        prove=found.prove if verify else None,
    )
    return Delivered(artifact.path, artifact.manifest, found.result, found.missing)


class _Proof:
    """What `exporting.export` calls before the folder gets its name, and what came of it."""

    def __init__(self, goal: Path) -> None:
        self._goal = goal
        self.result: Verification | None = None
        self.missing = NOT_ASKED

    def prove(self, folder: Path) -> None:
        """Hold the artifact in ``folder`` against the reference; `CheckError` where it differs."""
        try:
            self.result = verify(folder)
        except MissingComponentError as error:
            self.missing = "; ".join(error.violations)
            return
        except SltError as error:
            lines = (line.replace(str(folder), str(self._goal)) for line in error.violations)
            raise CheckError(*lines, f"{self._goal}: {NOTHING_WRITTEN}") from None
        self.missing = ""
        if not self.result.ok:
            raise CheckError(
                f"{self._goal}: the artifact differs from the reference: {NOTHING_WRITTEN}",
                *self.result.lines(),
            )
