"""What a network means in NIR, whoever holds it: a ticket, or a module of Norse."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sltdeploy.errors import InputError
from sltdeploy.ticket import Ticket

if TYPE_CHECKING:
    import nir


def to_nir(
    model: Any, input_shape: int | Sequence[int] | None = None, dt: float | None = None
) -> "nir.NIRGraph":
    """Write a ticket or a Norse network as a NIR graph that ``nir.read`` and `lower` take.

    A ticket knows its shape and time step. For a network, any ``torch.nn.Module`` of Norse's
    cells, ``input_shape`` is per sample, without time and batch, and dt in seconds is that of its
    cells; see `sltdeploy.search.norse_modules.to_nir`, which this calls.

    Raises `InputError` for what cannot be expressed, by the path of each module.
    """
    if isinstance(model, Ticket):
        return model.graph()
    if input_shape is None:
        raise InputError("input_shape is missing: give the shape of a sample, (C, H, W) or (n,)")
    from sltdeploy.search.norse_modules import to_nir as module_to_nir

    shape = (input_shape,) if isinstance(input_shape, int) else input_shape
    return module_to_nir(model, shape, dt)
