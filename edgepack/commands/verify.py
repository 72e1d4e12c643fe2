"""``edgepack verify``: whether a bundle still is what was built."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("verify")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(bundle: Path, as_json: bool) -> None:
    """Check every byte of BUNDLE against its manifest; exits 1 if any is changed."""
    from edgepack.bundle import verify

    found = verify(bundle)
    files = found.manifest["files"]
    if as_json:
        click.echo(
            json.dumps({"bundle": str(bundle.resolve()), "files": files, "ok": True}, indent=1)
        )
    else:
        click.echo(f"{bundle}: {len(files)} files, each as it was built")
