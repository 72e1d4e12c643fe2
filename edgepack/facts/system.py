"""``system``: kernel, distribution, and the architecture of the user land, not of the kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgepack.boards.reading import pairs, whole
from edgepack.target import pip_architecture

SCRIPT = """
echo "uname=$(uname -r -m)"
echo "dpkg=$(dpkg --print-architecture)"
bits=$(getconf LONG_BIT) && echo "bits=$bits" || echo "elf_class=$(od -An -tu1 -j4 -N1 /bin/sh)"
release=/etc/os-release
[ -r $release ] || release=/usr/lib/os-release
[ -r $release ] && sed 's/^/os./' $release
exit 0
"""
DEBIAN = {
    "amd64": "x86_64",
    "arm64": "aarch64",
    "armel": "armel",
    "armhf": "armv7l",
    "i386": "i686",
}
"""Architectures of pip's tags by Debian's words; Raspbian's armhf also runs on armv6l."""

ELF_BITS = {1: 32, 2: 64}
"""Bits by the class in an ELF header (System V ABI, Figure 4-4)."""


def command() -> list[str]:
    """Print ``uname=KERNEL MACHINE``, ``dpkg=``, ``bits=`` or ``elf_class=``, ``os.KEY=``."""
    return ["sh", "-c", SCRIPT]


def parse(text: str) -> Mapping[str, Any]:
    """The kernel, its machine, the user land's architecture, and os-release(5).

    Keys: kernel, machine, architecture, distribution, distribution_version, codename, pretty_name.
    """
    lines = pairs(text, "=")
    kernel, _, machine = lines.get("uname", "").rpartition(" ")
    found = {
        "kernel": kernel,
        "machine": machine,
        "architecture": _architecture(machine, lines),
        "distribution": _unquoted(lines.get("os.ID", "")),
        "distribution_version": _unquoted(lines.get("os.VERSION_ID", "")),
        "codename": _unquoted(lines.get("os.VERSION_CODENAME", "")),
        "pretty_name": _unquoted(lines.get("os.PRETTY_NAME", "")),
    }
    return {key: value for key, value in found.items() if value}


def _architecture(machine: str, lines: Mapping[str, str]) -> str:
    debian = lines.get("dpkg", "")
    if debian in DEBIAN and machine != "armv6l":
        return DEBIAN[debian]
    elf_bits = ELF_BITS.get(whole(lines.get("elf_class", "")) or 0, 0)
    return pip_architecture(machine, whole(lines.get("bits", "")) or elf_bits)


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value
