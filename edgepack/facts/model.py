"""``model``: what the board calls itself, by its device tree, else by its firmware (DMI)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TREE = "/proc/device-tree"
DMI = "/sys/class/dmi/id"
SCRIPT = f"""
for name in model compatible; do
  [ -r {TREE}/$name ] && tr '\\000' '\\n' <{TREE}/$name | sed "s/^/$name=/"
done
for name in sys_vendor product_name; do
  [ -r {DMI}/$name ] && sed "s/^/$name=/" {DMI}/$name
done
exit 0
"""
MOST = 16


def command() -> list[str]:
    """Print ``model=``, ``compatible=`` and ``sys_vendor=``, ``product_name=`` lines."""
    return ["sh", "-c", SCRIPT]


def parse(text: str) -> Mapping[str, Any]:
    """``name``, ``source`` (device-tree or dmi) and ``compatible``, a list of texts."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if value.strip():
            found.setdefault(key, []).append(value.strip())
    if "model" in found:
        return {
            "name": found["model"][0],
            "source": "device-tree",
            "compatible": found.get("compatible", [])[:MOST],
        }
    words = [found[key][0] for key in ("sys_vendor", "product_name") if key in found]
    return {"name": " ".join(words), "source": "dmi", "compatible": []} if words else {}
