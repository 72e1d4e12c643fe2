"""One session on one device: from an address to judged benchmarks of one model or several."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

from edgepack import plugins
from edgepack.boards.board import Board
from edgepack.boards.files import push
from edgepack.boards.fitting import fits
from edgepack.boards.installation import Wish, provide
from edgepack.boards.lock import Lease, hold
from edgepack.boards.probe import probe
from edgepack.boards.renewal import renewed
from edgepack.device import Device
from edgepack.measuring.benchmark import Benchmark
from edgepack.measuring.correctness import findings
from edgepack.measuring.examination import Examination, examine
from edgepack.measuring.machine_rules import begins_below_c
from edgepack.measuring.measurement import Measurement, merge
from edgepack.measuring.settings import Manners, Settings
from edgepack.measuring.stand import Stand, cool_down, push_agent
from edgepack.measuring.subject import Subject
from edgepack.measuring.validity import judge
from edgepack.progress import Progress, Reporter, silent
from edgepack.runtime import Job, Runtime
from edgepack.transport import Transport


@dataclass(frozen=True)
class Cell:
    """One model with one set of settings: what one benchmark is about.

    Attributes:
        subject: the model.
        settings: how it is measured.
        job: what all its processes have in common.
    """

    subject: Subject
    settings: Settings
    job: Job


def measure(
    transport: Transport,
    device: Device,
    subjects: Sequence[Subject],
    sweep: Sequence[Settings],
    manners: Manners,
    examinations: Mapping[Path, Examination],
    report: Reporter = silent,
) -> tuple[Benchmark, ...]:
    """Measure every model with every settings on one device, and let go of it.

    The processes of all of them take turns, so that what changes on the device meets them alike.

    Args:
        transport: to the device; closed at the end.
        device: which it is.
        subjects: the models.
        sweep: with what each of them is measured.
        manners: towards the device.
        examinations: test samples by the path of the subject.
        report: where progress goes.

    Raises:
        DeviceError: if the device cannot be reached or does not do its part.
    """
    runtime = cast(Runtime, plugins.load("runtimes", sweep[0].runtime))
    with closing(transport):
        board = probe(transport)
        agent = push_agent(transport, runtime)
        start = (first_python(transport, board), agent)
        with hold(transport, start, who(), manners.wait_s, report, device.lock) as lease:
            with renewed(lease):
                installation = provide(transport, board, wish(subjects, manners), report)
                stand = Stand(transport, runtime, installation, agent)
                cells = place(stand, subjects, sweep, lease, report)
            parts = run_processes(stand, board, cells, lease, manners, report)
            with renewed(lease):
                outcomes = [check(stand, cell, examinations, report) for cell in cells]
    facts = describe(device, board, stand)
    return tuple(map(partial(conclude, facts, board), cells, parts, outcomes))


def check(
    stand: Stand, cell: Cell, examinations: Mapping[Path, Examination], report: Reporter
) -> dict[str, Any]:
    """See what a model computes on the device."""
    examination = examinations.get(cell.subject.path)
    return examine(stand, cell.subject, cell.job, examination, report)


def who() -> str:
    """Who measures, for others to read: ``user@host``."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def first_python(transport: Transport, board: Board) -> str:
    """What runs the agent before there is a runtime.

    Raises:
        DeviceError: if the device has no Python that can.
    """
    found = transport.python or (board.python.path if board.python else "")
    return found or provide(transport, board).python[0]  # which says what is missing


def wish(subjects: Sequence[Subject], manners: Manners) -> Wish:
    """The runtime that a user, and the form of the models, ask for."""
    compiled = any(subject.form == "edgetpu" for subject in subjects)
    return Wish(manners.runtime_version, manners.wheelhouse, edgetpu=compiled)


def place(
    stand: Stand,
    subjects: Sequence[Subject],
    sweep: Sequence[Settings],
    lease: Lease,
    report: Reporter,
) -> list[Cell]:
    """Bring the models and their inputs to a device: a cell for each model and settings."""
    cells = []
    for subject in subjects:
        model = push(stand.transport, subject.model, report)
        inputs = push(stand.transport, subject.golden, report) if subject.golden else None
        fitted = [replace(s, delegate=delegate_for(subject, s)) for s in sweep]
        for settings in dict.fromkeys(fitted):
            job = Job(model, inputs=inputs, **shared(settings))
            cells.append(Cell(subject, settings, lease.claim(job)))
    return cells


