"""How a model enters a recipe: which steps it goes through for what it turns out to be."""

from __future__ import annotations

import pytest

from edgepack.entry import Newcomer, enter
from edgepack.errors import RecipeError
from edgepack.plugins import data_names
from edgepack.recipe import Recipe, make_recipe, read_recipe

KERAS, FLOAT, INT8 = Newcomer("keras"), Newcomer("tflite"), Newcomer("tflite", "int8")
FIXED = Newcomer("tflite", obstacles=("CUMSUM (operator 3, 'total') has no layer",))


def words(recipe: str, model: Newcomer, *, named: bool = True) -> list[str]:
    """The names of the steps that a model goes through."""
    return [s.step_name() for s in enter(read_recipe(recipe), model, named=named).recipe.steps]


def refusal(recipe: str, model: Newcomer, *, named: bool = True) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        enter(read_recipe(recipe), model, named=named)
    return caught.value


@pytest.mark.parametrize("name", data_names("recipes"))
def test_a_keras_model_goes_through_every_step(name: str) -> None:
    assert enter(read_recipe(name), KERAS, named=True).recipe == read_recipe(name)


def test_a_float_flatbuffer_is_thawed_for_what_needs_keras() -> None:
    assert words("int8", FLOAT) == ["thaw", "convert", "strip"]
    assert words("prune-cluster-qat-int8", FLOAT)[:3] == ["thaw", "prune", "fold"]
    half = Newcomer("tflite", "float16")
    assert words("float32", half) == ["thaw", "convert", "strip"]
    assert words("frozen-int8", half) == ["thaw", "convert", "quantize", "strip"]


def test_a_conversion_that_is_done_is_left_out() -> None:
    assert words("float32", FLOAT) == ["strip"]
    assert words("float16", Newcomer("tflite", "float16")) == ["strip"]
    assert words("mcu-int8", INT8) == ["strip", "c_array"]
    assert words("mcu-int8", Newcomer("tflite", "uint8")) == ["strip", "c_array"]
    assert words("frozen-int8", FLOAT)[0] == "quantize"


def test_what_is_only_converted_is_not_trained() -> None:
    recipe = make_recipe("mine", {"steps": [{"step": "prune", "epochs": 0}, {"step": "strip"}]})
    entered = enter(recipe, FLOAT, named=True)
    assert entered.recipe == recipe and entered.frozen == ""


def test_a_model_that_cannot_be_trained_takes_the_frozen_recipe() -> None:
    entered = enter(read_recipe("int8"), FIXED, named=False)
    assert entered.recipe.name == "frozen-int8"
    assert entered.recipe.steps[0].step_name() == "quantize"
    assert "CUMSUM (operator 3, 'total')" in entered.frozen
    error = refusal("prune-cluster-qat-int8", FIXED)
    assert "CUMSUM (operator 3, 'total')" in error.message
    assert error.hint.endswith(" --recipe frozen-int8")
    assert refusal("mcu-prune-cluster-int8", FIXED).hint.endswith(" --recipe mcu-frozen-int8")


@pytest.mark.parametrize("name", data_names("recipes"))
def test_a_frozen_recipe_ends_as_the_one_in_whose_place_it_stands(name: str) -> None:
    recipe = read_recipe(name)
    if not recipe.frozen:
        assert enter(recipe, FLOAT, named=True).frozen == ""
        return
    frozen = read_recipe(recipe.frozen)
    assert frozen.steps[-1].result("tflite") == recipe.steps[-1].result("tflite")
    assert enter(frozen, FIXED, named=True).recipe.name == recipe.frozen


def test_a_quantized_model_is_taken_as_it_is_or_refused() -> None:
    error = refusal("prune-int8", INT8)
    assert "quantized already: int8" in error.message
    assert "quantized already: int8" in refusal("float32", INT8).message
    dynamic = Newcomer("tflite", "dynamic")
    assert words("int8", dynamic, named=False) == ["strip"]
    assert "quantized already: dynamic" in refusal("int8", dynamic).message


def test_an_unknown_key_of_a_recipe_is_refused_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="frozn") as caught:
        make_recipe("mine", {"frozn": "frozen-int8", "steps": [{"step": "strip"}]})
    assert "frozen" in caught.value.hint
    with pytest.raises(RecipeError, match="frozen is 3, no text"):
        make_recipe("mine", {"frozen": 3, "steps": [{"step": "strip"}]})
    assert isinstance(make_recipe("mine", {"steps": [{"step": "strip"}]}), Recipe)
