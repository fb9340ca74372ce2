"""Energy, against arithmetic done by hand on three neurons."""

import json
from dataclasses import replace
from math import nan
from typing import Any

import numpy as np
import pytest

from sltdeploy.counts import Counts, MessageCount, PopulationCount, ProjectionCount
from sltdeploy.errors import InputError
from sltdeploy.estimate import Estimate, Term
from sltdeploy.machine import Range, Target
from sltdeploy.pricing import DENSE_PRICE, MEASURE, ZEROS, energy
from sltdeploy.target import load

PJ, NJ = 1e-12, 1e-9


def per_sample(*numbers: int) -> Any:
    """Counts of two samples."""
    return np.array(numbers, np.int64)


SYNAPSES = ProjectionCount(
    name="in -> out",
    source="in",
    target="out",
    ops="Linear 2->3",
    operation="ac",
    weights=6,
    nonzero=4,
    synapses=6,
    synapses_nonzero=4,
    events=per_sample(3, 5),
    synops=per_sample(6, 10),
    synops_unpruned=per_sample(9, 15),
    synops_dense=24,
)
IN, OUT = per_sample(3, 5), per_sample(1, 3)
GIVEN = PopulationCount("in", "spike input", 2, True, IN, IN, updates=0, silent=0, rate=0.5)
FIRING = PopulationCount("out", "LIF", 3, True, OUT, OUT, updates=12, silent=1, rate=4 / 24)
# 4 steps, 2 samples; on average 4 spikes in, 8 operations, 12 updates, 2 spikes out.
COUNTS = Counts(4, 2, 1e-3, "loihi", (SYNAPSES,), (GIVEN, FIRING))
FLOATS = replace(COUNTS, numbers="float32")


def terms(estimate: Estimate) -> dict[str, Term]:
    """Terms by their event."""
    found = {t.event: t for t in estimate.terms}
    assert len(found) == len(estimate.terms)
    return found


def joules(term: Term) -> tuple[float, float, float]:
    """Low, nominal, high."""
    assert term.energy is not None
    return term.energy.low, term.energy.nominal, term.energy.high


def span(found: Range | None) -> tuple[float, float, float]:
    """Low, nominal, high of what must be there."""
    assert found is not None
    return found.low, found.nominal, found.high


def test_loihi_1_by_hand() -> None:
    """Every term is count times price, and the total is their sum."""
    found = energy(COUNTS, load("loihi1"), 10.0)
    by = terms(found)
    assert joules(by["synop"]) == pytest.approx((8 * 23.6 * PJ, 8 * 33.6 * PJ, 8 * 35.5 * PJ))
    assert joules(by["neuron_update"]) == pytest.approx((12 * 51.2 * PJ, 12 * 72.8 * PJ, 972 * PJ))
    assert joules(by["spike"]) == pytest.approx((138.6 * PJ,) * 3)
    assert joules(by["message"]) == pytest.approx((6.8 * PJ, 444 * PJ, 578.4 * PJ))
    assert joules(by["static_power"]) == pytest.approx((2.9e-3,) * 3)
    assert by["static_power"].count_unit == "s"
    assert set(by) == {"synop", "neuron_update", "spike", "message", "static_power"}
    low, nominal, high = span(found.total)
    assert low - 2.9e-3 == pytest.approx((188.8 + 614.4 + 138.6 + 6.8) * PJ, rel=1e-5)
    assert nominal - 2.9e-3 == pytest.approx((268.8 + 873.6 + 138.6 + 444) * PJ, rel=1e-5)
    assert high - 2.9e-3 == pytest.approx((284 + 972 + 138.6 + 578.4) * PJ, rel=1e-5)
    assert found.status == "complete"
    assert span(found.average_power) == pytest.approx((low * 10, nominal * 10, high * 10))
    assert found.grades["synop"] == "simulated"
    assert any("no price of work was measured" in note for note in found.notes)


