"""Which layers a change costs most, and the recipe that leaves those in higher precision."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgepack.errors import InputError
from edgepack.tflite.scheme import literal

HIGHER = {"int4": "int8", "int8": "float"}
"""What a layer is left in that a quantization costs too much."""

Facts = Mapping[str, Any]


def rank(facts: Facts, change: str, by: str = "sqnr") -> list[str]:
    """The names of layers, the most sensitive first; those that cannot be changed so are left out.

    Args:
        facts: what `edgepack.sensitivity.measure` returned.
        change: one that was tried.
        by: ``sqnr`` or ``metric``.

    Raises:
        InputError: if there is no metric to rank by.
    """
    if by == "metric" and facts["metric"]["name"] is None:
        raise InputError("--by metric needs labelled test data", "name data with --data")
    cost: Callable[[Facts], float] = noise_of if by == "sqnr" else _drop
    tried = [(row["name"], row["trials"].get(change)) for row in facts["layers"]]
    found = [(cost(trial), name) for name, trial in tried if trial]
    return [name for _, name in sorted(found, key=lambda pair: -pair[0])]


def noise_of(trial: Facts) -> float:
    """The noise of a trial over the signal, both as root mean squares."""
    ratio = trial["sqnr_db"]
    return 0.0 if ratio is None else float(10 ** (-ratio / 20))


def _drop(trial: Facts) -> float:
    return float(trial["drop"])


def choose_change(changes: Sequence[str]) -> str:
    """The quantization to protect from: that of the fewest bits which is tried.

    Raises:
        InputError: if none is.
    """
    found = [change for change in HIGHER if change in changes]
    if not found:
        raise InputError("--protect needs a quantization", "add int4 or int8 to --changes")
    return found[0]


def protect(facts: Facts, count: int, change: str, by: str = "sqnr") -> list[str]:
    """Rules of the step ``quantize`` that leave the most sensitive layers in higher precision.

    Args:
        facts: what `edgepack.sensitivity.measure` returned.
        count: of layers.
        change: the quantization of all others.
        by: ``sqnr`` or ``metric``.

    Raises:
        InputError: if fewer layers can be quantized so.
    """
    ranked = rank(facts, change, by)
    if not ranked:
        raise InputError(f"no layer can be {change} alone", "leave --protect away")
    if not 1 <= count <= len(ranked):
        raise InputError(
            f"--protect is {count}, and {len(ranked)} layers can be {change}",
            f"give a number from 1 to {len(ranked)}",
        )
    return [f"{literal(name)}={HIGHER[change]}" for name in ranked[:count]]


def recipe_text(facts: Facts, change: str, rules: Sequence[str]) -> str:
    """A recipe's TOML: all quantized but for what the rules name."""
    higher = HIGHER[change]
    told = f"{change}, but {higher} for the most sensitive layers of {facts['model']}"
    listed = "".join(f"    {_quoted(rule)},\n" for rule in rules)
    return f"""description = {_quoted(told)}

[[steps]]
step = "convert"
quantization = "float32"

[[steps]]
step = "quantize"
scheme = {_quoted(facts["study"]["scheme"])}
weights = {_quoted(change)}
rules = [
{listed}]

[[steps]]
step = "strip"
"""


def _quoted(text: str) -> str:
    """A text as TOML writes it, which knows no halves of characters, as JSON does, and no DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", r"\u007f")
