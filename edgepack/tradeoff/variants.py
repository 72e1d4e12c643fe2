"""Which techniques are compared, how far each goes, and how long each trains."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgepack.errors import InputError
from edgepack.recipe import Recipe, read_recipe, recipe_names, step_labels
from edgepack.target import Target
from edgepack.technique import Strength, Technique
from edgepack.training.training_step import TrainingStep

FEW = 12_800
"""With fewer training samples than this, batches are small, so that an epoch has many of them."""

SMALL_BATCH = 32


@dataclass(frozen=True)
class Variant:
    """One technique at one strength.

    Attributes:
        recipe: its name, or the path of a user's own.
        technique: what the literature says of it.
        strength: how far it goes.
    """

    recipe: str
    technique: Technique
    strength: Strength

    @property
    def name(self) -> str:
        """The word in tables, such as ``prune 50 %``."""
        return f"{self.recipe.removesuffix('.toml')} {self.strength.name}".strip()

    @property
    def folder(self) -> str:
        """The name of its bundle's folder."""
        return re.sub(r"[^\w.-]+", "-", self.name).strip("-.")


OWN = "the target's own"
"""What stands for the technique of a recipe that says none."""


def choose(words: Sequence[str], count: int, own: str) -> list[Variant]:
    """The variants to compare.

    Args:
        words: recipes by name or file; none for all that stand for a technique, and the target's.
        count: of strengths for each, from the gentlest to the strongest.
        own: the target's recipe.

    Raises:
        InputError: if two would have the same name, or ``count`` is below 1.
        RecipeError: if a recipe is unknown or wrong.
    """
    if count < 1:
        raise InputError(f"--strengths is {count}", "give 1 or more")
    named = words or [own, *(name for name in recipe_names() if read_recipe(name).technique)]
    variants = [
        Variant(word, found, strength)
        for word in dict.fromkeys(named)
        for found in [read_recipe(word).technique or Technique(OWN if word == own else word)]
        for strength in spread(found.strengths, count)
    ]
    folders = [variant.folder for variant in variants]
    if twice := {folder for folder in folders if folders.count(folder) > 1}:
        raise InputError(f"two variants are called {min(twice)}", "rename one of the recipes")
    return variants


def spread(strengths: Sequence[Strength], count: int) -> list[Strength]:
    """So many of some strengths, evenly, the first and the last among them."""
    last = len(strengths) - 1
    if count == 1 or last == 0:
        return [strengths[0]]
    steps = min(count, last + 1) - 1
    return [strengths[round(i * last / steps)] for i in range(steps + 1)]


def lengthened(recipe: Recipe, samples: int, updates: int) -> list[str]:
    """Settings that let each step of a recipe that trains see enough batches.

    Two passes over a large data set are many updates, over a small one they are few.

    Args:
        recipe: whose steps are looked at.
        samples: in the training split.
        updates: the fewest that a step that trains makes.
    """
    words = []
    for label, step in zip(step_labels(recipe), recipe.steps, strict=True):
        if isinstance(step, TrainingStep) and step.epochs:
            size = SMALL_BATCH if samples < FEW else step.batch_size
            epochs = math.ceil(updates / max(1, samples // size))
            words.append(f"{label}.batch_size={size}")
            words.append(f"{label}.epochs={max(step.epochs, epochs)}")
    return words


def applicable(recipe: Recipe, settings: Sequence[str]) -> list[str]:
    """Those of some settings whose step a recipe has."""
    labels = set(step_labels(recipe))
    known = labels | {label.partition("#")[0] for label in labels if label.endswith("#1")}
    return [word for word in settings if word.partition(".")[0] in known]


def fits(recipe: Recipe, target: Target) -> bool:
    """Whether a recipe may end in what a target runs; one that ends trainable is finished there."""
    gives = [step.gives for step in recipe.steps if step.gives]
    return not gives or gives[-1].startswith("keras") or gives[-1] in target.forms
