"""A `Program` as an ONNX graph: one step, or a whole sequence with what can wait done at once."""

from sltdeploy.onnx_model.sequence import sequence as sequence
from sltdeploy.onnx_model.step import step as step
from sltdeploy.onnx_model.writing import OPSET as OPSET
from sltdeploy.onnx_model.writing import Model as Model
from sltdeploy.onnx_model.writing import to_bytes as to_bytes
