"""``lease``: who measures on the board at this moment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgepack.boards.reading import number, pairs
from edgepack.boards.traces import LOCKS

LEASE_S = 30.0
"""The longest that a lease lasts without a sign of life."""

TICK_S = 0.01
"""What /proc/uptime cuts off, and the lease's own clock does not."""

SCRIPT = f"""
echo "boot_id=$(cat /proc/sys/kernel/random/boot_id)"
read -r uptime idle </proc/uptime && echo "uptime_s=$uptime"
for file in {" ".join(LOCKS)} "$EDGEPACK_FOLDER/lock"; do
  [ -f "$file" ] && [ -s "$file" ] && echo "lease=$(head -c 4096 "$file" | tr '\\n' ' ')"
done
exit 0
"""


def command() -> list[str]:
    """Print what the lock's files hold, and by what the age of that is told."""
    return ["sh", "-c", SCRIPT]


def parse(text: str) -> Mapping[str, Any]:
    """``owner``, empty where the board is free, and ``held_s``: for how long it is taken."""
    lines = pairs(text, "=")
    now_s = number(lines.get("uptime_s", ""))
    if now_s is None or not lines.get("boot_id"):
        return {}
    found = [line.partition("=") for line in text.splitlines()]
    for lease in (_lease(value) for key, _, value in found if key == "lease"):
        until_s, since_s = lease.get("until_s"), lease.get("since_s")
        if lease.get("boot_id") != lines["boot_id"] or not isinstance(until_s, int | float):
            continue
        if not (isinstance(since_s, int | float) and 0 <= since_s <= now_s + TICK_S):
            continue
        if now_s < until_s <= now_s + TICK_S + LEASE_S:
            owner = str(lease.get("owner") or "a process without a name")
            return {"owner": owner[:200], "held_s": round(max(0.0, now_s - since_s), 1)}
    return {"owner": "", "held_s": 0.0}


def _lease(line: str) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
