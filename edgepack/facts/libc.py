"""``libc``: the C library and its version."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgepack.boards.reading import version

SCRIPT = """
getconf GNU_LIBC_VERSION
ldd --version 2>&1 | head -n 2
for file in /lib/ld-musl-*.so.1 /lib/libuClibc-*.so; do [ -e "$file" ] && echo "$file"; done
exit 0
"""


def command() -> list[str]:
    """Ask getconf and ldd, then list the loaders of other C libraries."""
    return ["sh", "-c", SCRIPT]


def parse(text: str) -> Mapping[str, Any]:
    """``name`` (glibc, musl or uclibc) and ``version``, which may be empty."""
    glibc = re.search(r"^glibc ([\d.]+)\s*$", text, re.MULTILINE)
    if not glibc:
        glibc = re.search(r"^ldd \(.*\) ([\d.]+)\s*$", text, re.MULTILINE)
    if glibc and version(glibc[1]):
        return {"name": "glibc", "version": version(glibc[1])}
    if "musl" in text:
        musl = re.search(r"^Version ([\d.]+)", text, re.MULTILINE)
        return {"name": "musl", "version": version(musl[1]) if musl else ""}
    uclibc = re.search(r"libuClibc-([\d.]+)\.so", text)
    return {"name": "uclibc", "version": version(uclibc[1])} if uclibc else {}
