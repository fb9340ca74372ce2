"""Predict what a program needs of a target: cores by layer, what each of them holds, the worst.

Published rules: Loihi 1 as nengo-loihi cuts (`sltdeploy.mapping.nengo`), Loihi 2 as read off
Intel's own compile logs (`sltdeploy.mapping.lava`). No compiler answers here.
"""

from collections.abc import Mapping

from sltdeploy.machine import Target
from sltdeploy.mapping.needs import budgets, fan_in_wall, fewest_cores, walls
from sltdeploy.mapping.parts import KEYS
from sltdeploy.mapping.placing import place
from sltdeploy.mapping.processors import memories
from sltdeploy.program import Program
from sltdeploy.resources import Fit as Fit

BASIS: Mapping[str, str] = {
    "nengo-loihi": "nengo-loihi's published rule of equal chunks; not a compiler's answer",
    "lava-2022": (
        "rules read off lava-dl's compile logs of 2022 (PilotNet 61 and 74 cores, Oxford 5), "
        "which they reproduce core by core; sparse storage is extrapolated; not a compiler's "
        "answer for your board"
    ),
    "lava-2024": (
        "rules read off lava-dl's compile logs, of 2022 for dense layers and of 2024 for "
        "convolutions (YOLO-KP, 574 cores), which they reproduce layer by layer; sparse storage "
        "and delays are extrapolated; a convolution is counted as Lava's Conv; not a compiler's "
        "answer for your board"
    ),
}
PROCESSOR = "sizes of weights and states in float32, zeros stored; a lower bound"
UNCHECKED_NENGO = (
    "tables of synapse formats, decays and thresholds of a core",
    "cores and axons that bring input and read output",
    "where on the chip a core lies",
    "time per step",
)
UNCHECKED_LAVA = (
    "routing entries of convolutions: counted as one for each neuron, logs show fewer",
    "cores that encode input or read output",
    "neuron groups and programs of a core",
    "layers of relay neurons where a delay is longer than a synapse's",
    "where on the chip a core lies",
    "time per step",
)
UNCHECKED: Mapping[str, tuple[str, ...]] = {
    "nengo-loihi": UNCHECKED_NENGO,
    "lava-2022": UNCHECKED_LAVA,
    "lava-2024": UNCHECKED_LAVA,
}
UNROLLED = (
    "kernels counted as stored once (Lava's Conv) that the exported package stores synapse by "
    "synapse, which Lava simulates faster and which takes more memory on a chip: {}"
)
UNCHECKED_PROCESSOR = ("code, buffers and arena of the runtime", "time per step")


def fit(program: Program, target: Target, *, declared: Mapping[str, int] | None = None) -> Fit:
    """Predict cores and memory of ``program`` on ``target``.

    Nothing is raised where it does not fit: `Fit.exceeded` has what is too much. A matrix of
    which less than half is left takes no memory for its zeros (Lava's Sparse), any other matrix
    and every kernel does. Relays and delay lines within the network are no neurons.

    Parameters
    ----------
    declared
        Bits of a weight by route (``source -> target``) where they are known to be stored with
        fewer than the target holds, as Lava's ``num_weight_bits`` says.
    """
    if target.placement is None:
        found = (*fan_in_wall(program, target), *memories(program, target))
        none = () if found else (f"everything: {target.name} states no limit",)
        return Fit(
            target.name,
            target.title,
            layers=(),
            resources=found,
            unchecked=(*none, *UNCHECKED_PROCESSOR),
            basis=PROCESSOR,
        )
    placement = place(program, target, declared or {})
    layers = tuple(placement.layers())
    return Fit(
        target.name,
        target.title,
        layers=layers,
        resources=(
            *fan_in_wall(program, target),
            *walls(layers, target),
            *budgets(layers, target),
        ),
        unchecked=(
            *([UNROLLED.format(", ".join(placement.unrolled))] if placement.unrolled else ()),
            *UNCHECKED[target.placement],
        ),
        basis=BASIS[target.placement],
        limits={k: v for k, key in KEYS.items() if (v := target.limit(key)) is not None},
        chip=target.limit("cores"),
        lower_bound=fewest_cores(placement),
        reaches=placement.reaches(),
    )