def test_spread_follows_the_samples() -> None:
    """Each sample is priced on its own; the mean is the total."""
    found = energy(COUNTS, load("cmos-45nm"), 10.0)
    assert found.spread is not None
    updates, per_operation = 12 * 3.4 * PJ, 0.1 * PJ + 10 * PJ
    samples = [n * per_operation + updates + 24 * 10 * PJ for n in (6, 10)]
    assert found.spread.mean == pytest.approx(np.mean(samples))
    assert found.spread.sd == pytest.approx(np.std(samples))
    assert found.spread.p5 == pytest.approx(np.percentile(samples, 5))
    assert found.spread.p95 == pytest.approx(np.percentile(samples, 95))
    assert found.spread.mean == pytest.approx(span(found.total)[1])


def test_45_nm_by_hand() -> None:
    """The literature's model: its two prices, memory beside them, no chip around."""
    found = energy(FLOATS, load("cmos-45nm"), 10.0)
    by = terms(found)
    assert joules(by["synop"])[1] == pytest.approx(8 * 0.9 * PJ)
    assert joules(by["neuron_update"])[1] == pytest.approx(12 * 6.4 * PJ)
    assert joules(by["memory_access"]) == pytest.approx((160 * PJ, 320 * PJ, 3200 * PJ))
    assert by["static_power"].energy is None
    assert by["static_power"].reason
    assert found.status == "priced terms only"
    assert span(found.total)[1] == pytest.approx((7.2 + 76.8 + 320) * PJ)
    assert "spike" not in by  # part of the update there
    rows = {b.name: b for b in found.baselines}
    expected = {
        "this network": (8, 0, 7.2, 1),
        "same network, unpruned": (12, 0, 10.8, 1.5),
        "dense ANN": (0, 6, 27.6, 27.6 / 7.2),
        "ANN with the same mask": (0, 4, 18.4, 18.4 / 7.2),
        "quantised ANN, 3 bits": (0, 6, 6 * 0.3, 1.8 / 7.2),
    }
    assert list(rows) == list(expected)
    for name, (ac, mac, picojoules, ratio) in expected.items():
        row = rows[name]
        assert (row.ac, row.mac) == (ac, mac)
        assert span(row.energy)[1] == pytest.approx(picojoules * PJ)
        assert row.ratio == pytest.approx(ratio)
    assert any("int8 multiply" in r for r in found.references)


def test_graded_values_cost_more() -> None:
    """A MAC is priced as one, and is unpriced where a machine has none."""
    graded = replace(FLOATS, projections=(replace(SYNAPSES, operation="mac"),))
    by = terms(energy(graded, load("cmos-45nm"), 10.0))
    assert joules(by["mac"])[1] == pytest.approx(8 * 4.6 * PJ)
    assert joules(by["synop"])[1] == 0
    found = energy(replace(graded, numbers="loihi"), load("loihi1"), 10.0)
    assert terms(found)["mac"].energy is None
    assert "not graded values" in terms(found)["mac"].reason
    assert found.status == "priced terms only"
    assert all(b.energy is None or b.name != "this network" for b in found.baselines)
    assert found.break_even[0].name == "spikes per neuron and step"


def test_loihi_2_gets_no_number() -> None:
    """The refusal, the workloads that were measured, and what is known: static power."""
    found = energy(COUNTS, load("loihi2"), 10.0)
    assert found.status == "refused"
    assert (found.total, found.average_power, found.spread) == (None, None, None)
    assert found.refusal
    assert [a.workload.split(",")[0] for a in found.anchors] == ["PilotNet-LIF", "PilotNet-SDNN"]
    by = terms(found)
    assert joules(by["static_power"])[1] == pytest.approx(0.0232)
    for event in ("synop", "neuron_update", "spike", "message"):
        assert by[event].energy is None
        assert by[event].reason
        assert by[event].count > 0
    assert all(b.energy is None and b.ratio is None for b in found.baselines)


def test_a_refusal_holds_even_with_prices() -> None:
    """Who refuses gives no sum of work, whatever the file prices."""
    found = energy(COUNTS, replace(load("loihi1"), refuses="not trusted"), 10.0)
    assert (found.status, found.total, found.refusal) == ("refused", None, "not trusted")
    assert all(b.energy is None for b in found.baselines)


