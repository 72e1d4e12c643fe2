"""``edgepack inspect``: what a model file or a bundle is made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from edgepack.commands._model_options import model_options
from edgepack.table import printable_lines


@click.command("inspect")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--target", "-t", default="", help="Say how this target would run a .tflite.")
@model_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def command(*, model: Path, target: str, as_json: bool, **options: Any) -> None:
    """Show form, inputs, outputs, operators, quantization, structure and sizes of MODEL.

    MODEL is a bundle, a .tflite, or any file that edgepack build takes. With a target such as
    coral-usb, name each operator that its accelerator would leave to the CPU, and why; with a
    microcontroller such as cortex-m4, find the arena and tell whether flash and RAM are enough.
    """
    from edgepack.commands._console import progress
    from edgepack.inspection import expect, inspect
    from edgepack.reports import inspection
    from edgepack.target import read_target

    with progress(quiet=False) as report:
        facts = inspect(model, report=report, **options)
        if target:
            facts |= expect(model, read_target(target), report)
    text = printable_lines(inspection.render(facts))
    click.echo(json.dumps(facts, indent=1) if as_json else text)
