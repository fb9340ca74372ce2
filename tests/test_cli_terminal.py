"""What reaches the terminal: one JSON object, plain lines, no control characters, help."""

import io
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from commands import EVIL, only_object, say

from sltdeploy import exporting, program, target
from sltdeploy.cli import arrays, artifacts, call, options, streaming
from sltdeploy.cli.outcome import Outcome, Table, show, visible
from sltdeploy.cli.progress import Bar
from sltdeploy.convention_presets import NAMES
from sltdeploy.graph import CHOICES
from sltdeploy.program import Array
from sltdeploy.runtime import deadline
from sltdeploy.runtime.opening import ENGINES


def test_names_from_files_do_not_reach_the_terminal_raw(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert say("inspect evil.nir") == 0
    out, _ = capfd.readouterr()
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert r"lif\x1b[31m[bold]\u202e" in out
    assert say("inspect worse.nir") == 2
    _, err = capfd.readouterr()
    assert "\x1b" not in err
    assert r"lif\x1b[31m[bold]" in err
    assert err.count("\n") == 1


def test_a_table_on_a_terminal_shows_markup_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    outcome = Outcome({}, (Table(("name",), ((EVIL,), ("[red]x[/red]",)), "[t]"), "[b]line[/b]"))
    terminal = Terminal()
    show(outcome, as_json=False, to=terminal)
    drawn = terminal.getvalue()
    assert "[red]x[/red]" in drawn
    assert "[b]line[/b]" in drawn
    assert "\x1b[31m" not in drawn
    assert "\x1b" in drawn  # the header is bold: this is the terminal's form
    plain = io.StringIO()
    show(outcome, as_json=False, to=plain)
    assert "\x1b" not in plain.getvalue()
    assert plain.getvalue().splitlines()[0] == "[t]"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", r"a\nb"),
        ("\x9b31m", r"\x9b31m"),
        ("\u2066x", r"\u2066x"),
        ("\udc80", r"\udc80"),
        ("12\u202f345 µJ é 漢", "12\u202f345 µJ é 漢"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_what_libraries_print_stays_out_of_the_json(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def chatty() -> list[str]:
        print("from Python")
        subprocess.run(["echo", "from elsewhere"], check=True)
        return []

    monkeypatch.setattr(target, "names", chatty)
    assert say("targets --json") == 0
    out, err = capfd.readouterr()
    assert only_object(out) == {"targets": []}
    assert "from elsewhere" in err


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    code = "from sltdeploy.cli import main; main(['targets'])"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 1


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_and_version_are_results(
    capfd: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert call(arguments) == 0
    out, err = capfd.readouterr()
    assert "sltdeploy" in out
    assert err == ""


def test_no_command_shows_the_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert call([]) == 2
    assert "doctor" in capfd.readouterr().out


def test_every_command_has_json_and_debug(capfd: pytest.CaptureFixture[str]) -> None:
    commands = ["demo", "find", "export", "run", "verify", "bench", "energy", "inspect"]
    for command in [*commands, "targets", "doctor", "setup lava"]:
        assert say(f"{command} --help") == 0
        out = capfd.readouterr().out
        assert "--json" in out
        assert "--debug" in out
        if command in ("export", "energy", "inspect"):
            flags = ("--dt", "--reset", "--compare", "--decay", "--convention")
            assert [flag for flag in flags if flag not in out] == []


def test_choices_are_those_of_the_modules() -> None:
    assert get_args(options.ResetRule) == get_args(program.Reset)
    assert get_args(options.CompareRule) == get_args(program.Comparison)
    assert get_args(options.DecayRule) == get_args(program.Decay)
    assert get_args(options.Framework) == NAMES
    assert get_args(options.InputKind) == CHOICES["input_kind"]
    assert set(get_args(options.Format)) <= set(exporting.names())
    assert get_args(options.Quantize) == tuple(exporting.QUANTIZATIONS)
    assert get_args(options.Form) == tuple(exporting.FORMS)
    assert get_args(options.Stream) == get_args(streaming.Stream)
    assert get_args(options.OnMiss) == get_args(deadline.OnMiss)
    assert set(get_args(options.Engine)) == {name for some in ENGINES.values() for name in some}


def test_a_run_that_is_no_run_of_lavas_has_a_bar_and_no_lines(
    here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert say("run artifact --input x.npy --out y.npz") == 0
    assert capfd.readouterr().err == ""
    shown: list[tuple[int, int, str, str]] = []

    @contextmanager
    def bar() -> Generator[Bar]:
        def show(done: int, total: int, what: str, line: str = "") -> None:
            shown.append((done, total, what, line))

        yield show

    monkeypatch.setattr(artifacts, "bar", bar)
    for command in ("run artifact --input x.npy --out y.npz", "verify artifact --input x.npy"):
        shown.clear()
        assert say(command) == 0
        assert shown == [(k + 1, 10, "steps", "") for k in range(10)]


def test_an_npz_takes_any_name_and_is_the_same_each_time() -> None:
    named: dict[str, Array] = {
        "file": np.arange(3),
        "a/b": np.zeros((2, 0), bool),
        "": np.ones(1, np.float32),
    }
    data = arrays.npz(named)
    assert data == arrays.npz(named)
    with np.load(io.BytesIO(data)) as read:
        for name, array in named.items():
            np.testing.assert_array_equal(read[name], array)
            assert read[name].dtype == array.dtype


def test_several_inputs_come_from_one_npz(here: Path) -> None:
    Path("two.npz").write_bytes(arrays.npz({"a": np.zeros(2), "b": np.ones(3)}))
    read = arrays.read(Path("two.npz"))
    assert isinstance(read, dict)
    assert {name: len(array) for name, array in read.items()} == {"a": 2, "b": 3}


def test_pickles_are_not_read(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    np.save("pickle.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert say("verify artifact --input pickle.npy") == 2
    assert "pickle.npy" in capfd.readouterr().err
