"""Recipes are read strictly, and all that is wrong is said at once."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from sltdeploy.errors import InputError
from sltdeploy.search.recipe import BUNDLED, Recipe, names, parse_recipe, read_recipe


def test_the_bundled_recipe_reads_whole() -> None:
    assert "digits" in names()
    recipe = read_recipe("digits")
    assert (recipe.name, recipe.method, recipe.data.name) == ("digits", "magnitude", "digits")
    assert recipe.network.tau_mem_inv * recipe.deployment.dt == 0.75
    assert (1 - recipe.pruning.fraction) ** recipe.pruning.rounds <= 0.12
    assert {f.name for f in fields(Recipe)} == set(recipe.as_json())
    assert parse_recipe(recipe.as_json()) == recipe


def test_a_path_reads_as_a_name(tmp_path: Path) -> None:
    copy = tmp_path / "mine.toml"
    copy.write_bytes((BUNDLED / "digits.toml").read_bytes())
    assert read_recipe(copy) == read_recipe("digits")


def test_overrides_change_single_keys() -> None:
    recipe = read_recipe(
        "digits",
        [
            "seed=7",
            "training.lr = 1",
            "deployment.grid=none",
            "network.channels=[1, 2, 3]",
            'name="x"',
        ],
    )
    assert (recipe.seed, recipe.deployment.grid, recipe.name) == (7, "none", "x")
    assert recipe.training.lr == 1.0
    assert isinstance(recipe.training.lr, float)
    assert recipe.network.channels == [1, 2, 3]
    assert read_recipe("digits", ["deployment.grid=9"]).deployment.grid == 9


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.lr", "is no key=value"),
        ("training.lr.x=1", "'lr' is a value"),
        ("training.epoch=3", "'training.epoch' is unknown, did you mean 'training.epochs'"),
        ("trainin.lr=0.1", "'trainin' is unknown, did you mean 'training'"),
        ("seed=1.5", "'seed' is 1.5, must be a whole number"),
        ("seed=true", "'seed' is True, must be a whole number"),
        ("training.lr=fast", "'training.lr' is 'fast', must be a number"),
        ("training.lr=nan", "'training.lr' is nan, must be from"),
        ("training=3", "'training' is 3, must be a table"),
        ("network.channels=16", r"'network.channels' is 16, must be \[n, n, n\]"),
        ("network.channels=[1, 0, 2]", "must be from 1"),
        ("network.channels=[1, 2]", "has 2 entries, must have 3"),
        ("data.name=mnist", "'data.name' is 'mnist', must be digits"),
        ("method=snip", "must be magnitude"),
        ("deployment.grid=fine", "must be exact, none, or a whole number"),
        ("deployment.grid=true", "must be exact, none, or a whole number"),
        ("pruning.fraction=1.0", "'pruning.fraction' is 1.0, must be from 0.001 to 0.999"),
        ("training.rewind_epoch=50", "must be less than 'training.epochs'"),
        ("deployment.dt=0.002", "'network.tau_mem_inv' times 'deployment.dt' is 1.5"),
    ],
)
def test_a_wrong_key_or_value_is_named(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_recipe("digits", [override])


def test_all_violations_come_at_once(tmp_path: Path) -> None:
    table: dict[str, Any] = read_recipe("digits").as_json()
    del table["seed"], table["training"]["momentum"]
    table |= {"extra": 1, "threads": 0}
    with pytest.raises(InputError) as caught:
        parse_recipe(table, "mine.toml")
    assert len(caught.value.violations) == 4
    assert all(line.startswith("mine.toml: ") for line in caught.value.violations)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file, and no bundled recipe \(digits"):
        read_recipe("digit")
    broken = tmp_path / "broken.toml"
    broken.write_text("seed = = 1")
    with pytest.raises(InputError, match=r"broken.toml: not TOML"):
        read_recipe(broken)
