"""Recipes: ordered steps from a TOML file, checked whole before anything slow starts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from edgepack import plugins
from edgepack.errors import RecipeError
from edgepack.step import Step
from edgepack.technique import Technique, make_technique

if TYPE_CHECKING:
    from edgepack.target import Target


TEXTS = ("description", "frozen")
KEYS = (*TEXTS, "technique", "steps")
"""What a recipe's file may hold."""


@dataclass(frozen=True)
class Recipe:
    """An ordered list of steps.

    Attributes:
        name: the file's name, and the word on the command line.
        description: one sentence for the list of recipes.
        steps: the techniques with their settings.
        frozen: the recipe in its place for a model that cannot be trained; empty where none is.
        technique: what the literature says of it, and how far it goes; None for a mere recipe.
    """

    name: str
    description: str
    steps: tuple[Step, ...]
    frozen: str = ""
    technique: Technique | None = None

    def check(self, form: str, offered: frozenset[str], target: Target) -> None:
        """Walk the steps with form and properties in hand and refuse what cannot work.

        Args:
            form: of the model that comes in.
            offered: what the data offers, in the words of `edgepack.step.NEEDS`.
            target: what the last step's form is for.

        Raises:
            RecipeError: for wrong order, lost structure, missing data or a form that does not fit.
        """
        properties: frozenset[str] = frozenset()
        for i, step in enumerate(self.steps):
            _check_step(self, step, form, properties, offered)
            step.check_after(self.steps[:i])
            step.check_target(target)
            properties |= step.adds
            form = step.result(form)
        if form not in target.forms:
            raise RecipeError(
                f"recipe {self.name} ends in the form {form},"
                f" but target {target.id} runs {', '.join(target.forms)}",
                f"take the recipe {target.recipe}, or end with a step that gives what it runs",
            )


def _check_step(
    recipe: Recipe, step: Step, form: str, properties: frozenset[str], offered: frozenset[str]
) -> None:
    name = step.step_name()
    if form not in step.takes:
        raise RecipeError(
            f"recipe {recipe.name}: step {name} takes {' or '.join(sorted(step.takes))},"
            f" but is given {form}",
            f"put {name} where the model is {' or '.join(sorted(step.takes))}",
        )
    if lost := step.breaks & properties:
        raise RecipeError(
            f"recipe {recipe.name}: step {name} would lose what an earlier step gave:"
            f" {', '.join(sorted(lost))}",
            f"put {name} before the step that makes the model {sorted(lost)[0]}",
        )
    step.check_form(form)
    if missing := step.needs() - offered:
        raise RecipeError(
            f"recipe {recipe.name}: step {name} needs {' and '.join(sorted(missing))} data",
            _data_hint(missing),
        )
    step.check()


def _data_hint(missing: frozenset[str]) -> str:
    if missing == {"calibration"}:
        return (
            "name data with a training split by --data, or calibrate on noise with"
            " --calibrate-on-noise"
        )
    return "name data with labelled training samples, such as --data digits or --data FILE.npz"


def recipe_names() -> list[str]:
    """The recipes that come with edgepack, sorted."""
    return plugins.data_names("recipes")


def read_recipe(name: str, defaults: Sequence[str] = ()) -> Recipe:
    """Read a recipe by its name, or a user's own file by its path.

    Args:
        name: the name, or the path.
        defaults: words such as ``prune.sparsity=0.9``, which hold where the file says nothing.

    Raises:
        RecipeError: if it is unknown, unreadable, or has a wrong step or setting.
    """
    return make_recipe(*plugins.read_data("recipes", name, RecipeError), defaults)


def make_recipe(name: str, facts: Mapping[str, Any], defaults: Sequence[str] = ()) -> Recipe:
    """Make a recipe of the tables of its file; ``defaults`` are as in `read_recipe`."""
    for key in facts:
        if key not in KEYS:
            raise RecipeError(
                f"recipe {name}: unknown key {key!r}", plugins.suggest(key, list(KEYS))
            )
    rows = facts.get("steps")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise RecipeError(f"recipe {name} has no steps", 'add [[steps]] with step = "convert"')
    texts = {key: facts.get(key, "") for key in TEXTS}
    for key, text in texts.items():
        if not isinstance(text, str):
            raise RecipeError(f"recipe {name}: {key} is {text!r}, no text", "put it in quotes")
    told = make_technique(name, facts["technique"]) if "technique" in facts else None
    steps = tuple(_make_step(name, row, defaults) for row in rows)
    return Recipe(name, steps=steps, **texts, technique=told)


def _make_step(recipe: str, row: Mapping[str, Any], defaults: Sequence[str]) -> Step:
    settings = dict(row)
    word = settings.pop("step", None)
    if not isinstance(word, str):
        raise RecipeError(f"recipe {recipe}: a step without its name", 'write step = "prune"')
    words = [read_setting(default) for default in defaults]
    usual: dict[str, Any] = {key: value for name, _, key, value in words if name == word}
    return with_settings(step_class(word)(), usual | settings)


