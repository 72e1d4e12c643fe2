"""``throttle``: what a Raspberry Pi's firmware says of voltage and frequency."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

SCRIPT = """
vcgencmd get_throttled && exit 0
grep -s . /dev/null /sys/devices/platform/soc*/soc*:firmware/get_throttled
exit 0
"""
BITS = {
    0: "under-voltage",
    1: "frequency-capped",
    2: "throttled",
    3: "soft-temperature-limit",
}
"""What is so now; 16 bits higher, what was so since boot.

Raspberry Pi documentation, vcgencmd, get_throttled.
"""

SINCE_BOOT = 16


def command() -> list[str]:
    """Ask vcgencmd, else read the firmware's file, which holds the same without ``0x``."""
    return ["sh", "-c", SCRIPT]


def parse(text: str) -> Mapping[str, Any]:
    """``bits``, and the names of those that are set: ``now`` and ``since_boot``."""
    found = re.search(r"(?:^throttled=0x|/get_throttled:)([0-9a-fA-F]{1,8})\s*$", text, re.M)
    if not found:
        return {}
    bits = int(found[1], 16)
    return {
        "bits": bits,
        "now": [name for bit, name in BITS.items() if bits >> bit & 1],
        "since_boot": [name for bit, name in BITS.items() if bits >> bit + SINCE_BOOT & 1],
    }
