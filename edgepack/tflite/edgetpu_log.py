"""Reads what Coral's ``edgetpu_compiler`` says: what runs where, memory used, what went wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MAPPED = "Mapped to Edge TPU"

UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

VERSION = re.compile(r"^Edge TPU Compiler version (\S+)", re.MULTILINE)
ROW = re.compile(r"^([A-Za-z]\w*)[ \t]{2,}(\d+)[ \t]{2,}(\S.*?)[ \t]*$", re.MULTILINE)
COMPLAINT = re.compile(
    r"^(?:ERROR: (.+)|(Model (?:not quantized|could not be parsed).*)|(Internal compiler error)"
    r".*|.*?(Segmentation fault).*|.*?(terminating with .+)|(Compilation failed.*?)!?)[ \t]*$",
    re.MULTILINE,
)
"""Each alternative holds what is worth telling of one kind of failure."""

CRASH = re.compile(r"Internal compiler error|Segmentation fault|terminating with")
UNEXPLAINED = "Compilation failed"


@dataclass(frozen=True)
class Row:
    """Operators of one kind that fared alike.

    Attributes:
        operator: such as ``CONV_2D``.
        count: how many.
        status: `MAPPED`, or why they run on the CPU, in the compiler's words.
    """

    operator: str
    count: int
    status: str


@dataclass(frozen=True)
class CompilerLog:
    """What one run of the compiler said.

    Attributes:
        version: of the compiler; empty where it did not come to say it.
        rows: the operators and where they run; none where it was not asked for them.
        mapped: how many operators run on the Edge TPU.
        unmapped: how many run on the CPU.
        subgraphs: parts that run on the Edge TPU.
        on_chip_used_bytes: memory of the Edge TPU that keeps parameters.
        on_chip_remaining_bytes: what is left of it for other models.
        off_chip_bytes: parameters that are sent to the Edge TPU for every inference.
        complaints: what it says went wrong, each sentence once.
    """

    version: str
    rows: tuple[Row, ...]
    mapped: int
    unmapped: int
    subgraphs: int
    on_chip_used_bytes: int
    on_chip_remaining_bytes: int
    off_chip_bytes: int
    complaints: tuple[str, ...]

    @property
    def on_cpu(self) -> tuple[Row, ...]:
        """The operators that run on the CPU."""
        return tuple(row for row in self.rows if row.status != MAPPED)

    @property
    def crashed(self) -> bool:
        """Whether it gave up without a reason, so that trying again may help."""
        if self.mapped or self.unmapped:
            return False
        unexplained = self.complaints == (UNEXPLAINED,)
        return unexplained or any(CRASH.match(complaint) for complaint in self.complaints)

    def facts(self) -> dict[str, Any]:
        """The log as plain data."""
        return {
            "compiler_version": self.version,
            "mapped": self.mapped,
            "on_cpu": self.unmapped,
            "subgraphs": self.subgraphs,
            "on_chip_used_bytes": self.on_chip_used_bytes,
            "on_chip_remaining_bytes": self.on_chip_remaining_bytes,
            "off_chip_bytes": self.off_chip_bytes,
            "operators": [
                {"operator": row.operator, "count": row.count, "status": row.status}
                for row in self.rows
            ],
        }


def parse(text: str) -> CompilerLog:
    """Read the output of ``edgetpu_compiler --show_operations``; what is not there counts as 0.

    With ``--search_delegate`` the compiler tries several times in one run: the last one counts.
    """
    text = "\n".join(text.splitlines())
    version = VERSION.search(text)
    start = max(text.rfind("\nModel compiled successfully"), 0)
    rows = tuple(Row(o, int(n), status) for o, n, status in ROW.findall(text[start:]))
    subgraphs = _number(text, "Number of Edge TPU subgraphs")
    total = sum(r.count for r in rows) or _number(text, "Total number of operations")
    unmapped = _number(text, "Number of operations that will run on CPU")
    if rows:
        unmapped = sum(row.count for row in rows if row.status != MAPPED)
    elif not subgraphs:
        unmapped = total
    return CompilerLog(
        version=version[1] if version else "",
        rows=rows,
        mapped=total - unmapped,
        unmapped=unmapped,
        subgraphs=subgraphs,
        on_chip_used_bytes=_size(text, "On-chip memory used for caching model parameters"),
        on_chip_remaining_bytes=_size(
            text, "On-chip memory remaining for caching model parameters"
        ),
        off_chip_bytes=_size(text, "Off-chip memory used for streaming uncached model parameters"),
        complaints=tuple(dict.fromkeys(_complaints(text))),
    )


def _complaints(text: str) -> Iterator[str]:
    for groups in COMPLAINT.findall(text):
        yield next(part for part in groups if part).strip()


def _number(text: str, label: str) -> int:
    found = re.findall(rf"^{label}: (\d+)", text, re.MULTILINE)
    return int(found[-1]) if found else 0


def _size(text: str, label: str) -> int:
    found = re.findall(rf"^{label}: (\d+(?:\.\d+)?)(B|KiB|MiB|GiB)\b", text, re.MULTILINE)
    if not found:
        return 0
    number, unit = found[-1]
    return round(float(number) * UNITS[unit])
