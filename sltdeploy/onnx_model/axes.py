"""Tensors of a whole sequence in two forms: timed, (T, N, *shape), and flat, (T N, *shape).

What needs no state takes the flat form, steps times samples as its batch; a Scan and the outputs
of the model take the timed one.
"""

from dataclasses import dataclass, field

from sltdeploy.onnx_model.graph import Graph
from sltdeploy.program import Shape


@dataclass
class Axes:
    """Converts between the forms, each tensor once; what is not declared flat is timed."""

    graph: Graph
    source: str  # a timed tensor that is there from the start
    _flat: set[str] = field(default_factory=set[str])
    _other: dict[str, str] = field(default_factory=dict[str, str])

    def declared_flat(self, tensor: str) -> str:
        """Remember that ``tensor`` is flat; return it."""
        self._flat.add(tensor)
        return tensor

    def flat(self, tensor: str, shape: Shape) -> str:
        """The flat form of ``tensor``."""
        if tensor in self._flat:
            return tensor
        if tensor not in self._other:
            flat = self.declared_flat(self.graph.claim(f"{tensor}.flat"))
            if len(shape) == 1:
                self.graph.add("Flatten", [tensor], flat, {"axis": 2})
            else:
                goal = self.graph.integers((-1, *shape), f"{flat}.shape")
                self.graph.add("Reshape", [tensor, goal], flat)
            self._other |= {tensor: flat, flat: tensor}
        return self._other[tensor]

    def timed(self, tensor: str, shape: Shape, to: str | None = None) -> str:
        """The timed form of ``tensor``; where it must be made, under the claimed name ``to``."""
        if tensor not in self._flat:
            return tensor
        if tensor not in self._other:
            timed = to or self.graph.claim(f"{tensor}.timed")
            self.graph.add("Reshape", [tensor, self._sizes(shape)], timed)
            self._other |= {tensor: timed, timed: tensor}
        return self._other[tensor]

    def _sizes(self, shape: Shape) -> str:
        """Tensor that holds (T, N, *shape)."""
        g = self.graph
        given = g.once("Shape", [self.source], "sizes")
        start, end = (g.integers((n,), f"sizes.{n}") for n in (0, 2))
        free = g.once("Slice", [given, start, end], "sizes.free")
        return g.once("Concat", [free, g.integers(shape, "sizes.fixed")], "sizes.all", {"axis": 0})
