"""What ``edgepack inspect`` prints: a model's inside as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgepack import table
from edgepack.micro import summary

LARGEST = 15
"""How many tensors the table shows; JSON has all."""

Facts = Mapping[str, Any]


def render(facts: Facts) -> str:
    """Form, inputs and outputs, operators, structure and the largest tensors as text."""
    structure = facts["structure"]
    head = [
        ("form", f"{facts['form']} {facts['quantization']}".strip()),
        ("size", f"{facts['size_bytes']:,} bytes"),
        ("sha256", facts["sha256"]),
        ("parameters", f"{structure['parameters']:,}"),
        ("MACs", f"{structure['macs']:,}"),
        ("zeros", f"{100 * structure['zeros']:.1f} %"),
        ("unique values", f"<= {structure['unique_in_tensor']} in a tensor"),
        *_trainable(facts),
    ]
    return "\n\n".join(
        (
            f"{facts['path']}\n{table.render(head)}",
            _slots(facts),
            _operators(facts["operators"]),
            _weights(structure["weights"]),
            _tensors(facts["tensors"]),
            *([_expected(facts["expected"])] if "expected" in facts else []),
            *_firmware(facts.get("firmware")),
        )
    )


def _trainable(facts: Facts) -> list[tuple[str, str]]:
    """Whether a finished model can be made trainable again."""
    if "obstacles" not in facts:
        return []
    why = "; ".join(facts["obstacles"])
    return [("trainable", f"no: {why}" if why else "after the step thaw")]


def _firmware(facts: Facts | None) -> list[str]:
    if not facts:
        return []
    peak = [summary.over_time(facts["peak"])] if facts["peak"] else []
    problems = [f"{problem['message']}\n  {problem['hint']}" for problem in facts["problems"]]
    return [summary.render(facts), *peak, *problems]


def _slots(facts: Facts) -> str:
    rows = [
        (word, t["name"], _shape(t["shape"]), t["dtype"], _quantization(t))
        for word in ("inputs", "outputs")
        for t in facts[word]
    ]
    return table.render(rows, ("", "name", "shape", "dtype", "quantization"))


def _quantization(tensor: Facts) -> str:
    if not tensor.get("scale"):
        return ""
    return f"scale {tensor['scale'][0]:.6g}, zero point {tensor['zero_point'][0]}"


def _operators(rows: Sequence[Facts]) -> str:
    work = "macs" if rows and "macs" in rows[0] else "parameters"
    lines = [
        (str(i), row["name"], row["layer"], _shape(row["shape"]), f"{row.get(work, 0):,}")
        for i, row in enumerate(rows)
    ]
    return table.render(lines, ("", "operator", "layer", "output", work), "rlllr")


def _weights(rows: Sequence[Facts]) -> str:
    lines = [
        (
            row["name"],
            f"{row['size']:,}",
            f"{100 * row['zeros']:.1f} %",
            str(row["unique_in_tensor"]),
            _in_channel(row),
        )
        for row in rows
    ]
    return table.render(lines, ("weights", "size", "zeros", "unique", "in a channel"), "lrrrr")


def _in_channel(row: Facts) -> str:
    words = [word for word in ("binary", "ternary") if row.get(word)]
    return ", ".join([*words, str(row["unique_in_channel"])])


def _tensors(rows: Sequence[Facts]) -> str:
    lines = [
        (row["name"], _shape(row["shape"]), row["dtype"], f"{row['size_bytes']:,}")
        for row in rows[:LARGEST]
    ]
    return table.render(lines, ("largest constants", "shape", "dtype", "bytes"), "lllr")


def _expected(facts: Facts) -> str:
    """What a target's accelerator would make of each operator, and what would be refused."""
    lines = [
        (
            str(row["index"]),
            row["name"],
            row["layer"],
            "Edge TPU" if row["edgetpu"] else "CPU",
            "; ".join(row["reasons"]) or row["note"],
        )
        for row in facts["operators"]
    ]
    total = facts["mapped"] + facts["on_cpu"]
    return "\n".join(
        (
            table.render(lines, ("", "operator", "layer", facts["target"], "why"), "rllll"),
            "",
            *(f"does not fit: {problem}" for problem in facts["problems"]),
            f"{facts['mapped']} of {total} operators would run on the Edge TPU"
            f" (runtime {facts['runtime']}), by its documentation; the compiler has the last word",
        )
    )


def _shape(shape: Sequence[Any]) -> str:
    return "x".join("?" if n is None else str(n) for n in shape)
