"""Running a C artifact here: the compiler, the cache, batches, states, damaged artifacts."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import programs
import pytest
from c_builds import differing
from late_programs import late_programs
from test_engines import integers

import sltdeploy as slt
from sltdeploy import reference
from sltdeploy.errors import InputError, MissingComponentError
from sltdeploy.runtime import compiled
from sltdeploy.runtime.c_engine import CEngine
from sltdeploy.runtime.manifest import read, read_files
from sltdeploy.runtime.program_engine import ProgramEngine

PROGRAM = programs.branches()
FED = programs.stimulus(PROGRAM)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, and no compiler from the environment."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)
    return tmp_path / "cache/sltdeploy/c"


@pytest.fixture
def folder(tmp_path: Path, cache: Path) -> Path:
    """Lay down the C artifact of `PROGRAM`, as it comes to a machine that never compiled it."""
    slt.export(PROGRAM, None, tmp_path / "artifact", format="c")
    shutil.rmtree(cache, ignore_errors=True)
    return tmp_path / "artifact"


def counting_compiler(folder: Path, monkeypatch: pytest.MonkeyPatch, then: str = "") -> Path:
    """Make CC a script that notes each call; the notes."""
    real = shutil.which("cc") or shutil.which("gcc")
    assert real is not None
    script, notes = folder / "counting cc", folder / "calls"
    script.write_text(f'#!/bin/sh\necho called >> "{notes}"\n{then}\nexec {real} "$@"\n', "utf8")
    script.chmod(0o755)
    monkeypatch.setenv("CC", f"'{script}'")
    return notes


def test_verify(folder: Path) -> None:
    found = slt.verify(folder)
    assert found.ok
    assert {c.population for c in found.compared} >= {"hidden/a", "hidden/b", "out", "value"}


def test_compiled_once(
    folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = counting_compiler(tmp_path, monkeypatch)
    for _ in range(2):
        with slt.open(folder) as runner:
            got = runner.run(FED).outputs["value"]
        np.testing.assert_array_equal(got, reference.run(PROGRAM, FED).records["value"])
    assert notes.read_text("utf8").count("called") == 1
    (held,) = cache.iterdir()  # nothing half-made beside it
    assert held.suffix == ".so"
    text = (folder / "network.c").read_text("utf8") + "\n"
    (folder / "network.c").write_text(text, "utf8")
    slt.open(folder, verify=False).close()
    assert notes.read_text("utf8").count("called") == 2
    assert len(list(cache.iterdir())) == 2


def test_without_a_compiler(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(
        MissingComponentError,
        match=r"needs a C compiler, none of cc, gcc, clang "
        r"is here: install one \(apt install gcc",
    ):
        slt.open(folder)
    monkeypatch.setenv("CC", "no-such-cc -m64")
    with pytest.raises(MissingComponentError, match="CC names 'no-such-cc', which is not here"):
        slt.open(folder)


def test_a_compiler_that_fails(
    folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting_compiler(tmp_path, monkeypatch, 'echo "out of ideas" >&2; exit 1')
    with pytest.raises(MissingComponentError, match="cannot compile the artifact: out of ideas"):
        slt.open(folder)
    assert list(cache.iterdir()) == []


def test_a_compiler_that_hangs(
    folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting_compiler(tmp_path, monkeypatch, "exec sleep 60")
    monkeypatch.setattr(compiled, "TIMEOUT_S", 0.1)
    with pytest.raises(MissingComponentError, match=r"cannot compile .*: not done after 0\.1 s"):
        slt.open(folder)
    assert list(cache.iterdir()) == []


def test_of_several_lines_the_error_is_shown(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "In function f:\\nnetwork.c:1:1: error: \\377 is no C\\nmore\\n"
    counting_compiler(tmp_path, monkeypatch, f"printf '{said}' >&2; exit 1")
    with pytest.raises(MissingComponentError, match=r"artifact: network\.c:1:1: error: . is no C:"):
        slt.open(folder)


def test_cc_that_is_no_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "gcc '-m64")
    with pytest.raises(MissingComponentError, match=r"CC is gcc '-m64, no command \(No closing"):
        slt.open(folder)


def test_a_cache_that_cannot_be_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("/proc, where not even root can write, is Linux's")
    (tmp_path / "full/sltdeploy").mkdir(parents=True)
    (tmp_path / "full/sltdeploy/c").symlink_to("/proc")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "full"))
    with pytest.raises(MissingComponentError, match=r"cannot be written.*set XDG_CACHE_HOME"):
        slt.open(folder)


def test_without_a_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", Mock(side_effect=RuntimeError))
    with pytest.raises(MissingComponentError, match=r"no home folder .*set XDG_CACHE_HOME"):
        slt.open(folder)


def test_a_damaged_library_is_named(
    folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slt.open(folder).close()
    (library,) = cache.iterdir()
    damaged = tmp_path / "other/sltdeploy/c" / library.name
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"no library")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    with pytest.raises(InputError, match=f"cannot be loaded .*: remove {damaged} and open it"):
        slt.open(folder)


def test_a_cache_that_cannot_be_made(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("", "utf8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(MissingComponentError, match="set XDG_CACHE_HOME to a folder"):
        slt.open(folder)


@pytest.mark.parametrize("name", ["network.c", "network.h", "program.safetensors"])
def test_what_was_changed_never_reaches_the_compiler(
    name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = counting_compiler(tmp_path, monkeypatch)
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data.replace(b"0", b"1", 1))
    with pytest.raises(InputError, match=f"{name}: was changed after export"):
        slt.open(folder)
    assert not notes.exists()


def damaged(manifest: Mapping[str, Any]) -> dict[str, tuple[dict[str, Any], str]]:
    """Changes of the manifest, and what is said about each."""
    members = manifest["members"]
    grown = [{**m, "count": m["count"] * 1000} for m in members]
    unsent = [{**m, "what": ""} for m in members]
    touch, image = manifest["inputs"][1], manifest["inputs"][0]
    wide = [{**p, "shape": [6]} if p["name"] == "touch" else p for p in manifest["populations"]]
    return {
        "no code": ({"code": None}, "'None' is none of the files"),
        "foreign code": ({"code": "/etc/passwd"}, "'/etc/passwd' is none of the files"),
        "no members": ({"members": None}, "members are damaged"),
        "no numbers": ({"members": [{"name": "x"}] * len(members)}, "members are damaged"),
        "unknown type": ({"members": [{**m, "dtype": "f9"} for m in members]}, "are damaged"),
        "too large": ({"members": grown}, "do not fit the code"),
        "nothing sent": ({"members": unsent}, "do not fit the code"),
        "an output less": ({"outputs": manifest["outputs"][1:]}, "the manifest names"),
        "an input less": ({"inputs": [image]}, "the manifest names"),
        "a wider input": (
            {"inputs": [image, {**touch, "shape": [6]}], "populations": wide},
            r"arrays of \[16, 5, 3, 4, 3, 4\], the manifest names \[16, 6, 3, 4, 3, 4\]",
        ),
    }


def test_a_manifest_that_does_not_fit(folder: Path) -> None:
    manifest = dict(read(folder).data)
    for name, (changes, said) in damaged(manifest).items():
        programs.edit_manifest(folder, {**manifest, **changes})
        with pytest.raises(InputError, match=said):
            slt.open(folder)
        programs.edit_manifest(folder, manifest)
        assert name
    slt.open(folder).close()


def test_code_without_its_entry(folder: Path) -> None:
    text = (folder / "network.c").read_text("utf8").replace("network_step_all", "step_all")
    (folder / "network.c").write_text(text, "utf8")
    with pytest.raises(InputError, match=r"lacks what a runner calls .*network_step_all"):
        slt.open(folder, verify=False)


def engine(folder: Path) -> CEngine:
    """Open below the runner."""
    manifest = read(folder)
    return CEngine(manifest, read_files(manifest))


def step(fed: Mapping[str, np.ndarray[Any, Any]], t: int) -> dict[str, np.ndarray[Any, Any]]:
    """What enters at step t."""
    return {"image": fed["image"][t], "touch": fed["touch"][t] != 0}


def test_batches_and_instances_do_not_touch(folder: Path) -> None:
    trace = reference.run(PROGRAM, FED).records
    a, b = engine(folder), engine(folder)
    a.begin(3)
    b.begin(3)
    for t in range(6):
        sent = a.advance(step(FED, t), record=True)
        assert differing({n: trace[n][t] for n in sent}, sent) == {}
        if t % 2:
            b.advance(step(FED, 0), record=False)
    a.begin(1)  # another batch size, from the first state
    one = {n: v[:, 1:2] for n, v in FED.items()}
    kept = [a.advance(step(one, t), record=True) for t in range(12)]
    for t, sent in enumerate(kept):  # each array is the caller's
        assert differing({n: trace[n][t, 1:2] for n in sent}, sent) == {}


def test_bare_steps_on_buffers(folder: Path) -> None:
    trace = reference.run(PROGRAM, FED).records
    bare = engine(folder)
    bare.begin(3)
    fed, given = bare.buffers
    assert fed["touch"].dtype == bool
    for t in range(12):
        for name, values in step(FED, t).items():
            fed[name][...] = values
        bare.tick()
        assert set(given) == set(PROGRAM.outputs)
        assert differing({n: trace[n][t] for n in given}, given) == {}


@pytest.mark.parametrize("name", [*sorted(late_programs()), "branches", "integers"])
def test_a_state_is_that_of_the_reference_and_can_be_set(name: str, tmp_path: Path) -> None:
    """After going back to an earlier state, here or in another runner, the same follows."""
    program = {**late_programs(), "branches": PROGRAM, "integers": integers()}[name]
    fed = programs.stimulus(program)
    slt.export(program, None, tmp_path / "a", format="c")
    with slt.open(tmp_path / "a") as runner, slt.open(tmp_path / "a") as other:
        x = [{n: v[t] for n, v in fed.items()} for t in range(12)]
        for t in range(5):
            runner.step(x[t])
        state = runner.state
        held = ProgramEngine(program)
        held.begin(3)
        entered = reference.run(program, fed).records
        for t in range(5):
            held.advance({n: entered[n][t] for n in x[t]}, record=False)
        expected = held.state()
        assert {n: v.shape for n, v in state.items()} == {n: v.shape for n, v in expected.items()}
        assert {n: v.dtype for n, v in state.items()} == {n: v.dtype for n, v in expected.items()}
        assert differing(expected, state) == {}
        after = [runner.step(x[t]) for t in range(5, 12)]
        runner.state = state
        other.reset(3)
        other.step(x[0])
        other.state = state
        for t in range(5, 12):
            assert differing(after[t - 5], runner.step(x[t])) == {}
            assert differing(after[t - 5], other.step(x[t])) == {}


def test_buffers_are_aligned(folder: Path) -> None:
    ours = engine(folder)
    ours.begin(2)
    for array in (*ours.buffers[0].values(), *ours.buffers[1].values()):
        assert array.ctypes.data % 64 == 0
    ours.close()


def test_no_path_of_this_machine_is_in_the_artifact(folder: Path) -> None:
    for path in folder.iterdir():
        assert os.fsencode(str(folder)) not in path.read_bytes()
        assert hashlib.sha256(path.read_bytes()).hexdigest()
