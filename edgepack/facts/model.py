"""``model``: what the board calls itself, by its device tree, else by its firmware (DMI)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgepack.boards.reading import pairs

TREE = "/proc/device-tree"
DMI = "/sys/class/dmi/id"
SCRIPT = f"""
for name in model compatible; do
  [ -r {TREE}/$name ] && echo "$name=$(tr '\\000' '|' <{TREE}/$name)"
done
for name in sys_vendor product_name; do
  [ -r {DMI}/$name ] && read -r value <{DMI}/$name && echo "$name=$value"
done
exit 0
"""
MOST = 16


def command() -> list[str]:
    """Print ``model=NAME|``, ``compatible=NAME|NAME|``, ``sys_vendor=`` and ``product_name=``."""
    return ["sh", "-c", SCRIPT]


def parse(text: str) -> Mapping[str, Any]:
    """``name``, ``source`` (device-tree or dmi) and ``compatible``, a list of texts."""
    found = pairs(text, "=")
    if name := found.get("model", "").strip("| "):
        compatible = found.get("compatible", "").strip("|").split("|")
        return {"name": name, "source": "device-tree", "compatible": compatible[:MOST]}
    words = [found[key] for key in ("sys_vendor", "product_name") if found.get(key)]
    return {"name": " ".join(words), "source": "dmi", "compatible": []} if words else {}
