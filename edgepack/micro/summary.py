"""What a build for a microcontroller prints: memory, who needs it, whether it computes right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgepack import table

Facts = Mapping[str, Any]
SHOWN = 3
"""Layers and tensors that are named as the largest."""
TOLD = 40
"""Operators that `over_time` lists: the largest, in the order of execution."""
BAR = 30
"""Characters of the longest bar."""


def render(facts: Facts) -> str:
    """What was found for a target as text.

    Args:
        facts: ``firmware`` of a manifest.
    """
    parts = [
        f"{facts['target']} by {facts['runtime']}: {facts['count']} operators, resolved by"
        f" {', '.join(facts['operators'])}",
        _memory(facts["fit"]),
        *_largest(facts),
        f"arena: {facts['arena']['constant_bytes']:,} bytes. {facts['arena']['why']}",
        *(_parity(facts["parity"]) if "parity" in facts else ()),
    ]
    return "\n".join(part for part in parts if part)


def _memory(fit: Facts) -> str:
    rows = []
    for name, memory in (("flash", fit["flash"]), ("RAM", fit["ram"])):
        rows += [
            (f"{name}: {part['name']}", f"{part['bytes']:,}", "", part["kind"])
            for part in memory["parts"]
        ]
        rows.append((name, f"{memory['bytes']:,}", *_room(memory)))
    return table.render(rows, ("memory", "bytes", "of", ""), "lrrl")


def _room(memory: Facts) -> tuple[str, str]:
    if not memory["budget_bytes"]:
        return "", "depends on the part"
    verdict = "fits" if memory["met"] else "DOES NOT FIT"
    doubt = ", within the estimates' error" if memory["close"] else ""
    return f"{memory['budget_bytes']:,}", verdict + doubt


def _largest(facts: Facts) -> Iterator[str]:
    layers = facts["fit"]["flash"]["largest"][:SHOWN]
    if layers:
        told = ", ".join(f"{layer['name']} {layer['bytes']:,}" for layer in layers)
        yield f"most flash: {told}"
    if facts["peak"] and (held := facts["peak"]["held"][:SHOWN]):
        at = facts["peak"]["at"]
        told = ", ".join(f"{tensor['what']} {tensor['size_bytes']:,}" for tensor in held)
        yield f"most RAM: {at['size_bytes']:,} at {at['code']} {at['operator']}: {told}"


def _parity(parity: Facts) -> Iterator[str]:
    yield f"parity: {parity['sentence']}"
    explained = [row for row in parity["rows"] if row["outcome"] == "explained"]
    if explained:
        kinds = sorted({row["code"] or "the whole model" for row in explained})
        yield f"known roundings in {', '.join(kinds)}"
    if parity["weak"]:
        places = ", ".join(map(str, parity["weak"]))
        yield f"proves little, as their outputs take too few values: operators {places}"


def over_time(peak: Facts) -> str:
    """What fills the arena at its peak, with each operator, and for good.

    Args:
        peak: the facts of `edgepack.micro.peak.Peak`.
    """
    at, moments = peak["at"], peak["moments"]
    shown = sorted(sorted(moments, key=_size, reverse=True)[:TOLD], key=lambda m: m["operator"])
    lines = [f"peak {at['size_bytes']:,} bytes at {_title(at)}:"]
    lines += [_line(held, "", held["what"] + _of(held)) for held in peak["held"]]
    lines += ["over time:"]
    lines += [_line(m, _bar(_size(m), _size(at)), _title(m)) for m in shown]
    if len(moments) > TOLD:
        lines += [f"  and {len(moments) - TOLD} operators that need less"]
    kept = sorted(peak["persistent"].items(), key=lambda pair: -pair[1])
    lines += ["for good, on this machine:", *(f"  {size:>10,}  {kind}" for kind, size in kept)]
    return "\n".join(lines)


def _size(thing: Facts) -> int:
    return int(thing["size_bytes"])


def _line(thing: Facts, bar: str, title: str) -> str:
    return f"  {_size(thing):>10,}  {bar}{title}"


def _bar(size: int, largest: int) -> str:
    return ("#" * -(-BAR * size // max(1, largest))).ljust(BAR + 1)


def _title(moment: Facts) -> str:
    number = f" {moment['operator']}" if moment["operator"] >= 0 else ""
    return f"{moment['code']}{number}{_of(moment)}"


def _of(thing: Facts) -> str:
    return f" ({thing['layer']})" if thing["layer"] else ""
