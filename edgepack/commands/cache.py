"""``edgepack cache``: where finished steps are kept, and how to be rid of them."""

from __future__ import annotations

import json

import click


@click.command("cache")
@click.option("--clean", is_flag=True, help="Remove everything.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(clean: bool, as_json: bool) -> None:
    """Show where finished steps are kept and how large they are, or remove them."""
    from edgepack.store import Store

    store = Store()
    facts = {"folder": str(store.root), "results": store.count(), "size_bytes": store.size_bytes()}
    if clean:
        store.clean()
    if as_json:
        click.echo(json.dumps({**facts, "cleaned": clean}, indent=1))
    else:
        size = f"{facts['results']} results, {store_mb(int(str(facts['size_bytes'])))}"
        click.echo(f"{store.root}: {size}{' removed' if clean else ''}")


def store_mb(size_bytes: int) -> str:
    """A size in megabytes."""
    return f"{size_bytes / 1e6:.1f} MB"
