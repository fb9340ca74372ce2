"""Each example runs as a reader would run it, and says what it promises."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from lava_there import need_lava

EXAMPLES = Path(__file__).parents[1] / "examples"
SAID = {
    "closed_loop": [
        "norse: mean return 500.0, worst 500",
        "onnx: mean return 500.0, worst 500, the same actions (10000)",
        "c: mean return 500.0, worst 500, the same actions (10000)",
        "80% of the weights pruned",
        "dense: mean return 1000.0",
        "onnx: mean return 1000.0, worst 1000, the same actions (20000)",
        "c: mean return 1000.0, worst 1000, the same actions (20000)",
        "J a control step",
    ],
    "energy_of_a_nir_file": ["of 2368 weights are left", "cmos-45nm: ", " J (", "loihi2: Intel"],
    "export_your_norse_network": ["identical: ", "after 20 steps: ["],
    "lava_user": ["step  1  . . . .", "step 50  ", "identical: ", " spikes, 2 steps behind"],
}


def test_every_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SAID)


@pytest.mark.parametrize("name", SAID)
def test_example(name: str, tmp_path: Path) -> None:
    path = EXAMPLES / f"{name}.py"
    if sys.version_info < (3, 11) and "torch" in _imports(path):
        pytest.skip("torch and norse need Python 3.11")
    if name == "lava_user":
        need_lava()
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert [words for words in SAID[name] if words not in done.stdout] == []
    assert list(tmp_path.iterdir()) == []


def _imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf8"))
    return {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
