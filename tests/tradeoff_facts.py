"""Facts of a comparison as `edgepack.tradeoff.study.compare` gives them, for several test files."""

from __future__ import annotations

from typing import Any


def variant(name: str, **facts: Any) -> dict[str, Any]:
    """A variant that was built."""
    recipe, _, strength = name.partition(" ")
    return {
        "name": name,
        "recipe": recipe,
        "strength": strength,
        "technique": "pruning",
        "claim": {"size": "2-10x", "speed": "up to 6x", "accuracy": "small", "source": "Han 2016"},
        "folder": name.replace(" ", "-"),
        "bundle": name,
        "form": "tflite",
        "error": None,
        "size_bytes": 25_000,
        "zlib_bytes": 10_000,
        "parameters": 1_000,
        "macs": 50_000,
        "zeros": 0.5,
        "metric": "accuracy",
        "samples": 100,
        "value": 0.9,
        "drop": 0.05,
        "interval": (0.8, 0.95),
        "collapse": None,
        "train_s": 3.0,
        "firmware": None,
        "timing": None,
        **facts,
    }


def timing(ratio: float, verdict: str = "valid") -> dict[str, Any]:
    """A timing against the float model's 2 ms."""
    return {
        "latency_ms": 2 * ratio,
        "float_latency_ms": 2.0,
        "verdict": verdict,
        "codes": [],
        "ratio": {"value": ratio, "low": 0.9 * ratio, "high": 1.1 * ratio},
        "peak_kib": 50_000,
        "model_kib": 3_000,
        "float_peak_kib": 51_000,
        "float_model_kib": 4_000,
    }


def facts(*rows: dict[str, Any], **others: Any) -> dict[str, Any]:
    """All facts of a comparison with these variants."""
    whole = {"size_bytes": 100_000, "zlib_bytes": 90_000, "parameters": 2_000, "macs": 100_000}
    return {
        "schema": 1,
        "created": "2026-11-23T02:00:00+00:00",
        "versions": {"edgepack": "0.1"},
        "model": "net.keras",
        "target": "rpi4",
        "device": "local",
        "data": "digits",
        "samples": 100,
        "seed": 0,
        "updates": 600,
        "skipped": [],
        "metric": {"name": "accuracy", "less_is_better": False},
        "baseline": {"path": "baseline.tflite", **whole, "value": 0.95, "interval": (0.9, 0.98)},
        "variants": list(rows),
        "fronts": {"size": [rows[0]["name"]] if rows else [], "transfer": [], "latency": []},
        **others,
    }