def finish(recipe: Recipe, own: Recipe) -> Recipe:
    """A recipe that leaves a trainable model goes on as the target's own one does.

    Args:
        recipe: as it was read.
        own: the target's, whose steps from the conversion on are appended.
    """
    gives = [step.gives for step in recipe.steps if step.gives]
    trained = any("keras" in step.takes for step in recipe.steps)
    if not trained or (gives and not gives[-1].startswith("keras")):
        return recipe
    converts = [step.gives == "tflite" and "keras" in step.takes for step in own.steps]
    if not any(converts):
        return recipe
    return replace(recipe, steps=recipe.steps + own.steps[converts.index(True) :])


def code_named(recipe: Recipe) -> list[str]:
    """The settings of a recipe that name a Python file to run."""
    return [
        f"{label}.{field.name} = {value!r}"
        for label, step in zip(step_labels(recipe), recipe.steps, strict=True)
        for field in step.settings()
        if field.metadata["code"] and ".py" in (value := str(getattr(step, field.name)))
    ]


def step_class(name: str) -> type[Step]:
    """The class of a step by its name; a misspelt one is a RecipeError with the nearest."""
    found: type[Step] = plugins.class_of(plugins.load("steps", name, RecipeError))
    return found


def with_settings(step: Step, settings: Mapping[str, object]) -> Step:
    """A copy of a step with some settings changed, each checked against its type and range."""
    known = {f.name: f for f in step.settings()}
    for key in settings:
        if key not in known:
            message = f"step {step.step_name()} has no setting {key!r}"
            raise RecipeError(message, plugins.suggest(key, list(known)))
    checked = {k: _checked(step.step_name(), known[k], value) for k, value in settings.items()}
    return replace(step, **checked)


def _checked(step: str, field: Field[Any], value: object) -> object:
    kind = type(field.default)
    value = _converted(kind, value)
    low, high, choices = (field.metadata[key] for key in ("low", "high", "choices"))
    if type(value) is not kind:
        raise RecipeError(
            f"{step}.{field.name} is {value!r}, which is no {kind.__name__}",
            f"give one such as {field.default}; edgepack steps {step} lists all settings",
        )
    if choices and value not in choices:
        hint = plugins.suggest(str(value), list(choices))
        raise RecipeError(f"{step}.{field.name} is {value!r}", hint)
    below = low is not None and not value >= low  # written so that NaN is refused too
    above = high is not None and not value <= high
    if below or above:
        ends = (("at least", low), ("at most", high))
        told = " and ".join(f"{word} {end}" for word, end in ends if end is not None)
        raise RecipeError(f"{step}.{field.name} is {value}, out of its range", f"give {told}")
    return value


def _converted(kind: type, value: object) -> object:
    """A TOML value, or a word of the command line, as the setting's type where that is sure."""
    if isinstance(value, list):
        return tuple(value)
    if kind is float and type(value) is int:
        return float(value)
    if not isinstance(value, str) or kind is str:
        return value
    if kind is tuple:
        return tuple(part for part in value.split(",") if part)
    if kind is bool:
        return {"true": True, "false": False}.get(value.lower(), value)
    try:
        return kind(value)
    except ValueError:
        return value


def override(recipe: Recipe, words: Iterable[str]) -> Recipe:
    """A recipe with settings changed by words such as ``prune.sparsity=0.9``.

    ``prune#2.sparsity`` is the second ``prune``; without a number the step must occur once.

    Raises:
        RecipeError: if a word is no ``STEP.SETTING=VALUE``, or names no step of the recipe.
    """
    steps = list(recipe.steps)
    for word in words:
        name, number, key, value = read_setting(word)
        at = _position(recipe, name, number)
        steps[at] = with_settings(steps[at], {key: value})
    return replace(recipe, steps=tuple(steps))


def read_setting(word: str) -> tuple[str, str | None, str, str]:
    """Step, its number where one is told, setting and value of ``STEP#NUMBER.SETTING=VALUE``."""
    found = re.fullmatch(r"(\w+)(?:#(\d+))?\.(\w+)=(.*)", word, re.DOTALL)
    if not found:
        raise RecipeError(f"{word!r} is no STEP.SETTING=VALUE", "such as prune.sparsity=0.9")
    name, number, key, value = found.groups()
    return name, number, key, value


def _position(recipe: Recipe, name: str, number: str | None) -> int:
    places = [i for i, step in enumerate(recipe.steps) if step.step_name() == name]
    if not places:
        present = list(dict.fromkeys(step.step_name() for step in recipe.steps))
        hint = plugins.suggest(name, present)
        raise RecipeError(f"recipe {recipe.name} has no step {name!r}", hint)
    if number is None and len(places) > 1:
        message = f"recipe {recipe.name} has {len(places)} steps {name}"
        raise RecipeError(message, f"say which: {name}#1 to {name}#{len(places)}")
    if not 1 <= int(number or 1) <= len(places):
        message = f"recipe {recipe.name} has no {name}#{number}"
        raise RecipeError(message, f"it has {len(places)}")
    return places[int(number or 1) - 1]


def step_labels(recipe: Recipe) -> list[str]:
    """One unique word for each step: its name, numbered where it occurs twice."""
    total = Counter(step.step_name() for step in recipe.steps)
    seen: Counter[str] = Counter()
    labels = []
    for name in (step.step_name() for step in recipe.steps):
        seen[name] += 1
        labels.append(f"{name}#{seen[name]}" if total[name] > 1 else name)
    return labels


def settings_of(step: Step) -> dict[str, object]:
    """A step's settings as plain data."""
    return asdict(step)
