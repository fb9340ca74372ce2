"""Smaller programs that spike the same: each pass is pure, exact and in the tuple `PASSES`."""

from collections.abc import Callable
from typing import TypeAlias

from sltdeploy.errors import InputError
from sltdeploy.program import Program
from sltdeploy.simplification.constants import fold_constants
from sltdeploy.simplification.identities import remove_identities
from sltdeploy.simplification.merging import merge_affine
from sltdeploy.simplification.result import Simplified as Simplified
from sltdeploy.simplification.result import unchanged
from sltdeploy.simplification.unread import drop_unread

Pass: TypeAlias = Callable[[Program], Simplified]

PASSES: tuple[Pass, ...] = (remove_identities, merge_affine, fold_constants, drop_unread)


def simplify(program: Program) -> Simplified:
    """Apply `PASSES` in turn until none finds anything more to do.

    Inputs and outputs stay as they are. Every other neuron either stays and sends what it sent
    before, spike for spike, or goes. A neuron goes where nobody reads it, where it provably never
    fires, or where it provably fires in every step and its effect fits exactly into the biases
    of its readers; a convolution loses whole channels only. Simplifying twice is simplifying
    once; where there is nothing to do the very same program comes back.

    Equal means what the reference can tell: it adds in float64, so two orders of one sum agree
    where 53 bits hold it, as they do for spikes through float32 weights of like magnitude.

    Returns the `Simplified` program and which neurons it kept; ``program`` is left as it is.
    """
    if not isinstance(program, Program):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(
            f"simplify takes a Program, this is {type(program).__name__}: lower it first"
        )
    done = unchanged(program)
    while True:
        start = done.program
        for each in PASSES:
            done = done.then(each(done.program))
        if done.program is start:
            return done
