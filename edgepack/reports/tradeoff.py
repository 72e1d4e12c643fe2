"""What ``edgepack compare`` prints and writes: the table as text, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from edgepack import table
from edgepack.tradeoff.columns import Column, columns, fronts, numbered

Facts = Mapping[str, Any]

MARKS = {"size": "S", "transfer": "T", "latency": "L"}
"""Of what no other variant is both cheaper and better than."""


def render(facts: Facts) -> str:
    """The measured table, the claims beside their measurements, and what failed.

    Args:
        facts: what `edgepack.tradeoff.study.compare` gave.
    """
    found = columns(facts)
    parts = [
        heading(facts),
        _text(facts, [column for column in found if not column.claim]),
        _text(facts, _claims(found)),
        *legend(facts),
        *failures(facts),
    ]
    return "\n\n".join(parts)


def heading(facts: Facts) -> str:
    """What was compared, in one line."""
    data = f"{facts['samples']} test samples of {facts['data']}" if facts["data"] else "noise"
    return f"{facts['model']} for {facts['target']} on {data}{_where(facts)}"


def _where(facts: Facts) -> str:
    timed = any(row["timing"] for row in facts["variants"])
    return f", timed on {facts['device']}" if timed else ""


def _claims(found: Sequence[Column]) -> list[Column]:
    """The names, and each claim after what it is about."""
    named = {column.title: column for column in found}
    titles = ["technique", "recipe", "strength"]
    pairs = (("smaller", "claimed smaller"), ("faster", "claimed faster"), ("lost", "claimed lost"))
    titles += [title for pair in pairs for title in pair if title in named]
    return [named[title] for title in titles]


def _text(facts: Facts, found: Sequence[Column]) -> str:
    rows = [_cells(number, row, facts, found) for number, row in numbered(facts)]
    headers = ["#", *(column.title for column in found), ""]
    return table.render(rows, headers, "r" + "".join(column.side for column in found))


def _cells(number: int, row: Facts, facts: Facts, found: Sequence[Column]) -> list[str]:
    marks = "".join(MARKS[word] for word in fronts(row, facts))
    return [str(number), *(column.cell(row, facts) for column in found), marks]


def legend(facts: Facts) -> list[str]:
    """How to read the table."""
    told = [
        "S, T, L: on the Pareto front of size, of size packed for transfer, of latency: nothing"
        " else is both cheaper and better; smaller and faster are against the float model"
    ]
    if any(
        (row["timing"] or {}).get("verdict") not in (None, "valid") for row in facts["variants"]
    ):
        told.append("?: the measurement is degraded or invalid; the JSON tells why")
    return told


def failures(facts: Facts) -> list[str]:
    """What could not be built or timed, and what means nothing for the target."""
    told = [
        f"not built: {row['name']}: {row['error']}\n  hint: {row['hint']}"
        for row in facts["variants"]
        if row["error"]
    ]
    told += [
        f"not timed: {row['name']}: {row['timing']['error']}"
        for row in facts["variants"]
        if "error" in (row["timing"] or {})
    ]
    if facts["skipped"]:
        told.append(f"not for {facts['target']}: {', '.join(facts['skipped'])}")
    return told


def markdown(facts: Facts) -> str:
    """One table with all columns, for a document."""
    found = columns(facts)
    sides = ["---:", *("---:" if c.side == "r" else "---" for c in found), "---"]
    lines = [["#", *(column.title for column in found), "front"], sides]
    lines += [_cells(number, row, facts, found) for number, row in numbered(facts)]
    rows = "\n".join(f"| {' | '.join(map(_escaped, cells))} |" for cells in lines)
    notes = "\n".join(f"- {text}" for text in (*legend(facts), *failures(facts)))
    return f"**{_escaped(heading(facts))}**\n\n{rows}\n\n{notes}\n"


def _escaped(cell: str) -> str:
    return table.printable(cell).replace("|", "\\|").replace("<", "&lt;")


def comma_separated(facts: Facts) -> str:
    """CSV with raw values: a line for each variant, failed ones with their reason at the end."""
    found = columns(facts)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["name", *(column.title for column in found), "front", "error"])
    for _, row in numbered(facts):
        values = [column.raw(row, facts) for column in found]
        flat = ["" if v is None else " .. ".join(map(str, v)) if _many(v) else v for v in values]
        writer.writerow([_safe(row["name"]), *map(_safe, flat), " ".join(fronts(row, facts)), ""])
    for row in (row for row in facts["variants"] if row["error"]):
        writer.writerow([_safe(row["name"]), *[""] * (len(found) + 1), _safe(row["error"])])
    return file.getvalue()


def _many(value: object) -> bool:
    return isinstance(value, list | tuple)


def _safe(value: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    risky = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if risky else value
