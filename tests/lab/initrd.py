"""The first files that the board's kernel sees: they load its drivers and mount its disk."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

MODULES = (
    *("virtio", "virtio_ring", "virtio_mmio", "virtio_blk", "failover", "net_failover"),
    *("virtio_net", "virtio-rng"),
)
FOLDERS = ("bin", "dev", "proc", "sys", "board", "modules")


def initrd(root: Path, init: Path) -> bytes:
    """A cpio archive of busybox, the drivers that exist, and the program that uses them."""
    return b"".join(entry(number, *file) for number, file in enumerate(files(root, init), 1))


def files(root: Path, init: Path) -> Iterator[tuple[str, int, bytes, tuple[int, int]]]:
    """Name, mode, content and device number of each entry."""
    none = (0, 0)
    for folder in FOLDERS:
        yield folder, stat.S_IFDIR | 0o755, b"", none
    yield "dev/console", stat.S_IFCHR | 0o600, b"", (5, 1)
    yield "bin/busybox", stat.S_IFREG | 0o755, (root / "usr/bin/busybox").read_bytes(), none
    for module in MODULES:
        # A driver is in the kernel itself where there is no module.
        for path in (root / "usr/lib/modules").rglob(f"{module}.ko"):
            yield f"modules/{module}.ko", stat.S_IFREG | 0o644, path.read_bytes(), none
    yield "init", stat.S_IFREG | 0o755, init.read_bytes(), none
    yield "TRAILER!!!", 0, b"", none


def entry(number: int, name: str, mode: int, data: bytes, device: tuple[int, int]) -> bytes:
    """One entry in cpio's "newc" format (cpio(5))."""
    path = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields) + path
    return header + b"\0" * (-len(header) % 4) + data + b"\0" * (-len(data) % 4)
