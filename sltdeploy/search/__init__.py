"""Finding tickets: the only part of sltdeploy that imports torch and norse."""

import warnings
from importlib.util import find_spec

from sltdeploy.errors import MissingComponentError

_missing = [name for name in ("torch", "norse") if find_spec(name) is None]
if _missing:
    raise MissingComponentError(
        f"{' and '.join(_missing)} not installed, which searching and reading Norse networks "
        'need: pip install "sltdeploy[search]" (Python 3.11 to 3.13)'
    )

# norse 1.1.0 is written with torch.jit.script, which torch 2.13 deprecates loudly on import.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import norse.torch as _norse  # noqa: F401  # pyright: ignore[reportUnusedImport]
