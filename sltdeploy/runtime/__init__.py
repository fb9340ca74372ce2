"""Running an artifact. For ONNX artifacts numpy and onnxruntime are all that is imported."""

from sltdeploy.runtime.opening import open_artifact as open_artifact
from sltdeploy.runtime.runner import Runner as Runner
from sltdeploy.runtime.runner import RunResult as RunResult
