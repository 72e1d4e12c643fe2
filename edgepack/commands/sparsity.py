"""``edgepack sparsity``: what a runtime makes of the zeros in a model, and the proof of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgepack.commands._model_options import model_options
from edgepack.commands._timing_options import timing_options
from edgepack.table import printable_lines

if TYPE_CHECKING:
    from edgepack.progress import Reporter


@click.command("sparsity")
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.option("--target", "-t", required=True, help="The board whose runtime is judged.")
@click.option("--device", default="", help="Measure both encodings there: user@host, or local.")
@click.option(
    "--runtime-version",
    "runtime",
    default="",
    metavar="PACKAGE==VERSION",
    help="Judge, and bring to the device, this runtime instead of the target's.",
)
@click.option(
    "--wheelhouse",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of wheels to bring a runtime from, instead of the package index.",
)
@click.option("--runs", default=50, show_default=True, type=click.IntRange(1), help="Timed runs.")
@timing_options(seconds=1.0)
@model_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@click.option("--verbose", "-v", is_flag=True, expose_value=False, help="Trace failures.")
def command(*, as_json: bool, quiet: bool, **options: Any) -> None:
    """Tell which layers of MODEL a board would compute sparsely, what blocks, and what helps.

    MODEL is a bundle, a .tflite, or any file that edgepack build takes. With a device, the same
    weights are measured in dense and in sparse encoding in turns; exits with 1 where the forecast
    does not hold.

    \b
    edgepack sparsity model.keras --target rpi4
    edgepack sparsity build/model-rpi4-sparse-float32 -t rpi4 --device pi@board
    """
    from edgepack.commands._console import progress
    from edgepack.errors import GateError
    from edgepack.reports import sparsity as report

    with progress(quiet=quiet) as reporter:
        facts = _facts(reporter, **options)
    text = printable_lines(report.render(facts))
    click.echo(json.dumps(facts, indent=1) if as_json else text)
    if facts.get("proof", {}).get("held") is False:
        raise GateError(
            "what was measured is not what was forecast",
            "compare the runtime that was measured with the one that was judged",
        )


def _facts(
    reporter: Reporter,
    *,
    model: Path,
    target: str,
    device: str,
    runtime: str,
    wheelhouse: Path | None,
    runs: int,
    seconds: float,
    processes: int,
    accept_new_host_key: bool,
    **options: Any,
) -> dict[str, Any]:
    """The forecast, with its proof where a device is named."""
    from edgepack import sparsity
    from edgepack.device import find_device
    from edgepack.measuring.settings import Manners, Settings
    from edgepack.target import read_target

    board = sparsity.with_runtime(read_target(target), runtime)
    place = find_device(device) if device else None
    data = sparsity.flatbuffer_in(model) or _convert(model, target, reporter, **options)
    facts = sparsity.foretell(data, board)
    if place is None:
        return facts
    settings = Settings(runs=runs, seconds=seconds, processes=processes)
    manners = Manners(accept_new_host_key, wheelhouse, runtime)
    proof = sparsity.prove(data, facts, place, settings, manners, reporter)
    return {**facts, "proof": proof}


def _convert(model: Path, target: str, reporter: Reporter, **options: Any) -> bytes:
    """A model of another form as a float ``.tflite``."""
    from edgepack import pipeline
    from edgepack.plan import make_plan
    from edgepack.store import cache_folder

    place = cache_folder() / "sparsity"
    planned = make_plan(model, target, recipe="float32", out=place, **options)
    return pipeline.to_float(planned, report=reporter).stage.read()
