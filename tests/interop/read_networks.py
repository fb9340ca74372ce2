"""Load NIR files of sltdeploy into a framework by its own importer, run them, keep the output.

``python read_networks.py nir|norse|snntorch|spikingjelly FOLDER``: NAME.nir and ``x`` in NAME.npz
give NAME.FRAMEWORK.npz; what the importer raises goes to NAME.FRAMEWORK.txt.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recording import save, stepped

DT = 1e-4  # snnTorch knows no other


def carried(module: Any) -> Callable[[Any], Any]:
    """A module of nirtorch takes its state and gives it back."""
    state: list[Any] = [None]

    def call(x: Any) -> Any:
        out, state[0] = module(x, state[0])
        return out[0] if isinstance(out, tuple) else out

    return call


def norse(path: Path) -> Callable[[Any], Any]:
    """Norse 1.1.0."""
    return carried(import_module("norse.torch").from_nir(import_module("nir").read(path), dt=DT))


def snntorch(path: Path) -> Callable[[Any], Any]:
    """Modules keep their state; the state that is handed around stays empty."""
    importer: Any = import_module("snntorch.import_nir")
    return carried(importer.import_from_nir(import_module("nir").read(path)))


def spikingjelly(path: Path) -> Callable[[Any], Any]:
    """One step at a time."""
    importer: Any = import_module("spikingjelly.activation_based.nir_exchange")
    return carried(importer.import_from_nir(path, dt=DT))


FRAMEWORKS = {"norse": norse, "snntorch": snntorch, "spikingjelly": spikingjelly}


def main(framework: str, folder: Path) -> None:
    """Run every file."""
    for path in sorted(folder.glob("*.nir")):
        x = torch.tensor(np.load(path.with_suffix(".npz"))["x"], dtype=torch.float32)
        try:
            save(folder, f"{path.stem}.{framework}", x, stepped(FRAMEWORKS[framework](path), x))
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            (folder / f"{path.stem}.{framework}.txt").write_text(text)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
