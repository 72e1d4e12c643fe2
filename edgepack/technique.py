"""What a recipe says of the technique that it stands for: the literature's claim, and strengths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from edgepack.errors import RecipeError
from edgepack.plugins import suggest


@dataclass(frozen=True)
class Strength:
    """How far a technique goes.

    Attributes:
        name: a word or two, such as ``50 %``.
        settings: words such as ``prune.sparsity=0.5``.
    """

    name: str
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Technique:
    """A technique as the literature knows it.

    Attributes:
        name: what the literature calls it.
        size: by how much a model is said to get smaller.
        speed: by how much it is said to get faster.
        accuracy: what is said to be lost.
        source: who says so.
        strengths: from the gentlest to the strongest.
    """

    name: str
    size: str = ""
    speed: str = ""
    accuracy: str = ""
    source: str = ""
    strengths: tuple[Strength, ...] = (Strength(""),)


def make_technique(recipe: str, facts: Any) -> Technique:
    """Make a technique of its table in a recipe's file.

    Args:
        recipe: the recipe's name.
        facts: the table ``technique``.

    Raises:
        RecipeError: if a key is unknown or missing, or a value is of no use.
    """
    rows = facts.get("strengths", []) if isinstance(facts, dict) else None
    texts = _texts(recipe, Technique, "technique", facts, ("strengths",))
    if not isinstance(rows, list):
        raise RecipeError(
            f"recipe {recipe}: technique.strengths is {rows!r}", "write [[technique.strengths]]"
        )
    made = Technique(**texts)
    strengths = tuple(_strength(recipe, row) for row in rows)
    return replace(made, strengths=strengths) if strengths else made


def _strength(recipe: str, row: Any) -> Strength:
    texts = _texts(recipe, Strength, "technique.strengths", row, ("settings",))
    settings = row.get("settings", [])
    if not isinstance(settings, list) or not all(isinstance(word, str) for word in settings):
        raise RecipeError(
            f"recipe {recipe}: technique.strengths.settings is {settings!r}",
            'write a list such as ["prune.sparsity=0.5"]',
        )
    return Strength(settings=tuple(settings), **texts)


def _texts(recipe: str, kind: type, table: str, facts: Any, others: tuple[str, ...]) -> Any:
    """The texts of a table, of which ``name`` must be there, and of which none is unknown."""
    if not isinstance(facts, dict) or "name" not in facts:
        raise RecipeError(f"recipe {recipe}: {table} has no name", f'put name = "..." into {table}')
    known = [field.name for field in fields(kind)]
    for key, value in facts.items():
        if key not in known:
            raise RecipeError(f"recipe {recipe}: {table} has {key!r}", suggest(key, known))
        if key not in others and not isinstance(value, str):
            raise RecipeError(f"recipe {recipe}: {table}.{key} is {value!r}", "put it in quotes")
    texts: Mapping[str, str] = {k: v for k, v in facts.items() if k not in others}
    return texts
