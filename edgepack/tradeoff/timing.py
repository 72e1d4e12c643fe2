"""Times variants and the float model in turns on one device, and keeps what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgepack.artifact import sha256_of
from edgepack.device import Device
from edgepack.errors import EdgepackError
from edgepack.measuring.benchmark import Benchmark
from edgepack.measuring.ratio import median_ratio
from edgepack.measuring.session import measure
from edgepack.measuring.settings import Manners, Settings
from edgepack.measuring.subject import read_subject
from edgepack.progress import Progress, Reporter
from edgepack.store import Store, key_of, source_digest
from edgepack.transport import connect

TOGETHER = 4
"""Variants in one session, beside the float model: what is lost with one that is cut off."""

Facts = dict[str, Any]


@dataclass(frozen=True)
class Stopwatch:
    """How and where variants are timed.

    Attributes:
        device: where.
        settings: how each model is measured.
        manners: towards the device.
        store: where results are kept.
    """

    device: Device
    settings: Settings
    manners: Manners
    store: Store

    def time(
        self, baseline: Path, models: Mapping[str, Path], report: Reporter
    ) -> Iterator[tuple[str, Facts]]:
        """The timing of each model by its name, as soon as it is known.

        Args:
            baseline: the float model's file, which runs in every session.
            models: a bundle's folder or a file by name.
            report: where progress goes.
        """
        waiting = {}
        for name, model in models.items():
            if found := self.store.get(self._key(baseline, model)):
                yield name, dict(found.facts)
            else:
                waiting[name] = model
        names = list(waiting)
        for start in range(0, len(names), TOGETHER):
            report(Progress("time variants", start, len(names)))
            chosen = names[start : start + TOGETHER]
            yield from self._session(baseline, {name: waiting[name] for name in chosen}, report)

    def _session(
        self, baseline: Path, models: Mapping[str, Path], report: Reporter
    ) -> Iterator[tuple[str, Facts]]:
        try:
            first, *others = self._measure([baseline, *models.values()], report)
        except EdgepackError as error:
            yield from ((name, {"error": error.message, "hint": error.hint}) for name in models)
            return
        for (name, model), found in zip(models.items(), others, strict=True):
            facts = compare(first, found)
            self.store.put(self._key(baseline, model), {}, facts)
            yield name, facts

    def _measure(self, models: Sequence[Path], report: Reporter) -> tuple[Benchmark, ...]:
        subjects = [read_subject(model) for model in models]
        manners = self.manners
        transport = connect(self.device, accept_new_host_key=manners.accept_new_host_key)
        return measure(
            transport, self.device, subjects, [self.settings], manners, {}, _renamed(report)
        )

    def _key(self, baseline: Path, model: Path) -> str:
        files = [baseline, read_subject(model).model]
        return key_of(
            timing=[sha256_of(file) for file in files],
            device=asdict(self.device),
            settings=asdict(self.settings),
            runtime=self.manners.runtime_version,
            source=source_digest("edgepack.measuring.session"),
            own=source_digest("edgepack.tradeoff.timing"),
        )


def _renamed(report: Reporter) -> Callable[[Progress], None]:
    """What a session tells of itself, as notes of one line instead of a bar for each process."""

    def tell(now: Progress) -> None:
        report(Progress("time", 0, 0, f"{now.task} {now.note}".strip()))

    return tell


def compare(first: Benchmark, found: Benchmark) -> Facts:
    """What of a variant's benchmark goes into the table, beside the float model's in that session.

    Times are in ms, memory is in KiB.
    """
    ours, floats = found.measurement("latency"), first.measurement("latency")
    summary, ratio = ours.summary(), median_ratio(floats.values, ours.values)
    return {
        "latency_ms": summary.median,
        "latency_interval": summary.interval,
        "float_latency_ms": floats.summary().median,
        "ratio": asdict(ratio) if ratio else None,
        "peak_kib": found.measurement("peak_memory").summary().median,
        "model_kib": found.measurement("model_memory").summary().median,
        "float_peak_kib": first.measurement("peak_memory").summary().median,
        "float_model_kib": first.measurement("model_memory").summary().median,
        "verdict": found.verdict["state"],
        "codes": list(found.verdict["codes"]),
        "created": found.created,
    }
