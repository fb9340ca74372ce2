"""Whether a machine computes what the reference computed where the artifact was made."""

import numpy as np

from sltdeploy.agreement import beyond, tolerance
from sltdeploy.errors import CheckError, InputError, located
from sltdeploy.golden_file import GOLDEN, Golden, from_bytes
from sltdeploy.program import Array
from sltdeploy.runtime.manifest import EXPORT_AGAIN, Manifest, Output
from sltdeploy.runtime.runner import Runner


def read_golden(manifest: Manifest, data: bytes) -> Golden:
    """Golden vectors of an artifact; `InputError` where they do not fit its manifest."""
    with located(manifest.folder / GOLDEN):
        golden = from_bytes(data)
        fed = [a.shape[2:] for a in golden.inputs]
        sent = [a.shape[2:] for a in golden.outputs]
        named = [p.shape for p in manifest.inputs], [o.shape for o in manifest.outputs]
        heads = {a.shape[:2] for a in (*golden.inputs, *golden.outputs)}
        if (fed, sent) != named or len(heads) != 1 or not all(t and b for t, b in heads):
            raise InputError(
                f"holds {[a.shape for a in golden.inputs]} and "
                f"{[a.shape for a in golden.outputs]}, the manifest names {named[0]} and "
                f"{named[1]} for every step and sample: {EXPORT_AGAIN}"
            )
        others = {str(a.dtype) for a in golden.outputs if a.dtype.kind not in "biuf"}
        if others:
            raise InputError(f"holds {', '.join(sorted(others))}, not real numbers: {EXPORT_AGAIN}")
    return golden


def prove(runner: Runner, golden: Golden) -> None:
    """Step ``runner`` through the golden vectors, then go back to the first state.

    Spikes and integers must be equal, values of a float32 program within
    `sltdeploy.agreement.TOLERANCE`. Raises `CheckError` with the first difference.
    """
    manifest = runner.manifest
    names = [p.name for p in manifest.inputs]
    runner.reset()
    for t in range(len(golden.inputs[0])):
        got = runner.step(dict(zip(names, (x[t] for x in golden.inputs), strict=True)))
        for output, values in zip(manifest.outputs, golden.outputs, strict=True):
            expected = runner.in_float_units(output.name, values[t])
            _compare(manifest, output, t, expected, got[output.name])
    runner.reset()


def _compare(manifest: Manifest, output: Output, step: int, expected: Array, got: Array) -> None:
    wrong = beyond(expected, got, tolerance(manifest.numbers)) & ~(
        np.isnan(expected) & np.isnan(got)
    )
    if not wrong.any():
        return
    at = tuple(int(k) for k in np.argwhere(wrong)[0])
    raise CheckError(
        f"{manifest.folder}: this machine computes something else than the reference did: golden "
        f"step {step}, output '{output.name}', neuron {at[1:]}: {float(expected[at]):g} expected, "
        f"got {float(got[at]):g}; {int(wrong.sum())} of {wrong.size} differ: {EXPORT_AGAIN} here, "
        "or open it with verify=False"
    )
