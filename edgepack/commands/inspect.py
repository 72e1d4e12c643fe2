"""``edgepack inspect``: what a model file or a bundle is made of."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgepack.table import printable_lines


@click.command("inspect")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", "-t", default="", help="Say how this target would run a .tflite.")
@click.option("--custom", default="", help="A Python file with the model's own layers.")
@click.option("--allow-code", is_flag=True, help="Let code inside the model's file run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def command(model: Path, target: str, custom: str, allow_code: bool, as_json: bool) -> None:
    """Show form, inputs, outputs, operators, quantization, structure and sizes of MODEL.

    MODEL is a bundle, a .tflite, or any file that edgepack build takes. With a target such as
    coral-usb, name each operator that its accelerator would leave to the CPU, and why; with a
    microcontroller such as cortex-m4, find the arena and tell whether flash and RAM are enough.
    """
    from edgepack.commands._console import progress
    from edgepack.inspection import expect, inspect
    from edgepack.reports import inspection
    from edgepack.target import read_target

    facts = inspect(model, custom=custom, allow_code=allow_code)
    if target:
        with progress(quiet=False) as report:
            facts |= expect(model, read_target(target), report)
    text = printable_lines(inspection.render(facts))
    click.echo(json.dumps(facts, indent=1) if as_json else text)
