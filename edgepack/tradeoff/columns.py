"""The columns of the comparison: for each its title, its side, and how a row fills it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Facts = Mapping[str, Any]

NOTHING = "-"

BYTES = {"size": "size_bytes", "transfer": "zlib_bytes"}
COSTS = (*BYTES, "latency")
"""What is paid for quality: bytes, bytes packed, and time as a ratio to the float model's."""

FLOAT = "float32"
"""What the float model is called among the variants."""


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        title: above it.
        cell: the text for a row, given all facts.
        raw: the value for a row, for programs.
        side: ``l`` or ``r``.
        claim: whether it is the literature's word and no measurement.
    """

    title: str
    cell: Callable[[Facts, Facts], str]
    raw: Callable[[Facts, Facts], Any]
    side: str = "r"
    claim: bool = False


def columns(facts: Facts) -> list[Column]:
    """The columns that have something to say.

    Args:
        facts: what `edgepack.tradeoff.study.compare` gave.
    """
    rows = [row for row in facts["variants"] if row.get("bundle")]
    chosen = [*_names(), *_sizes(), *_quality(facts["metric"]["name"] or "metric")]
    if any(row["timing"] for row in rows):
        chosen += _times()
    if any(row["firmware"] for row in rows):
        chosen += _firmware()
    return [*chosen, _number("training, s", lambda row, _: row.get("train_s"), "{:.0f}")]


def _names() -> list[Column]:
    return [
        _text("technique", lambda row, _: row["technique"]),
        _text("recipe", lambda row, _: row["recipe"]),
        _text("strength", lambda row, _: row["strength"]),
    ]


def _sizes() -> list[Column]:
    return [
        _number("bytes", lambda row, _: row.get("size_bytes"), "{:,}"),
        _number("smaller", _times_less("size_bytes"), "{:.1f}x"),
        _claim("claimed smaller", "size"),
        _number("zlib bytes", lambda row, _: row.get("zlib_bytes"), "{:,}"),
        _number("zlib smaller", _times_less("zlib_bytes"), "{:.1f}x"),
        _number("parameters", lambda row, _: row.get("parameters"), "{:,}"),
        _number("MACs", lambda row, _: row.get("macs"), "{:,}"),
        _number("zeros", lambda row, _: row.get("zeros"), "{:.0%}"),
    ]


def _quality(metric: str) -> list[Column]:
    return [
        _number(metric, lambda row, _: row.get("value"), "{:.4f}"),
        Column("95 %", _interval, lambda row, _: row.get("interval")),
        _number("lost", lambda row, _: row.get("drop"), "{:+.4f}"),
        _claim("claimed lost", "accuracy"),
    ]


def _times() -> list[Column]:
    return [
        _number("ms", _timing("latency_ms"), "{:.4g}"),
        Column("faster", _faster, _raw_faster),
        _claim("claimed faster", "speed"),
        _number("peak KiB", _timing("peak_kib"), "{:,.0f}"),
        _number("model KiB", _timing("model_kib"), "{:,.0f}"),
    ]


def _firmware() -> list[Column]:
    def part(word: str) -> Callable[[Facts, Facts], Any]:
        return lambda row, _: (row.get("firmware") or {}).get(word)

    return [
        _number("flash bytes", part("flash"), "{:,}"),
        _number("RAM bytes", part("ram"), "{:,}"),
    ]


def _text(title: str, value: Callable[[Facts, Facts], str]) -> Column:
    return Column(title, value, value, "l")


def _claim(title: str, word: str) -> Column:
    def value(row: Facts, facts: Facts) -> str:  # noqa: ARG001
        return str(row["claim"].get(word, ""))

    return Column(title, value, value, "l", claim=True)


def _number(title: str, value: Callable[[Facts, Facts], Any], pattern: str) -> Column:
    def cell(row: Facts, facts: Facts) -> str:
        found = value(row, facts)
        return NOTHING if found is None else pattern.format(found)

    return Column(title, cell, value)


def _timing(word: str) -> Callable[[Facts, Facts], Any]:
    return lambda row, _: (row.get("timing") or {}).get(word)


def _times_less(word: str) -> Callable[[Facts, Facts], float | None]:
    """How many times less than the float model a variant has."""

    def value(row: Facts, facts: Facts) -> float | None:
        return facts["baseline"][word] / row[word] if row.get(word) else None

    return value


def _interval(row: Facts, facts: Facts) -> str:  # noqa: ARG001
    ends = row.get("interval")
    return f"{ends[0]:.3f} .. {ends[1]:.3f}" if ends else NOTHING


def _faster(row: Facts, facts: Facts) -> str:
    """How many times faster, with its interval; marked where the measurement is not valid."""
    found = _raw_faster(row, facts)
    if found is None:
        return NOTHING
    ratio = row["timing"]["ratio"]
    mark = "" if row["timing"]["verdict"] == "valid" else "?"
    return f"{found:.2f}x ({1 / ratio['high']:.2f} .. {1 / ratio['low']:.2f}){mark}"


def _raw_faster(row: Facts, facts: Facts) -> float | None:  # noqa: ARG001
    ratio = (row.get("timing") or {}).get("ratio")
    return 1 / ratio["value"] if ratio else None


def cost(row: Facts, word: str, *, own: bool = False) -> float | None:
    """What is paid, one of `COSTS`; None if not known.

    Args:
        row: of a variant, or the float model's facts.
        word: the cost.
        own: whether it is the float model's.
    """
    if word in BYTES:
        return row.get(BYTES[word])
    if own:
        return 1.0
    ratio = (row.get("timing") or {}).get("ratio")
    return ratio["value"] if ratio else None


def float_row(facts: Facts) -> dict[str, Any]:
    """The float model as a row of the same shape."""
    timed = [row["timing"] for row in facts["variants"] if (row["timing"] or {}).get("ratio")]
    first = timed[0] if timed else None
    words = ("latency_ms", "peak_kib", "model_kib")
    return {
        **facts["baseline"],
        "technique": "float baseline",
        "recipe": FLOAT,
        "strength": "",
        "name": FLOAT,
        "claim": {"size": "1x", "speed": "1x", "accuracy": "reference"},
        "error": None,
        "timing": {word: first[f"float_{word}"] for word in words} if first else None,
    }


def numbered(facts: Facts) -> list[tuple[int, Facts]]:
    """The float model as number 0, then every variant that was built, by the order of the study."""
    built = [row for row in facts["variants"] if row.get("bundle")]
    return [(0, float_row(facts)), *enumerate(built, 1)]


def fronts(row: Facts, facts: Facts) -> Sequence[str]:
    """On which fronts a variant is: ``size``, ``latency``."""
    return [word for word, names in facts["fronts"].items() if row["name"] in names]
