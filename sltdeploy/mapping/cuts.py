"""A layer cut into cores: which neuron lies where, and what each core then holds."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sltdeploy.mapping.parts import Part
from sltdeploy.ops import Array

WORD = 64
HEADER_BITS = 10  # before the synapses of an axon


@dataclass(frozen=True, eq=False)
class Cut:
    """Cores of one layer; arrays by core but ``core``, the core of each neuron, flattened."""

    core: Array
    neurons: Array
    words: Array
    axons_in: Array
    text: str

    @property
    def cores(self) -> int:
        """Number of cores."""
        return self.neurons.size


Measure = Callable[[list[Part], Array, int], tuple[Array, Array]]  # words and axons in, by core


def cut_by(core: Array, parts: list[Part], measure: Measure, text: str) -> Cut:
    """What each core holds where ``core`` says which neuron lies on which."""
    neurons = np.bincount(core)
    words, axons_in = measure(parts, core, neurons.size)
    return Cut(core, neurons, words, axons_in, text)


def chunks(neurons: int, chunk: int) -> Array:
    """Neurons in their order, ``chunk`` on each core."""
    return np.arange(neurons) // chunk


def told(neurons: int, chunk: int) -> str:
    """Say how a layer of ``neurons`` is cut into chunks."""
    if chunk >= neurons:
        return "one core"
    return f"{chunk} neuron{'s' * (chunk > 1)} a core"


def words_of(bits: Array) -> Array:
    """Whole words that hold so many bits."""
    return -(-bits // WORD)


def synapses_by_axon(part: Part, core: Array) -> tuple[Array, Array]:
    """Of a sparse part: core and number of synapses of each axon that has any."""
    at, synapses = np.unique(core[part.rows] * part.pre + part.columns, return_counts=True)
    return at // part.pre, synapses
