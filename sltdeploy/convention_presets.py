"""What a NIR file means where it comes from: one row a framework, and how settings are chosen.

A file carries neither time step nor comparison nor reset rule; each framework has its own. A row
says what that framework fixes and leaves open what its users choose.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from sltdeploy.errors import InputError
from sltdeploy.program import Array, Comparison, Convention, Decay, Reset

Framework: TypeAlias = Literal[
    "norse", "snntorch", "spikingjelly", "sinabs", "rockpool", "spyx", "lava"
]


Agrees: TypeAlias = Callable[[Array, Array, float], Array]  # r, tau and dt agree


@dataclass(frozen=True)
class Preset:
    """What ``name`` does with a NIR file; None where the file or its user decides.

    ``late`` is where a spike loses a step: on the way into a connection, or at each neuron.
    ``undecayed`` neurons subtract the threshold in the next step, after the leak. Neurons of
    ``unit_gain`` add their input as it is, whatever r and w_in say, those of ``decayed_gain``
    times what their leak leaves. ``written_r`` is how the exporter's r shows its dt. ``refused``
    says by kind why a node has no equal here, ``loops`` why loops have none. ``outer_axes`` says
    that Input and Output declare axes of size 1 for batch and time in front.
    """

    name: Framework
    version: str
    source: str
    dt: float | None = None
    reset: Reset | None = None
    comparison: Comparison | None = None
    decay: Decay | None = None
    late: Literal["nowhere", "connections", "neurons"] = "nowhere"
    undecayed: tuple[str, ...] = ()
    unit_gain: tuple[str, ...] = ()
    decayed_gain: tuple[str, ...] = ()
    written_r: Mapping[str, Agrees] = field(default_factory=dict[str, Agrees])
    refused: Mapping[str, str] = field(default_factory=dict[str, str])
    loops: str = ""
    outer_axes: bool = False


def _per_step(r: Array, tau: Array, dt: float) -> Array:
    return _close(r, tau / dt)


def _one_or_per_step(r: Array, tau: Array, dt: float) -> Array:
    return _close(r, 1.0) | _close(r, tau / dt)


def _one_over_dt(r: Array, _tau: Array, dt: float) -> Array:
    return _close(r, 1 / dt)


def _kept(r: Array, tau: Array, dt: float) -> Array:
    return _close(r, 1 - dt / tau)


def _kept_per_step(r: Array, tau: Array, dt: float) -> Array:
    return _close(r, tau / dt * np.exp(-dt / tau))


def _close(r: Array, expected: Array | float) -> Array:
    return np.isclose(r, expected, rtol=1e-3, atol=1e-6)


SINGLE = (
    "sends floor(v / threshold) spikes in one step, here a neuron sends one: build the network "
    "with spike_fn=SingleSpike, then give --dt 1 --reset subtract --compare ge --decay "
    "exponential in place of --convention sinabs"
)
NO_GAIN = (
    "sends floor(v / threshold) spikes in one step, here a neuron sends one; and its r and w_in "
    "do not say by how much an input counts: correct them and give --dt, --reset, --compare and "
    "--decay in place of --convention rockpool"
)

PRESETS = (
    Preset(
        name="norse",
        version="1.1.0",
        source="norse/torch/functional/lif_box.py, iaf.py; norse/torch/utils/import_nir.py",
        comparison="gt",
        decay="euler",
    ),
    Preset(
        name="snntorch",
        version="1.0.0",
        source="snntorch/export_nir.py (dt), _neurons/leaky.py, synaptic.py",
        dt=1e-4,  # written into the exporter and the importer
        comparison="gt",
        decay="euler",
        undecayed=("LIF", "CubaLIF"),
    ),
    Preset(
        name="spikingjelly",
        version="2.0.0",
        source="activation_based/nir_exchange/to_nir.py (dt), neuron/lif.py, functional",
        dt=1e-4,  # default of its exporter and importer; what a file says of it is checked
        reset="zero",
        comparison="ge",
        decay="euler",
        written_r={"IF": _one_over_dt, "LIF": _one_or_per_step, "CubaLIF": _per_step},
    ),
    Preset(
        name="sinabs",
        version="3.1.3",
        source="sinabs/nir.py, layers/functional/lif.py, activation/spike_generation.py",
        dt=1.0,  # time constants are written in steps
        reset="subtract",
        comparison="ge",
        decay="exponential",
        unit_gain=("LI",),
        refused={"LIF": SINGLE, "IF": SINGLE},
    ),
    Preset(
        name="rockpool",
        version="3.1.0",
        source="rockpool/nn/modules/torch/nir.py, lif_torch.py, exp_syn_torch.py",
        reset="subtract",
        comparison="ge",
        decay="exponential",
        decayed_gain=("LI",),
        written_r={"LI": _kept_per_step},
        outer_axes=True,
        refused={"LIF": NO_GAIN, "CubaLIF": NO_GAIN},
    ),
    Preset(
        name="spyx",
        version="1.0.0",
        source="spyx/nir.py, nn.py",
        dt=1.0,  # default of its exporter and importer; what a file says of it is checked
        reset="subtract",
        comparison="gt",
        decay="euler",
        late="neurons",
        undecayed=("LIF",),
        unit_gain=("LIF", "IF", "CubaLIF", "LI"),
        written_r={"LIF": _kept, "CubaLIF": _kept},
        loops="spyx leads a recurrent layer's input through its recurrent weights, in the file",
    ),
    Preset(
        name="lava",
        version="0.10.0",
        source="lava/proc/lif, lava/proc/dense; NIR paper, nir_to_lava.py",
        reset="zero",
        comparison="gt",
        decay="euler",
        late="connections",
    ),
)

NAMES = tuple(p.name for p in PRESETS)


def preset(name: str) -> Preset:
    """Return the row of ``name``; `InputError` with all names where there is none."""
    for row in PRESETS:
        if row.name == name:
            return row
    raise InputError(f"convention '{name}' is unknown, these are: {', '.join(NAMES)}")


def settings(name: str) -> dict[str, Any]:
    """What the preset ``name`` fixes, by the metadata's keys."""
    row = preset(name)
    keys = ("dt", "reset", "comparison", "decay")
    return {k: getattr(row, k) for k in keys if getattr(row, k) is not None}


def choose(
    metadata: Mapping[str, Any],
    dt: float | None = None,
    reset: Reset | None = None,
    comparison: Comparison | None = None,
    decay: Decay | None = None,
) -> Convention:
    """What was given, else what ``metadata`` says, else the default; a time step must be there."""
    step = choice(dt, metadata, "dt", None)
    if step is None:
        raise InputError(
            "no time step: the model's metadata has no dt; give it in seconds, --dt 0.001 "
            "(Python: dt=0.001)"
        )
    return Convention(
        dt=float(step),
        reset=choice(reset, metadata, "reset", "zero"),
        comparison=choice(comparison, metadata, "comparison", "gt"),
        decay=choice(decay, metadata, "decay", "euler"),
    )


def choice(given: object, metadata: Mapping[str, Any], key: str, otherwise: Any) -> Any:
    """``given`` unless it is None, else what ``metadata`` says, else ``otherwise``."""
    return given if given is not None else metadata.get(key, otherwise)
