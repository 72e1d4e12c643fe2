"""The comparison as one HTML page that needs nothing else: plots, a table to sort, and notes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from edgepack.table import printable
from edgepack.template import fill
from edgepack.tradeoff.columns import Column, columns, cost, fronts, numbered
from edgepack.tradeoff.scatter import Point, scatter

Facts = Mapping[str, Any]

HERE = Path(__file__).parent

AXES = {
    "size": "bytes of the deployed model",
    "transfer": "bytes packed for transfer (zlib)",
    "latency": "time, of the float model's",
}


def page(facts: Facts, title: str, notes: list[str]) -> str:
    """The whole page.

    Its policy lets nothing be loaded, and no script run but its own, which sorts the table.

    Args:
        facts: what `edgepack.tradeoff.study.compare` gave.
        title: above all.
        notes: below all.
    """
    script = fill(HERE / "page.js.in")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    found = columns(facts)
    return fill(
        HERE / "page.html.in",
        title=_safe(title),
        about=_safe(_about(facts)),
        plots="\n".join(_plots(facts)),
        headers="".join(_headers(found)),
        rows="\n".join(_row(number, row, facts, found) for number, row in numbered(facts)),
        notes="\n".join(f"<li>{'<br>'.join(map(_safe, note.splitlines()))}</li>" for note in notes),
        script=script,
        digest=digest,
    )


def _about(facts: Facts) -> str:
    made = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return f"{facts['created']}, seed {facts['seed']}; {made}"


def _plots(facts: Facts) -> Iterator[str]:
    name = facts["metric"]["name"]
    for word, title in AXES.items():
        points = _points(facts, word)
        if name and len(points) > 1:
            drawn = scatter(points, title, name, less=facts["metric"]["less_is_better"])
            told = f"{name} against {word}; numbers are those of the table, the line is the front"
            yield f"<figure>{drawn}<figcaption>{_safe(told)}</figcaption></figure>"


def _points(facts: Facts, word: str) -> list[Point]:
    points = []
    for number, row in numbered(facts):
        x = cost(row, word, own=number == 0)
        if x is not None and row.get("value") is not None:
            interval = tuple(row["interval"]) if row.get("interval") else None
            told = f"{row['name']}: {row['value']:.4f} at {x:,.4g}"
            front = word in fronts(row, facts)
            points.append(Point(str(number), printable(told), x, row["value"], interval, front))
    return points


def _headers(found: list[Column]) -> Iterator[str]:
    yield '<th class="r" scope="col">#</th>'
    for column in found:
        kind = " ".join(_kinds(column))
        yield f'<th class="{kind}" scope="col">{_safe(column.title)}</th>'


def _kinds(column: Column) -> Iterator[str]:
    yield column.side
    if column.claim:
        yield "claim wrap"


def _row(number: int, row: Facts, facts: Facts, found: list[Column]) -> str:
    best = ' class="best"' if fronts(row, facts) else ""
    cells = [f'<td class="r" data-value="{number}">{number}</td>']
    for column in found:
        value = column.raw(row, facts)
        value = value[0] if isinstance(value, list | tuple) else value
        data = _safe("" if value is None else value)
        kind = " ".join(_kinds(column))
        cells.append(
            f'<td class="{kind}" data-value="{data}">{_safe(column.cell(row, facts))}</td>'
        )
    return f"<tr{best}>{''.join(cells)}</tr>"


def _safe(text: object) -> str:
    return escape(printable(text))
