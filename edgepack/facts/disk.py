"""``disk``: the space left where edgepack's folder lives, and whether it can be used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgepack.boards.reading import whole

SCRIPT = """
folder=${EDGEPACK_FOLDER:-$HOME}
while [ ! -d "$folder" ]; do
  case $folder in */*) folder=${folder%/*} ;; *) folder=. ;; esac
  [ "$folder" ] || folder=/
done
df -P -k "$folder"
[ -w "$folder" ] && echo 'writable: yes' || echo 'writable: no'
sed -n '/noexec/s/^/noexec: /p' /proc/mounts
exit 0
"""
ROW = re.compile(r"\s(\d{1,18})\s+(\d{1,18})\s+(-?\d{1,18})\s+\S+\s+(/.*)$", re.MULTILINE)
"""Size, used and free in KiB, use in percent, mount point: df -P of POSIX."""


def command() -> list[str]:
    """Ask df about the folder that ``EDGEPACK_FOLDER`` names or will lie in, else the home."""
    return ["sh", "-c", SCRIPT]


def parse(text: str) -> Mapping[str, Any]:
    """``free_kib``, ``size_kib``, ``mount``, ``writable``, and ``executable`` (no noexec)."""
    row = ROW.search(text)
    if not row:
        return {}
    mount = row[4].strip()
    words = [line.split(" ") for line in text.splitlines() if line.startswith("noexec: ")]
    return {
        "free_kib": max(0, whole(row[3]) or 0),
        "size_kib": whole(row[1]),
        "mount": mount,
        "writable": "\nwritable: yes" in text,
        "executable": all(len(w) > 2 and w[2] != mount for w in words),
    }
