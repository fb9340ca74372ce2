"""Runs network.py of Lava artifacts in an interpreter that has Lava, each within a time limit."""

import os
import tempfile
import threading
import zipfile
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from types import TracebackType

import numpy as np

from sltdeploy.errors import CheckError, InputError
from sltdeploy.lava_host.connection import Connection, Request
from sltdeploy.lava_host.environment import FOLDER_VARIABLE, PYTHON_VARIABLE, require
from sltdeploy.lava_host.processes import Finished, OnLine
from sltdeploy.program import Array

NETWORK = "network.py"
START_S = 120.0  # default time limit: for starting, and for each step
STEP_S = 0.1  # a step of ten layers takes 3 ms on two cores


class Worker:
    """An interpreter with Lava that runs one network after the other, importing Lava once.

    Starts with the first run, in the interpreter ``python``, which is not examined first; without
    one in what `require` finds. Where a run fails it ends, and the next run starts it anew. A
    context manager; ends with this process too, however this process ends. Threads take turns.
    """

    def __init__(self, python: str | Path | None = None) -> None:
        self._python = None if python is None else Path(python)
        self._connection: Connection | None = None
        self._turn = threading.Lock()

    def run(
        self,
        folder: str | Path,
        x: Array | Mapping[str, Array],
        *,
        timeout_s: float | None = None,
        record: bool = True,
        potentials: bool = False,
        on_line: OnLine | None = None,
    ) -> dict[str, Array]:
        """Run the artifact in ``folder``; see `run_package`."""
        if timeout_s is not None and not (isfinite(timeout_s) and timeout_s > 0):
            raise InputError(f"time limit is {timeout_s} s, must be a positive number of seconds")
        network = Path(folder).absolute() / NETWORK
        if not network.is_file():
            raise InputError(f"{folder}: has no {NETWORK}: it is no Lava artifact")
        fed = dict(x) if isinstance(x, Mapping) else {"": np.asarray(x)}
        steps, batch = next(iter(fed.values())).shape[:2]
        limit = START_S + STEP_S * steps * batch if timeout_s is None else timeout_s
        wanted = (("--record", record), ("--potentials", potentials))
        flags = [flag for flag, chosen in wanted if chosen]
        with self._turn, tempfile.TemporaryDirectory(prefix="sltdeploy-") as temporary:
            given, result = _write(Path(temporary), fed), Path(temporary, "output.npz")
            request = Request(
                network, [str(given), str(result), "--as-sent", *flags], Path(temporary)
            )
            done = self._ask(request, limit, on_line)
            if done.code is None:
                raise CheckError(
                    f"{folder}: Lava was stopped at the time limit of {limit:g} s, {steps} steps "
                    f"of {batch} samples: allow more with --timeout SECONDS (in Python timeout_s), "
                    f"or give fewer samples; its last lines: {done.last_words}"
                )
            if done.code != 0:
                raise CheckError(
                    f"{folder}: Lava failed with exit code {done.code}: {done.last_words}"
                )
            return _read(folder, result, (steps, batch), done.last_words)

    def close(self) -> None:
        """End the interpreter; a later run starts it anew."""
        with self._turn:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, request: Request, limit: float, on_line: OnLine | None) -> Finished:
        for _ in range(2):  # one that something ended while it was idle is started anew
            done = self._started().ask(request, timeout_s=limit, on_line=on_line)
            if done is not None:
                return done
        return Finished(1, ())

    def _started(self) -> Connection:
        if self._connection is None or not self._connection.usable:
            self._connection = Connection(self._python or require().python)
        return self._connection


def run_package(
    folder: str | Path,
    x: Array | Mapping[str, Array],
    *,
    timeout_s: float | None = None,
    record: bool = True,
    potentials: bool = False,
    python: str | Path | None = None,
    on_line: OnLine | None = None,
) -> dict[str, Array]:
    """Run the artifact in ``folder`` over ``x`` (T, B, *shape), or one such array an input.

    ``x`` is what enters: integers where the network takes integers. Returns, by name and on the
    time axis of the reference, spikes (bool) and values (float32 or int32) of the outputs, with
    ``record`` of all populations, with ``potentials`` also the membranes (NAME.v) after each step.
    ``timeout_s`` is the limit in seconds, by default 120 and 0.1 a step; ``on_line`` gets each line
    that Lava prints.

    Runs of one process share one `Worker`. Raises `MissingComponentError` where no interpreter has
    Lava, `CheckError` with Lava's last lines where it fails, or at the time limit; then no process
    of Lava's stays behind.
    """
    return _shared(python).run(
        folder,
        x,
        timeout_s=timeout_s,
        record=record,
        potentials=potentials,
        on_line=on_line,
    )


def close_shared() -> None:
    """End the interpreter that runs of `run_package` share; the next run starts one."""
    while _workers:
        _workers.popitem()[1].close()


# The worker that all runs share, by what chose its interpreter: one at most.
_workers: dict[tuple[str, ...], Worker] = {}


def _shared(python: str | Path | None) -> Worker:
    choice = (
        str(python or ""),
        *(os.environ.get(v, "") for v in (PYTHON_VARIABLE, FOLDER_VARIABLE)),
    )
    if choice not in _workers:
        close_shared()
        _workers[choice] = Worker(None if python is None else require(python).python)
    return _workers[choice]


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
