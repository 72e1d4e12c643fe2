"""``edgepack recipes``: which recipes there are, and what one of them does."""

from __future__ import annotations

import click

from edgepack import table
from edgepack.recipe import Recipe, read_recipe, recipe_names, settings_of, step_labels


@click.command("recipes")
@click.argument("name", default="")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(name: str, as_json: bool) -> None:
    """List the recipes, or show the steps and settings of one NAME or file."""
    chosen = [read_recipe(n) for n in ([name] if name else recipe_names())]
    if as_json:
        import json

        facts = [_facts(recipe) for recipe in chosen]
        click.echo(json.dumps(facts[0] if name else facts, indent=1))
    elif name:
        click.echo(_detail(chosen[0]))
    else:
        rows = [(r.name, ", ".join(step_labels(r)), r.description) for r in chosen]
        click.echo(table.render(rows, ("recipe", "steps", "what it does")))


def _facts(recipe: Recipe) -> dict[str, object]:
    steps = [{"step": s.step_name(), **settings_of(s)} for s in recipe.steps]
    return {"name": recipe.name, "description": recipe.description, "steps": steps}


def _detail(recipe: Recipe) -> str:
    rows = [
        (label, setting, str(value))
        for label, step in zip(step_labels(recipe), recipe.steps, strict=True)
        for setting, value in (settings_of(step) or {"": ""}).items()
    ]
    listed = table.render(rows, ("step", "setting", "value"))
    return f"{recipe.name}: {recipe.description}\n\n{listed}"
