"""Targets: those that come along, and what a file must not say."""

from pathlib import Path
from typing import Any, get_args

import pytest
from cores import dense, kernel, network

from sltdeploy.errors import InputError
from sltdeploy.machine import EVENTS, LIMITS, UNITS, Placing
from sltdeploy.mapping import fit
from sltdeploy.program import Reshape
from sltdeploy.target import load, names

SHIPPED = ("cmos-45nm", "cortex-m7", "loihi1", "loihi2", "raspberry-pi-4", "raspberry-pi-5")
TARGETS = Path(__file__).parents[1] / "targets"

HEAD = """
title = "A machine"
pricing = "events"
numbers = ["float32"]
ops = ["Linear"]
neurons = ["LIF"]
inputs = ["spikes"]
resets = ["zero"]
comparisons = ["gt"]
"""
COST = {
    "event": '"synop"',
    "unit": '"pJ"',
    "low": "1",
    "nominal": "2.5",
    "high": "3",
    "grade": '"measured"',
    "source": '"Somebody 2020, table 1"',
    "read": "true",
}


def cost(**changes: str | None) -> str:
    """Write a cost as TOML; None leaves a key out."""
    keys = {k: v for k, v in {**COST, **changes}.items() if v is not None}
    return "\n[[costs]]\n" + "\n".join(f"{k} = {v}" for k, v in keys.items()) + "\n"


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Write a TOML and return its path."""

    def write(text: str) -> Path:
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def complaints(path: Path) -> tuple[str, ...]:
    """The lines with which a file is refused."""
    with pytest.raises(InputError) as caught:
        load(path)
    return caught.value.violations


def test_those_that_come_along() -> None:
    """Each loads by its name, and each of its numbers has a unit, a grade and a source."""
    assert names() == sorted(SHIPPED)
    for name in SHIPPED:
        target = load(name)
        assert target.name == name
        assert target.exporter in ("c", "lava", "onnx", None)
        assert (target.exporter is None) == (name == "cmos-45nm")
        assert set(target.limits) <= set(LIMITS)
        for price in target.costs:
            assert 0 < price.range.low <= price.range.nominal <= price.range.high
            assert UNITS[price.unit][0] == EVENTS[price.event]
            assert price.source
            assert ("second-hand" in price.reference) == (not price.read)


def test_files_are_short() -> None:
    """A target is data that one reads at a glance."""
    for file in TARGETS.glob("*.toml"):
        assert len(file.read_text("utf-8").splitlines()) <= 100
        assert file.stem in SHIPPED


def test_prices_are_those_of_their_sources() -> None:
    """The constants that everybody quotes, in J."""
    synop = load("loihi1").cost("synop", "loihi")
    assert synop is not None
    assert (synop.low, synop.nominal, synop.high, synop.unit) == (23.6, 33.6, 35.5, "pJ")
    assert synop.grade == "simulated"
    assert "SANA-FE" in synop.source
    assert "Davies" in synop.source
    horowitz = load("cmos-45nm")
    for numbers, event, joules in (
        ("float32", "synop", 0.9e-12),
        ("float32", "mac", 4.6e-12),
        ("loihi", "synop", 0.1e-12),
        ("loihi", "mac", 0.3e-12),
    ):
        price = horowitz.cost(event, numbers)
        assert price is not None
        assert price.range.nominal == pytest.approx(joules)


def test_loihi_2_prices_no_operation() -> None:
    """No value is published, so none is there, and the file says why."""
    target = load("loihi2")
    assert target.refuses
    for event in ("synop", "mac", "neuron_update", "spike", "message"):
        assert target.cost(event, "loihi") is None
        assert target.unpriced[event]
    assert len(target.anchors) == 2


def test_published_workloads_agree_with_themselves() -> None:
    """Energy per inference times rate is total power; MLPerf's energies give the J/MAC."""
    for anchor in load("loihi2").anchors:
        number = {k: float(v.split()[0]) for k, v in anchor.values.items()}
        assert number["energy"] * 1e-3 * number["rate"] == pytest.approx(number["total"], rel=1e-3)
    (mlperf,) = load("cortex-m7").anchors
    price = load("cortex-m7").cost("mac", "float32")
    assert price is not None
    for task, macs in (("IC", 12.5e6), ("KWS", 2.66e6), ("VWW", 7.49e6), ("AD", 0.264e6)):
        each = float(mlperf.values[task].split()[0]) * 1e-6 / macs
        assert price.range.low * 0.99 <= each <= price.range.high


def test_a_file_of_ones_own(written: Any) -> None:
    """Loads by its path, as text too; what it leaves out is empty."""
    path = written(HEAD + cost() + '[limits]\ncores = { value = 2, source = "me", read = true }\n')
    target = load(path)
    assert load(str(path)) == target
    assert (target.name, target.exporter, target.refuses) == ("mine", None, None)
    assert target.limit("cores") == 2
    assert target.limit("fan_in") is None
    (price,) = target.costs
    found = price.range
    assert (found.low, found.nominal, found.high) == pytest.approx((1e-12, 2.5e-12, 3e-12))


