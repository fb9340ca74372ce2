"""Runs network.py after network.py with one import of Lava.

Usage: ``python worker.py REQUESTS`` in an interpreter that has Lava; REQUESTS is an open pipe. Each
line of it is a request in JSON, {"network": path, "arguments": [...], "folder": where to run}. Each
line of stdout is an answer: {"line": text} for what the network prints, then {"done": exit code,
"clean": whether every process has ended}.

Each network runs in a fork of this process, which has imported the modules of Lava and has never
run a network: so nothing that one leaves behind, in Lava's registries, in sys.modules, in memory or
in files, can reach the next. Standard library only, and no import from here.
"""

import ast
import contextlib
import importlib
import json
import os
import re
import select
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

PACKAGES = ("lava", "numpy", "scipy")
# Lava imports these when it compiles a network, networkx among them.
COMPILER = ("lava.magma.compiler.compiler", "lava.magma.runtime.runtime")
RUNTIME = "lava.magma.runtime.runtime"
POLL_S = 0.02
GRACE_S = 1.0  # to end alone, after the network or one of Lava's processes has ended
LOOK_S = 1.0  # one that was killed, and that Lava has not asked for when looked for twice
LINE_LIMIT = 4096
SOCKET_ROOM = 60  # Lava makes a socket in its temporary folder; 104 characters is the limit


def main() -> None:
    """Serve requests until the pipe closes."""
    del sys.path[0]  # the folder of this file
    with os.fdopen(int(sys.argv[1]), "rb") as requests:
        for line in requests:
            request = json.loads(line)
            preload(Path(request["network"]))
            serve(request, requests)


def preload(network: Path) -> None:
    """Import what ``network`` will import from Lava, and what Lava will import for it.

    A module that cannot be imported is left to the network itself, which says so better.
    """
    wanted = [*imported(network)]
    if any(name.startswith("lava.") for name in wanted):
        models = [re.sub(r"\.process$", ".models", name) for name in wanted]
        wanted += [*models, *COMPILER]
    for name in wanted:
        if name not in sys.modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def imported(network: Path) -> Iterator[str]:
    """Modules of `PACKAGES` that the source of ``network`` imports."""
    try:
        tree = ast.parse(network.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in PACKAGES)


def serve(request: dict[str, Any], requests: BinaryIO) -> None:
    """Run one network in a fork of this process, and answer."""
    output, inlet = os.pipe()
    failures, alarm = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy has threads; they rest
        child = os.fork()
    if child == 0:
        requests.close()
        os.close(output)
        os.close(failures)
        os.dup2(inlet, 1)
        os.dup2(inlet, 2)
        os.close(inlet)
        run(request, alarm)
    os.close(inlet)
    os.close(alarm)
    code, clean = follow(child, output, failures)
    os.close(output)
    os.close(failures)
    say(done=code, clean=clean)


# ---------------------------------------------------------------------------------- in the fork


def run(request: dict[str, Any], alarm: int) -> None:
    """Do as ``python network.py ARGUMENTS`` does in ``folder``; never returns."""
    path, folder = Path(request["network"]), request["folder"]
    os.chdir(folder)
    if len(folder) <= SOCKET_ROOM:  # else Lava's files lie where they always do
        os.environ["TMPDIR"] = folder
    report_failures(alarm)
    module = ModuleType("__main__")
    module.__file__ = str(path)
    sys.modules["__main__"] = module
    sys.argv = [str(path), *request["arguments"]]
    sys.path.insert(0, str(path.parent))
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        # Python would wait for Lava's processes, which wait for this one.
        below = error.__traceback__ and error.__traceback__.tb_next  # without this frame
        traceback.print_exception(type(error), error, below)
        os._exit(1)
    sys.exit(0)


def report_failures(alarm: int) -> None:
    """Have each of Lava's processes say why it ends; of itself Lava says nothing and waits on."""
    runtime = sys.modules.get(RUNTIME)
    started: Callable[..., None] | None = getattr(runtime, "target_fn", None)
    if runtime is None or started is None:
        return

    def reporting(*arguments: Any, **named: Any) -> None:
        try:
            started(*arguments, **named)
        except BaseException:
            traceback.print_exc()
            os.write(alarm, b"!")
            raise

    setattr(runtime, "target_fn", reporting)  # noqa: B010 - no attribute of every module


# ------------------------------------------------------------------------------- in the worker


def follow(child: int, output: int, failures: int) -> tuple[int, bool]:
    """Hand on what the fork prints until it and all that it started have ended.

    Returns its exit code, and whether they have. Where one of its processes failed and the rest
    waits on, it is given a grace and left to whoever started this process, who ends the group.
    """
    opened, rest = {output, failures}, b""
    code: int | None = None
    deadline = look = time.monotonic() + LOOK_S
    ending, dead = False, dict[int, int]()
    while opened or code is None:
        for pipe in select.select(opened, [], [], POLL_S)[0]:
            data = os.read(pipe, 1 << 16)
            if not data:
                opened.remove(pipe)
            elif pipe == output:
                rest = hand_on(rest + data)
            elif not ending:
                ending, deadline = True, time.monotonic() + GRACE_S
        if code is None and (code := exit_code(child)) is not None and not ending:
            ending, deadline = True, time.monotonic() + GRACE_S
        now = time.monotonic()
        if code is None and not ending and now >= look:
            was, dead, look = dead, killed_children(child), now + LOOK_S
            if stuck := was.keys() & dead.keys():
                hand_on(rest + b"\n")
                how = f"killed by signal {dead[min(stuck)]}"
                say(line=f"a process of Lava's was {how}, and the others wait for it")
                return 1, False
        if ending and now >= deadline:
            break
    if rest:
        hand_on(rest + b"\n")
    if code is None:
        say(line="a process of Lava's failed, and the others wait for it")
    return 1 if code is None else code, not opened


def hand_on(data: bytes) -> bytes:
    """Say each whole line of ``data``; return the rest."""
    *lines, rest = data.split(b"\n")
    for line in lines:
        say(line=line[:LINE_LIMIT].decode("utf8", "replace"))
    if len(rest) > LINE_LIMIT:
        say(line=rest[:LINE_LIMIT].decode("utf8", "replace"))
        rest = b""
    return rest


def exit_code(child: int) -> int | None:
    """Exit code of ``child``, 128 + the signal that ended it, or None while it runs."""
    pid, status = os.waitpid(child, os.WNOHANG)
    if pid == 0:
        return None
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def killed_children(parent: int) -> dict[int, int]:
    """Processes of ``parent`` that a signal ended and that it has not asked for: {pid: signal}.

    Linux only; elsewhere there are none, and the time limit must do.
    """
    found: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = path.read_text("utf8", "replace").rpartition(")")[2].split()
            number = int(fields[-1]) & 0x7F  # of the wait status, the last field
            if fields[0] == "Z" and int(fields[1]) == parent and number:
                found[int(path.parent.name)] = number
    return found


def say(**answer: str | int | bool) -> None:
    """Write one answer."""
    data = json.dumps(answer).encode() + b"\n"
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    main()
