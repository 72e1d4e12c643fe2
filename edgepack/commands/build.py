"""``edgepack build``: a model in, a verified bundle out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from edgepack.commands._model_options import model_options
from edgepack.errors import GateError
from edgepack.table import printable_lines


@click.command("build")
@click.argument("model")
@click.option("--target", "-t", required=True, help="A target's name, or a TOML file of your own.")
@click.option(
    "--recipe", "-r", default="", help="A recipe's name or file; the target's own if absent."
)
@click.option("--runtime", default="", help="What runs it there; the target's first if absent.")
@click.option(
    "--data", "-d", default="", help="digits, fashion-mnist, FILE.npz, a folder, FILE.py:function."
)
@click.option("--metric", default="", help="accuracy, top5, mae, mse, or FILE.py:function.")
@click.option("--max-drop", type=float, help="Gate: by how much the metric may get worse.")
@click.option("--out", default="", help="The bundle's folder; build/MODEL-TARGET-RECIPE if absent.")
@click.option(
    "--set", "settings", multiple=True, metavar="STEP.SETTING=VALUE", help="Change a setting."
)
@click.option("--seed", default=0, show_default=True, help="Of everything random.")
@model_options
@click.option("--calibrate-on-noise", is_flag=True, help="Calibrate on random numbers.")
@click.option("--no-eval", is_flag=True, help="Do not compare with the float baseline.")
@click.option("--dry-run", is_flag=True, help="Check everything, say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@click.option("--verbose", "-v", is_flag=True, expose_value=False, help="Trace failures.")
def command(*, dry_run: bool, as_json: bool, quiet: bool, no_eval: bool, **options: Any) -> None:
    """Compress, convert and verify MODEL for a target.

    MODEL is a .keras, .h5, .hdf5, .onnx or .tflite file, or the folder of a SavedModel.

    \b
    edgepack build model.keras --target rpi4 --data digits
    edgepack build model.keras -t arduino-nano-33-ble -d data.npz
    edgepack build model.h5 -t rpi4 -r prune-int8 -d data.npz --set prune.sparsity=0.9
    edgepack build model.keras -t rpi4 -r int8 -d photos/ --max-drop 0.01 --json
    edgepack build model.onnx -t rpi4 -d data.npz --input-shape image:1,3,48,192
    """
    from edgepack.plan import make_plan

    planned = make_plan(evaluate=not no_eval, **options)
    if dry_run:
        _preview(planned, as_json)
        return
    from edgepack.commands._console import progress
    from edgepack.pipeline import build

    with progress(quiet=quiet) as report:
        bundle = build(planned, report=report)
    _show(bundle.path, bundle.manifest, as_json)
    _judge(bundle.manifest)


def _judge(manifest: Mapping[str, Any]) -> None:
    """Fail where a bundle that is written and marked does not meet what was asked of it."""
    gate, firmware = manifest["gate"], manifest["firmware"]
    if gate and not gate["met"]:
        raise GateError(
            f"{manifest['evaluation']['metric']} got worse by {gate['drop']:.4f},"
            f" allowed are {gate['max_drop']}",
            "try a gentler recipe, or train longer with --set; the bundle is written and marked",
        )
    if firmware and (problems := firmware["problems"]):
        message = "; ".join(problem["message"] for problem in problems)
        raise GateError(message, "; ".join(problem["hint"] for problem in problems))


def _show(path: Path, manifest: Any, as_json: bool) -> None:
    if as_json:
        import json

        click.echo(json.dumps(printed(path, manifest), indent=1))
        return
    from edgepack.reports import summary

    click.echo(printable_lines(summary.render(path, manifest)))


def printed(path: Path, manifest: Any) -> dict[str, Any]:
    """What ``--json`` prints: the manifest, with the bundle's place and the models' whole paths."""
    whole = path.resolve()
    models = {
        key: {**manifest[key], "path": str(whole / manifest[key]["path"])}
        for key in ("model", "baseline")
        if manifest[key]
    }
    return {**manifest, **models, "bundle": str(whole)}


def _preview(planned: Any, as_json: bool) -> None:
    from edgepack.pipeline import preview
    from edgepack.reports import summary

    settled, rows = preview(planned)
    if as_json:
        import json

        facts = {"target": settled.target.id, "recipe": settled.recipe.name, "steps": rows}
        facts |= {"frozen": settled.frozen, "bundle": str(settled.place.resolve())}
        click.echo(json.dumps(facts, indent=1))
    else:
        click.echo(printable_lines(summary.preview(settled.place, rows, settled.frozen)))