def delegate_for(subject: Subject, settings: Settings) -> str:
    """A compiled model runs by its delegate only."""
    return "edgetpu" if subject.form == "edgetpu" else settings.delegate


def shared(settings: Settings) -> dict[str, Any]:
    """What settings and jobs have in common."""
    names = ("delegate", "threads", "runs", "seconds", "warmup_s")
    return {**{n: getattr(settings, n) for n in names}, "limit_s": settings.timeout_s}


def schedule(cells: Sequence[Cell]) -> list[tuple[int, Job]]:
    """All processes in their order: by rounds, in each of which every cell has its turn.

    Returns:
        the cell's number and the job, for each process.
    """
    rounds: list[tuple[int, Job]] = []
    for number in range(max(cell.settings.processes for cell in cells)):
        turns = [(i, c.job) for i, c in enumerate(cells) if number < c.settings.processes]
        rounds += turns[::-1] if number % 2 else turns  # so that neither always goes first
    rounds += [(i, replace(c.job, kind="memory")) for i, c in enumerate(cells)]
    timed = [(i, c) for i, c in enumerate(cells) if c.settings.operators]
    return rounds + [(i, replace(c.job, kind="operators")) for i, c in timed]


def run_processes(
    stand: Stand,
    board: Board,
    cells: Sequence[Cell],
    lease: Lease,
    manners: Manners,
    report: Reporter,
) -> list[tuple[Measurement, ...]]:
    """Run every process, and join what those of one cell measured."""
    parts: list[list[Measurement]] = [[] for _ in cells]
    jobs = schedule(cells)
    below_c = manners.cool_c or begins_below_c(board.architecture)
    left_s, now_c = manners.cool_wait_s, below_c
    for number, (which, job) in enumerate(jobs):
        if now_c >= below_c:
            left_s -= cool_down(lease.temperature_c, below_c, left_s, report)
        report(Progress("bench", number, len(jobs), _note(cells[which], job, len(cells))))
        found, remarks = stand.run(job)
        if reason := remarks.get("reason"):
            report(Progress("bench", number, len(jobs), f"{job.kind}: {reason}"))
        parts[which] += found
        now_c = hottest_c(found)
    report(Progress("bench", len(jobs), len(jobs)))
    return [tuple(merge(group) for group in by_metric(found)) for found in parts]


def hottest_c(found: Sequence[Measurement]) -> float:
    """The temperature that a process left behind, in degrees Celsius; 0 where it is unknown."""
    after = [c["after"] for m in found for c in m.conditions if "after" in c]
    return max((t for state in after for t in state.get("temperatures_c") or ()), default=0.0)


def _note(cell: Cell, job: Job, cells: int) -> str:
    return f"{job.kind} of {cell.subject.title}" if cells > 1 else job.kind


def by_metric(parts: Sequence[Measurement]) -> list[list[Measurement]]:
    """Measurements of one metric each, in the order of their first occurrence."""
    groups: dict[str, list[Measurement]] = {}
    for part in parts:
        groups.setdefault(part.metric, []).append(part)
    return list(groups.values())


def describe(device: Device, board: Board, stand: Stand) -> dict[str, Any]:
    """A device as plain data: its target, where it named none, is the one that fits."""
    notes = list(stand.installation.notes)
    return {**asdict(device), "target": device.target or fits(board), "notes": notes}


def conclude(
    device: Mapping[str, Any],
    board: Board,
    cell: Cell,
    measurements: tuple[Measurement, ...],
    outcome: dict[str, Any],
) -> Benchmark:
    """Judge one cell, and put all that is known of it together."""
    latency = next(m for m in measurements if m.metric == "latency")
    model = cell.subject.facts()
    verdict = judge(latency, model["sha256"])
    for finding in findings(outcome):
        verdict = verdict.also(finding)
    return Benchmark(
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        model=model,
        device=device,
        settings=asdict(cell.settings),
        measurements=measurements,
        board=dict(board.facts),
        verdict=verdict.to_json(),
        correctness=outcome,
    )
