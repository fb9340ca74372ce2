"""Plain Lava, without sltdeploy: your own processes around a network that sltdeploy exported.

    python own_processes.py ARTIFACT SPIKES.npy

in an interpreter with lava-nc 0.10.0. ARTIFACT is the folder that was exported; network.py in it
says at its top which ports the network has. A bar of light moves over 16 pixels for 50 steps, and
each step's spikes of the four directions are printed, and kept in SPIKES.npy (50, 4).

Lava imports whatever lies beside a file that defines a process, so keep such a file by itself.
"""

import sys

import numpy as np
from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

PIXELS, DECISIONS, STEPS = 16, 4, 50


class MovingBar(AbstractProcess):
    """Sends one spike for each pixel that a bar, three pixels wide, lights up."""

    def __init__(self):
        super().__init__()
        self.s_out = OutPort(shape=(PIXELS,))


@implements(proc=MovingBar, protocol=LoihiProtocol)
@requires(CPU)
class MovingBarModel(PyLoihiProcessModel):
    """Lava counts steps from 1; in step 1 the bar begins at pixel 0."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, int)

    def run_spk(self):
        """Send this step's picture."""
        behind = (np.arange(PIXELS) - (self.time_step - 1)) % PIXELS
        self.s_out.send((behind < 3).astype(int))


class Diary(AbstractProcess):
    """Keeps what arrives in each of the first ``steps`` steps."""

    def __init__(self, *, shape, steps):
        super().__init__()
        self.a_in = InPort(shape=shape)
        self.pages = Var(shape=(steps, *shape), init=0)


@implements(proc=Diary, protocol=LoihiProtocol)
@requires(CPU)
class DiaryModel(PyLoihiProcessModel):
    """One page a step."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, int)
    pages: np.ndarray = LavaPyType(np.ndarray, int)

    def run_spk(self):
        """Write this step's page."""
        self.pages[self.time_step - 1] = self.a_in.recv()


def main(artifact, path):
    """Connect, run, print."""
    sys.path.insert(0, artifact)
    from network import RUN_CONFIG, Network

    source, network, diary = MovingBar(), Network(), Diary(shape=(DECISIONS,), steps=STEPS)
    source.s_out.connect(network.in_pixels)
    network.out_decision.connect(diary.a_in)

    network.run(condition=RunSteps(num_steps=STEPS), run_cfg=RUN_CONFIG)
    spikes = diary.pages.get().astype(bool)
    network.stop()

    for step, row in enumerate(spikes, 1):
        print(f"step {step:2}  " + " ".join("|" if spike else "." for spike in row))
    np.save(path, spikes)


if __name__ == "__main__":
    main(*sys.argv[1:])
