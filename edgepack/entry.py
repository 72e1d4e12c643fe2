"""How a model enters a recipe: as it is, past a conversion that is done, thawed, or frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgepack.artifact import UNQUANTIZED
from edgepack.errors import RecipeError
from edgepack.recipe import Recipe, read_recipe, step_class
from edgepack.step import Step


@dataclass(frozen=True)
class Newcomer:
    """What is known of a model before its first step.

    Attributes:
        form: that it was read into.
        quantized: how a .tflite is quantized, as `edgepack.tflite.flatbuffer.is_quantized` says.
        obstacles: why a .tflite cannot be made trainable; none where it can, or is not known yet.
    """

    form: str
    quantized: str = ""
    obstacles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """The recipe that a model goes through.

    Attributes:
        recipe: whose first step takes the model.
        frozen: why another recipe than the one asked for; empty where it is that one.
    """

    recipe: Recipe
    frozen: str = ""


def look(model: Path | bytes) -> Newcomer:
    """What is to be known of a .tflite; TensorFlow is not imported.

    Raises:
        ModelError: if it is broken.
    """
    from edgepack.tflite.flatbuffer import is_quantized, read_graph
    from edgepack.thawing.obstacles import obstacles

    graph = read_graph(model)
    quantized = is_quantized(graph)
    found = tuple(obstacles(graph)) if quantized in UNQUANTIZED else ()
    return Newcomer("tflite", quantized, found)


def enter(recipe: Recipe, model: Newcomer, *, named: bool) -> Entry:
    """Make a recipe begin with what takes the model.

    Args:
        recipe: as it was read.
        model: what is to go through it.
        named: whether the user named the recipe; a target's own takes a quantized model as it is.

    Raises:
        RecipeError: if the model is quantized or cannot be trained, and the recipe asks for that.
    """
    if model.form != "tflite" or fits(recipe.steps, model.form):
        return Entry(recipe)
    first, rest = recipe.steps[0], recipe.steps[1:]
    done = first.is_done(model.quantized) or (
        is_final(model) and not named and is_conversion(first)
    )
    if done and rest and fits(rest, model.form):
        return Entry(replace(recipe, steps=rest))
    if is_final(model):
        raise _quantized(recipe, model)
    if not model.obstacles:
        thawed: tuple[Step, ...] = (step_class("thaw")(), *recipe.steps)
        return Entry(replace(recipe, steps=thawed))
    if recipe.frozen:
        entered = enter(read_recipe(recipe.frozen), model, named=named)
        return replace(entered, frozen=_why(model))
    frozen = "mcu-frozen-int8" if recipe.steps[-1].gives == "c" else "frozen-int8"
    raise RecipeError(
        f"recipe {recipe.name} needs a model that can be trained, and {_why(model)}",
        f"take a recipe that needs no training, such as --recipe {frozen}",
    )


def is_final(model: Newcomer) -> bool:
    """Whether a model is quantized for good."""
    return model.quantized not in UNQUANTIZED


def is_conversion(step: Step) -> bool:
    """Whether a step makes a .tflite of what is none."""
    return step.gives == "tflite" and "tflite" not in step.takes


def fits(steps: Sequence[Step], form: str) -> bool:
    """Whether each step takes the form that the one before it gives."""
    for step in steps:
        if form not in step.takes:
            return False
        form = step.result(form)
    return True


def _why(model: Newcomer) -> str:
    return f"this one cannot be made so: {'; '.join(model.obstacles)}"


def _quantized(recipe: Recipe, model: Newcomer) -> RecipeError:
    return RecipeError(
        f"recipe {recipe.name} needs a float model, and this one is quantized already:"
        f" {model.quantized}",
        "give the model that it was made from, or leave --recipe away to take it as it is",
    )
