"""Networks that other frameworks can load: one dt, no leak, one threshold a population."""

from itertools import pairwise
from typing import Any

import nir
import numpy as np

from sltdeploy.program import Array

DT = 1e-4  # snnTorch knows no other


def networks() -> dict[str, nir.NIRGraph]:
    """Graphs by name; six inputs, or (2, 6, 8) for "conv"."""
    rng = np.random.default_rng(1)
    conv = nir.Conv2d((6, 8), _values(rng, 3, 2, 3, 3), 1, 1, 1, 1, _values(rng, 3))
    pool = nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    flat = nir.Flatten({"input": np.array([3, 3, 4])}, 0, -1)
    image = {"n0": conv, "n1": _lif(3, 6, 8), "n2": pool, "n3": flat}
    image |= {"n4": _affine(rng, 36, 4), "n5": _lif(4)}
    two = {"n0": _affine(rng, 6, 8), "n1": _lif(8), "n2": nir.Linear(_values(rng, 4, 8))}
    two["n3"] = _lif(4)
    same = {"n0": _affine(rng, 6, 6), "n1": _lif(6), "n2": nir.Linear(_values(rng, 6, 6))}
    same["n3"] = _lif(6)
    graphs = {
        "dense": _chain(two, 6),
        "cuba": _chain({"n0": _affine(rng, 6, 8), "n1": _cuba(8)}, 6),
        "conv": _chain(image, 2, 6, 8),
        "residual": _chain(same, 6, more=(("n1", "n3"),)),
    }
    for name, bias in (("recurrent", 0.0), ("recurrent_bias", 1.0)):
        back = nir.Affine(_values(rng, 8, 8) / 2, bias * _values(rng, 8))
        loop = (("n1", "back"), ("back", "n1"))
        graphs[name] = _chain(two, 6, more=loop, off={"back": back})
    return graphs


def _chain(
    inner: dict[str, Any],
    *shape: int,
    more: tuple[tuple[str, str], ...] = (),
    off: dict[str, Any] | None = None,
) -> nir.NIRGraph:
    """Input, ``inner`` in turn, Output; ``more`` edges, and nodes ``off`` the chain."""
    out = inner[list(inner)[-1]].v_threshold.shape
    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array(shape)}), **inner}
    nodes["output"] = nir.Output({"output": np.array(out)})
    edges = [*pairwise(nodes), *more]
    nodes |= off or {}
    return nir.NIRGraph(nodes, edges, metadata={"dt": DT, "input_kind": "spikes"})


def _values(rng: np.random.Generator, *shape: int) -> Array:
    """Values that keep neurons busy whatever the number of inputs is."""
    inputs = np.prod(shape[1:]) if len(shape) > 1 else 50
    return (rng.uniform(-1.4, 2.2, shape) / np.sqrt(inputs)).astype(np.float32)


def _affine(rng: np.random.Generator, n: int, m: int) -> nir.Affine:
    return nir.Affine(_values(rng, m, n), _values(rng, m))


def _lif(*shape: int) -> nir.LIF:
    """Resistance 1, which Norse takes for granted."""
    full = np.ones(shape)
    return nir.LIF(5 * DT * full, full, 0 * full, 0.2 * full)


def _cuba(n: int) -> nir.CubaLIF:
    """Both r and w_in undo dt / tau, which SpikingJelly and snnTorch take for granted."""
    full = np.ones(n)
    return nir.CubaLIF(2 * DT * full, 4 * DT * full, 4 * full, 0 * full, full, 0 * full, 2 * full)
