"""Lava: a plain Python package for lava-nc, in floating point or in Loihi's integers.

network.py needs lava-nc, numpy and scipy only. It defines one hierarchical process, ``Network``,
with named ports, and runs as a script. Every projection is a synapse process, which takes a step
or, with a delay, more; `sltdeploy.lava_package.schedule` says by how many steps a population lags
the reference, and so does the manifest.

Source: lava-nc 0.10.0, lava/proc/lif, conv, dense and sparse (processes and Python models).
"""

from collections.abc import Mapping

from sltdeploy.array_file import npz
from sltdeploy.errors import raise_all
from sltdeploy.exporting import JSON, Exported
from sltdeploy.lava_package.plan import SUBTRACTING, Plan, plan
from sltdeploy.lava_package.refusals import delay_refusals, rule_refusals, weight_refusals
from sltdeploy.lava_package.routes import Routes, routes
from sltdeploy.lava_package.schedule import schedule
from sltdeploy.lava_package.source import network_py
from sltdeploy.program import Neuron, Population, Program

NETWORK = "network.py"
WEIGHTS = "weights.npz"
LAVA = "lava-nc 0.10.0 on Python 3.10"
NOTES = {
    "float32": "Lava computes in float64: spikes are those of the float32 reference except where "
    "a potential comes within rounding of the threshold; on a dyadic grid they are identical",
    "loihi": "weights of both signs are even, Loihi drops their lowest bit",
}
SIMULATED = "reset by subtraction is not available on the chip: this network is for simulation only"


def export(program: Program, header: Mapping[str, JSON], graph: object = None) -> Exported:
    """Write ``program`` as network.py and weights.npz; same program, same bytes.

    Reset by subtraction is written as a process of our own, for the simulation only; the manifest
    lists under ``not_on_chip`` who does so. Delay lines that lie in the synapses are nowhere to
    be seen; they are listed under ``unrecorded``.

    Raises `InputError` with everything that Lava cannot do exactly: comparison >=, values sent on
    by neurons that do not spike, loops with fewer steps of delay than projections, delays above
    62 steps that no relay neurons can share, biases in front of delays, integers that 8 bits do
    not hold, and parts that nothing joins.
    """
    found = routes(program)
    currents = {p.name: 1 for p in found.layers if _needs_current(p, found)}
    names = [p.name for p in (*program.inputs, *found.layers)]
    timed = schedule(names, found.routes, currents)
    refused = [*rule_refusals(program, found), *found.refusals, *timed.refusals]
    raise_all([*refused, *(() if timed.refusals else delay_refusals(program, found, timed.lags))])
    made = plan(program, found, timed.lags)
    if program.numbers == "loihi":
        raise_all(weight_refusals(made))
    files = {NETWORK: network_py(program, made).encode(), WEIGHTS: npz(made.arrays)}
    return Exported(files, _details(program, made, found), timed.lags)


def _needs_current(p: Population, found: Routes) -> bool:
    """Whether a bias is brought to a synaptic current: by a neuron, one step after the first."""
    return (
        isinstance(p.rule, Neuron)
        and p.rule.decay_syn is not None
        and p.name in found.constants
        and bool(found.constants[p.name].any())
    )


def _details(program: Program, made: Plan, found: Routes) -> dict[str, JSON]:
    own = [p.attribute for p in made.processes if p.cls == SUBTRACTING]
    subtracting = [p.name for p in found.layers if f"neurons_{made.ids[p.name]}" in own]
    return {
        "requires": LAVA,
        "ports": {**made.in_ports, **{r.name: r.seen for r in made.readings}},
        "potentials": {r.name: r.variable for r in made.readings if r.potential},
        "pause_steps": made.pause,
        "unrecorded": list(found.folded),
        **({"not_on_chip": [f"{n}: reset by subtraction" for n in subtracting]} if own else {}),
        **({"simulation_only": True} if own else {}),
        "processes": [
            {
                "name": p.attribute,
                "class": p.cls,
                "parameters": sum(a.size for n, a in p.arrays.items() if not _is_index(n)),
            }
            for p in made.processes
        ],
        "notes": [NOTES[program.numbers], *([SIMULATED] if own else [])],
    }


def _is_index(name: str) -> bool:
    return name.rsplit(".", 1)[-1] in ("indices", "indptr", "shape")
