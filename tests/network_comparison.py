"""One random network in the reference and in ONNX Runtime, against the oracle."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
from network_oracle import Convention, Oracle
from random_networks import Network, random_network
from random_parts import Array

from sltdeploy import exporting, reference
from sltdeploy.lowering import lower
from sltdeploy.program import Program

# How near to its threshold, relative to the largest distance from it so far (at least 1), a
# potential may be where float32 and float64 disagree about a spike.
MARGIN = 1e-4
TOLERANCE = 1e-4  # of values, relative in the same way


@dataclass(eq=False)
class Compared:
    """What one network showed; ``exact`` False: its numbers outgrew float32, nothing compared."""

    exact: bool
    spikes: int = 0
    elements: int = 0
    differences: list[str] = field(default_factory=list[str])
    inside: list[str] = field(default_factory=list[str])


def compare(network: Network) -> Compared:
    """Compare spikes and values at every step; in a float network up to the first near miss."""
    m = network.graph.metadata
    convention = Convention(m["dt"], m["reset"], m["comparison"])
    oracle = Oracle(network.graph, convention, network.x, only_exact=network.dyadic)
    if network.dyadic and not oracle.exact:
        return Compared(exact=False)
    program = lower(network.graph)
    found = Compared(
        exact=True,
        spikes=sum(int(s.sum()) for s in oracle.spikes.values()),
        elements=sum(s.size for s in oracle.spikes.values()),
    )
    outputs = _outputs(network, program)
    machines = {
        "reference": reference.run(program, network.x).records,
        "ONNX Runtime": in_onnx(program, network.x),
    }
    for machine, records in machines.items():
        whole = machine == "reference"
        values = {n: v for n, v in oracle.values.items() if whole or n in records}
        expected: dict[str, tuple[str, Array]] = {n: (n, v) for n, v in values.items()}
        expected |= {f"output {n}": (outputs[n], v) for n, v in oracle.outputs.items()}
        check = _exactly if network.dyadic else _nearly
        check(found, machine, program, oracle, records, expected)
    return found


def in_onnx(program: Program, x: Mapping[str, Array]) -> dict[str, Array]:
    """Step the exported model with ONNX Runtime alone; what it sends, by name."""
    done = exporting.load("onnx").export(program, {}, None)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session: Any = onnxruntime.InferenceSession(
        done.files["model.onnx"], options, providers=["CPUExecutionProvider"]
    )
    states = done.details["states"]
    batch = next(iter(x.values())).shape[1]
    held = {
        s["input"]: np.broadcast_to(np.array(s["init"], np.float32), (batch, *s["shape"]))
        for s in states
    }
    names = [o.name for o in session.get_outputs()]
    rows: list[dict[str, Array]] = []
    for t in range(len(next(iter(x.values())))):
        fed = {name: values[t].astype(np.float32) for name, values in x.items()}
        row = dict(zip(names, session.run(names, fed | held), strict=True))
        held = {s["input"]: row[s["output"]] for s in states}
        rows.append(row)
    return {name: np.stack([row[name] for row in rows]) for name in names}


def _outputs(network: Network, program: Program) -> dict[str, str]:
    """Population that shows each Output node: the node before it, or a relay of its own."""
    found: dict[str, str] = {}
    for source, name in network.graph.edges:
        if type(network.graph.nodes[name]).__name__ == "Output":
            found[name] = next(n for n in (source, name) if n in program.outputs)
    return found


def _exactly(
    found: Compared,
    machine: str,
    program: Program,
    oracle: Oracle,
    records: Mapping[str, Array],
    expected: Mapping[str, tuple[str, Array]],
) -> None:
    del program
    wanted = {**{n: (n, s) for n, s in oracle.spikes.items()}, **expected}
    for what, (name, values) in wanted.items():
        wrong = np.argwhere(records[name] != values)
        if len(wrong):
            at = tuple(int(k) for k in wrong[0])
            found.differences.append(
                f"{machine}, {what}, step {at[0]}, at {at[1:]}: {records[name][at]:g} instead of "
                f"{values[at]:g}; {len(wrong)} of {values.size} differ"
            )


def _nearly(
    found: Compared,
    machine: str,
    program: Program,
    oracle: Oracle,
    records: Mapping[str, Array],
    expected: Mapping[str, tuple[str, Array]],
) -> None:
    order = [p.name for p in program.populations if p.name in oracle.spikes]
    wrong = {n: (records[n] != 0) != oracle.spikes[n] for n in order}
    batch = next(iter(wrong.values())).shape[1] if wrong else 0
    for b in range(batch):
        steps = [int(np.argwhere(w[:, b])[0][0]) for w in wrong.values() if w[:, b].any()]
        end = min(steps, default=len(next(iter(wrong.values()))))
        for what, (name, values) in expected.items():
            got, scale = records[name][:end, b], max(1, np.abs(values[:end, b]).max(initial=0))
            worst = np.abs(got.astype(float) - values[:end, b]).max(initial=0) / scale
            if not worst <= TOLERANCE:
                found.differences.append(f"{machine}, {what}, sample {b}: off by {worst:g}")
        if not steps:
            continue
        # What differs later, or further on in the same step, may follow from this.
        first = next(n for n in order if wrong[n][end, b].any())
        margins = oracle.margins[first][: end + 1, b]
        near = np.abs(margins[-1][wrong[first][end, b]]).max() / max(1, np.abs(margins).max())
        line = f"{machine}, {first}, step {end}, sample {b}: {near:.1e} from its threshold"
        (found.inside if near <= MARGIN else found.differences).append(line)


@dataclass(eq=False)
class Total:
    """Sums over many networks."""

    seeds: range
    networks: int = 0
    redrawn: int = 0
    spikes: int = 0
    elements: int = 0
    differences: list[str] = field(default_factory=list[str])
    inside: list[str] = field(default_factory=list[str])
    features: Counter[str] = field(default_factory=Counter[str])


def compare_many(seed: int, count: int, *, dyadic: bool) -> Total:
    """Compare ``count`` networks from ``seed`` on; those that are not exact do not count."""
    total = Total(range(seed, seed))
    while total.networks < count:
        at = total.seeds.stop
        total.seeds = range(seed, at + 1)
        network = random_network(at, dyadic=dyadic)
        try:
            found = compare(network)
        except Exception as error:
            raise AssertionError(f"random_network({at}, dyadic={dyadic}): {error}") from error
        if not found.exact:
            total.redrawn += 1
            continue
        total.networks += 1
        total.spikes += found.spikes
        total.elements += found.elements
        total.differences += [f"network {at}: {line}" for line in found.differences]
        total.inside += [f"network {at}: {line}" for line in found.inside]
        total.features.update(network.features)
    return total
