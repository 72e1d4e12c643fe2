"""What ``edgepack sparsity`` prints: layers with their zeros, what blocks, and what is expected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgepack import table

Facts = Mapping[str, Any]

HEADERS = ("layer", "operator", "MACs", "zeros", "sparse", "why")
VERDICTS = {True: "the forecast held", False: "THE FORECAST DID NOT HOLD", None: "cannot be told"}


def render(facts: Facts) -> str:
    """The table of layers, the obstacles with their edits, the forecast, and its proof."""
    rows = [_row(layer) for layer in facts["layers"]]
    told = [table.render(rows, HEADERS, "llrrll")] if rows else []
    told += [_obstacle(obstacle) for obstacle in facts["obstacles"]]
    told.append(_forecast(facts))
    if "proof" in facts:
        told.append(_proof(facts["proof"]))
    return "\n\n".join(told)


def _row(layer: Facts) -> list[str]:
    return [
        layer["name"],
        layer["operator"],
        f"{layer['macs']:,}",
        f"{100 * layer['zeros']:.1f} %",
        "yes" if layer["sparse"] else "no",
        layer["reason"],
    ]


def _obstacle(obstacle: Facts) -> str:
    place = f" {obstacle['layer']} ({obstacle['operator']}):" if obstacle["operator"] else ""
    edit = f"\n  edit: {obstacle['edit']}" if obstacle["edit"] else ""
    return f"blocks:{place} {obstacle['rule']}{edit}"


def _forecast(facts: Facts) -> str:
    where = f"{facts['target']}, {facts['runtime']}"
    if not facts["faster"]:
        return f"forecast for {where}: no gain, because {facts['reason']}"
    sparse = [x["name"] for x in facts["layers"] if x["sparse"] and x["operator"] == "CONV_2D"]
    return (
        f"forecast for {where}: sparse from {sparse[0]} to {sparse[-1]}, faster:"
        f" {facts['ratio']:.2f} of the dense time (an estimate from multiply-accumulates and zeros)"
    )


def _proof(proof: Facts) -> str:
    rows = [
        [name, f"{proof[name]['size_bytes']:,}", f"{proof[name]['latency_ms']:.3f}"]
        for name in ("dense", "sparse")
    ]
    lines = [
        f"measured in turns on {proof['device']}, {proof['runtime']}:",
        table.render(rows, ("encoding", "bytes", "median ms"), "lrr"),
    ]
    if proof["ratio"] is not None:
        interval = " .. ".join(f"{x:.3f}" for x in proof["interval"]) or "unknown"
        lines.append(f"sparse / dense: {proof['ratio']:.3f} (95 % interval {interval})")
    doubts = f" ({', '.join(proof['codes'])})" if proof["codes"] else ""
    return "\n".join([*lines, f"{VERDICTS[proof['held']]}{doubts}"])
