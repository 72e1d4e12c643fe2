"""What ``edgepack diff`` prints: metric by metric what changed, and what forbids comparing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from edgepack import table
from edgepack.measuring.comparability import Difference
from edgepack.measuring.comparison import Change, Comparison, Diff
from edgepack.table import number, printable

HEADERS = ("metric", "unit", "A", "B", "B / A", "95 % interval", "significant", "outcome")
MEANINGS = {
    "unclear": "the interval reaches beyond the tolerance: measure both with more --processes",
    "unjudged": "latency wants two processes or more on each side: measure with --processes 3",
}


def render(diff: Diff) -> str:
    """Each comparison, then what has no counterpart, and the outcome."""
    parts = [render_one(comparison) for comparison in diff.comparisons]
    parts += [f"only A has {printable(benchmark.title)}" for benchmark in diff.only_a]
    parts += [f"only B has {printable(benchmark.title)}" for benchmark in diff.only_b]
    return "\n\n".join([*parts, f"outcome: {diff.outcome}, tolerance {100 * diff.tolerance:g} %"])


def render_one(comparison: Comparison) -> str:
    """One comparison: what was compared, the table, and remarks."""
    lines = [title(comparison)]
    if comparison.changes:
        rows = [row(change) for change in comparison.changes]
        lines += ["", table.render(rows, HEADERS, "llrrrrll"), ""]
    remarks = [
        *(f"not comparable: {difference(d)}" for d in comparison.refused),
        *(f"not judged: {printable(text)}" for text in comparison.invalid),
        *(f"knowingly: {difference(d)}" for d in comparison.allowed),
        *(f"also differs: {difference(d)}" for d in comparison.noted),
        *(f"warning: {printable(text)}" for text in comparison.warnings),
        *explain(comparison.changes),
    ]
    return "\n".join([*lines, *(f"  {remark}" for remark in remarks)]).rstrip()


def title(comparison: Comparison) -> str:
    """What was compared; both where they differ."""
    titles = dict.fromkeys(printable(b.title) for b in (comparison.a, comparison.b))
    return "\n-> ".join(titles)


def difference(found: Difference) -> str:
    """A fact with both values."""
    return f"{printable(found.fact)} is {brief(found.a)} in A and {brief(found.b)} in B"


def brief(value: Any) -> str:
    """A value of a fact; of a sha256 the beginning."""
    text = printable(value)
    return text[:12] if re.fullmatch("[0-9a-f]{64}", text) else text


def row(change: Change) -> list[str]:
    """One line of the table."""
    significant = {None: "unknown", True: "yes", False: "no"}[change.significant]
    outcome = change.outcome.upper() if change.outcome == "regression" else change.outcome
    return [
        change.metric.replace("_", " "),
        change.unit,
        number(change.a),
        number(change.b),
        "" if change.ratio is None else f"{change.ratio:.3f}",
        interval(change),
        "" if outcome == "shown" else significant,
        f"{outcome}, {change.reason}" if change.reason else outcome,
    ]


def interval(change: Change) -> str:
    """The confidence interval of the ratio; nothing where it is not known."""
    return "{:.3f} .. {:.3f}".format(*change.interval) if change.interval else ""


def explain(changes: Sequence[Change]) -> list[str]:
    """What outcomes mean that ask for more."""
    seen = dict.fromkeys(change.outcome for change in changes)
    return [f"{outcome}: {MEANINGS[outcome]}" for outcome in seen if outcome in MEANINGS]
