"""Which populations must be stepped together, because they lie on a loop, and in which order."""

from sltdeploy.program import Population, Program, Projection

Block = tuple[Population, ...]


def blocks(program: Program) -> tuple[Block, ...]:
    """Split ``program`` into loops and single populations; what feeds a block comes before it.

    Every projection counts, a recurrent one too: all time steps of a block are computed before
    the next block begins. Within a block the order is the program's.
    """
    place = {p.name: k for k, p in enumerate(program.populations)}
    above = [1 << k for k in place.values()]  # bit k: it is population k, or that leads here
    for q in program.projections:
        above[place[q.target]] |= 1 << place[q.source]
    for k, _ in enumerate(above):
        for n, reached in enumerate(above):
            if reached >> k & 1:
                above[n] |= above[k]
    loops: dict[int, list[Population]] = {}
    for n, p in enumerate(program.populations):
        mutual = (k for k in range(n) if above[n] >> k & 1 and above[k] >> n & 1)
        loops.setdefault(next(mutual, n), []).append(p)
    # What lies further down has more above it, all of a loop the same.
    order = sorted(loops, key=lambda first: (above[first].bit_count(), first))
    return tuple(tuple(loops[first]) for first in order)


def inside(program: Program, block: Block) -> tuple[Projection, ...]:
    """Projections from the block back into it."""
    names = {p.name for p in block}
    return tuple(q for p in block for q in program.into(p.name) if q.source in names)