def test_a_price_for_one_number_format_goes_first(written: Any) -> None:
    """The general price holds for all others."""
    target = load(written(HEAD + cost() + cost(numbers='["loihi"]', nominal="1")))
    general, special = target.cost("synop", "float32"), target.cost("synop", "loihi")
    assert general is not None
    assert special is not None
    assert (general.nominal, special.nominal) == (2.5, 1)


@pytest.mark.parametrize("key", COST)
def test_a_cost_needs_every_key(key: str, written: Any) -> None:
    """Above all a unit and a source."""
    (line,) = complaints(written(HEAD + cost(**{key: None})))
    assert f"{key} is missing" in line
    assert "mine.toml" in line


@pytest.mark.parametrize("key", [line.split()[0] for line in HEAD.strip().splitlines()])
def test_a_target_needs_every_key(key: str, written: Any) -> None:
    """Nothing is assumed about a machine."""
    text = "\n".join(line for line in HEAD.splitlines() if not line.startswith(key))
    (line,) = complaints(written(text))
    assert f"{key} is missing" in line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + cost(low="3.5"), "needs low <= nominal <= high, has 3.5, 2.5, 3"),
        (HEAD + cost(high="2"), "needs low <= nominal <= high"),
        (HEAD + cost(unit='"W"'), "unit W does not measure J"),
        (HEAD + cost(unit='"furlong"'), "unit is 'furlong', must be one of"),
        (HEAD + cost(event='"static_power"'), "does not measure W"),
        (HEAD + cost(grade='"guessed"'), "grade is 'guessed', must be one of measured"),
        (HEAD + cost(source='" "'), "source is ' ', must be a text"),
        (HEAD + cost(low="-1"), "low is -1, must be a number, 0 or more"),
        (HEAD + cost(low="true"), "low is True, must be a number"),
        (HEAD + cost(high="inf"), "high is inf, must be a number"),
        (HEAD + cost(read='"yes"'), "read is 'yes', must be true or false"),
        (HEAD + cost(colour='"red"'), "colour is unknown"),
        (HEAD + cost() + cost(), "priced twice"),
        (HEAD + cost(numbers='["int3"]'), "must be a list from float32, loihi"),
        ("typo = 1\n" + HEAD, "typo is unknown"),
        (HEAD.replace("LIF", "LIFE"), "must be a list from IF, LIF"),
        (HEAD.replace('["spikes"]', "[]"), "inputs is [], must be a list"),
        (HEAD + "[limits.cores]\nvalue = 1\nread = true\n", "limits.cores: source is missing"),
        (HEAD + '[limits.arms]\nvalue = 1\nread = true\nsource = "x"', "arms: unknown limit"),
        (HEAD + '[limits.cores]\nvalue = 1.5\nread = true\nsource = "x"', "must be a whole number"),
        (HEAD + '[unpriced]\nlunch = "free"', "unpriced: lunch is unknown"),
        ("unpriced = 3\n" + HEAD, "unpriced is 3, must be a table"),
        ("costs = 3\n" + HEAD, "costs is 3, must be tables"),
        ("limits = [1]\n" + HEAD, "limits is [1], must be tables"),
        (HEAD + '[[anchors]]\nworkload = "w"\nsource = "s"\nread = true', "values is missing"),
    ],
)
def test_what_a_file_must_not_say(text: str, words: str, written: Any) -> None:
    """One line for one violation, with the value and what it must be."""
    (line,) = complaints(written(text))
    assert words in line


def test_all_violations_at_once(written: Any) -> None:
    """A file is mended in one go."""
    text = HEAD.replace('title = "A machine"', "") + cost(source=None, unit='"m"') + cost(low="9")
    lines = complaints(written(text))
    assert len(lines) == 4
    assert all(line.startswith(str(written(text))) for line in lines)


def test_no_such_target(tmp_path: Path, written: Any) -> None:
    """The message lists what there is, and what might have been meant."""
    with pytest.raises(InputError, match=r"unknown target 'loih1': did you mean loihi1.*cmos-45nm"):
        load("loih1")
    with pytest.raises(InputError, match=r"unknown target 'zzz': known targets are"):
        load("zzz")
    with pytest.raises(InputError, match="No such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(InputError, match="directory"):
        load(tmp_path)
    with pytest.raises(InputError, match="not valid TOML"):
        load(written("title = "))
    (tmp_path / "latin.toml").write_bytes(b'title = "\xff"')
    with pytest.raises(InputError, match="not valid TOML"):
        load(tmp_path / "latin.toml")


@pytest.mark.parametrize("placement", get_args(Placing))
def test_cores_need_two_limits_and_no_more(placement: str, written: Any) -> None:
    """How many there are, and what a weight takes; whatever else is not limited."""
    text = f'{HEAD}\nplacement = "{placement}"\n'
    assert complaints(written(text)) == tuple(
        f"{written(text)}: limits.{name} is missing, placement needs it"
        for name in ("cores", "weight_bits")
    )
    limits = (
        f'[limits.{name}]\nvalue = 8\nsource = "S"\nread = true\n'
        for name in ("cores", "weight_bits")
    )
    target = load(written(text + "\n".join(limits)))
    ops = (kernel(4, 2),), (Reshape((4 * 5 * 5,)), dense(3, 100))
    assert fit(network((2, 7, 7), *ops), target).cores == {"0": 1, "1": 1}
