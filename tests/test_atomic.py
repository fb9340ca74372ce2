"""A write happens whole or not at all."""

from pathlib import Path
from typing import Any

import pytest

from sltdeploy import atomic
from sltdeploy.atomic import write_bytes, write_folder
from sltdeploy.errors import CheckError, InputError


def failing(after: int) -> Any:
    """Return a writer that runs out of disk after so many files."""
    whole: Any = atomic._write  # pyright: ignore[reportPrivateUsage]
    written = 0

    def write(path: Path, data: bytes) -> None:
        nonlocal written
        if written == after:
            path.write_bytes(data[: len(data) // 2])
            raise OSError("No space left on device")
        written += 1
        whole(path, data)

    return write


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    """New content is there, folders are made, nothing else is left."""
    path = tmp_path / "a" / "b.txt"
    write_bytes(path, b"one")
    write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["b.txt"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old bytes stay, no temporary file does."""
    path = tmp_path / "b.txt"
    write_bytes(path, b"one")
    monkeypatch.setattr(atomic, "_write", failing(0))
    with pytest.raises(InputError, match=r"b.txt: cannot be written: No space left on device"):
        write_bytes(path, b"two, longer")
    assert path.read_bytes() == b"one"
    assert [p.name for p in tmp_path.iterdir()] == ["b.txt"]


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_failed_folder_keeps_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Whichever file fails."""
    goal = tmp_path / "artifact"
    write_folder(goal, {"x": b"old", "deep/y": b"old"})
    monkeypatch.setattr(atomic, "_write", failing(after))
    with pytest.raises(InputError, match=r"artifact: cannot be written: No space"):
        write_folder(goal, {"x": b"new", "deep/y": b"new", "z": b"new"})
    assert (goal / "x").read_bytes() == (goal / "deep" / "y").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["artifact"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    """Files of the old one do not linger."""
    goal = tmp_path / "artifact"
    write_folder(goal, {"x": b"old", "gone": b"old"})
    write_folder(goal, {"x": b"new"})
    assert {p.name: p.read_bytes() for p in goal.iterdir()} == {"x": b"new"}
    assert [p.name for p in tmp_path.iterdir()] == ["artifact"]


def test_what_does_not_prove_is_not_left(tmp_path: Path) -> None:
    """The old one stays, the new one was whole when it was looked at."""
    goal = tmp_path / "artifact"
    write_folder(goal, {"x": b"old"})
    seen: list[bytes] = []

    def prove(folder: Path) -> None:
        seen.append((folder / "x").read_bytes())
        raise CheckError("no")

    with pytest.raises(CheckError, match="no"):
        write_folder(goal, {"x": b"new"}, prove)
    assert (seen, (goal / "x").read_bytes()) == ([b"new"], b"old")
    assert [p.name for p in tmp_path.iterdir()] == ["artifact"]
    write_folder(goal, {"x": b"new"}, lambda _: None)
    assert (goal / "x").read_bytes() == b"new"


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    """A parent that is a file cannot hold a folder."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be made a folder"):
        write_bytes(tmp_path / "file" / "x", b"")
