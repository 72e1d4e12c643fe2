"""``temperature``: of every thermal zone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgepack.boards.reading import folders, number, whole

SCRIPT = """
set -- /sys/class/thermal/thermal_zone*
[ -e "$1" ] || { vcgencmd measure_temp; exit 0; }
for folder do set -- "$@" "$folder/type" "$folder/temp"; done
grep -s . /dev/null "$@"
exit 0
"""
LOWEST_C, HIGHEST_C = -40.0, 200.0
"""A sensor that is not read shows a value outside of these."""

MOST = 64


def command() -> list[str]:
    """Print type and temperature of every thermal zone, else what the firmware measures."""
    return ["sh", "-c", SCRIPT]


def parse(text: str) -> Mapping[str, Any]:
    """``zones``, a list of name and temperature_c; a zone that cannot be read is left out."""
    zones = []
    for folder, files in folders(text).items():
        millidegrees = whole(files.get("temp", ""))
        if millidegrees is not None and LOWEST_C < millidegrees / 1000 < HIGHEST_C:
            name = files.get("type") or folder.rpartition("/")[2]
            zones.append({"name": name, "temperature_c": millidegrees / 1000})
    firmware = re.search(r"^temp=([\d.]+)'C", text, re.MULTILINE)
    if firmware and (degrees := number(firmware[1])) is not None:
        zones.append({"name": "firmware", "temperature_c": degrees})
    return {"zones": zones[:MOST]} if zones else {}
