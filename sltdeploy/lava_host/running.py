"""Runs network.py of a Lava artifact in an interpreter that has Lava, within a time limit."""

import tempfile
import zipfile
from collections.abc import Mapping
from math import isfinite
from pathlib import Path

import numpy as np

from sltdeploy.errors import CheckError, InputError
from sltdeploy.lava_host.environment import require
from sltdeploy.lava_host.processes import OnLine, run
from sltdeploy.program import Array

NETWORK = "network.py"
START_S = 120.0  # default time limit: for starting, and for each step
STEP_S = 0.1  # a step of ten layers takes 3 ms on two cores


def run_package(
    folder: str | Path,
    x: Array | Mapping[str, Array],
    *,
    timeout_s: float | None = None,
    record: bool = True,
    python: str | Path | None = None,
    on_line: OnLine | None = None,
) -> dict[str, Array]:
    """Run the artifact in ``folder`` over ``x`` (T, B, *shape), or one such array an input.

    ``x`` is what enters: integers where the network takes integers. Returns, by name and on the
    time axis of the reference, spikes (bool) and values (float32 or int32) of the outputs, with
    ``record`` of all populations. ``timeout_s`` is the limit in seconds, by default 120 and 0.1 a
    step; ``on_line`` gets each line that Lava prints.

    Raises `MissingComponentError` where no interpreter has Lava, `CheckError` with Lava's last
    lines where it fails, or at the time limit. No process of Lava's stays behind.
    """
    return run_network(
        require(python).python, folder, x, timeout_s=timeout_s, record=record, on_line=on_line
    )


def run_network(
    python: Path,
    folder: str | Path,
    x: Array | Mapping[str, Array],
    *,
    timeout_s: float | None = None,
    record: bool = True,
    on_line: OnLine | None = None,
) -> dict[str, Array]:
    """`run_package` with the interpreter ``python``, whatever it has."""
    if timeout_s is not None and not (isfinite(timeout_s) and timeout_s > 0):
        raise InputError(f"time limit is {timeout_s} s, must be a positive number of seconds")
    network = Path(folder).absolute() / NETWORK
    if not network.is_file():
        raise InputError(f"{folder}: has no {NETWORK}: it is no Lava artifact")
    fed = dict(x) if isinstance(x, Mapping) else {"": np.asarray(x)}
    steps, batch = next(iter(fed.values())).shape[:2]
    limit = START_S + STEP_S * steps * batch if timeout_s is None else timeout_s
    with tempfile.TemporaryDirectory(prefix="sltdeploy-") as temporary:
        given, result = _write(Path(temporary), fed), Path(temporary, "output.npz")
        flags = ["--as-sent", *(["--record"] if record else [])]
        done = run(
            [str(python), str(network), str(given), str(result), *flags],
            cwd=Path(temporary),
            timeout_s=limit,
            on_line=on_line,
        )
        if done.code is None:
            raise CheckError(
                f"{folder}: Lava was stopped at the time limit of {limit:g} s, {steps} steps of "
                f"{batch} samples: allow more with --timeout SECONDS (in Python timeout_s), or "
                f"give fewer samples; its last lines: {done.last_words}"
            )
        if done.code != 0:
            raise CheckError(f"{folder}: Lava failed with exit code {done.code}: {done.last_words}")
        return _read(folder, result, (steps, batch), done.last_words)


def _write(folder: Path, fed: Mapping[str, Array]) -> Path:
    if "" in fed:
        np.save(folder / "input.npy", fed[""])
        return folder / "input.npy"
    # np.savez takes no input that is called 'file'
    with zipfile.ZipFile(folder / "input.npz", "w") as archive:
        for name, values in fed.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, values, allow_pickle=False)
    return folder / "input.npz"


def _read(
    folder: str | Path, result: Path, head: tuple[int, int], last_words: str
) -> dict[str, Array]:
    try:
        with np.load(result, allow_pickle=False) as arrays:
            sent = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        why = "there is none" if isinstance(error, FileNotFoundError) else "it is no .npz"
        raise CheckError(f"{folder}: Lava ended without a result ({why}): {last_words}") from None
    for name, values in sent.items():
        if values.shape[:2] != head:
            raise CheckError(
                f"{folder}: Lava's result for '{name}' has shape {values.shape}, must start with "
                f"(T, B) = {head}: {last_words}"
            )
    return sent
