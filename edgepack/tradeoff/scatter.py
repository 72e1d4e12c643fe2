"""Draws quality against cost as an SVG: a dot for each variant, and a line along the front."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 16, 52
"""Pixels of the picture and of the margins around the plot."""

LETTER, LINE = 7, 12
"""About how wide a digit is and how high a line, in pixels."""

AROUND = ((7, 4), (7, -6), (-1, -8), (7, 14), (-16, 4), (-16, -6), (-1, 18), (-16, 14))
"""Where a label may stand beside its dot, in pixels, the best place first."""

REACH = 3.0
"""What is worse than the best by more than so many times what the median is goes to the edge."""


MANY = 8
"""A range of such a ratio has enough round values among 1, 2 and 5 times the powers of ten."""


@dataclass(frozen=True)
class Point:
    """A variant in the plot.

    Attributes:
        label: its number in the table.
        title: what is shown when the pointer rests on it.
        x: cost.
        y: quality.
        interval: of the quality; None where that is not known.
        front: whether it is on the front.
    """

    label: str
    title: str
    x: float
    y: float
    interval: tuple[float, float] | None = None
    front: bool = False


@dataclass
class Scale:
    """From values to pixels on one axis.

    Attributes:
        low: the value at ``start``.
        high: the value at ``end``.
        start: in pixels.
        end: in pixels.
        logarithmic: whether equal ratios are equally far apart.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Where a value is, in pixels; what lies outside is put on the edge."""
        low, high, here = (self._bend(v) for v in (self.low, self.high, value))
        share = min(1.0, max(0.0, (here - low) / (high - low)))
        return self.start + share * (self.end - self.start)

    def _bend(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value

    def ticks(self) -> list[float]:
        """Round values between the ends."""
        wide = self.logarithmic and self.high / self.low > MANY
        steps = decades(self.low, self.high) if wide else rounds(self.low, self.high)
        return [v for v in steps if self.low <= v <= self.high]


def decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten around a range."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [base * 10.0**power for power in range(first, last + 1) for base in (1, 2, 5)]


def rounds(low: float, high: float) -> list[float]:
    """About five multiples of 1, 2 or 5 times a power of ten around a range."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(base * power for base in (1, 2, 5, 10) if base * power >= rough)
    first = math.floor(low / step)
    return [round((first + i) * step, 12) for i in range(math.ceil((high - low) / step) + 2)]


def scatter(points: Sequence[Point], x_title: str, y_title: str, *, less: bool = False) -> str:
    """A plot as SVG, which takes its colours from the page around it.

    Args:
        points: at least one; ``x`` above 0.
        x_title: what the cost is.
        y_title: what the quality is.
        less: whether less quality is better, so that the axis is turned over.
    """
    across, up = _scales(points, less=less)
    line = [point for point in sorted(points, key=lambda p: p.x) if point.front]
    parts = [
        *_grid(across, up),
        _text(LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - 10, x_title, "middle"),
        f'<g transform="rotate(-90)">{_text(-HEIGHT / 2 + 20, 14, y_title, "middle")}</g>',
        _path(line, across, up),
        *(_whisker(point, across, up) for point in points if point.interval),
        *(_dot(point, across, up) for point in points),
        *_labels(points, across, up),
    ]
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" xmlns="http://www.w3.org/2000/svg">'
    name = f"<title>{escape(y_title)} against {escape(x_title)}</title>"
    return "\n".join([head, name, *parts, "</svg>"])


def _scales(points: Sequence[Point], *, less: bool) -> tuple[Scale, Scale]:
    costs, values = [p.x for p in points], [p.y for p in points]
    best, usual = (min if less else max)(values), median(values)
    reach = REACH * abs(best - usual) or max(abs(best - v) for v in values) or 0.1
    bound = max(best - reach, min(values)) if not less else min(best + reach, max(values))
    sure = next(p.interval or (best, best) for p in points if p.y == best)
    low, high = min(best, bound, *sure), max(best, bound, *sure)
    margin = 0.08 * (high - low) or 0.05
    ends = (TOP, HEIGHT - BOTTOM) if less else (HEIGHT - BOTTOM, TOP)
    across = Scale(min(costs) / 1.15, max(costs) * 1.15, LEFT, WIDTH - RIGHT, logarithmic=True)
    return across, Scale(low - margin, high + margin, *ends)


def _grid(across: Scale, up: Scale) -> Iterator[str]:
    for value in across.ticks():
        x = across.place(value)
        yield f'<path class="grid" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
        yield _text(x, HEIGHT - BOTTOM + 16, brief(value), "middle")
    for value in up.ticks():
        y = up.place(value)
        yield f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
        yield _text(LEFT - 6, y + 4, f"{value:g}", "end")


def brief(value: float) -> str:
    """A number for an axis: ``20 k`` for 20,000."""
    for limit, word in ((1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:g}{word}"
    return f"{value:g}"


def _path(line: Sequence[Point], across: Scale, up: Scale) -> str:
    places = " ".join(f"{across.place(p.x):.1f},{up.place(p.y):.1f}" for p in line)
    return f'<polyline class="front" points="{places}"/>'


def _whisker(point: Point, across: Scale, up: Scale) -> str:
    low, high = (up.place(end) for end in point.interval or ())
    return f'<path class="whisker" d="M{across.place(point.x):.1f} {low:.1f}V{high:.1f}"/>'


def _dot(point: Point, across: Scale, up: Scale) -> str:
    """A circle; a triangle at the edge for what is too bad for the plot."""
    x, y = across.place(point.x), up.place(point.y)
    kind = "best" if point.front else "dot"
    title = f"<title>{escape(point.title)}</title>"
    if up.low <= point.y <= up.high:
        return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4.5">{title}</circle>'
    return f'<path class="{kind}" d="M{x - 5:.1f} {y - 8:.1f}h10l-5 8z">{title}</path>'


@dataclass
class _Boxes:
    """Places that are taken."""

    taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    def add(self, x: float, y: float, wide: float, high: float) -> None:
        self.taken.append((x, y, x + wide, y + high))

    def is_free(self, x: float, y: float, wide: float, high: float) -> bool:
        return all(
            x >= right or x + wide <= left or y >= bottom or y + high <= top
            for left, top, right, bottom in self.taken
        )


def _labels(points: Sequence[Point], across: Scale, up: Scale) -> Iterator[str]:
    """The number of each dot, where it hides nothing if there is such a place."""
    boxes = _Boxes()
    for point in points:
        boxes.add(across.place(point.x) - 4, up.place(point.y) - 4, 8, 8)
    for point in points:
        x, y = across.place(point.x), up.place(point.y)
        wide = LETTER * len(point.label)
        free = (
            (dx, dy) for dx, dy in AROUND if boxes.is_free(x + dx, y + dy - LINE + 2, wide, LINE)
        )
        dx, dy = next(free, AROUND[0])
        boxes.add(x + dx, y + dy - LINE + 2, wide, LINE)
        yield _text(x + dx, y + dy, point.label, "start")


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
