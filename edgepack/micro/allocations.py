"""What TensorFlow Lite Micro says that it allocated, read from its print."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from edgepack.errors import StepError

TOTALS = re.compile(r"\] Arena allocation (total|head|tail) (\d+) bytes")
PARTS = re.compile(r"\] '(.+?)' used (\d+) bytes")
KINDS = {
    "TfLiteEvalTensor data": "structures of tensors",
    "Persistent TfLiteTensor data": "descriptions of inputs and outputs",
    "Persistent TfLiteTensor quantization data": "descriptions of inputs and outputs",
    "Persistent buffer data": "data of operators, such as multipliers of channels",
    "TfLiteTensor variable buffer data": "variables",
    "NodeAndRegistration struct": "structures of operators",
}
"""What TensorFlow Lite Micro calls the parts of its persistent memory, in plain words."""
REST = "the interpreter itself"


@dataclass(frozen=True)
class Allocations:
    """Memory in the arena, on this machine with its pointers of 64 bits.

    Attributes:
        total_bytes: the sum; less than the smallest arena that works where planning needs more.
        head_bytes: tensors between operators and scratch memory, which take turns.
        tail_bytes: what stays: structures, quantization, variables.
        by_kind: the tail, by what it is for.
    """

    total_bytes: int
    head_bytes: int
    tail_bytes: int
    by_kind: Mapping[str, int]


def parse(talk: str) -> Allocations:
    """Read what ``print_allocations`` printed.

    Raises:
        StepError: if it is not there.
    """
    totals = {name: int(size) for name, size in TOTALS.findall(talk)}
    if len(totals) != 3:
        message = "TensorFlow Lite Micro did not print its allocations in the form of 2026"
        raise StepError(message, "install the version of tflite-micro that edgepack is tested with")
    kinds: Counter[str] = Counter()
    for name, size in PARTS.findall(talk):
        kinds[KINDS.get(name, name)] += int(size)
    kinds[REST] += totals["tail"] - kinds.total()
    return Allocations(
        totals["total"], totals["head"], totals["tail"], {k: n for k, n in kinds.items() if n}
    )
