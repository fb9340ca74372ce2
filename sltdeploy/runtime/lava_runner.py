"""Runs a Lava artifact in Lava, in a process of its own, a whole sequence at a time."""

from collections.abc import Callable, Mapping
from typing import final

from sltdeploy.errors import InputError
from sltdeploy.feeding import conform
from sltdeploy.program import Array
from sltdeploy.runtime.manifest import Manifest
from sltdeploy.runtime.runner import Runner, RunResult


@final
class LavaRunner(Runner):
    """A Lava network starts from its first state in each `run`; it cannot be stepped from here.

    All runs of this process share one interpreter, see `sltdeploy.lava_host.Worker`; ``on_line``
    gets each line that Lava prints, "step k of n" among them.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        timeout_s: float | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(manifest)
        self._timeout_s = timeout_s
        self._on_line = on_line

    @property
    def latency_steps(self) -> int:
        """Steps by which the network's last output lags the reference, see docs/loihi.md."""
        return self.manifest.latency_steps

    def step(self, x: Array | Mapping[str, Array]) -> dict[str, Array]:
        """Refuse: Lava starts its processes anew for each run."""
        raise InputError(
            f"{self.folder}: engine 'lava' runs whole sequences only: use run(x), or open the "
            "artifact with engine='fast' to step it"
        )

    def run(
        self,
        x: Array | Mapping[str, Array],
        *,
        record: bool = False,
        potentials: bool = False,
    ) -> RunResult:
        """Feed a sequence; see `Runner.run`.

        Delay lines that lie in the synapses leave no record. With ``potentials`` the records also
        hold, as NAME.v, the membrane of each neuron after each step. Raises
        `MissingComponentError` where no interpreter has Lava, `CheckError` where Lava fails or
        takes too long.
        """
        from sltdeploy import lava_host

        fed = conform(self.manifest.inputs, x, ("T", "B"))
        sent = lava_host.run_package(
            self.folder,
            fed,
            timeout_s=self._timeout_s,
            record=record,
            potentials=potentials,
            on_line=self._on_line,
        )
        outputs = {o.name: self.in_float_units(o.name, sent[o.name]) for o in self.manifest.outputs}
        membranes = {n: values for n, values in sent.items() if n not in self.manifest.shapes}
        return RunResult(outputs, {**fed, **sent} if record else membranes)

    def reset(self, batch: int | None = None) -> None:
        """Nothing to do: each run starts from the first state."""

    def close(self) -> None:
        """Nothing is held: the interpreter is shared, and ends with this process."""
