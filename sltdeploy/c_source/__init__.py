"""A float32 or "loihi" program as one C99 file: what to compute how, and the text that does it."""

from sltdeploy.c_source.network import Source as Source
from sltdeploy.c_source.network import write as write
