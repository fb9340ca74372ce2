"""Find the winning spiking ticket, ship it to the chip or the robot, know its energy first.

The public names load on first use, so that ``import sltdeploy`` takes milliseconds and imports
no torch, onnx, lava or matplotlib. No module has the name of a public function: importing
``sltdeploy.export`` as a module would put it in the function's place.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sltdeploy.checking import check as check
    from sltdeploy.counting import count as count
    from sltdeploy.delivery import export as export
    from sltdeploy.describing import to_nir as to_nir
    from sltdeploy.loading import load as load
    from sltdeploy.lowering import lower as lower
    from sltdeploy.pricing import energy as energy
    from sltdeploy.reference import run as run
    from sltdeploy.runtime import open_artifact as open  # noqa: A004
    from sltdeploy.search.norse_graph import to_norse as to_norse
    from sltdeploy.simplification import simplify as simplify
    from sltdeploy.verification import verify as verify

__version__ = "0.1.0"

_PUBLIC = {  # name: (module, name there)
    "check": ("checking", "check"),
    "count": ("counting", "count"),
    "energy": ("pricing", "energy"),
    "export": ("delivery", "export"),
    "load": ("loading", "load"),
    "lower": ("lowering", "lower"),
    "open": ("runtime", "open_artifact"),
    "run": ("reference", "run"),
    "simplify": ("simplification", "simplify"),
    "to_nir": ("describing", "to_nir"),
    "to_norse": ("search.norse_graph", "to_norse"),
    "verify": ("verification", "verify"),
}

__all__ = [
    "check",
    "count",
    "energy",
    "export",
    "load",
    "lower",
    "open",
    "run",
    "simplify",
    "to_nir",
    "to_norse",
    "verify",
]

# Installed, exporters/ and targets/ lie in this package; in a checkout they stand beside it.
if not Path(__file__).with_name("exporters").is_dir():
    __path__.append(str(Path(__file__).parents[1]))


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'sltdeploy' has no attribute {name!r}")
    module, there = _PUBLIC[name]
    found = getattr(importlib.import_module(f"sltdeploy.{module}"), there)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
