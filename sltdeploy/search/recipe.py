"""What to search for and how: one TOML file, read strictly.

Every key must be there and no other may be; all violations are reported at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast, get_type_hints

import tomllib

from sltdeploy.errors import InputError, raise_all

BUNDLED = Path(__file__).parents[1] / "recipes"


@dataclass(frozen=True)
class Data:
    """Which images; ``shift`` moves each training image by up to so many pixels at random."""

    name: str
    shift: int


@dataclass(frozen=True)
class Network:
    """Channels of the three convolutions; LIF and readout time constants in 1/s, threshold."""

    channels: list[int]
    tau_mem_inv: float
    v_th: float
    readout_tau_mem_inv: float


@dataclass(frozen=True)
class Training:
    """SGD with momentum and a cosine schedule; the dense round trains ``epochs``.

    Later rounds start from the weights at the end of epoch ``rewind_epoch`` (counted from 1, 0
    is initialisation) and train the epochs that are left.
    """

    epochs: int
    rewind_epoch: int
    batch: int
    lr: float
    momentum: float
    weight_decay: float
    label_smoothing: float


@dataclass(frozen=True)
class Pruning:
    """``rounds`` prunings of ``fraction`` of what is left; each layer keeps ``floor`` of itself."""

    rounds: int
    fraction: float
    floor: float


@dataclass(frozen=True)
class Deployment:
    """dt in seconds, steps T a sample, grid: "exact", "none" or a number of fraction bits."""

    dt: float
    steps: int
    grid: str | int


@dataclass(frozen=True)
class Recipe:
    """Everything that a search depends on; ``threads`` too, as sums depend on their number."""

    name: str
    method: str
    seed: int
    threads: int
    data: Data
    network: Network
    training: Training
    pruning: Pruning
    deployment: Deployment

    def as_json(self) -> dict[str, Any]:
        """Return the recipe as nested dicts that JSON can hold."""
        return asdict(self)


RANGES: Mapping[str, tuple[float, float]] = {
    "seed": (0, 2**31),
    "threads": (1, 256),
    "data.shift": (0, 3),
    "network.channels": (1, 1024),
    "network.tau_mem_inv": (1e-6, 1e6),
    "network.v_th": (1e-6, 1e6),
    "network.readout_tau_mem_inv": (1e-6, 1e6),
    "training.epochs": (1, 100_000),
    "training.rewind_epoch": (0, 100_000),
    "training.batch": (2, 1297),
    "training.lr": (1e-9, 1e9),
    "training.momentum": (0, 0.9999),
    "training.weight_decay": (0, 1),
    "training.label_smoothing": (0, 0.5),
    "pruning.rounds": (0, 100),
    "pruning.fraction": (0.001, 0.999),
    "pruning.floor": (0, 1),
    "deployment.dt": (1e-9, 1e3),
    "deployment.steps": (1, 10_000),
}
CHOICES: Mapping[str, tuple[str, ...]] = {"method": ("magnitude",), "data.name": ("digits",)}


def names() -> list[str]:
    """Names of the bundled recipes."""
    return sorted(path.stem for path in BUNDLED.glob("*.toml"))


def read_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a TOML file, or a bundled one by its name.

    ``overrides`` are ``section.key=value`` with a TOML value, such as ``training.lr=0.1``.
    Raises `InputError` with every violation: file, key, value and limit.
    """
    path = Path(source)
    if str(source) in names():
        path = BUNDLED / f"{source}.toml"
    if not path.is_file():
        raise InputError(f"{source}: no such file, and no bundled recipe ({', '.join(names())})")
    try:
        table = tomllib.loads(path.read_text("utf8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML: {error}") from None
    for override in overrides:
        _override(table, override)
    return parse_recipe(table, str(path))


def parse_recipe(table: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """Make a recipe of nested mappings; ``where`` opens each line of an `InputError`."""
    raise_all(f"{where}: {why}" for why in _section_problems(Recipe, table, ""))
    recipe = _make(Recipe, table)
    raise_all(f"{where}: {why}" for why in _together(recipe))
    return recipe


def _override(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise InputError(f"'{override}' is no key=value, such as training.lr=0.1")
    try:
        value = tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # a bare word is a string
    *path, last = key.strip().split(".")
    for part in path:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"'{override}': '{part}' is a value, it has no keys")
    table[last] = value


def _section_problems(kind: Any, table: Mapping[str, Any], at: str) -> Iterator[str]:
    wanted = get_type_hints(kind)
    for key in table:
        if key not in wanted:
            near = get_close_matches(key, wanted, 1)
            hint = f"did you mean '{at}{near[0]}'?" if near else f"known: {', '.join(wanted)}"
            yield f"key '{at}{key}' is unknown, {hint}"
    for key, hint in wanted.items():
        if key not in table:
            yield f"key '{at}{key}' is missing"
        elif is_dataclass(hint):
            if isinstance(table[key], Mapping):
                yield from _section_problems(hint, table[key], f"{at}{key}.")
            else:
                yield f"'{at}{key}' is {table[key]!r}, must be a table"
        else:
            yield from _value_problems(f"{at}{key}", hint, table[key])


def _value_problems(key: str, hint: Any, value: Any) -> Iterator[str]:
    if key == "deployment.grid":
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value not in ("exact", "none") and not (whole and 1 <= value <= 23):
            yield f"'{key}' is {value!r}, must be exact, none, or a whole number from 1 to 23"
        return
    items = cast("list[Any]", value) if isinstance(value, list) else [value]
    wanted = int if hint == list[int] else hint
    accepted = (int, float) if wanted is float else (wanted,)
    if isinstance(value, list) != (hint == list[int]) or any(
        not isinstance(i, accepted) or isinstance(i, bool) for i in items
    ):
        name = {int: "a whole number", float: "a number", str: "a string"}.get(hint, "[n, n, n]")
        yield f"'{key}' is {value!r}, must be {name}"
        return
    if key in CHOICES and value not in CHOICES[key]:
        yield f"'{key}' is {value!r}, must be {' or '.join(CHOICES[key])}"
    low, high = RANGES.get(key, (0, 0))
    if key in RANGES and any(not low <= i <= high for i in items):
        yield f"'{key}' is {value!r}, must be from {low:g} to {high:g}"


def _together(recipe: Recipe) -> Iterator[str]:
    if len(recipe.network.channels) != 3:
        yield f"'network.channels' has {len(recipe.network.channels)} entries, must have 3"
    if recipe.training.rewind_epoch >= recipe.training.epochs:
        yield (
            f"'training.rewind_epoch' is {recipe.training.rewind_epoch}, must be less than "
            f"'training.epochs' ({recipe.training.epochs})"
        )
    for key in ("tau_mem_inv", "readout_tau_mem_inv"):
        gain = getattr(recipe.network, key) * recipe.deployment.dt
        if gain > 1:
            yield f"'network.{key}' times 'deployment.dt' is {gain:g}, must be at most 1"


def _make(kind: Any, table: Mapping[str, Any]) -> Any:
    hints = get_type_hints(kind)
    values = {
        f.name: _make(hints[f.name], table[f.name])
        if is_dataclass(hints[f.name])
        else (float(table[f.name]) if hints[f.name] is float else table[f.name])
        for f in fields(kind)
    }
    return kind(**values)
