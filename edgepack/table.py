"""A plain text table."""

from __future__ import annotations

from collections.abc import Sequence


def render(rows: Sequence[Sequence[str]], headers: Sequence[str] = (), align: str = "") -> str:
    """Columns two spaces apart, no line break at the end.

    Args:
        rows: the cells, equally many in each row.
        headers: the column titles, underlined; none for a bare table.
        align: ``l`` or ``r`` for each column; what is missing is ``l``.
    """
    lines = [list(headers), *map(list, rows)] if headers else [list(row) for row in rows]
    if not lines:
        return ""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    if headers:
        lines.insert(1, ["-" * width for width in widths])
    sides = align.ljust(len(widths), "l")
    return "\n".join(_line(cells, widths, sides) for cells in lines)


def _line(cells: Sequence[str], widths: Sequence[int], sides: str) -> str:
    padded = [
        cell.rjust(width) if side == "r" else cell.ljust(width)
        for cell, width, side in zip(cells, widths, sides, strict=True)
    ]
    return "  ".join(padded).rstrip()


def number(value: float) -> str:
    """Four significant digits, never an exponent."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if value >= 0.001 else f"{value:.6f}"


def printable(text: object) -> str:
    """A text of a file that anybody may have written, without what would drive a terminal."""
    return "".join(c if c.isprintable() else "?" for c in str(text))


def printable_lines(text: str) -> str:
    """The same of a text whose line breaks are its own."""
    return "\n".join(map(printable, text.split("\n")))
