"""Lava: a plain Python package for lava-nc, in floating point or in Loihi's integers.

network.py needs lava-nc, numpy and scipy only. It defines one hierarchical process, ``Network``,
with named ports, and runs as a script. Every projection is one synapse process, so a population
k projections away from the input lags the reference by k steps; the manifest says by how many.

Source: lava-nc 0.10.0, lava/proc/lif, conv, dense and sparse (processes and Python models).
"""

from collections.abc import Iterator, Mapping

from sltdeploy.errors import raise_all
from sltdeploy.exporting import JSON, Exported
from sltdeploy.lava_package.plan import Plan, lags, plan
from sltdeploy.lava_package.source import network_py, npz
from sltdeploy.program import DelayLine, Input, Neuron, Population, Program

NETWORK = "network.py"
WEIGHTS = "weights.npz"
LAVA = "lava-nc 0.10.0 on Python 3.10"
NOTES = {
    "float32": "Lava computes in float64: spikes are those of the float32 reference except where "
    "a potential comes within rounding of the threshold; on a dyadic grid they are identical",
    "loihi": "weights of both signs are even, Loihi drops their lowest bit",
}


def export(program: Program, header: Mapping[str, JSON], graph: object = None) -> Exported:
    """Write ``program`` as network.py and weights.npz; same program, same bytes.

    Raises `InputError` with every feature that Lava's LIF lacks: comparison >=, reset by
    subtraction, a first potential other than v_reset, values sent on by neurons that do not
    spike, recurrent projections, delays, paths of different length that meet in one population,
    and parts that nothing joins.
    """
    raise_all(_refusals(program))
    made = plan(program)
    files = {NETWORK: network_py(program, made).encode(), WEIGHTS: npz(made.arrays)}
    return Exported(files, _details(program, made), lags(program))


def _details(program: Program, made: Plan) -> dict[str, JSON]:
    return {
        "requires": LAVA,
        "ports": {**made.in_ports, **{r.name: r.port for r in made.readings}},
        "processes": [
            {
                "name": p.attribute,
                "class": p.cls,
                "parameters": sum(a.size for n, a in p.arrays.items() if not _is_index(n)),
            }
            for p in made.processes
        ],
        "notes": [NOTES[program.numbers]],
    }


def _is_index(name: str) -> bool:
    return name.rsplit(".", 1)[-1] in ("indices", "indptr", "shape")


def _refusals(program: Program) -> Iterator[str]:
    sources = {p.source for p in program.projections}
    late = [q.name for q in program.projections if q.recurrent]
    waiting = [p.name for p in program.populations if isinstance(p.rule, DelayLine)]
    yield from (
        f"projection '{name}' is recurrent, this exporter writes feed-forward networks: take onnx"
        for name in late
    )
    yield from (
        f"population '{name}' delays what arrives, this exporter has no delays: take onnx"
        for name in waiting
    )
    # With loops or delays there is no number of hops to compare.
    lag = {} if late or waiting else lags(program)
    for p in program.populations:
        if isinstance(p.rule, Input):
            if p.name in program.outputs:
                yield f"output '{p.name}' is an input: nothing to run in Lava"
            continue
        if not p.spiking and p.name in sources and p.name not in waiting:
            yield (
                f"population '{p.name}' sends values, not spikes, to another: neurons in Lava "
                "only send spikes; give it a threshold, let it be an output only, or take the "
                "onnx exporter"
            )
        if isinstance(p.rule, Neuron):
            yield from (f"population '{p.name}' {why}" for why in _rule_refusals(p.rule))
        if lag:
            yield from _path_refusals(program, p, lag)
    yield from _part_refusals(program)


def _rule_refusals(rule: Neuron) -> Iterator[str]:
    if not rule.spiking:
        return
    if rule.comparison == "ge":
        yield "compares with >=, Lava's LIF with >: lower with comparison 'gt', or take onnx"
    if rule.reset == "subtract":
        yield "resets by subtraction, Lava's LIF to a value: lower with reset 'zero', or take onnx"
    elif rule.v_reset is not None and (rule.v_init != rule.v_reset).any():
        yield (
            f"starts at v = {rule.v_init.flat[0]:g}, Lava's LIF starts at v_reset = "
            f"{rule.v_reset.flat[0]:g}: make v_leak equal to v_reset, or take onnx"
        )


def _part_refusals(program: Program) -> Iterator[str]:
    """Lava runs a network whose processes are all joined; of two it runs none, and waits."""
    part = {p.name: k for k, p in enumerate(program.populations)}
    for q in program.projections:
        joined, other = sorted((part[q.source], part[q.target]))
        part = {name: joined if k == other else k for name, k in part.items()}
    numbers = sorted(set(part.values()))
    if len(numbers) > 1:
        named = (", ".join(name for name, k in part.items() if k == n) for n in numbers)
        yield (
            f"the network falls into parts that nothing joins: {' | '.join(named)}: Lava runs "
            "one at a time; export them one by one, or take onnx"
        )


def _path_refusals(program: Program, p: Population, lag: Mapping[str, int]) -> Iterator[str]:
    hops = {q.source: lag[q.source] + 1 for q in program.into(p.name)}
    if len(set(hops.values())) > 1:
        paths = ", ".join(f"{hop} by '{source}'" for source, hop in hops.items())
        yield (
            f"population '{p.name}' is reached after different numbers of projections ({paths}): "
            "each takes a step in Lava, so the paths would arrive apart; make them equally long, "
            "or take onnx"
        )
