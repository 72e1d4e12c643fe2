"""``edgepack bench``: time a model on a device."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgepack.commands._bench_options import with_options
from edgepack.commands._console import progress
from edgepack.errors import EdgepackError
from edgepack.measuring.fleet import Outcome

if TYPE_CHECKING:
    from edgepack.device import Device
    from edgepack.measuring.benchmark import Benchmark
    from edgepack.measuring.examination import Examination
    from edgepack.measuring.settings import Settings
    from edgepack.measuring.subject import Subject
    from edgepack.transport import Transport

    Found = tuple[Benchmark, ...]

MANNERS = (
    "accept_new_host_key",
    "wheelhouse",
    "runtime_version",
    "wait_s",
    "cool_c",
    "cool_wait_s",
)


@click.command("bench")
@click.argument(
    "models",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    metavar="BUNDLE_OR_TFLITE...",
)
@with_options
def command(
    models: tuple[Path, ...],
    names: tuple[str, ...],
    as_json: bool,
    out: Path | None,
    no_history: bool,
    quiet: bool,
    evaluate: int,
    data: str,
    **given: Any,
) -> None:
    """Measure latency and memory of bundles or .tflite files on devices.

    Several models are measured in turns, so that they can be compared. Each result comes with a
    verdict on whether it can be believed; an invalid one exits with 1, a failed device with 4.
    """
    from edgepack.measuring.settings import Manners
    from edgepack.measuring.subject import check_delegates, read_subject
    from edgepack.measuring.writing import check_folder

    check_folder(out)
    devices = devices_of(names)
    subjects = [read_subject(model) for model in models]
    check_delegates(subjects, given["delegates"])
    manners = Manners(**{name: given.pop(name) for name in MANNERS})
    examinations = examinations_of(subjects, evaluate, data)
    measure = partial(
        measure_one,
        subjects=subjects,
        sweep=sweep(given),
        manners=manners,
        examinations=examinations,
        history=not no_history,
    )
    outcomes = measure_all(devices, measure, manners.accept_new_host_key, quiet)
    found = [benchmark for outcome in outcomes for benchmark in outcome.result or ()]
    if found:
        tell(found, out, as_json=as_json)
    refuse_failed(outcomes)
    refuse_invalid(found)


def examinations_of(subjects: Sequence[Subject], count: int, data: str) -> dict[Path, Examination]:
    """Test samples for each model, with what this machine makes of them; none for a count of 0."""
    from edgepack.measuring.examination import Examination

    return {s.path: Examination(s, count, data) for s in subjects if count}


def measure_one(
    transport: Transport, device: Device, *, history: bool, **session: Any
) -> tuple[Benchmark, ...]:
    """Measure on one device, and keep what was found at once, whatever becomes of the others."""
    from edgepack.errors import InputError
    from edgepack.measuring.history import keep
    from edgepack.measuring.session import measure

    found = measure(transport, device, **session)
    try:
        if history:
            keep(found)
    except InputError as error:
        click.echo(f"warning: nothing is kept for edgepack history: {error.message}", err=True)
    return found


def measure_all(
    devices: Sequence[Device], measure: Callable[..., Found], accept: bool, quiet: bool
) -> list[Outcome[Found]]:
    """Connect to all devices, while passwords may be asked for, then measure on them."""
    from edgepack.measuring.fleet import own_line, side_by_side
    from edgepack.transport import connect

    reached = side_by_side(devices, partial(connect, accept_new_host_key=accept))
    transports = {o.device: o.result for o in reached if o.result}
    with progress(quiet=quiet) as report:
        measured = side_by_side(
            list(transports),
            lambda device: measure(
                transports[device], device, report=own_line(report, device, devices)
            ),
        )
    done = {outcome.device: outcome for outcome in measured}
    return [done.get(o.device) or Outcome(o.device, error=o.error) for o in reached]


def tell(found: list[Benchmark], out: Path | None, *, as_json: bool) -> None:
    """Print what was found, and write it where that is wanted; one that fails stops no other."""
    from edgepack.measuring.benchmark import to_json
    from edgepack.measuring.writing import write_whole
    from edgepack.reports import benchmark as report

    document = json.dumps(to_json(found))
    with ExitStack() as others:
        if out:
            others.callback(write_whole, out, document + "\n")
        click.echo(document if as_json else report.render(found))


def devices_of(names: tuple[str, ...]) -> list[Device]:
    """The devices of all names, each once.

    Raises:
        InputError: if a name is unknown, or ``all`` of no devices is asked for.
    """
    from edgepack.device import all_devices, find_device

    found = [
        device
        for name in names
        for device in (all_devices() if name == "all" else [find_device(name)])
    ]
    return list(dict.fromkeys(found))


def sweep(given: dict[str, Any]) -> list[Settings]:
    """Settings for every number of threads and every delegate."""
    from edgepack.measuring.settings import Settings

    threads, delegates = given.pop("threads"), dict.fromkeys(given.pop("delegates"))
    return [Settings(threads=t, delegate=d, **given) for d in delegates for t in threads]


def refuse_failed(outcomes: list[Outcome[Found]]) -> None:
    """Say what is wrong with each device that failed, and raise what ends the command."""
    from edgepack.measuring.fleet import failure
    from edgepack.table import printable_lines

    for outcome in outcomes if len(outcomes) > 1 else ():
        if isinstance(outcome.error, EdgepackError):
            said = f"{outcome.device.name}: {outcome.error.message}\n  hint: {outcome.error.hint}"
            click.echo(printable_lines(said), err=True)
    if error := failure(outcomes):
        raise error


def refuse_invalid(benchmarks: list[Benchmark]) -> None:
    """Raise what ends the command with 1 where a measurement is invalid."""
    from edgepack.errors import GateError

    for found in benchmarks:
        if found.verdict["state"] == "invalid":
            against = [f for f in found.verdict["findings"] if f["state"] == "invalid"]
            codes = ", ".join(finding["code"] for finding in against)
            raise GateError(f"the measurement is invalid: {codes}", against[0]["hint"])
