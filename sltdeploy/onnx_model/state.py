"""What goes from one step to the next: potentials, currents, the lines of delays, late values."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sltdeploy.onnx_model.graph import Graph
from sltdeploy.program import Array, DelayLine, Neuron, Population, Program, Shape
from sltdeploy.resting import at_rest


@dataclass(frozen=True, eq=False)
class Kept:
    """What a population keeps: "v", "j", "past" (N, depth, *shape) or "last", as the reference."""

    population: str
    name: str
    shape: Shape
    init: Array


@dataclass(frozen=True, eq=False)
class State(Kept):
    """The same with the tensors of a graph that hold it before and after."""

    input: str
    output: str

    def to_json(self) -> dict[str, Any]:
        """Entry of the manifest; init broadcasts to (batch, *shape)."""
        return {
            "population": self.population,
            "name": self.name,
            "input": self.input,
            "output": self.output,
            "shape": list(self.shape),
            "init": self.init.astype(np.float32).tolist(),
        }


def kept(program: Program) -> tuple[Kept, ...]:
    """Everything that ``program`` keeps: what arrives late, then by population."""
    late = tuple(
        Kept(name, "last", program.population(name).shape, sent)
        for name, sent in at_rest(program).items()
    )
    return late + tuple(what for p in program.populations for what in kept_by(p))


def kept_by(p: Population) -> tuple[Kept, ...]:
    """What the rule of ``p`` keeps.

    A potential or current that decays to nothing within a step (a Threshold's) is not kept.
    """
    zero = np.zeros(())
    match p.rule:
        case Neuron():
            v = Kept(p.name, "v", p.shape, p.rule.v_init)
            j = Kept(p.name, "j", p.shape, zero)
            fades = p.rule.decay_syn is None or not p.rule.decay_syn.any()
            return (*((v,) if p.rule.decay.any() else ()), *(() if fades else (j,)))
        case DelayLine() if p.rule.depth:
            return (Kept(p.name, "past", (p.rule.depth, *p.shape), zero),)
        case _:
            return ()


def claimed(graph: Graph, what: Kept) -> State:
    """Claim the tensors ``<population>.<name>`` and ``<population>.<name>_next`` of ``graph``."""
    before = graph.claim(f"{what.population}.{what.name}")
    after = graph.claim(f"{what.population}.{what.name}_next")
    return State(what.population, what.name, what.shape, what.init, before, after)
