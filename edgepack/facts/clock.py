"""``clock``: the board's time, how long it is up, and where its kernel takes the time from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgepack.boards.reading import number, pairs, whole

SCRIPT = """
echo "utc_s=$(date -u +%s)"
read -r uptime idle </proc/uptime && echo "uptime_s=$uptime"
source=/sys/devices/system/clocksource/clocksource0/current_clocksource
[ -r $source ] && read -r source <$source && echo "source=$source"
exit 0
"""


def command() -> list[str]:
    """Print ``utc_s=``, ``uptime_s=`` and ``source=``."""
    return ["sh", "-c", SCRIPT]


def parse(text: str) -> Mapping[str, Any]:
    """``utc_s`` (seconds since 1970), ``uptime_s`` and ``source``, such as arch_sys_counter."""
    lines = pairs(text, "=")
    found = {
        "utc_s": whole(lines.get("utc_s", "")),
        "uptime_s": number(lines.get("uptime_s", "")),
        "source": lines.get("source") or None,
    }
    return {key: value for key, value in found.items() if value is not None}
