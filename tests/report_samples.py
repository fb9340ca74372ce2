"""A report's ingredients for tests, built by hand: each kind of target, term, fit and check."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from sltdeploy import reference
from sltdeploy.counting import count
from sltdeploy.counts import Counts
from sltdeploy.estimate import Baseline, BreakEven, Estimate, Spread, Term
from sltdeploy.layers import Layer
from sltdeploy.lowering import lower
from sltdeploy.machine import Anchor, Cost, Range
from sltdeploy.program import Array, Program
from sltdeploy.report import ReportData, Verified, report_data
from sltdeploy.resources import CoreUse, Fit, LayerFit, Resource
from sltdeploy.ticket import Ticket
from sltdeploy.verification import compare

STEPS, SAMPLES = 5, 6
KEPT = (1.0, 0.55, 0.25, 0.1)  # of the weights, by round
ACCURACIES = (0.984, 0.988, 0.986, 0.978)
LIF: dict[str, Any] = {
    "tau_mem_inv": 750.0,
    "v_leak": 0.0,
    "v_th": 1.0,
    "v_reset": 0.0,
    "reset": "zero",
}
NETWORK = (
    Layer("conv2d", "conv1", {"padding": [1, 1]}),
    Layer("lif_box", "lif1", LIF),
    Layer("avgpool2d", "pool", {"kernel": [2, 2], "stride": [2, 2], "padding": [0, 0]}),
    Layer("conv2d", "conv2", {"padding": [1, 1]}),
    Layer("lif_box", "lif2", LIF),
    Layer("flatten", "flatten"),
    Layer("linear", "readout"),
    Layer("li_box", "values", {"tau_mem_inv": 500.0, "v_leak": 0.0}),
)
SYNOP = Cost("synop", "pJ", 23.6, 33.6, 35.5, "simulated", "Simulated et al. 2018, table 2", False)
STATIC = Cost("static_power", "mW", 20.0, 29.0, 40.0, "measured", "Measured et al. 2019", True)
MAC = Cost("mac", "nJ", 0.9, 0.9, 0.9, "unstated", "A generic core", True)
UPDATE = Cost("neuron_update", "pJ", 4.6, 6.4, 11.0, "derived", "Derived from MAC and ADD", True)
BREAK_EVEN = BreakEven(
    "spikes per synapse and inference",
    1.17,
    "spikes per synapse and inference",
    0.15,
    1.38,
    "within",
    "spiking networks compete only below",
    "Break-even et al. 2023, abstract",
    True,
)


def masked(rng: np.random.Generator, keep: float, *shape: int) -> tuple[Array, Array]:
    """Weights and the mask of the largest ``keep`` of them."""
    weight = rng.normal(0, 1.6 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)
    mask = np.abs(weight) >= np.quantile(np.abs(weight), 1 - keep)
    return weight * mask, mask


def ticket(name: str = "digits") -> Ticket:
    """A small convolutional ticket that was never trained, with the history of one that was."""
    rng = np.random.default_rng(7)
    shapes = {"conv1": (8, 1, 3, 3), "conv2": (16, 8, 3, 3), "readout": (10, 256)}
    made = {f"{k}.weight": masked(rng, KEPT[-1] * 4, *shape) for k, shape in shapes.items()}
    bare = Ticket(
        layers=NETWORK,
        input_shape=(1, 8, 8),
        weights={k: weight for k, (weight, _) in made.items()},
        masks={k: mask for k, (_, mask) in made.items()},
        rewind={k: weight for k, (weight, _) in made.items()},
        recipe={
            "name": name,
            "pruning": {"fraction": 0.25, "rounds": len(KEPT) - 1},
            "deployment": {
                "dt": 1e-3,
                "steps": STEPS,
                "grid": "none",
                "input_bits": 4,
                "input_max": 1.0,
            },
        },
    )
    kept = [*KEPT[:-1], 1 - bare.sparsity]
    history = tuple(
        {
            "round": i,
            "sparsity": 1 - share,
            "nonzero": {"conv2.weight": round(1152 * share)},
            "test_accuracy": accuracy,
            "spikes_per_image": 300.0 + 10 * i,
        }
        for i, (share, accuracy) in enumerate(zip(kept, ACCURACIES, strict=True))
    )
    return replace(bare, history=history)


def counted(program: Program) -> tuple[Counts, Verified, Verified]:
    """Counts on random images, a verification that agrees and one that does not."""
    images = np.random.default_rng(1).integers(0, 17, (SAMPLES, 1, 8, 8)) / 16
    trace = reference.run(program, np.repeat(images[None], STEPS, 0).astype(np.float32))
    wrong = dict(trace.records)
    wrong["lif2"] = ~np.asarray(wrong["lif2"])
    return (
        count(program, trace),
        Verified("digits-onnx", "onnxruntime", 0, compare(program, trace, trace.records)),
        Verified("digits-lava", "lava", 3, compare(program, trace, wrong)),
    )


def priced(cost: Cost, name: str, number: float, unit: str) -> Term:
    """A term of ``number`` events at ``cost``."""
    return Term(name, cost.event, number, unit, cost.range * number, cost, note=cost.note)


def partial(title: str = "Chip one") -> Estimate:
    """A target that prices all but one term: simulated, and mostly static."""
    terms = (
        priced(SYNOP, "synaptic operations (AC)", 45_000.0, "accumulations"),
        Term("messages", "message", 3_100.0, "messages", None, None, reason="nobody has said"),
        priced(STATIC, "static power", 0.01, "s"),
    )
    total = SYNOP.range * 45_000 + STATIC.range * 0.01
    return estimate("chip1", title, terms, total, "priced terms only")


def complete() -> Estimate:
    """A target that prices every term."""
    terms = (
        priced(MAC, "multiply-accumulates, zeros included", 2.3e6, "multiply-accumulates"),
        priced(UPDATE, "neuron updates", 20_000.0, "updates"),
    )
    return estimate("robot", "Robot", terms, MAC.range * 2.3e6 + UPDATE.range * 20_000, "complete")


def estimate(name: str, title: str, terms: tuple[Term, ...], total: Range, status: Any) -> Estimate:
    """An estimate of ``terms``, with baselines and a break-even point."""
    prices = tuple(t.price for t in terms if t.price is not None)
    return Estimate(
        target=name,
        title=title,
        rate_hz=100.0,
        steps=STEPS,
        samples=SAMPLES,
        status=status,
        total=total,
        average_power=total * 100.0,
        spread=Spread(total.nominal, 0.1 * total.nominal, total.low, total.high),
        refusal=None,
        terms=terms,
        baselines=(
            Baseline("this network", 45_000.0, 0.0, prices[0].range * 45e3, 1.0, "", prices[:1]),
            Baseline("dense ANN", 0.0, 460_000.0, None, None, "the same synapses in one pass"),
        ),
        break_even=(BREAK_EVEN,),
        anchors=(),
        grades={p.event: p.grade for p in prices},
        references=(*(p.reference for p in prices), BREAK_EVEN.reference),
        notes=("the runtime multiplies zeros",),
    )


def refused() -> Estimate:
    """A target without any price, as Loihi 2."""
    anchor = Anchor("PilotNet", {"total": "0.679 W"}, "Vendor notebook", True, "74 cores")
    terms = (
        Term("synaptic operations (AC)", "synop", 45e3, "accumulations", None, None, "unpublished"),
    )
    return replace(
        estimate("chip2", "Chip two", (priced(SYNOP, "x", 1.0, "y"),), SYNOP.range, "refused"),
        total=None,
        average_power=None,
        spread=None,
        refusal="Nobody has published an energy per operation",
        terms=terms,
        baselines=(Baseline("this network", 45_000.0, 0.0, None, None),),
        anchors=(anchor,),
        references=(BREAK_EVEN.reference, anchor.reference),
    )


def fits(cores: int = 7) -> tuple[Fit, ...]:
    """One target with a wall and a budget of 128 cores, one that states no limit."""
    limits = (
        Resource("inputs of one neuron", "wall", 592, 4096, "axons", "values", "Emulator", True),
        Resource("cores", "budget", cores, 128, "cores", "network", "Vendor brief", False),
    )
    full, rest = CoreUse(400, 1152, 64, 400), CoreUse(112, 324, 64, 112)
    layers = (
        LayerFit("lif1", 1312, "400 neurons a core", (full, full, full, rest)),
        LayerFit("lif2", 112, "one core", (rest,)),
    )
    held = {"neurons": 1024, "synapse_words": 16384, "axons_in": 4096, "axons_out": 4096}
    return (
        Fit(
            "chip1",
            "Chip one",
            layers,
            limits,
            ("time per step",),
            "a published rule",
            held,
            chip=128,
            lower_bound=2,
        ),
        Fit("robot", "Robot", (), (), ("everything: robot states no limit",), "sizes"),
    )


def report(**changes: Any) -> ReportData:
    """A report with every section; ``changes`` replace ingredients."""
    found = ticket()
    program = lower(found.graph())
    counts, agrees, differs = counted(program)
    ingredients: dict[str, Any] = {
        "title": "Digits",
        "program": program,
        "ticket": found,
        "counts": counts,
        "estimates": (partial(), refused(), complete()),
        "fits": fits(),
        "verifications": (agrees, differs),
        "accuracy": 0.978,
        "caveats": ("counted on noise",),
        "provenance": {"data": "sha256 of the images"},
    }
    return report_data(**{**ingredients, **changes})


def filled(item: Any, text: str) -> Any:
    """``item`` of the view with ``text`` in the place of every string."""
    if isinstance(item, str):
        return text
    if isinstance(item, tuple):
        return tuple(filled(each, text) for each in item)
    if is_dataclass(item) and not isinstance(item, type):
        return type(item)(**{f.name: filled(getattr(item, f.name), text) for f in fields(item)})
    return item
