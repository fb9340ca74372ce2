"""Lava in an interpreter of its own: find it, set it up, run an artifact in it.

lava-nc 0.10.0 exists for Python 3.10 only, so Lava never runs in this process.
"""

from sltdeploy.lava_host.environment import Status as Status
from sltdeploy.lava_host.environment import find as find
from sltdeploy.lava_host.environment import remove as remove
from sltdeploy.lava_host.environment import require as require
from sltdeploy.lava_host.environment import setup as setup
from sltdeploy.lava_host.environment import status as status
from sltdeploy.lava_host.interpreters import LavaHost as LavaHost
from sltdeploy.lava_host.interpreters import find_python310 as find_python310
from sltdeploy.lava_host.running import Worker as Worker
from sltdeploy.lava_host.running import close_shared as close_shared
from sltdeploy.lava_host.running import run_package as run_package
