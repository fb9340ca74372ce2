"""``find``: a search from the command line, interrupted and taken up again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from commands import content, only_object, say

from sltdeploy.search import find
from sltdeploy.search.find import CHECKPOINT, TICKET
from sltdeploy.ticket import Ticket

SMALL = "--set network.channels=[2,2,2] --set pruning.rounds=1 --set threads=1"
ONE = f"{SMALL} --set training.epochs=1 --set training.rewind_epoch=0"


def test_a_search_is_written_and_not_repeated(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert say(f"find digits --out s {ONE} --json") == 0
    out, err = capfd.readouterr()
    found = only_object(out)
    ticket = Ticket.load(Path("s", TICKET))
    assert (found["id"], found["sparsity"]) == (ticket.id, ticket.sparsity)
    assert ticket.recipe["network"]["channels"] == [2, 2, 2]
    assert "round 1 of 1: " in err
    assert say(f"inspect s/{TICKET} --json") == 0
    shown = only_object(capfd.readouterr().out)
    assert shown["ticket"]["history"] == found["history"]
    assert shown["sparsity"] == pytest.approx(ticket.sparsity)
    assert say(f"inspect s/{TICKET}") == 0
    assert f"ticket {ticket.id}" in capfd.readouterr().out
    assert say(f"energy s/{TICKET} --target raspberry-pi-4 --rate 10 --json") == 0
    out, _ = capfd.readouterr()
    assert only_object(out)["input"] == "the 500 held-out digits"
    assert only_object(out)["accuracy"] == found["test_accuracy"]
    before = content(tmp_path)
    assert say(f"find digits --out s {ONE}") == 2
    assert "resume" in capfd.readouterr().err
    assert content(tmp_path) == before
    assert say(f"find digits --out s {ONE} --resume") == 0
    assert ticket.id in capfd.readouterr().out


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("find missing.toml --out s", ["missing.toml", "digits"]),
        ("find digits --out s --set training.rate=1", ["training.rate", "unknown"]),
        ("find digits --out s --set training.lr=-1", ["training.lr", "-1"]),
        ("find digits --out s --set training", ["training", "key=value"]),
    ],
)
def test_a_bad_recipe_gets_one_line(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    named: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert say(command) == 2
    lines = capfd.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1
    assert [word for word in named if word not in errors[0]] == []
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_search_says_how_to_go_on_and_does(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = f"find digits {SMALL} --set training.epochs=2 --set training.rewind_epoch=1"
    train, epochs = find.train_epoch, iter(range(100))

    def train_or_stop(*arguments: Any) -> float:
        if next(epochs) == 1:
            raise KeyboardInterrupt
        return train(*arguments)

    monkeypatch.setattr(find, "train_epoch", train_or_stop)
    assert say(f"{command} --out s") == 130
    lines = capfd.readouterr().err.splitlines()
    assert "interrupted" in lines[-1]
    assert "--resume" in lines[-1]
    assert say(f"{command} --out s --resume") == 0
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert say(f"{command} --out whole") == 0
    assert Path("s", TICKET).read_bytes() == Path("whole", TICKET).read_bytes()


def test_a_real_ctrl_c_leaves_the_checkpoint_and_no_traceback(tmp_path: Path) -> None:
    command = f"find digits --out s {SMALL} --set training.epochs=900 --set training.rewind_epoch=1"
    code = "import sys; from sltdeploy.cli import main; main(sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", code, *command.split()],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stderr is not None
        while not (tmp_path / "s" / CHECKPOINT).exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        err = process.stderr.read()
        assert process.wait(60) == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("error: interrupted")
    assert [path.name for path in (tmp_path / "s").iterdir()] == [CHECKPOINT]
