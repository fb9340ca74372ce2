"""Bad input: one line with file, node, value, limit and cure; nothing is written."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import content, only_object, say

from sltdeploy import target

BAD = (  # command; exit code; what the one line names
    ("inspect missing.nir", 2, ["missing.nir", "no such file"]),
    ("inspect occupied", 2, ["occupied", "folder", ".nir"]),
    ("inspect text.nir", 2, ["text.nir", "neither a NIR file"]),
    ("inspect nodt.nir", 2, ["nodt.nir", "no time step", "--dt 0.001"]),
    ("inspect nan.nir", 2, ["nan.nir", "'fc'", "weight", "nan", "finite"]),
    ("inspect negative.nir", 2, ["negative.nir", "'lif'", "tau", "-1 s", "positive"]),
    ("inspect net.nir --dt -1", 2, ["net.nir", "time step", "-1", "positive"]),
    ("inspect net.nir --dt 0.1s", 2, ["--dt", "number", "--help"]),
    ("inspect net.nir --reset hard", 2, ["--reset", "hard", "zero"]),
    ("export net.nir --target loihi9 --out new", 2, ["loihi9", "did you mean", "loihi1"]),
    ("export net.nir --out new", 2, ["--target", "--format"]),
    ("export net.nir --target loihi1 --out new", 2, ["input", "graded", "loihi1", "spikes"]),
    ("export net.nir --format onnx --out occupied", 2, ["occupied", "holds more than", "another"]),
    ("export net.nir --target cmos-45nm --out new", 2, ["cmos-45nm", "no exporter", "--format"]),
    ("export net.nir --format hdl --out new", 2, ["--format", "onnx", "c", "lava", "nir"]),
    ("export net.nir --format lava --quantize int8 --out new", 2, ["input", "calibration"]),
    ("run artifact --input missing.npy --out new.npz", 2, ["missing.npy", "no such file"]),
    ("run artifact --input text.nir --out new.npz", 2, ["text.nir", "not a .npy", "numpy.save"]),
    ("run artifact --input wrong.npy --out new.npz", 2, ["wrong.npy", "(10, 2, 5)", "(T, B, 6)"]),
    ("run artifact --input nan.npy --out new.npz", 2, ["nan.npy", "'input'", "nan", "finite"]),
    ("run occupied --input x.npy --out new.npz", 2, ["occupied", "manifest.json", "no artifact"]),
    ("run artifact --engine lava --input x.npy --out y.npz", 2, ["lava", "artifact", "fast"]),
    ("verify missing", 2, ["missing", "no such folder"]),
    ("verify artifact --input wrong.npy", 2, ["wrong.npy", "(10, 2, 5)", "(T, B, 6)"]),
    ("energy net.nir --target raspberry-pi-4 --rate 0", 2, ["rate", "0", "positive"]),
    ("energy net.nir --target loihi9 --rate 1", 2, ["loihi9", "known targets are"]),
    ("verify artifact --timeout nan", 2, ["time limit", "nan", "positive"]),
    ("export net.nir --format onnx --out x.npy", 2, ["x.npy", "another folder"]),
    ("energy net.nir --target loihi2 --rate 1 --out r.pdf", 2, ["r.pdf", ".html", ".json"]),
    ("targets loihi9", 2, ["loihi9", "loihi1"]),
    ("setup lava --python missing", 2, ["missing", "3.10"]),
    ("compile", 2, ["compile", "--help"]),
)


@pytest.mark.parametrize(("command", "code", "named"), BAD, ids=[b[0] for b in BAD])
def test_bad_input_gets_one_line_and_nothing_is_written(
    here: Path, capfd: pytest.CaptureFixture[str], command: str, code: int, named: list[str]
) -> None:
    before = content(here)
    assert say(command) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert [word for word in named if word not in err] == []
    assert "Traceback" not in err
    assert content(here) == before

    assert say(f"{command} --json") == code
    out, err = capfd.readouterr()
    error = only_object(out)["error"]
    assert error["code"] == code
    assert [word for word in named if word not in error["messages"][0]] == []
    assert len(error["messages"]) == 1
    assert content(here) == before


def test_every_violation_is_told_at_once(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert say("inspect both.nir") == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "weight" in lines[0]
    assert "tau" in lines[1]
    assert say("export net.nir --target convs.toml --out new") == 2
    lines = capfd.readouterr().err.splitlines()
    named = [[part.strip() for part in line.split(":")[1:3]] for line in lines]
    assert named == [["net.nir", "input -> lif"], ["net.nir", "lif -> out"]]
    assert ["convs has no Linear" in line for line in lines] == [True, True]


def test_what_does_not_fit_exits_with_1(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert say("export net.nir --target tiny.toml --out new") == 1
    err = capfd.readouterr().err
    assert "16" in err
    assert "tiny" in err
    assert not Path("new").exists()
    assert say("energy net.nir --target tiny.toml --rate 1") == 1
    assert "tiny" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("package", "command", "cure"),
    [
        ("onnxruntime", "verify artifact", 'pip install "sltdeploy[robot]"'),
        ("onnx", "export net.nir --format onnx --out new", 'pip install "sltdeploy[onnx]"'),
        (
            "jinja2",
            "energy net.nir --target raspberry-pi-4 --rate 1 --out r.html",
            'pip install "sltdeploy[report]"',
        ),
    ],
)
def test_a_missing_component_exits_with_3(
    here: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    command: str,
    cure: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    before = content(here)
    assert say(command) == 3
    err = capfd.readouterr().err
    assert cure in err
    assert "Traceback" not in err
    assert content(here) == before


def test_a_search_without_torch_exits_with_3(here: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from sltdeploy.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "find", "digits", "--out", "new"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 3
    assert 'pip install "sltdeploy[search]"' in done.stderr
    assert "Traceback" not in done.stderr


def raising(error: BaseException) -> Any:
    """A function that raises ``error`` whatever it gets."""

    def function(*_: object) -> None:
        raise error

    return function


def test_an_internal_error_is_one_line_unless_debugged(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "names", raising(RuntimeError("boom\nand more")))
    assert say("targets") == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err == (
        "error: internal error: RuntimeError: boom; run again with --debug to see where\n"
    )
    assert say("targets --debug") == 1
    assert "Traceback" in capfd.readouterr().err
    assert say("targets --json") == 1
    assert only_object(capfd.readouterr().out)["error"]["code"] == 1


def test_a_full_disk_is_no_internal_error(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(28, "No space left on device", "out/model.onnx")
    monkeypatch.setattr(target, "names", raising(full))
    assert say("targets") == 2
    assert capfd.readouterr().err == "error: out/model.onnx: No space left on device\n"


def test_ctrl_c_is_one_line(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "names", raising(KeyboardInterrupt()))
    assert say("targets") == 130
    err = capfd.readouterr().err
    assert err.startswith("error: interrupted")
    assert err.count("\n") == 1
