"""Imports point down: nouns, then stages, then search, then the command line."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Low to high. A module imports from rows below its own, and from those of its row that stand in
# SIDEWAYS beside it.
LAYERS = (
    ("errors", "machine", "ops"),
    ("atomic", "estimate", "resources", "rules"),
    ("program",),
    (
        *("arithmetic", "agreement", "array_file", "counts", "digits", "feeding", "layers"),
        *("program_file", "shapes", "stimulus", "target"),
    ),
    ("convention_presets", "golden_file", "grid", "hdf5", "layer_graph", "resting", "trace"),
    ("ticket",),
    # the stages
    (
        *("anatomy", "annotation", "baselines", "bounds", "c_source", "checking", "counting"),
        *("discretization", "exporting", "graph", "inlining", "integer_simulation"),
        *("lava_host", "lava_package"),
        *("loading", "lowering", "mapping", "nir_tree", "onnx_model", "parameters"),
        *("potentials", "pricing", "quantize", "reference", "report", "resolving"),
        *("runtime", "simplification", "synapse", "topology", "translation", "verification"),
        "walking",
    ),
    ("exporters",),
    ("search",),
    ("assessment", "benching", "delivery", "describing", "inspection", "policy"),
    ("demo", "drawing"),
    ("cli",),
    ("__main__",),
)
SIDEWAYS: Mapping[str, tuple[str, ...]] = {
    "annotation": ("topology", "walking"),
    "c_source": ("reference", "synapse"),
    "checking": ("anatomy", "lava_package", "mapping"),
    "counting": ("anatomy",),
    "exporting": ("checking", "inlining", "quantize", "reference", "resolving"),
    "inlining": ("synapse",),
    "integer_simulation": ("bounds",),
    "lava_package": ("bounds", "synapse"),
    "loading": ("graph",),
    "graph": ("nir_tree",),
    "lowering": ("graph", "topology", "translation", "walking"),
    "mapping": ("anatomy", "lava_package", "synapse"),
    "parameters": ("anatomy",),
    "potentials": ("reference",),
    "pricing": ("baselines",),
    "quantize": ("bounds", "integer_simulation", "reference", "synapse"),
    "report": ("verification",),
    "resolving": ("graph", "loading", "lowering", "translation"),
    "runtime": (
        *("exporting", "graph", "integer_simulation", "lava_host", "lowering", "reference"),
    ),
    "translation": ("discretization", "graph", "topology", "walking"),
    "verification": ("exporting", "potentials", "reference", "runtime"),
    "walking": ("discretization", "graph", "topology"),
}

# Packages that only these may import; all but search inside the function that needs them.
HEAVY: Mapping[str, tuple[str, ...]] = {
    "torch": ("search",),
    "norse": ("search",),
    "sklearn": ("digits", "search"),
    "onnx": ("onnx_model", "exporters"),
    "onnxruntime": ("runtime",),
    "scipy": ("integer_simulation",),
    "lava": (),  # runs in a process of its own
    "matplotlib": ("report",),
    "jinja2": ("report",),
    "h5py": ("hdf5",),
    "nir": (
        *("annotation", "describing", "exporters", "exporting", "graph", "inspection"),
        *("layer_graph", "loading", "lowering", "nir_tree", "resolving", "search", "ticket"),
        *("topology", "translation"),
    ),
}
RANK = {name: rank for rank, row in enumerate(LAYERS) for name in row}


def part(module: str) -> str:
    """Row entry of ``sltdeploy.part.anything``; the package itself is 'sltdeploy'."""
    return module.split(".")[1] if "." in module else module


def imports(source: str) -> Iterator[tuple[str, bool]]:
    """Every module that ``source`` names in an import, and whether at the top of the file.

    What stands under ``if TYPE_CHECKING`` does not run and does not count as the top.
    """
    tree = ast.parse(source)
    top = {id(n) for n in tree.body}
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from ((alias.name, id(node) in top) for alias in node.names)
            case ast.ImportFrom(module=str(module), level=0):
                own = module.split(".")[0] == "sltdeploy"
                names = [f"{module}.{a.name}" for a in node.names] if own else [module]
                yield from ((name, id(node) in top) for name in names)
            case ast.ImportFrom():
                yield ("." * node.level, id(node) in top)
            case _:
                pass


def breaches(sources: Mapping[str, str]) -> list[str]:
    """Imports in ``sources`` (module name: text) that point up or sideways, one line each."""
    return [line for module, text in sources.items() for line in _breaches(module, text)]


def _breaches(module: str, text: str) -> Iterator[str]:
    here = part(module)
    if here not in RANK:
        yield f"{module}: stands in no layer, put it in LAYERS"
        return
    for name, at_top in imports(text):
        package = name.split(".")[0]
        if package == "":
            yield f"{module}: relative import"
        elif package in ("exporters", "targets"):
            yield f"{module}: imports {package} by its place in the checkout"
        elif package in HEAVY:
            if here not in HEAVY[package]:
                yield f"{module}: {package} belongs to {', '.join(HEAVY[package]) or 'no module'}"
            elif at_top and here != "search":
                yield f"{module}: {package} at the top of the file"
        elif package == "sltdeploy":
            there = part(name)
            if there == "exporters":
                yield f"{module}: {name}; exporters are loaded by name"
            elif (
                there in RANK
                and there != here
                and there not in SIDEWAYS.get(here, ())
                and RANK[there] >= RANK[here]
            ):
                yield f"{module}: imports {name}, which is not below it"


def sources() -> dict[str, str]:
    """Text of every module that the wheel will hold."""
    found = {
        ".".join(("sltdeploy", *p.relative_to(ROOT / "sltdeploy").with_suffix("").parts)): p
        for p in (ROOT / "sltdeploy").rglob("*.py")
    }
    found |= {f"sltdeploy.exporters.{p.stem}": p for p in (ROOT / "exporters").glob("*.py")}
    modules = {name.removesuffix(".__init__"): path for name, path in sorted(found.items())}
    del modules["sltdeploy"]  # names all that is public; test_imports says what it may load
    return {name: path.read_text("utf8") for name, path in modules.items()}


def test_imports_point_down() -> None:
    assert breaches(sources()) == []


def test_every_sideways_arrow_is_used() -> None:
    used = {
        (part(module), part(name))
        for module, text in sources().items()
        for name, _ in imports(text)
        if name.startswith("sltdeploy.")
    }
    assert {(a, b) for a, some in SIDEWAYS.items() for b in some} <= used


def test_sideways_arrows_stay_in_their_row_and_make_no_circle() -> None:
    left = {(a, b) for a, some in SIDEWAYS.items() for b in some}
    assert [(a, b) for a, b in left if RANK[a] != RANK[b]] == []
    while left:
        ends = {a for a, _ in left}
        loose = {(a, b) for a, b in left if b not in ends}
        assert loose, f"a circle of imports: {sorted(left)}"
        left -= loose


def test_every_layer_has_its_module() -> None:
    parts = {part(module) for module in sources()}
    assert set(RANK) == parts


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("sltdeploy.program", "from sltdeploy.reference import run"),
        ("sltdeploy.program", "def f():\n    import sltdeploy.cli"),
        ("sltdeploy.report", "from sltdeploy import cli"),
        ("sltdeploy.counting", "from sltdeploy.pricing import energy"),
        ("sltdeploy.counting", "import sltdeploy.pricing"),
        ("sltdeploy.exporting", "from sltdeploy.exporters import onnx"),
        ("sltdeploy.checking", "import exporters.onnx"),
        ("sltdeploy.checking", "from . import target"),
        ("sltdeploy.checking", "def f():\n    import torch"),
        ("sltdeploy.search.find", "import onnx"),
        ("sltdeploy.exporters.lava", "def f():\n    import lava"),
        ("sltdeploy.runtime", "import onnxruntime"),
        ("sltdeploy.exporters.onnx", "from sltdeploy.search.find import find"),
        ("sltdeploy.novelty", "import numpy"),
    ],
)
def test_a_planted_breach_is_caught(module: str, text: str) -> None:
    assert len(breaches({module: text})) == 1


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("sltdeploy.cli.artifacts", "def f():\n    from sltdeploy.exporting import export"),
        ("sltdeploy.reference", "from sltdeploy.program import Program"),
        ("sltdeploy.runtime", "def f():\n    import onnxruntime"),
        ("sltdeploy.search.training", "import torch"),
        ("sltdeploy.exporters.onnx", "from sltdeploy import __version__"),
    ],
)
def test_an_arrow_that_points_down_passes(module: str, text: str) -> None:
    assert breaches({module: text}) == []