def test_a_microcontroller_is_priced_as_dense() -> None:
    """24 operations whatever the spikes and the mask; an ANN needs one pass."""
    found = energy(FLOATS, load("cortex-m7"), 10.0)
    by = terms(found)
    assert by["mac"].count == 24
    assert joules(by["mac"]) == pytest.approx((24 * 0.7 * NJ, 24 * 1.02 * NJ, 24 * 1.07 * NJ))
    assert by["neuron_update"].energy is None
    assert by["static_power"].energy is None
    assert found.status == "priced terms only"
    assert DENSE_PRICE in found.notes  # its C artifact multiplies no zeros
    assert ZEROS not in found.notes
    assert ZEROS in energy(FLOATS, load("raspberry-pi-4"), 10.0).notes
    assert [b.mac for b in found.baselines] == [24, 24, 6, 6, 6]
    assert [b.ratio for b in found.baselines[:4]] == pytest.approx([1, 1, 0.25, 0.25])
    assert found.baselines[4].energy is None
    late = energy(FLOATS, load("cortex-m7"), 10.0, latency_s=0.01)
    assert late.terms == found.terms
    assert any("0.01 s is not used" in note for note in late.notes)


def test_a_board_with_and_without_a_measured_latency() -> None:
    """Power times time where the time is known; a generic price where not."""
    target = load("raspberry-pi-4")
    rough = energy(FLOATS, target, 10.0)
    assert joules(terms(rough)["mac"])[1] == pytest.approx(24 * 0.9 * NJ)
    assert joules(terms(rough)["static_power"])[1] == pytest.approx(0.23)
    assert MEASURE in rough.notes
    assert rough.status == "priced terms only"
    timed = energy(FLOATS, target, 10.0, latency_s=0.01)
    by = terms(timed)
    assert set(by) == {"active_power", "static_power"}
    assert by["active_power"].count == pytest.approx(0.01)
    assert "assumed" in by["active_power"].note
    assert span(timed.total) == pytest.approx(
        (
            2.4 * 0.01 + 1.7 * 0.09,
            5.1 * 0.01 + 2.3 * 0.09,
            6.3 * 0.01 + 3.06 * 0.09,
        )
    )
    assert timed.status == "complete"
    assert MEASURE not in timed.notes
    assert span(timed.average_power)[1] == pytest.approx(0.51 + 2.07)


def test_static_power_falls_with_the_rate() -> None:
    """Twice the rate, half of the static energy; the rest stays."""
    slow, fast = (energy(COUNTS, load("loihi1"), rate) for rate in (5.0, 10.0))
    assert joules(terms(slow)["static_power"])[1] == 2 * joules(terms(fast)["static_power"])[1]
    assert terms(slow)["synop"] == terms(fast)["synop"]


def test_a_spike_is_sent_to_every_core_that_listens() -> None:
    """Counted messages are taken as they are; without them, one for each population."""
    sent = MessageCount("in", "out", 3, per_sample(9, 15))
    aside = MessageCount("in", "aside", 1, per_sample(3, 5))
    placed = replace(COUNTS, messages=(sent, aside))
    mapped = terms(energy(placed, load("loihi1"), 10.0))["message"]
    assert mapped.count == 16
    assert joules(mapped) == pytest.approx((16 * 1.7 * PJ, 16 * 111 * PJ, 16 * 144.6 * PJ))
    assert "predicted placement" in mapped.note
    other = replace(SYNAPSES, target="aside", name="in -> aside")
    branched = replace(COUNTS, projections=(SYNAPSES, SYNAPSES, other))
    unmapped = terms(energy(branched, load("loihi1"), 10.0))["message"]
    assert unmapped.count == 8  # two populations listen, one by two projections
    assert "not mapped" in unmapped.note


def test_no_spikes_no_dynamic_synapse_energy() -> None:
    """What never happens costs nothing, even where its price is unknown."""
    none = per_sample(0, 0)
    silent = replace(
        COUNTS,
        projections=(replace(SYNAPSES, events=none, synops=none, synops_unpruned=none),),
        populations=(replace(GIVEN, spikes=none, events=none), replace(FIRING, spikes=none)),
    )
    by = terms(energy(silent, load("loihi1"), 10.0))
    assert joules(by["synop"]) == joules(by["message"]) == joules(by["spike"]) == (0, 0, 0)
    assert joules(by["neuron_update"])[1] > 0
    by = terms(energy(silent, load("loihi2"), 10.0))
    assert set(by) == {"neuron_update", "static_power"}


