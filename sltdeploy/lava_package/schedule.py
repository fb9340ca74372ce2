"""When a layer does what the reference does: by how many steps it lags.

A synapse in Lava, as on Loihi, hands on what arrives one step later. Where the reference takes d
steps from s to t (delays, and one for a recurrent projection), Lava takes
``D = lag(t) - lag(s) + d``, which must be at least 1; D - 1 of these steps are the synapse's delay.
Inputs have lag 0. The lags here are the smallest ones: longest paths over edges of length 1 - d.
A loop is possible where the reference waits at least as many steps in it as it has projections.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sltdeploy.lava_package.routes import Route

TOP_DELAY = 62  # of one synapse on Loihi 2


@dataclass(frozen=True)
class Schedule:
    """Lag of each input and layer; or in ``refusals`` why there is none."""

    lags: Mapping[str, int]
    refusals: tuple[str, ...]


def schedule(names: Iterable[str], routes: Sequence[Route], least: Mapping[str, int]) -> Schedule:
    """Find the smallest lags, none below ``least`` (0 where nothing is said).

    ``refusals`` names loops that are too fast, each projection in one of them at most.
    """
    first = {name: least.get(name, 0) for name in names}
    left, refusals = list(routes), list[str]()
    while True:
        lags, loop = _relax(first, left)
        if not loop:
            return Schedule(lags, tuple(refusals))
        first_of_all = min(loop, key=lambda route: list(first).index(route.source))
        turn = loop.index(first_of_all)
        refusals.append(_too_fast([*loop[turn:], *loop[:turn]]))
        left = [route for route in left if route not in loop]


def steps(route: Route, lags: Mapping[str, int]) -> tuple[int, ...]:
    """Steps that each way of ``route`` takes in Lava, 1 or more."""
    between = lags[route.target] - lags[route.source]
    return tuple(between + way.delay for way in route.ways)


def _relax(first: Mapping[str, int], routes: Sequence[Route]) -> tuple[dict[str, int], list[Route]]:
    """Longest paths, or the routes of a loop that lengthens for ever (Bellman and Ford)."""
    lags = dict(first)
    arrived: dict[str, Route] = {}
    grown = ""
    for _ in range(len(lags) + 1):
        grown = ""
        for route in routes:
            lag = lags[route.source] + 1 - route.least
            if lag > lags[route.target]:
                lags[route.target] = lag
                arrived[route.target] = route
                grown = route.target
        if not grown:
            return lags, []
    for _ in range(len(lags)):  # far enough back to be on the loop itself
        grown = arrived[grown].source
    loop = [arrived[grown]]
    while loop[-1].source != grown:
        loop.append(arrived[loop[-1].source])
    return lags, loop[::-1]


def _too_fast(loop: Sequence[Route]) -> str:
    names = [loop[0].source]
    for route in loop:
        names += [*route.through, route.target]
    waits = sum(route.least for route in loop)
    missing = len(loop) - waits
    return (
        f"loop {' -> '.join(names)}: spikes take {len(loop)} steps around it on Loihi, one for "
        f"each projection, and {waits} in this network: put delays of {missing} more "
        f"step{'s' if missing > 1 else ''} into the loop, or take onnx"
    )
