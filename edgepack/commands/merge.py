"""``edgepack merge``: a model file with an adapter that was shipped apart merged into it."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("merge")
@click.argument("base", type=click.Path(path_type=Path))
@click.argument("adapter", type=click.Path(path_type=Path))
@click.option(
    "--out", "-o", required=True, type=click.Path(path_type=Path), help="The new model file."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(base: Path, adapter: Path, out: Path, as_json: bool) -> None:
    """Merge ADAPTER, the lora.adapter.npz of a bundle, into BASE, the model it was made for.

    BASE is a Keras file or a float32 .tflite; the new file is of the same form. Weights are known
    by their values: a BASE that is another model is refused.
    """
    from edgepack.measuring.writing import check_folder
    from edgepack.merging import merge
    from edgepack.table import printable

    check_folder(out)
    found = merge(base, adapter, out)
    if as_json:
        facts = {
            "out": str(out.resolve()),
            "sha256": found.sha256,
            "weights": found.weights,
            "values": found.values,
            "layers": dict(found.layers),
        }
        click.echo(json.dumps(facts, indent=1))
    else:
        told = f"{found.weights} weights in {len(found.layers)} layers changed"
        click.echo(printable(f"{out}: {told}, from {found.values:,} numbers of {adapter}"))
