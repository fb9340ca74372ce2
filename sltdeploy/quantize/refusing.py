"""What Loihi's integers lack, by name, with the nearest thing that works."""

from collections.abc import Iterator

from sltdeploy.program import DelayLine, Input, Neuron, Population, Program
from sltdeploy.quantize.waiting import refusals as delay_refusals
from sltdeploy.quantize.wanted import brought_bias


def refusals(program: Program) -> Iterator[str]:
    """Everything in a float program that `for_loihi` cannot translate."""
    sources = {p.source for p in program.projections}
    for p in program.populations:
        if isinstance(p.rule, DelayLine | Input):
            continue
        if not p.spiking and p.name in sources:
            yield (
                f"population '{p.name}' sends values, not spikes, to another: Loihi's neurons "
                "only send spikes; give it a threshold, or let it be an output only"
            )
        if isinstance(p.rule, Neuron):
            yield from (f"population '{p.name}': {why}" for why in _neuron(p.rule))
            yield from _endless_bias(program, p, p.rule)
    yield from delay_refusals(program)


def _neuron(rule: Neuron) -> Iterator[str]:
    if rule.spiking and rule.comparison == "ge" and not _steps_evenly(rule):
        yield (
            "compares with >=, Loihi with >, which is the same only where nothing leaks "
            "(decay 1, no synaptic current): lower with comparison 'gt'"
        )
    if rule.spiking and rule.reset == "subtract":
        yield "resets by subtraction, Loihi to a value: lower with reset 'zero'"
    uniform = True
    for name in ("decay", "decay_syn", "threshold", "v_reset"):
        values = getattr(rule, name)
        if values is not None and (values != values.flat[0]).any():
            uniform = False
            yield (
                f"{name} goes from {values.min():g} to {values.max():g}, Loihi holds one for a "
                "population: split it into populations of one value each"
            )
    for name in ("decay", "decay_syn"):
        values = getattr(rule, name)
        if values is not None and not ((values >= 0) & (values <= 1)).all():
            yield (
                f"{name} is {values.min():g}..{values.max():g}, must be 0..1 in Loihi: take a "
                "smaller dt or decay 'exponential'"
            )
    if uniform and rule.threshold is not None and rule.v_reset is not None:
        above = float(rule.threshold.flat[0]) - float(rule.v_reset.flat[0])
        if above < 0:
            yield f"its threshold is {-above:g} below v_reset, must not be below it in Loihi"
        if above == 0 and rule.comparison == "ge":
            yield "compares with >= at v_reset, Loihi with >: lower with comparison 'gt'"


def _steps_evenly(rule: Neuron) -> bool:
    """Whether potentials are sums of weights and biases, which integers hold exactly."""
    forgets = rule.decay_syn is None or not rule.decay_syn.any()
    return forgets and bool((rule.decay == 1).all())


def _endless_bias(program: Program, p: Population, rule: Neuron) -> Iterator[str]:
    keeps = rule.decay_syn is not None and bool((rule.decay_syn == 1).any())
    if keeps and brought_bias(program, p).any():
        yield (
            f"population '{p.name}' sums a bias up in a synaptic current that keeps all "
            "(decay_syn 1): take the bias out, or give the current a finite tau_syn"
        )
