"""``edgepack c-array``: any .tflite as a constant array in C."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.command("c-array")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=".",
    show_default="this folder",
    help="The folder for the two files; made where it is missing.",
)
@click.option("--name", help="Name of files and array.  [default: made from MODEL's]")
@click.option(
    "--language",
    type=click.Choice(["c", "c++"]),
    default="c",
    show_default=True,
    help="Write NAME.c or NAME.cc; NAME.c compiles as C++17, too.",
)
@click.option("--section", default="", help="Put the array into this section of the object file.")
@click.option("--progmem", is_flag=True, help="Put the array into PROGMEM where there is such.")
@click.option("--force", is_flag=True, help="Replace files of other origin, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(model: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Write MODEL, a .tflite, as NAME.h and NAME.c: a constant array, aligned to 16 bytes.

    It lies in flash, compiles faster than the usual list of bytes, and is C11 and C++17. Include
    NAME.h: NAME_data() points to the bytes, NAME_size is their number. Files of an earlier run
    for a file of MODEL's name are replaced.
    """
    from edgepack.micro.c_array import Layout, c_name, write_array

    force, name = options.pop("force"), options.pop("name")
    layout = Layout(c_name(model.stem) if name is None else name, **options)
    written = write_array(model, out, layout, force=force)
    if as_json:
        click.echo(json.dumps(_facts(layout.name, written), indent=1))
        return
    for path in (written.header, written.source):
        click.echo(f"{path}  {path.stat().st_size:,} bytes")
    for path in written.removed:
        click.echo(f"{path}  removed: the array is in {written.source.name} now")
    click.echo(f"{layout.name}_data() gives {layout.name}_size = {written.size:,} bytes")


def _facts(name: str, written: Any) -> dict[str, Any]:
    return {
        "name": name,
        "header": str(written.header),
        "source": str(written.source),
        "removed": [str(path) for path in written.removed],
        "bytes": written.size,
        "sha256": written.sha256,
        "data": f"{name}_data()",
        "size": f"{name}_size",
    }
