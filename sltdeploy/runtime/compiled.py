"""A C file as a shared object: compiled once, then taken from the user's cache."""

import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from sltdeploy.atomic import write_bytes
from sltdeploy.errors import InputError, MissingComponentError

COMPILERS = ("cc", "gcc", "clang")
# No contraction: a * b + c in one rounding is another number.
FLAGS = ("-std=c99", "-O3", "-funroll-loops", "-ffp-contract=off", "-fPIC", "-shared")
TABLES = "-DNETWORK_TABLES"
LIBRARY = "network.so"
TIMEOUT_S = 600
GET_ONE = "install one (apt install gcc, dnf install gcc, xcode-select --install) or set CC"
CACHE_ELSEWHERE = "set XDG_CACHE_HOME to a folder that can be written"


def shared_object(code: bytes, header: bytes, names: tuple[str, str]) -> Path:
    """Path of the compiled ``code``; ``names`` are those of the file and its header.

    The cache is ``$XDG_CACHE_HOME/sltdeploy/c``, by the hash of source, compiler, its flags and
    the processor. Raises `MissingComponentError` where there is no compiler or it fails.
    """
    compiler = _compiler()
    native = _native()
    command = (*compiler, *FLAGS, *native, TABLES)
    sha = hashlib.sha256()
    for part in (code, header, repr(command).encode(), _identity(compiler[0]), _processor()):
        sha.update(hashlib.sha256(part).digest())
    folder = _cache()
    goal = folder / f"{sha.hexdigest()}.so"
    if not goal.is_file():
        _keep(goal, _compiled(command, code, header, names))
    return goal


def _compiler() -> tuple[str, ...]:
    given = os.environ.get("CC", "")
    try:
        named = shlex.split(given)
    except ValueError as error:
        raise MissingComponentError(f"CC is {given}, no command ({error}): {GET_ONE}") from None
    if named:
        path = shutil.which(named[0])
        if path is None:
            raise MissingComponentError(
                f"running a C artifact needs a C compiler, CC names '{named[0]}', which is not "
                f"here: {GET_ONE}"
            )
        return (path, *named[1:])
    for name in COMPILERS:
        path = shutil.which(name)
        if path is not None:
            return (path,)
    raise MissingComponentError(
        f"running a C artifact needs a C compiler, none of {', '.join(COMPILERS)} is here: "
        f"{GET_ONE}"
    )


def _native() -> tuple[str, ...]:
    """Flag for the instructions of this very processor; the cache is kept apart for each."""
    machine = os.uname().machine if hasattr(os, "uname") else ""
    if machine in ("x86_64", "AMD64"):
        return ("-march=native",)
    return ("-mcpu=native",) if machine == "aarch64" else ()


def _identity(compiler: str) -> bytes:
    """What changes when the compiler is replaced."""
    there = Path(compiler).resolve()
    status = there.stat()
    return f"{there} {status.st_size} {status.st_mtime_ns}".encode()


def _processor() -> bytes:
    """What the processor can do: a cache may be shared by unequal machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf8", errors="replace").splitlines()
    except OSError:
        return repr(os.uname() if hasattr(os, "uname") else "").encode()
    told = ("flags", "Features", "model name", "CPU part", "cpu family", "model")
    return "\n".join(sorted({x for x in lines if x.split(":")[0].strip() in told})).encode()


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
        folder = root / "sltdeploy" / "c"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except RuntimeError:
        raise MissingComponentError(
            f"there is no home folder to keep compiled artifacts in: {CACHE_ELSEWHERE}"
        ) from None
    except OSError as error:
        raise MissingComponentError(
            f"{error.filename}: the cache for compiled artifacts cannot be made "
            f"({error.strerror}): {CACHE_ELSEWHERE}"
        ) from None
    return folder


def _keep(goal: Path, library: bytes) -> None:
    try:
        write_bytes(goal, library)  # whole or not at all, also where the power fails
    except InputError as error:
        raise MissingComponentError(f"{error.violations[0]}: {CACHE_ELSEWHERE}") from None


def _compiled(
    command: tuple[str, ...], code: bytes, header: bytes, names: tuple[str, str]
) -> bytes:
    failed = ""
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name, text in zip(names, (code, header), strict=True):
                Path(folder, name).write_bytes(text)
            done = subprocess.run(
                (*command, "-o", LIBRARY, names[0]),
                cwd=folder,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_S,
                check=False,
            )
            if done.returncode == 0:
                return Path(folder, LIBRARY).read_bytes()
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            failed = next((line for line in said if "error" in line), said[0])
    except subprocess.TimeoutExpired:
        failed = f"not done after {TIMEOUT_S} s"
    except OSError as error:
        failed = str(error)
    raise MissingComponentError(
        f"'{shlex.join(command)}' cannot compile the artifact: {failed}: set CC to another "
        "C99 compiler"
    )
