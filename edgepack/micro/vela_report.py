"""Reads what vela says: estimated cycles and memory, what runs where, what went wrong."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgepack.errors import StepError
from edgepack.table import printable

KINDS = ("sram", "dram", "on_chip_flash", "off_chip_flash")
"""Kinds of memory, in vela's words."""

ON_CPU = "Passthrough"
"""What vela calls an operator that it leaves as it is."""

TABLE = re.compile(r'<table name="(source|perf)">\n<!\[CDATA\[\n(.*?)\n\]\]>', re.DOTALL)
SOURCE_ROW = re.compile(r'^(\d+),"\w*",.*?(\d+)$', re.MULTILINE)
PERF_ROW = re.compile(r'^\d+,(\d+),\d+,"(\w+)","(?:.*?)",([\d,]+)$', re.MULTILINE | re.DOTALL)
"""Names stand in rows as they are, with quotes, commas and line breaks."""

REFUSAL = re.compile(
    r"^Warning \(supported operators\) operator: (\w+), ofm: '.*?'\nReason: (.*(?:\n.+)*)",
    re.MULTILINE,
)
WARNING = re.compile(r"^Warning: (.+)$", re.MULTILINE)
EXCEPTION = re.compile(
    r"^(?:[\w.]*(?:Error|Exception)|(?:\w+\.py|vela): error): *(?:'Error: )?(.+?)'?$", re.MULTILINE
)

MAX_TEXT = 300
"""Characters of vela's words that an error repeats."""


@dataclass(frozen=True)
class Estimates:
    """What vela expects of a compiled model; nothing of it was measured.

    Attributes:
        clock_hz: of the accelerator, as the system configuration has it.
        inference_ms: time of one inference; 0 where nothing runs on the accelerator.
        cycles: total, npu, and the accesses to each kind of memory, such as sram_access.
        memory_bytes: memory used, by its kind.
        weights_bytes: of the weights, original and encoded for the accelerator.
        macs: multiplications of one inference on the accelerator.
    """

    clock_hz: float
    inference_ms: float
    cycles: Mapping[str, int]
    memory_bytes: Mapping[str, int]
    weights_bytes: Mapping[str, int]
    macs: int

    @property
    def inferences_per_s(self) -> float:
        """Inferences in a second; 0 where nothing runs on the accelerator."""
        return 1000 / self.inference_ms if self.inference_ms else 0.0

    def facts(self) -> dict[str, Any]:
        """The estimates as plain data."""
        return {
            "clock_hz": self.clock_hz,
            "inference_ms": self.inference_ms,
            "inferences_per_s": self.inferences_per_s,
            "cycles": dict(self.cycles),
            "memory_bytes": dict(self.memory_bytes),
            "weights_bytes": dict(self.weights_bytes),
            "macs": self.macs,
        }


@dataclass(frozen=True)
class OperatorEstimate:
    """Where an operator of the model runs, and what that takes.

    Attributes:
        index: the operator's place in the file that vela was given.
        on_cpu: whether it stays on the CPU, of which vela knows no cycles.
        cycles: on the accelerator, memory included; 0 where it is free, such as a RESHAPE.
        macs: multiplications on the accelerator.
    """

    index: int
    on_cpu: bool
    cycles: int = 0
    macs: int = 0


@dataclass(frozen=True)
class Talk:
    """What vela said while it compiled.

    Attributes:
        reasons: why operators stay on the CPU, by their code, each reason once.
        warnings: what else it warned of.
    """

    reasons: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def parse_summary(text: str) -> Estimates:
    """Read vela's summary, a CSV file with one row.

    Raises:
        StepError: if a column is missing or is no number.
    """
    row = next(csv.DictReader(text.splitlines()), {})
    try:
        cycles = {kind: _whole(row[f"cycles_{kind}"]) for kind in ("total", "npu")}
        cycles |= {f"{k}_access": _whole(row[f"cycles_{k}_access"]) for k in KINDS}
        return Estimates(
            clock_hz=float(row["core_clock"]),
            inference_ms=1000 * float(row["inference_time"]),
            cycles=cycles,
            memory_bytes={k: _whole(1024 * float(row[f"{k}_memory_used"])) for k in KINDS},
            weights_bytes={
                "original": _whole(row["total_original_weights"]),
                "encoded": _whole(row["total_npu_encoded_weights"]),
            },
            macs=_whole(row["nn_macs"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise StepError(
            f"vela's summary cannot be read: {type(error).__name__}: {error}",
            "type: pip install 'ethos-u-vela>=5,<6'",
        ) from error


def parse_operators(text: str) -> tuple[OperatorEstimate, ...]:
    """Read vela's debug database: each operator of the model, in the order of the file.

    Vela makes several operations of one operator: their cycles are added up.

    Args:
        text: the XML file; what is not there gives no operators.
    """
    tables = dict(TABLE.findall(text))
    header, _, _ = tables.get("perf", "").partition("\n")
    after_name = header.replace('"', "").partition(",name,")[2].split(",")
    if not {"op_cycles", "mac_count"} <= set(after_name):
        return ()
    places = {int(name): int(key) for name, key in SOURCE_ROW.findall(tables.get("source", ""))}
    found = {index: OperatorEstimate(index, on_cpu=False) for index in sorted(places.values())}
    for source, operation, numbers in PERF_ROW.findall(tables["perf"]):
        values = dict(zip(after_name, numbers.split(","), strict=False))
        index = places.get(int(source))
        if index is not None and len(values) == len(after_name) and all(values.values()):
            found[index] = _added(found[index], operation, values)
    return tuple(found.values())


def _added(before: OperatorEstimate, operation: str, values: Mapping[str, str]) -> OperatorEstimate:
    return OperatorEstimate(
        before.index,
        on_cpu=before.on_cpu or operation == ON_CPU,
        cycles=before.cycles + int(values["op_cycles"]),
        macs=before.macs + int(values["mac_count"]),
    )


def parse_talk(text: str) -> Talk:
    """Read vela's standard output for the reasons why operators stay on the CPU."""
    reasons: dict[str, tuple[str, ...]] = {}
    for operator, words in REFUSAL.findall(text):
        told = _reason(words)
        known = reasons.get(operator, ())
        reasons[operator] = known if told in known else (*known, told)
    warnings = dict.fromkeys(printable(line) for line in WARNING.findall(text))
    return Talk(reasons, tuple(warnings))


def complaint(text: str) -> str:
    """What went wrong, in one line: the last exception, or else the last line; maybe empty."""
    told = EXCEPTION.findall(text) or [line for line in text.splitlines() if line.strip()]
    return printable(told[-1]).strip()[:MAX_TEXT] if told else ""


def _reason(words: str) -> str:
    """Without the tensor's name in brackets, so that like reasons are told once."""
    first, *rest = words.strip().split("\n")
    lines = [first.partition(" (")[0], *rest]
    return printable("; ".join(line.strip().rstrip(".") for line in lines))[:MAX_TEXT]


def _whole(value: str | float) -> int:
    return round(float(value))
