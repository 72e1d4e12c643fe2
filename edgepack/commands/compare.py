"""``edgepack compare``: every technique on one model, its data and its device, side by side."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgepack.commands._model_options import model_options
from edgepack.commands._timing_options import timing_options
from edgepack.errors import InputError
from edgepack.table import printable_lines

if TYPE_CHECKING:
    from edgepack.device import Device
    from edgepack.tradeoff.timing import Stopwatch
    from edgepack.tradeoff.trial import Study

OWN = ("compare.json", "compare.md", "compare.csv", "compare.html")


@click.command("compare")
@click.argument("model")
@click.option("--target", "-t", required=True, help="A target's name, or a TOML file of your own.")
@click.option(
    "--data", "-d", default="", help="digits, fashion-mnist, FILE.npz, a folder, FILE.py:function."
)
@click.option(
    "--device", default="local", show_default=True, help="Where to time; none to time nothing."
)
@click.option(
    "--techniques", default="", help="Recipes by name or file, with commas; all that are one."
)
@click.option("--strengths", default=2, show_default=True, help="Of each technique.")
@click.option(
    "--updates",
    default=600,
    show_default=True,
    help="Batches that a training sees at least, however small the data; 0: the recipes' epochs.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="STEP.SETTING=VALUE",
    help="Change a setting of every recipe that has the step.",
)
@click.option("--metric", default="", help="accuracy, top5, mae, mse, or FILE.py:function.")
@click.option("--seed", default=0, show_default=True, help="Of everything random.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1), help="To time.")
@timing_options(seconds=0.5)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder of tables and bundles; build/compare-MODEL-TARGET if absent.",
)
@model_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@click.option("--verbose", "-v", is_flag=True, expose_value=False, help="Trace failures.")
def command(*, as_json: bool, quiet: bool, out: Path | None, **options: Any) -> None:
    """Measure techniques on MODEL: size, accuracy, latency, memory, beside the literature's claims.

    \b
    edgepack compare model.keras --data digits --target rpi4
    edgepack compare model.keras -d data.npz -t rpi4 --device pi@raspberrypi.local
    edgepack compare model.keras -d data.npz -t cortex-m4 --techniques int8,channels,my-recipe.toml

    The folder holds the table as JSON, Markdown, CSV and one HTML page with plots, and a bundle for
    each variant. What was done before is found again, so that one that was cut off goes on.
    """
    from edgepack.commands._console import progress
    from edgepack.pipeline import build
    from edgepack.reports import tradeoff
    from edgepack.tradeoff.study import compare

    folder = out or Path("build", f"compare-{Path(options['model']).stem}-{options['target']}")
    _check_folder(folder)
    stopwatch = _stopwatch(options)
    study = _study(folder, options)
    with progress(quiet=quiet) as report:
        make = partial(build, report=report)
        facts = compare(study, make, stopwatch, report, partial(_write, folder))
    _write(folder, facts)
    text = printable_lines(f"{tradeoff.render(facts)}\n\ntables and bundles: {folder}")
    click.echo(json.dumps(facts, indent=1) if as_json else text)


def _check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else, before anything slow starts."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / OWN[0]).is_file():
        raise InputError(f"{folder} holds something else", "name another folder with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "name another folder with --out"
        raise InputError(f"cannot make {folder}: {error.strerror}", hint) from error


def _study(folder: Path, options: dict[str, Any]) -> Study:
    from edgepack.tradeoff.trial import Study

    words = tuple(word.strip() for word in options.pop("techniques").split(",") if word.strip())
    form = {
        word: options.pop(word) for word in ("custom", "allow_code", "input_shapes", "signature")
    }
    return Study(out=folder, techniques=words, options=form, **options)


def _stopwatch(options: dict[str, Any]) -> Stopwatch | None:
    """What times the variants; a device that cannot be reached is told before anything slow."""
    from edgepack.measuring.settings import Manners, Settings
    from edgepack.store import Store
    from edgepack.tradeoff.timing import Stopwatch

    words = ("threads", "seconds", "processes")
    settings = Settings(warmup_s=2.0, **{word: options.pop(word) for word in words})
    manners = Manners(accept_new_host_key=options.pop("accept_new_host_key"))
    name = options.pop("device")
    if name == "none":
        return None
    device = _reached(name, accept=manners.accept_new_host_key)
    return Stopwatch(device, settings, manners, Store())


def _reached(name: str, *, accept: bool) -> Device:
    from edgepack.device import find_device
    from edgepack.transport import connect

    device = find_device(name)
    connect(device, accept_new_host_key=accept).close()
    return device


def _write(folder: Path, facts: dict[str, Any]) -> None:
    """All tables, each whole or not at all."""
    from edgepack.measuring.writing import write_whole
    from edgepack.reports import page, tradeoff

    texts = [json.dumps(facts, indent=1) + "\n"]
    if facts["baseline"]:
        notes = [*tradeoff.legend(facts), *tradeoff.failures(facts)]
        texts += [tradeoff.markdown(facts), tradeoff.comma_separated(facts)]
        texts.append(page.page(facts, tradeoff.heading(facts), notes))
    for name, text in zip(OWN, texts, strict=False):
        write_whole(folder / name, text)
