"""``edgepack sensitivity``: what each layer costs when it alone is quantized or pruned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from edgepack.commands._model_options import model_options
from edgepack.measuring.writing import check_folder, write_whole
from edgepack.progress import Reporter
from edgepack.table import printable_lines

HERE = "linux-x86_64"
"""The target of the float model, which is the same for all."""


@click.command("sensitivity")
@click.argument("model")
@click.option(
    "--data", "-d", default="", help="digits, fashion-mnist, FILE.npz, a folder, FILE.py:function."
)
@click.option("--changes", default="int8,int4,pruned", show_default=True, help="What is tried.")
@click.option(
    "--scheme",
    type=click.Choice(["static", "dynamic", "weights"]),
    default="static",
    show_default=True,
    help="Of quantization.",
)
@click.option("--sparsity", default=0.5, show_default=True, help="Zeros in a pruned layer.")
@click.option("--samples", default=256, show_default=True, help="Test samples that are run.")
@click.option("--metric", default="", help="accuracy, top5, mae, mse, or FILE.py:function.")
@click.option("--seed", default=0, show_default=True, help="Of everything random.")
@click.option(
    "--by",
    type=click.Choice(["sqnr", "metric"]),
    default="sqnr",
    show_default=True,
    help="What layers are ranked by.",
)
@click.option("--protect", type=int, help="Write a recipe that spares so many layers.")
@click.option("--out", default="", help="The recipe's file; MODEL-protected.toml if absent.")
@click.option("--plot", "picture", default="", help="Draw the bars into this .svg file.")
@model_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@click.option("--verbose", "-v", is_flag=True, expose_value=False, help="Trace failures.")
def command(*, picture: str, as_json: bool, quiet: bool, **options: Any) -> None:
    """Try each layer of MODEL alone in 8 bits, in 4 bits and pruned, and tell what it costs.

    \b
    edgepack sensitivity model.keras -d data.npz
    edgepack sensitivity model.onnx -d data.npz --changes int4 --protect 3 --plot layers.svg
    edgepack build model.onnx -t rpi4 -d data.npz --recipe model-protected.toml
    """
    from edgepack.commands._console import progress
    from edgepack.reports import sensitivity as report

    check_folder(Path(picture) if picture else None)
    check_folder(Path(options["out"]) if options["out"] else None)
    with progress(quiet=quiet) as reporter:
        facts = _measure(reporter, **options)
    if picture:
        write_whole(Path(picture), report.plot(facts))
    text = printable_lines(report.render(facts))
    click.echo(json.dumps(facts, indent=1) if as_json else text)


def _measure(
    reporter: Reporter,
    *,
    changes: str,
    scheme: str,
    sparsity: float,
    samples: int,
    by: str,
    protect: int | None,
    out: str,
    **options: Any,
) -> dict[str, Any]:
    """What was found, and what came of protecting layers where that was asked for."""
    from edgepack import pipeline, protection, sensitivity
    from edgepack.plan import make_plan
    from edgepack.store import cache_folder

    chosen = tuple(dict.fromkeys(word.strip() for word in changes.split(",") if word.strip()))
    study = sensitivity.Study(chosen, scheme, sparsity, samples, metric=options["metric"])
    change = protection.choose_change(study.changes) if protect is not None else ""
    place = cache_folder() / "sensitivity"
    planned = make_plan(target=HERE, recipe="float32", out=place, **options)
    model = pipeline.to_float(planned, report=reporter)
    facts = sensitivity.measure(model, study)
    if protect is None:
        return facts
    rules = protection.protect(facts, protect, change, by)
    trial = sensitivity.judge_rules(model, study, change, rules)
    path = Path(out or f"{planned.model.name}-protected.toml")
    write_whole(path, protection.recipe_text(facts, change, rules))
    return {
        **facts,
        "protected": {"change": change, "rules": rules, "recipe": str(path), "trial": trial},
    }