@pytest.mark.parametrize(
    ("synops", "rate", "verdicts"),
    [
        (0.4, 0.05, ["below", "below", "below"]),
        (4.0, 0.06, ["within", "below", "within"]),
        (8.0, 0.5, ["above", "above", "above"]),
    ],
)
def test_break_even(synops: float, rate: float, verdicts: list[str]) -> None:
    """Spikes by existing synapse and by neuron, against the published ranges."""
    work = np.full(2, synops)
    measured = replace(
        COUNTS,
        projections=(replace(SYNAPSES, synops=work),),
        populations=(GIVEN, replace(FIRING, rate=rate)),
    )
    found = energy(measured, load("loihi2"), 10.0).break_even
    assert [b.value for b in found] == pytest.approx([synops / 4, synops / 4, rate])
    assert [b.verdict for b in found] == verdicts


def test_references_are_those_of_the_numbers_used() -> None:
    """Each source once, marked where it was not read; no price that was not used."""
    found = energy(COUNTS, load("loihi1"), 10.0)
    used = {t.price.reference for t in found.terms if t.price is not None}
    assert used < set(found.references)
    assert len(set(found.references)) == len(found.references)
    assert any(r.endswith("[cited second-hand]") for r in found.references)
    timed = energy(FLOATS, load("raspberry-pi-4"), 10.0, latency_s=0.01)
    untimed = energy(FLOATS, load("raspberry-pi-4"), 10.0)
    assert sum("readings" in r for r in timed.references) == 1
    assert sum("readings" in r for r in untimed.references) == 0


def test_more_steps_than_real_time_allows() -> None:
    """4 ms of steps do not fit into 1 ms."""
    notes = energy(COUNTS, load("loihi1"), 1000.0).notes
    assert any("0.004 s in real time" in note for note in notes)
    assert not any("real time" in note for note in energy(COUNTS, load("loihi1"), 10.0).notes)


@pytest.mark.parametrize("rate", [0.0, -1.0, nan, float("inf")])
def test_a_rate_is_needed(rate: float) -> None:
    """At no rate there is no energy per inference."""
    with pytest.raises(InputError, match="must be positive and finite"):
        energy(COUNTS, load("loihi1"), rate)


def test_a_latency_must_fit_the_period() -> None:
    """20 ms at 100 Hz are no estimate but a missed deadline."""
    with pytest.raises(InputError, match="at most 50 Hz, is 100 Hz"):
        energy(FLOATS, load("raspberry-pi-4"), 100.0, latency_s=0.02)
    with pytest.raises(InputError, match="latency is 0 s"):
        energy(FLOATS, load("raspberry-pi-4"), 100.0, latency_s=0)


def test_a_target_without_prices() -> None:
    """Every term is listed with the reason, and there is no total."""
    bare: Target = replace(load("loihi1"), costs=(), anchors=())
    found = energy(COUNTS, bare, 10.0)
    assert found.total is None
    assert found.status == "priced terms only"
    assert [t.reason for t in found.terms] == ["loihi1 states no price for it"] * 4
    assert not found.grades


def test_json() -> None:
    """Plain types with all that the estimate holds."""
    found = energy(COUNTS, load("loihi1"), 10.0)
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert plain["units"] == {"energy": "J", "power": "W"}
    assert plain["total"]["nominal"] == span(found.total)[1]
    assert plain["terms"][0]["price"]["source"].startswith("SANA-FE")
    assert plain["baselines"][1]["ac"] == 12
    assert plain["break_even"][0]["value"] == 2


def test_a_target_may_be_a_name() -> None:
    """As on the command line."""
    assert (
        energy(COUNTS, "loihi1", 10.0).to_json() == energy(COUNTS, load("loihi1"), 10.0).to_json()
    )
