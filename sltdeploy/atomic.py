"""Writing that loses nothing: to a temporary name beside the goal, then a rename.

A crash, a full disk or a Ctrl-C leaves what was there before, whole.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from sltdeploy.errors import InputError


def write_bytes(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path``, replacing a file there in one step."""
    temporary = _beside(path)
    try:
        _write(temporary, data)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        raise _named(path, error) from None


def write_folder(
    path: Path, files: Mapping[str, bytes], prove: Callable[[Path], None] | None = None
) -> None:
    """Put ``files`` (relative name: content) under ``path``, replacing a folder there.

    The old folder stays until the new one is complete, and until ``prove``, called with the new
    one under its temporary name, has returned: where it raises, nothing of the new one is left.
    """
    temporary, old = _beside(path), None
    try:
        for name, data in files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            _write(temporary / name, data)
        if prove is not None:
            prove(temporary)
        if path.exists():
            old = _beside(path)
            path.rename(old)
        try:
            temporary.rename(path)
        except BaseException:
            if old is not None:
                old.rename(path)
            raise
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise _named(path, error) from None
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _named(path: Path, error: BaseException) -> BaseException:
    """Name the goal, not the temporary name, where the system refused."""
    if not isinstance(error, OSError):
        return error
    return InputError(f"{path}: cannot be written: {error.strerror or error}; give another place")


def _beside(path: Path) -> Path:
    if not path.parent.is_dir():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{path.parent}: cannot be made a folder: {error.strerror}") from None
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
