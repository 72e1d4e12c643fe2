"""``edgepack bench``: time a model on a device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgepack.commands._console import progress

if TYPE_CHECKING:
    from edgepack.measuring.benchmark import Benchmark
    from edgepack.measuring.measurement import Measurement
    from edgepack.measuring.validity import Verdict

HEADERS = ("measured", "unit", "median", "95 % interval", "MAD", "p90", "p99", "min", "max", "n")
FEW = 10


@click.command("bench")
@click.argument("model", type=click.Path(path_type=Path), metavar="BUNDLE_OR_TFLITE")
@click.option("--device", "name", default="local", show_default=True, help="Where to measure.")
@click.option(
    "--threads", default=1, show_default=True, type=click.IntRange(1), help="Of the runtime."
)
@click.option(
    "--runs",
    default=50,
    show_default=True,
    type=click.IntRange(1),
    help="Fewest timed runs in each process.",
)
@click.option(
    "--seconds",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Shortest time of timed runs in each process.",
)
@click.option(
    "--processes",
    default=3,
    show_default=True,
    type=click.IntRange(1),
    help="Processes to time, one after the other.",
)
@click.option(
    "--timeout",
    "timeout_s",
    default=600.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Seconds after which a process is killed.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with every raw value.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the JSON to a file, too."
)
@click.option("--quiet", is_flag=True, help="Show no progress.")
def command(
    model: Path, name: str, as_json: bool, out: Path | None, quiet: bool, **settings: Any
) -> None:
    """Measure latency and memory of a bundle or a .tflite file.

    The result comes with a verdict on whether it can be believed; an invalid one exits with 1.
    """
    from edgepack.measuring.session import Settings, bench
    from edgepack.device import find_device
    from edgepack.errors import GateError
    from edgepack.measuring.benchmark import to_json
    from edgepack.measuring.validity import judge

    check_out(out)
    device = find_device(name)
    with progress(quiet=quiet) as report:
        benchmark = bench(model, device, Settings(**settings), report)
    verdict = judge(benchmark.measurement("latency"))
    document = json.dumps({**to_json(benchmark), "verdict": verdict.to_json()})
    click.echo(document if as_json else text(benchmark, verdict))
    if out:
        write(out, document)
    if verdict.state == "invalid":
        codes = ", ".join(finding.code for finding in verdict.findings)
        raise GateError(f"the measurement is invalid: {codes}", verdict.findings[0].hint)


def check_out(out: Path | None) -> None:
    """Refuse a file in a folder that does not exist before anything slow starts."""
    from edgepack.errors import InputError

    if out and not out.absolute().parent.is_dir():
        raise InputError(
            f"cannot write {out}: there is no folder {out.absolute().parent}", "make it"
        )


def write(out: Path, document: str) -> None:
    """Write the JSON whole or not at all."""
    from edgepack.errors import InputError

    part = out.with_name(out.name + ".part")
    try:
        part.write_text(document + "\n", encoding="utf-8")
        part.replace(out)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(f"cannot write {out}: {error.strerror}", "name another --out") from error


def text(benchmark: Benchmark, verdict: Verdict) -> str:
    """Facts, a table of statistics, and the verdict with what to do."""
    from edgepack.table import render

    parts = [
        render(facts(benchmark)),
        render([row(m) for m in benchmark.measurements], HEADERS, "ll" + "r" * 8),
        f"verdict: {verdict.state}",
    ]
    notes = [f"  {f.code}: {f.message}\n    -> {f.hint}" for f in verdict.findings]
    return "\n\n".join(parts) + "".join(f"\n{note}" for note in notes)


def facts(benchmark: Benchmark) -> list[tuple[str, str]]:
    """What was measured, where and how, in words."""
    model, seen = benchmark.model, benchmark.measurement("latency").environment
    threads = f"{seen['threads']} thread{'s' if seen['threads'] > 1 else ''}"
    return [
        ("model", f"{model['name']}, {model['size_bytes']:,} bytes, {seen['inputs']} inputs"),
        ("device", f"{benchmark.device['name']} ({benchmark.device['target']}), {seen['cpu']}"),
        ("runtime", f"{seen['runtime']} {seen['runtime_version']}, {threads}"),
    ]


def row(measurement: Measurement) -> list[str]:
    """One line of the table; statistics only of as many values as they need."""
    s = measurement.summary()
    few, single = s.count < FEW, s.count == 1
    interval = f"{number(s.interval[0])} .. {number(s.interval[1])}"
    return [
        measurement.metric.replace("_", " "),
        measurement.unit,
        number(s.median),
        *(("",) * 4 if few else (interval, number(s.mad), number(s.p90), number(s.p99))),
        *(("",) * 2 if single else (number(s.minimum), number(s.maximum))),
        str(s.count),
    ]


def number(value: float) -> str:
    """Four significant digits, never an exponent."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if value >= 0.001 else f"{value:.6f}"
