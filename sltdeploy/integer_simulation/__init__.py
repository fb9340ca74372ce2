"""Loihi's integers fast: many samples at once, the same bits as `sltdeploy.reference`.

Arrays lie as (neurons, steps, samples), so that each synapse and each neuron works on a row of
samples. What lies on no loop takes a chunk of steps at once; interval bounds prove which narrow
type holds every sum and where wrapping and clipping cannot happen.
"""

from sltdeploy.integer_simulation.simulation import Simulation as Simulation
from sltdeploy.integer_simulation.simulation import run as run
