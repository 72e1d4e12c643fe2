"""``edgepack steps``: which steps there are, and every setting of one of them."""

from __future__ import annotations

from dataclasses import Field
from typing import Any

import click

from edgepack import plugins, table
from edgepack.recipe import step_class
from edgepack.step import Step


@click.command("steps")
@click.argument("name", default="")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(name: str, as_json: bool) -> None:
    """List the steps, or show every setting of one NAME: unit, default and range."""
    chosen = [step_class(n) for n in ([name] if name else plugins.names("steps"))]
    if as_json:
        import json

        facts = [_facts(step) for step in chosen]
        click.echo(json.dumps(facts[0] if name else facts, indent=1))
    elif name:
        click.echo(_detail(chosen[0]))
    else:
        rows = [
            (s.step_name(), " or ".join(sorted(s.takes)), _given(s), _purpose(s)) for s in chosen
        ]
        click.echo(table.render(rows, ("step", "takes", "gives", "what it does")))


def _purpose(step: type[Step]) -> str:
    return (step.__doc__ or "").strip().split("\n")[0]


def _given(step: type[Step]) -> str:
    return step.gives or "the same"


def _facts(step: type[Step]) -> dict[str, object]:
    return {
        "name": step.step_name(),
        "purpose": _purpose(step),
        "takes": sorted(step.takes),
        "gives": step.gives,
        "adds": sorted(step.adds),
        "breaks": sorted(step.breaks),
        "needs": sorted(step().needs()),
        "settings": [{"name": f.name, "default": f.default, **f.metadata} for f in step.settings()],
    }


def _detail(step: type[Step]) -> str:
    facts = _facts(step)
    told = [
        f"{step.step_name()}: {_purpose(step)}",
        f"takes {' or '.join(sorted(step.takes))}, gives {_given(step)}",
        *(f"{word} {', '.join(sorted(v))}" for word, v in _lists(facts) if v),
    ]
    rows = [
        (f.name, str(f.default), f.metadata["unit"], _range(f), f.metadata["help"])
        for f in step.settings()
    ]
    listed = table.render(rows, ("setting", "default", "unit", "range", "what it does"))
    return "\n".join([*told, "", listed if rows else "it has no settings"])


def _lists(facts: dict[str, Any]) -> list[tuple[str, list[str]]]:
    return [(word, facts[word]) for word in ("needs", "adds", "breaks")]


def _range(field: Field[Any]) -> str:
    if field.metadata["choices"]:
        return ", ".join(field.metadata["choices"])
    low, high = field.metadata["low"], field.metadata["high"]
    if low is None and high is None:
        return "true, false" if isinstance(field.default, bool) else ""
    return f"{'' if low is None else low} to {'' if high is None else high}".strip()
