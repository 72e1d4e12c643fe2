"""``edgetpu``: an Edge TPU on USB or PCIe, its library, and whether the user may use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SCRIPT = """
access() { [ -r "$1" ] && [ -w "$1" ] && echo yes || echo no; }
ids() { vendor='' product=''; [ -r "$2" ] && read -r vendor <"$1" && read -r product <"$2"; }
for device in /sys/bus/usb/devices/*; do
  ids "$device/idVendor" "$device/idProduct"
  case "$vendor:$product" in
    1a6e:089a|18d1:9302)
      read -r bus <"$device/busnum"
      read -r number <"$device/devnum"
      node=$(printf '/dev/bus/usb/%03d/%03d' "$bus" "$number")
      echo "usb=$node $(access "$node")" ;;
  esac
done
for device in /sys/bus/pci/devices/*; do
  ids "$device/vendor" "$device/device"
  case "$vendor:$product" in 0x1ac1:0x089a) echo "pcie=${device##*/}" ;; esac
done
for node in /dev/apex_*; do [ -e "$node" ] && echo "apex=$node $(access "$node")"; done
ldconfig -p | sed -n 's/.*=> \\(.*libedgetpu\\.so.*\\)/library=\\1/p'
for file in /usr/lib/libedgetpu.so* /usr/lib/*/libedgetpu.so* /usr/local/lib/libedgetpu.so*; do
  [ -e "$file" ] && echo "library=$file"
done
echo "groups=$(id -Gn)"
"""
MOST = 8


def command() -> list[str]:
    """Look for the ids 1a6e:089a (before its firmware) and 18d1:9302 on USB, 1ac1:089a on PCIe.

    Coral, Get started with the USB Accelerator and with the PCIe module.
    """
    return ["sh", "-c", SCRIPT]


def parse(text: str) -> Mapping[str, Any]:
    """How it is ``attached`` (usb, pcie or empty), ``nodes``, ``libraries``, the user's ``groups``.

    A node has a path and whether it is ``accessible``: can be read and written.
    """
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        found.setdefault(key, []).append(value.strip())
    if "groups" not in found:
        return {}
    pcie = "pcie" in found or "apex" in found
    nodes = [line.rpartition(" ") for line in found.get("apex", []) + found.get("usb", [])]
    return {
        "attached": "pcie" if pcie else "usb" if "usb" in found else "",
        "nodes": [{"path": path, "accessible": word == "yes"} for path, _, word in nodes][:MOST],
        "libraries": list(dict.fromkeys(found.get("library", [])))[:MOST],
        "groups": found["groups"][0].split()[: 8 * MOST],
    }
