"""Recipes are read, overridden and refused before anything slow starts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edgepack.errors import RecipeError
from edgepack.recipe import (
    finish,
    make_recipe,
    override,
    read_recipe,
    recipe_names,
    step_class,
    step_labels,
    with_settings,
)
from edgepack.step import KNOWN
from edgepack.target import read_target, target_names

EVERYTHING = frozenset({"training", "labels", "calibration"}) | KNOWN
PRUNE, CLUSTER, CONVERT = {"step": "prune"}, {"step": "cluster"}, {"step": "convert"}


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_suits_the_targets_that_run_what_it_gives(name: str) -> None:
    for target in map(read_target, target_names()):
        recipe = finish(read_recipe(name), read_recipe(target.recipe))
        form = recipe.steps[-1].gives
        is_compiled = any(step.step_name() == "vela" for step in recipe.steps)
        if form in target.forms and (target.accelerator or not is_compiled):
            recipe.check("keras", EVERYTHING, target)
        else:
            why = "for the Ethos-U" if is_compiled else f"ends in the form {form}"
            with pytest.raises(RecipeError, match=why):
                recipe.check("keras", EVERYTHING, target)
    assert read_recipe(name).description
    form = finish(read_recipe(name), read_recipe("int8")).steps[-1].gives
    assert form == {"edgetpu": "edgetpu", "mcu": "c", "ethosu": "c"}.get(
        name.split("-")[0], "tflite"
    )


@pytest.mark.parametrize("name", target_names())
def test_the_recipe_of_a_target_suits_it(name: str) -> None:
    target = read_target(name)
    read_recipe(target.recipe).check("keras", EVERYTHING, target)


def refusal(*rows: dict[str, object], offered: frozenset[str] = EVERYTHING) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        make_recipe("mine", {"steps": list(rows)}).check("keras", offered, read_target("rpi4"))
    return caught.value


def test_wrong_order_is_refused() -> None:
    error = refusal(CONVERT, {"step": "fold"})
    assert "fold takes keras" in error.message
    assert "given tflite" in error.message


def test_lost_structure_is_refused() -> None:
    error = refusal(CLUSTER, PRUNE, CONVERT)
    assert "clustered" in error.message
    assert "before" in error.hint


def test_missing_data_is_refused() -> None:
    assert "calibration" in refusal(CONVERT, offered=frozenset()).message
    assert "--calibrate-on-noise" in refusal(CONVERT, offered=frozenset()).hint
    assert "training" in refusal(PRUNE, CONVERT, offered=frozenset({"calibration"})).message


def test_a_recipe_must_end_in_a_form_of_the_target() -> None:
    assert "rpi4 runs tflite" in refusal(PRUNE).message


@pytest.mark.parametrize(
    ("row", "message", "hint"),
    [
        ({"step": "prone"}, "no step 'prone'", "'prune'"),
        ({"step": "prune", "sparcity": 0.5}, "no setting 'sparcity'", "'sparsity'"),
        ({"step": "prune", "sparsity": 1.5}, "out of its range", "at least 0"),
        ({"step": "prune", "sparsity": float("nan")}, "out of its range", "at least 0"),
        ({"step": "prune", "sparsity": "much"}, "no float", ""),
        ({"step": "prune", "schedule": "polinomial"}, "polinomial", "'polynomial'"),
        ({"step": "convert", "samples": True}, "no int", ""),
        ({"step": "convert", "per_channel": 1}, "no bool", ""),
        ({"sparsity": 0.5}, "without its name", "prune"),
        ({"step": 7}, "without its name", "prune"),
    ],
)
def test_a_wrong_step_is_refused_by_name(row: dict[str, object], message: str, hint: str) -> None:
    error = refusal(row)
    assert message in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps = []", "has no steps"),
        ('steps = "prune"', "has no steps"),
        ("description = 3\n[[steps]]\nstep = 'prune'", "description is 3"),
        ("[[stages]]\nstep = 'prune'", "unknown key 'stages'"),
        ("steps = [", "is not TOML"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message):
        read_recipe(str(path))


def test_a_missing_file_and_an_unknown_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(str(tmp_path / "none.toml"))
    with pytest.raises(RecipeError) as caught:
        read_recipe("prune-int")
    assert "'prune-int8'" in caught.value.hint


def test_a_users_file_is_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[[steps]]\nstep = "prune"\nsparsity = 0.7\n[[steps]]\nstep = "convert"\n')
    recipe = read_recipe(str(path))
    assert recipe.name == "mine"
    assert dataclasses.asdict(recipe.steps[0])["sparsity"] == 0.7


def test_settings_are_overridden() -> None:
    recipe = make_recipe("twice", {"steps": [PRUNE, PRUNE, CONVERT]})
    changed = override(recipe, ["prune#2.sparsity=0.9", "convert.per_channel=false"])
    assert [dataclasses.asdict(s).get("sparsity") for s in changed.steps[:2]] == [
        dataclasses.asdict(step_class("prune")())["sparsity"],
        0.9,
    ]
    assert dataclasses.asdict(changed.steps[2])["per_channel"] is False
    assert step_labels(changed) == ["prune#1", "prune#2", "convert"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("prune", "no STEP.SETTING=VALUE"),
        ("prune.sparsity", "no STEP.SETTING=VALUE"),
        ("prune.sparsity=0.9", "has 2 steps prune"),
        ("prune#3.sparsity=0.9", "no prune#3"),
        ("prune#0.sparsity=0.9", "no prune#0"),
        ("clutser.clusters=4", "no step 'clutser'"),
        ("convert.samples=many", "no int"),
        ("convert.samples=0", "out of its range"),
    ],
)
def test_a_wrong_override_is_refused(word: str, message: str) -> None:
    recipe = make_recipe("twice", {"steps": [PRUNE, PRUNE, CONVERT]})
    with pytest.raises(RecipeError, match=message):
        override(recipe, [word])


def test_settings_keep_their_types() -> None:
    step = with_settings(step_class("prune")(), {"start": 0, "epochs": "3"})
    settings = dataclasses.asdict(step)
    assert settings["start"] == 0.0
    assert type(settings["start"]) is float
    assert settings["epochs"] == 3
