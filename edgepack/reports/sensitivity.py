"""What ``edgepack sensitivity`` prints and draws: the cost of each layer, as table and bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from edgepack import table
from edgepack.protection import noise_of

Facts = Mapping[str, Any]

BAR = 24
"""Characters of the longest bar."""
EIGHTHS = " ▏▎▍▌▋▊▉█"

COLORS = {"int8": "#4477aa", "int4": "#ee6677", "pruned": "#ccbb44"}
"""Told apart by the colour blind, too (Tol, Colour schemes, 2021: bright)."""
ROW, THICK, LEFT, WIDE, TOP = 16, 12, 260, 560, 56
"""Pixels of the plot: of a row, of a bar, of names, of the longest bar, and above the first."""


def render(facts: Facts) -> str:
    """The table of layers, then of the whole model, and how to read them."""
    metric = facts["metric"]
    told = [
        f"{facts['model']}: noise over signal of the outputs when one layer alone is changed,"
        f" on {facts['samples']} {facts['data']} samples",
        table.render(_rows(facts), _headers(facts), _sides(facts)),
    ]
    if metric["name"]:
        told.append(f"{metric['name']} of the float model: {metric['baseline']:.4f}")
    if facts["data"] == "noise":
        told.append("only fidelity was measured, on random inputs: name data with --data")
    if missing := _missing(facts):
        told.append(missing)
    if "protected" in facts:
        told.append(_protected(facts, facts["protected"]))
    return "\n\n".join(told)


def _sides(facts: Facts) -> str:
    return "ll".ljust(len(_headers(facts)) - 1, "r")


def _headers(facts: Facts) -> list[str]:
    changes = facts["study"]["changes"]
    drop = ["drop"] if facts["metric"]["name"] else []
    columns = [word for change in changes for word in (f"{change}, %", *drop)]
    return ["layer", "operator", "weights", *columns, ""]


def _rows(facts: Facts) -> list[list[str]]:
    most = max(map(_worst, facts["layers"]))
    rows = [[*_row(facts, row), bar(_worst(row), most)] for row in facts["layers"]]
    total = sum(row["parameters"] for row in facts["layers"])
    whole = {"name": "all layers", "operators": (), "parameters": total, **facts["whole"]}
    return [*rows, [*_row(facts, whole), ""]]


def _row(facts: Facts, row: Facts) -> list[str]:
    words = [row["name"], "+".join(row["operators"]), f"{row['parameters']:,}"]
    return words + _cells(facts, row)


def _worst(row: Facts) -> float:
    return max(map(noise_of, _trials(row)), default=0.0)


def _trials(row: Facts) -> list[Facts]:
    return [trial for trial in row["trials"].values() if trial]


def _cells(facts: Facts, row: Facts) -> list[str]:
    cells = []
    for change in facts["study"]["changes"]:
        trial = row["trials"][change]
        cells.append(f"{100 * noise_of(trial):.2f}" if trial else "-")
        if facts["metric"]["name"]:
            cells.append(f"{trial['drop']:+.4f}" if trial else "-")
    return cells


def bar(value: float, most: float) -> str:
    """A bar of at most `BAR` characters, in eighths."""
    eighths = round(8 * BAR * value / most) if most else 0
    return EIGHTHS[8] * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def _missing(facts: Facts) -> str:
    told = [
        f"{change}: {', '.join(names)}"
        for change in facts["study"]["changes"]
        if (names := [r["name"] for r in facts["layers"] if r["trials"][change] is None])
    ]
    return f"cannot be had: {'; '.join(told)}" if told else ""


def _protected(facts: Facts, found: Facts) -> str:
    """What protecting layers brought, beside all layers alike."""
    changes = [c for c in ("int8", found["change"]) if c in facts["study"]["changes"]]
    trials = facts["whole"]["trials"]
    rows = [_outcome(f"all {change}", trials[change]) for change in dict.fromkeys(changes)]
    rows.append(_outcome("protected", found["trial"]))
    words = table.render(rows, ("", "SQNR, dB", "drop", "bytes"), "lrrr")
    return f"{words}\n\nprotected: {', '.join(found['rules'])}\nrecipe: {found['recipe']}"


def _outcome(name: str, trial: Facts | None) -> tuple[str, ...]:
    if trial is None:
        return name, "-", "-", "-"
    ratio, drop = trial["sqnr_db"], trial["drop"]
    return (
        name,
        "exact" if ratio is None else f"{ratio:.1f}",
        "" if drop is None else f"{drop:+.4f}",
        f"{trial['size_bytes']:,}",
    )


def plot(facts: Facts) -> str:
    """An SVG of bars: for each layer and each change, the noise over the signal in percent."""
    changes = facts["study"]["changes"]
    most = max(map(_worst, facts["layers"])) or 1.0
    step = ROW * len(changes) + THICK
    height = TOP + step * len(facts["layers"]) + THICK
    parts = [_text(LEFT, 20, f"{facts['model']}: noise over signal, one layer changed", "bold")]
    parts += [_legend(i, change) for i, change in enumerate(changes)]
    for i, row in enumerate(facts["layers"]):
        top = TOP + i * step
        parts.append(_text(LEFT - 8, top + THICK, row["name"][-36:], anchor="end"))
        parts += [
            _bar(top + ROW * j, change, row["trials"][change], most)
            for j, change in enumerate(changes)
        ]
    size = f'width="{LEFT + WIDE + 90}" height="{height}"'
    style = 'font-family="sans-serif" font-size="11"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>\n"])


def _bar(top: int, change: str, trial: Facts | None, most: float) -> str:
    if trial is None:
        return _text(LEFT, top + THICK - 2, f"{change}: cannot be had")
    value = noise_of(trial)
    width = max(1, round(WIDE * value / most))
    box = f'<rect x="{LEFT}" y="{top}" width="{width}" height="{THICK}" fill="{COLORS[change]}"/>'
    return box + _text(LEFT + width + 4, top + THICK - 2, f"{100 * value:.2f} %")


def _legend(place: int, change: str) -> str:
    x = LEFT + 90 * place
    box = f'<rect x="{x}" y="30" width="{THICK}" height="{THICK}" fill="{COLORS[change]}"/>'
    return box + _text(x + THICK + 4, 40, change)


def _text(x: int, y: int, words: str, weight: str = "normal", anchor: str = "start") -> str:
    place = f'x="{x}" y="{y}" font-weight="{weight}" text-anchor="{anchor}"'
    return f"<text {place}>{escape(table.printable(words))}</text>"
