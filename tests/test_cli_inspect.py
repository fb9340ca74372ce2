"""``inspect`` as a user meets it: the view, the drawing, what it refuses."""

from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import nir
import numpy as np
import pytest
from commands import EVIL, only_object, say
from test_inspection import recurrent

from sltdeploy import target


def test_the_drawing_is_written(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert say("inspect net.nir --out net.svg") == 0
    assert capfd.readouterr().out.splitlines()[-1] == "net.svg"
    text = Path("net.svg").read_text("utf8")
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert "fc \u2192 lif" in text
    assert "net.nir" in text
    assert say("inspect net.nir --out again.svg --json") == 0
    assert only_object(capfd.readouterr().out)["drawing"] == "again.svg"
    assert Path("again.svg").read_bytes() == Path("net.svg").read_bytes()


def test_another_suffix_is_refused_before_anything_is_read(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert say("inspect missing.nir --out net.png") == 2
    assert capfd.readouterr().err == "error: net.png: the drawing is written as .svg, name it so\n"
    assert say("inspect nodt.nir --out net.svg") == 2
    assert not Path("net.svg").exists()


def test_nodes_targets_and_loops_are_told(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    net = recurrent()
    nir.write("loop.nir", net)
    assert say("inspect loop.nir") == 0
    out = capfd.readouterr().out
    assert "loop lif -> rec -> lif" in out
    assert "9, 55.6\u202f% pruned" in out
    said = {line.split()[0]: line for line in out.splitlines() if line}
    assert "tau " in said["lif"]
    for name in target.names():
        assert said[name].split()[1] in ("fits", "fits:", "lacks:", "too")
    assert say("inspect loop.nir --json") == 0
    found = only_object(capfd.readouterr().out)
    assert found["loops"] == [["lif", "rec", "lif"]]
    assert {n["name"]: n["shape"] for n in found["nodes"]}["rec"] == [3]
    assert [v["target"] for v in found["verdicts"]] == target.names()


def test_many_loops_are_cut_short(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    one = np.ones(2)
    nodes = {f"n{k}": nir.LIF(one * 0.01, one, one * 0, one) for k in range(10)}
    ends = {
        "input": nir.Input({"input": np.array([2])}),
        "output": nir.Output({"output": np.array([2])}),
    }
    chain = ["input", *nodes, "output"]
    edges = [*pairwise(chain), *((n, n) for n in nodes)]
    nir.write("loops.nir", nir.NIRGraph({**ends, **nodes}, edges, metadata={"dt": 1e-3}))
    assert say("inspect loops.nir") == 0
    out = capfd.readouterr().out
    assert out.count("\nloop n") == 8
    assert "... and 2 more loops" in out


def test_hostile_names_are_shown_not_obeyed(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert say("inspect evil.nir --out evil.svg") == 0
    assert "\x1b" not in capfd.readouterr().out
    text = Path("evil.svg").read_text("utf8")
    assert EVIL not in text
    assert "lif\\x1b[31m[bold]\\u202e" in text
