"""What stands on a recurrent projection before the first step."""

import numpy as np

from sltdeploy.arithmetic import brought
from sltdeploy.program import Array, Program, Relay


def at_rest(program: Program) -> dict[str, Array]:
    """What the source of each recurrent projection sent before the first step, of its shape.

    Inputs, neurons and delays sent 0. A relay passed that on, and so sent the biases that lie on
    the way: whether a layer of a graph becomes a relay must not change what the network does.
    """
    late = {p.source for p in program.projections if p.recurrent}
    if not late:
        return {}
    kept = np.int64 if program.numbers == "loihi" else np.float32
    relays = [p for p in program.populations if isinstance(p.rule, Relay)]
    sent = {p.name: np.zeros(p.shape, kept) for p in program.populations if p not in relays}
    while relays:
        known = [p for p in relays if all(q.source in sent for q in program.into(p.name))]
        for p in known:
            parts = [
                brought(q, sent[q.source][None], program.numbers)[0] for q in program.into(p.name)
            ]
            sent[p.name] = np.sum(parts, axis=0).astype(kept)
        if not known:  # relays in a circle: their first values are 0
            sent |= {p.name: np.zeros(p.shape, kept) for p in relays}
        relays = [p for p in relays if p.name not in sent]
    return {name: sent[name] for name in sent if name in late}
