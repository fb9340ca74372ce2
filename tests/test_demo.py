"""The demo's path, on a network that is small enough to be searched in seconds."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import only_object, say

from sltdeploy import demo, lava_host, reference
from sltdeploy.digits import held_out_input
from sltdeploy.errors import CheckError
from sltdeploy.lowering import lower
from sltdeploy.program import Array
from sltdeploy.search.find import facts_of, find
from sltdeploy.search.recipe import read_recipe
from sltdeploy.search.recording import record
from sltdeploy.ticket import Ticket
from sltdeploy.trace import decision

TINY = (
    "network.channels=[4,4,4]",
    "training.epochs=1",
    "training.rewind_epoch=0",
    "pruning.rounds=1",
    "threads=1",
)


@pytest.fixture
def no_lava(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make Lava look missing, whatever this machine has."""
    monkeypatch.setenv("SLTDEPLOY_LAVA_PYTHON", str(tmp_path / "missing"))


def quiet(done: int, total: int, what: str, line: str) -> None:
    """Show no progress."""


@pytest.fixture(scope="module")
def ticket(tmp_path_factory: pytest.TempPathFactory) -> Ticket:
    """A poor ticket of a tiny network."""
    return find(read_recipe(demo.RECIPE, TINY), tmp_path_factory.mktemp("search"))


@pytest.mark.usefixtures("no_lava")
def test_the_whole_path_without_lava(ticket: Ticket, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def show(done: int, total: int, what: str, line: str) -> None:
        seen.append((done, total))

    found = demo.demonstrate(ticket, tmp_path, show)
    assert found.ok
    ran = {h.title: h for h in found.held if h.result is not None}
    assert set(ran) == {"Norse", "NIR", "ONNX, Raspberry Pi 4"}
    x, labels = held_out_input(ticket.steps)
    trace = reference.run(lower(ticket.graph()), x)
    spikes = sum(int(r.sum()) for r in trace.records.values() if r.dtype == bool)
    for held in ran.values():
        assert held.result is not None
        assert held.result.samples == 500
        assert sum(c.spikes or 0 for c in held.result.compared) == spikes > 0
        assert held.accuracy == (decision(trace.output) == labels).mean()
    assert found.missing
    assert all("sltdeploy setup lava" in line for line in found.missing)
    assert seen[-1][0] == seen[-1][1]
    assert seen == sorted(seen)

    report = json.loads((tmp_path / "report.json").read_text())
    assert [row["artifact"] for row in report["verifications"]] == list(ran)
    assert any("sltdeploy setup lava" in line for line in report["caveats"])
    assert (tmp_path / "report.html").stat().st_size < 1_000_000
    assert Ticket.load(tmp_path / "ticket.safetensors").id == ticket.id
    made = {path.name for path in (tmp_path / "artifacts").iterdir()}
    assert made == {plan.folder for plan in demo.PLANS}


def test_the_whole_path_in_lava(ticket: Ticket, tmp_path: Path) -> None:
    status = lava_host.status()
    if status.host is None:
        assert not os.environ.get("CI"), status.advice
        pytest.skip(status.advice)
    found = demo.demonstrate(ticket, tmp_path, quiet)
    assert found.ok
    assert found.missing == ()
    in_lava = [h for h in found.held if h.engine == "lava"]
    assert [h.title for h in in_lava] == ["Lava, floating point", "Lava, Loihi 2 integers"]
    for held in in_lava:
        assert held.latency > 0
        assert held.result is not None
        assert held.result.samples == 500
        assert sum(c.spikes or 0 for c in held.result.compared) > 0


@pytest.mark.usefixtures("no_lava")
def test_an_artifact_that_differs_is_not_ok(
    ticket: Ticket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(layers: Any, arrays: Any, dt: float, x: Array) -> dict[str, Array]:
        return {n: a if a.dtype != bool else ~a for n, a in record(layers, arrays, dt, x).items()}

    monkeypatch.setattr("sltdeploy.search.recording.record", wrong)
    found = demo.demonstrate(ticket, tmp_path, quiet)
    assert not found.ok
    assert [h.title for h in found.held if h.result and not h.result.ok] == ["Norse"]


def test_a_lava_that_hangs_costs_the_demo_its_verdict_not_its_report(
    ticket: Ticket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(*_: object, **__: object) -> None:
        raise CheckError("Lava took longer than 1 s and was ended")

    monkeypatch.setattr(lava_host, "run_package", hang)
    found = demo.demonstrate(ticket, tmp_path, quiet)
    assert not found.ok
    assert found.missing == ()
    assert [h.title for h in found.held if h.failed] == [
        "Lava, floating point",
        "Lava, Loihi 2 integers",
    ]
    assert b"longer than 1 s" in (tmp_path / "report.html").read_bytes()


def test_norse_records_what_left_each_cell(ticket: Ticket) -> None:
    x, _ = held_out_input(ticket.steps)
    records = record(*ticket.deployed(), ticket.dt, x[:, :20])
    program = lower(ticket.graph())
    assert set(records) == {p.name for p in program.populations} - {"input"}
    expected = reference.run(program, x[:, :20])
    for name, values in records.items():
        np.testing.assert_array_equal(values, expected.records[name])


def test_the_example_in_the_readme(
    ticket: Ticket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf8")
    code = readme.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    ticket.save("runs/demo/ticket.safetensors")
    names: dict[str, Any] = {}
    exec(code, names)
    assert [values.shape for values in names["scores"].values()] == [(1, 10)]


def test_another_recipe_or_version_is_another_search() -> None:
    facts = facts_of(read_recipe(demo.RECIPE, TINY))
    other = {**facts, "versions": {"torch": "0", "norse": "0"}}
    assert demo.search_folder(facts) == demo.search_folder(json.loads(json.dumps(facts)))
    assert demo.search_folder(facts) != demo.search_folder(other)


@pytest.mark.usefixtures("no_lava")
def test_the_command(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "QUICK", TINY)
    monkeypatch.chdir(tmp_path)
    assert say("demo --quick --out demo --json") == 0
    out, err = capfd.readouterr()
    first = only_object(out)
    assert [v["ok"] for v in first["verified"]] == [True, True, True, None, None]
    assert "sltdeploy setup lava" in first["missing"][0]
    assert "round 1 of 1" in err
    report = Path("demo", "report.html").read_bytes()

    assert say("demo --quick --out demo") == 0
    out, err = capfd.readouterr()
    assert "identical" in out
    assert "not run" in out
    assert out.splitlines()[-1].startswith("left out: ")
    assert "round" not in err  # a finished search is not searched again
    assert Path("demo", "report.html").read_bytes() == report
