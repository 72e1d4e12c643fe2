"""``cpu``: the cores, how many they are, and the instructions that they know."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgepack.boards.reading import whole

KEYS = "processor|model name|Features|flags|CPU implementer|CPU part"
SCRIPT = f"""
grep -E '^({KEYS})[[:space:]]*:' /proc/cpuinfo | sort -u
echo "online: $(getconf _NPROCESSORS_ONLN)"
"""
ARM = "0x41"
PARTS = {
    "0xb76": "ARM1176",
    "0xc07": "Cortex-A7",
    "0xc08": "Cortex-A8",
    "0xc09": "Cortex-A9",
    "0xc0f": "Cortex-A15",
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse-N1",
    "0xd0d": "Cortex-A77",
    "0xd40": "Neoverse-V1",
    "0xd41": "Cortex-A78",
    "0xd46": "Cortex-A510",
    "0xd47": "Cortex-A710",
    "0xd49": "Neoverse-N2",
}
"""Names of Arm's cores by part number: Linux, arch/arm64/include/asm/cputype.h; their manuals."""

MOST = 400


def command() -> list[str]:
    """Print the lines of /proc/cpuinfo that differ, and how many processors are online."""
    return ["sh", "-c", SCRIPT]


def parse(text: str) -> Mapping[str, Any]:
    """``name`` of the core or cores, ``cores``, and ``flags``: those that every core knows."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if value.strip():
            found.setdefault(key.strip(), []).append(value.strip())
    flags = [set(line.split()) for line in found.get("Features", found.get("flags", []))]
    facts = {
        "name": _name(found),
        "cores": _cores(found),
        "flags": sorted(set.intersection(*flags))[:MOST] if flags else [],
    }
    return {key: value for key, value in facts.items() if value}


def _cores(found: Mapping[str, list[str]]) -> int:
    listed = {value for value in found.get("processor", []) if re.fullmatch("[0-9]{1,5}", value)}
    return len(listed) or max(0, whole(found.get("online", ["0"])[0]) or 0)


def _name(found: Mapping[str, list[str]]) -> str:
    parts = [part.lower() for part in found.get("CPU part", [])]
    if parts and found.get("CPU implementer") == [ARM]:
        names = [PARTS.get(part, f"Arm core {part}") for part in parts]
        return " + ".join(names[:4])
    return found.get("model name", [""])[0]
