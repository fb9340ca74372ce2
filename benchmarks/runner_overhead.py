"""What `Runner.step` adds to ONNX Runtime's session under it, in microseconds a step.

One session (784-512-512-10), batch 1, one thread. The bare loop runs it on a binding that was
made before: its input stands there, its outputs are overwritten, nothing is checked or measured.
The runner checks its input, copies it in, times the step and returns outputs that are the
caller's. Bare steps and steps of each dtype follow each other in random order, STEPS at a time; a
figure is the median over rounds, a difference the median of the differences within a round.
Counted is the time that the thread had the processor: where nothing else runs, that is the time
that passes.

    python benchmarks/runner_overhead.py [--rounds N]
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from dense_nets import dense, frames

import sltdeploy as slt
from sltdeploy.program import Array
from sltdeploy.runtime import Runner
from sltdeploy.runtime.manifest import read
from sltdeploy.runtime.onnx_engine import OnnxEngine
from sltdeploy.runtime.stepping import StepRunner

SIZES = (784, 512, 512, 10)
STEPS = 50
BARE = "bare session"
KINDS: Mapping[str, Any] = {"float32": np.float32, "uint8": np.uint8, "bool": np.bool_}


def bare(engine: OnnxEngine) -> Callable[[], None]:
    """The engine's session as users of ONNX Runtime write it: bound once, run again and again."""
    model: Any = vars(engine)["_model"]
    fed = {"in": np.ascontiguousarray(frames(SIZES[0], 1)[0])}
    sent = {name: np.zeros((1, SIZES[-1]), np.float32) for name in model.outputs}
    before, after = model.memory(1), model.memory(1)
    model.begin(before)
    binding = model.binding(
        {**fed, **before}, {**sent, **{s.output: after[s.input] for s in model.states}}
    )
    return partial(run, model.session, binding, (fed, sent, before, after))


def run(session: Any, binding: Any, bound: object) -> None:
    """Run the session; ``bound`` has to live as long as the binding."""
    del bound
    for _ in range(STEPS):
        session.run_with_iobinding(binding)


def opened(runner: Runner, rows: list[Array]) -> None:
    """Step the runner."""
    for row in rows:
        runner.step(row)


def timed(work: Callable[[], None]) -> float:
    """Microseconds a step."""
    begin = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - begin) / STEPS / 1e3


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    x, rng = frames(SIZES[0], STEPS), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        slt.export(dense(SIZES), None, Path(folder, "a"), format="onnx")
        manifest = read(Path(folder, "a"))
        engine = OnnxEngine(manifest, Path(folder, "a", "model.onnx").read_bytes())
        with StepRunner(manifest, engine) as runner:
            kinds = {k: partial(opened, runner, list(x.astype(v))) for k, v in KINDS.items()}
            work = {BARE: bare(engine), **kinds}
            times = [{n: timed(work[n]) for n in rng.permutation([*work])} for _ in range(rounds)]
    print(f"one step, batch 1, 1 thread, median of {rounds} rounds of {STEPS} steps\n")
    print(f"{'':<14}{'us':>8}{'ratio':>8}{'more, us':>10}")
    for name in work:
        own, ratio, more = (
            median(values)
            for values in (
                [t[name] for t in times],
                [t[name] / t[BARE] for t in times],
                [t[name] - t[BARE] for t in times],
            )
        )
        print(f"{name:<14}{own:>8.1f}{ratio:>8.3f}{more:>10.2f}")


if __name__ == "__main__":
    main()
