"""What a comparison of runtimes found: a row for each operator and runtime, and a verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgepack.micro.host import NAMES, Runtime

Outcome = Literal["equal", "explained", "different", "not compared"]
Verdict = Literal["exact", "explained", "different", "not compared"]

WHOLE = -1
"""In place of an operator's index: the outputs of the whole model."""
ALONE = "it means nothing alone; see the whole model"
"""Why an operator that moves data to and from variables has no comparison of its own."""


@dataclass(frozen=True)
class Row:
    """One comparison with TensorFlow Lite Micro.

    Attributes:
        operator: its index; `WHOLE` for the outputs of the whole model.
        code: its kind.
        layer: that it comes from; empty where names are stripped.
        runtime: what was compared.
        outcome: equal, explained, different or not compared.
        largest: difference: in steps of the stored integers, or in real numbers.
        differing: values that differ.
        values: all values that were compared.
        reason: why a difference is explained, or why nothing was compared.
    """

    operator: int
    code: str
    layer: str
    runtime: Runtime
    outcome: Outcome
    largest: float = 0.0
    differing: int = 0
    values: int = 0
    reason: str = ""

    @property
    def sentence(self) -> str:
        """For people."""
        layer = f" ({self.layer})" if self.layer else ""
        what = (
            "the whole model" if self.operator == WHOLE else f"{self.code} {self.operator}{layer}"
        )
        if self.outcome == "equal":
            return f"{what}: equal to {NAMES[self.runtime]} in {self.values:,} values"
        if self.outcome == "not compared":
            return f"{what}: not compared: {self.reason}"
        much = f"by up to {self.largest:g} in {self.differing:,} of {self.values:,} values"
        why = f": {self.reason}" if self.reason else ""
        return f"{what}: differs from {NAMES[self.runtime]} {much}{why}"


@dataclass(frozen=True)
class Parity:
    """How TensorFlow Lite Micro compares with LiteRT on one model.

    Attributes:
        verdict: exact where all that was compared is equal to the last bit; not compared where
            LiteRT runs nothing of the model.
        rows: of every operator and of the whole model, for each runtime.
        weak: operators whose outputs take too few values to prove much, by index.
        invocations: that were compared.
    """

    verdict: Verdict
    rows: tuple[Row, ...]
    weak: tuple[int, ...]
    invocations: int

    @property
    def first(self) -> Row | None:
        """The first operator that differs without an explanation; the whole model after all."""
        wrong = [row for row in self.rows if row.outcome == "different"]
        return min(wrong, key=lambda row: (row.operator == WHOLE, row.operator), default=None)

    @property
    def unproven(self) -> tuple[Row, ...]:
        """The operators that no runtime but TensorFlow Lite Micro computed, with a reason each."""
        done = {row.operator for row in self.rows if row.outcome != "not compared"}
        left = {row.operator: row for row in self.rows if row.operator not in done | {WHOLE}}
        return tuple(r for r in left.values() if WHOLE not in done or r.reason != ALONE)

    @property
    def sentence(self) -> str:
        """For people."""
        operators = {row.operator for row in self.rows} - {WHOLE}
        left, many = len(self.unproven), f"{self.invocations} invocations"
        words = {
            "exact": "equal to LiteRT to the last bit",
            "explained": "equal to LiteRT but for known differences in rounding",
            "different": "not equal to LiteRT",
            "not compared": "not compared",
        }
        head = f"{len(operators) - left} of {len(operators)} operators in {many}: "
        told = [row.sentence for row in (self.first, *self.unproven[:1]) if row]
        return "; ".join([head + words[self.verdict], *told])

    def facts(self) -> dict[str, Any]:
        """Plain data for a manifest: what is equal is counted, all else is listed."""
        listed = [asdict(row) for row in self.rows if row.outcome != "equal"]
        return {
            "verdict": self.verdict,
            "invocations": self.invocations,
            "sentence": self.sentence,
            "unproven": [row.operator for row in self.unproven],
            "equal": len(self.rows) - len(listed),
            "rows": listed,
            "weak": list(self.weak),
            "first": asdict(self.first) if self.first else None,
        }
