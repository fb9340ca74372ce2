"""From float programs to numbers that small machines hold, and what that loses."""

from sltdeploy.quantize.loihi import for_loihi as for_loihi
from sltdeploy.quantize.losses import QuantizeReport as QuantizeReport
from sltdeploy.quantize.losses import losses as losses
from sltdeploy.quantize.snapping import snap as snap
