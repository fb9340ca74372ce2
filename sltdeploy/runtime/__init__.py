"""Running an artifact. For ONNX artifacts numpy and onnxruntime are all that is imported.

The first step of a small network is over after 0.15 s of processor time, hashes and golden vectors
included; starting Python and importing numpy and onnxruntime takes 0.10 s of that (two cores of an
EPYC, Python 3.11, numpy 2.4, onnxruntime 1.31, OMP_NUM_THREADS=1, without which numpy starts
threads that it does not need here).
"""

from sltdeploy.runtime.latency import Latency as Latency
from sltdeploy.runtime.opening import open_artifact as open_artifact
from sltdeploy.runtime.realtime import Realtime as Realtime
from sltdeploy.runtime.runner import Runner as Runner
from sltdeploy.runtime.runner import RunResult as RunResult
