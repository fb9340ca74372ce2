"""Frameworks and runtimes for the interop tests, each in a folder of its own under ``.interop/``.

``python tests/interop/environments.py [NAME...]`` installs all of them or those named. Only the
framework and what it pins otherwise lie there; torch, numpy and the rest come from the
environment that runs this script: a folder goes before it on PYTHONPATH. So a framework costs
some megabytes and a second, and no other build of torch is pulled.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".interop"
SCRIPTS = Path(__file__).parent
TIME_LIMIT = 600  # seconds, for one script in one environment

PINS = {
    "snntorch": ("snntorch==1.0.0",),
    "spikingjelly": ("spikingjelly==2.0.0", "loguru==0.7.3", "tqdm==4.67.1"),
    "sinabs": ("sinabs==3.1.3", "pbr==7.1.3", "nir==1.0.4", "nirtorch==2.0.2"),
    "rockpool": ("rockpool==3.1.0", "nir==1.0.4", "nirtorch==2.0.2"),
    "norse": (),  # comes with sltdeploy[search]
    "onnxruntime-1.15": ("onnxruntime==1.15.1", "numpy==1.26.4"),
    "onnxruntime-1.18": ("onnxruntime==1.18.1", "numpy==1.26.4"),
    "onnxruntime-1.20": ("onnxruntime==1.20.1",),
    "onnxruntime": (),  # comes with sltdeploy[onnx]
    "openvino": ("openvino==2026.4.1",),
}
# The newest Python that has these wheels; with a newer one they are left out.
NEWEST_PYTHON = {"onnxruntime-1.15": (3, 11), "onnxruntime-1.18": (3, 12)}


def installed(name: str) -> bool:
    """Whether the environment is there, with the pins of this file."""
    stamp = FOLDER / name / "pins.txt"
    return stamp.is_file() and stamp.read_text() == _stamp(name)


def install(name: str) -> None:
    """Make the environment anew; pip's errors end the program."""
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if PINS[name]:
        quiet = ("-qq", "--disable-pip-version-check", "--no-deps", "--target", str(folder))
        subprocess.run([sys.executable, "-m", "pip", "install", *quiet, *PINS[name]], check=True)
    (folder / "pins.txt").write_text(_stamp(name))


def run_script(name: str, script: str, *arguments: object) -> None:
    """Run ``script`` of this folder in the environment ``name``; its stderr is in the error."""
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / script), *map(str, arguments)],
        env=os.environ
        | {
            "PYTHONPATH": str(FOLDER / name),
            "OMP_NUM_THREADS": "1",
            "PYTHONHASHSEED": "0",  # nirtorch and snnTorch go through sets of edges
        },
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{script} in {name}: {done.stderr[-2000:]}")


def _stamp(name: str) -> str:
    return "\n".join((sys.version, *PINS[name]))


def main(names: Sequence[str]) -> int:
    """Install what is not there yet; the exit code is 2 for a name that is unknown."""
    unknown = sorted(set(names) - set(PINS))
    if unknown:
        print(f"no such environment: {', '.join(unknown)}; {', '.join(PINS)}", file=sys.stderr)
        return 2
    there = [n for n in PINS if sys.version_info[:2] <= NEWEST_PYTHON.get(n, (3, 99))]
    for name in names or there:
        if not installed(name):
            print(f"interop: installing {name}", file=sys.stderr)
            install(name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
