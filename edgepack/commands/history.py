"""``edgepack history``: what was measured before, device by device."""

from __future__ import annotations

import json
import sys

import click


@click.command("history")
@click.argument("device", default="")
@click.option("--model", default="", help="Only models of this name.")
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(1),
    help="At most so many, the newest ones.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of measurements instead.")
def command(device: str, model: str, limit: int, as_json: bool, schema: bool) -> None:
    """Show the benchmarks that were kept, of DEVICE or of all, the oldest first.

    Their ids can be given to edgepack diff.
    """
    from edgepack.measuring.benchmark import SCHEMA
    from edgepack.measuring.history import history_folder, read
    from edgepack.reports.history import facts, render

    if schema:
        click.echo(SCHEMA.read_text(encoding="utf-8"), nl=False)
        return
    found = read(device, model, limit)
    rows = [facts(entry) for entry in found.entries]
    unreadable = [{"path": str(u.path), "reason": u.reason} for u in found.unreadable]
    for file in unreadable:
        click.echo(f"warning: left out: {file['reason']}", err=True)
    if as_json:
        click.echo(json.dumps({"benchmarks": rows, "unreadable": unreadable}, indent=1))
    elif rows:
        click.echo(render(rows, bars=can_show_blocks()))
    else:
        click.echo(
            f"nothing was found in {history_folder()}; edgepack bench keeps what it measures"
        )


def can_show_blocks() -> bool:
    """Whether standard output takes block characters."""
    from edgepack.reports.history import BARS

    try:
        BARS.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True
