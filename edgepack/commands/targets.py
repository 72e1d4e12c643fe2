"""``edgepack targets``: which targets there are, and what is known of one of them."""

from __future__ import annotations

from dataclasses import asdict, fields

import click

from edgepack import table
from edgepack.target import Target, read_target, target_names

HEADERS = (
    *("target", "name", "architecture", "cpu", "cores", "RAM", "flash"),
    *("features", "runtime", "recipe"),
)


@click.command("targets")
@click.argument("name", default="")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(name: str, as_json: bool) -> None:
    """List the targets, or show the facts of one NAME or file and where each was read."""
    chosen = [read_target(n) for n in ([name] if name else target_names())]
    if as_json:
        import json

        facts = [asdict(target) for target in chosen]
        click.echo(json.dumps(facts[0] if name else facts, indent=1))
    elif name:
        click.echo(_detail(chosen[0]))
    else:
        click.echo(table.render([_row(target) for target in chosen], HEADERS, "llllrrr"))


def _row(target: Target) -> tuple[str, ...]:
    cores = str(target.cores) if target.cores else "any"
    return (
        *(target.id, target.name, target.architecture, target.cpu, cores),
        *(_memory(target.ram_kib), _flash(target), " ".join(target.features) or "-"),
        *(_runtime(target), target.recipe),
    )


def _flash(target: Target) -> str:
    """Of a microcontroller only: other boards keep models in files."""
    return _memory(target.flash_kib) if target.flash_kib or target.kernels else "-"


def _runtime(target: Target) -> str:
    """With its package where it is one of Python's."""
    package = f"{target.runtime_package} {target.runtime_version}".strip()
    return package or ", ".join(target.runtimes)


def _memory(kib: int) -> str:
    if not kib:
        return "any"
    if kib % 1024:
        return f"{kib} KiB"
    return f"{kib >> 20} GiB" if kib % (1 << 20) == 0 else f"{kib / 1024:g} MiB"


def _detail(target: Target) -> str:
    rows = [
        (f.name, _words(getattr(target, f.name)), target.sources.get(f.name, ""))
        for f in fields(Target)
        if f.name not in ("sources", "id") and getattr(target, f.name) != f.default
    ]
    return f"{target.id}: {target.name}\n\n{table.render(rows, ('fact', 'value', 'source'))}"


def _words(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
