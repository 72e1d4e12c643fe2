"""What can befall a board, each for the length of a `with` block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lab.machine import VirtualPi

PYTHON = "/usr/bin/python3*"
LIBSTDCXX = "/usr/lib/*/libstdc++.so.6*"
FILLER = "/var/filler"
WARM = 48.312
SITE = "/etc/python3.11/sitecustomize.py"
OLD_PYTHON = """\
import platform, sys
old = ({major}, {minor}, {micro}, "final", 0)
sys.version_info = type("version_info", (tuple,), dict(
    major=old[0], minor=old[1], micro=old[2], releaselevel=old[3], serial=old[4]))(old)
sys.version = "%d.%d.%d (made up by the lab)" % old[:3]
sys.hexversion = old[0] << 24 | old[1] << 16 | old[2] << 8 | 0xf0
platform.python_version = lambda: "%d.%d.%d" % old[:3]
"""


@contextmanager
def power_cut(pi: VirtualPi) -> Iterator[None]:
    """No power: what was not on the disk yet is lost, and the board comes back with the rest."""
    pi.stop()
    try:
        yield
    finally:
        pi.start(fresh=False)


@contextmanager
def frozen(pi: VirtualPi) -> Iterator[None]:
    """A board that stands still, and its clock with it; connections stay open."""
    pi.monitor("stop")
    try:
        yield
    finally:
        pi.monitor("cont")


@contextmanager
def unplugged(pi: VirtualPi) -> Iterator[None]:
    """A board without its network cable; nobody is told."""
    pi.monitor("set_link", name="nic", up=False)
    try:
        yield
    finally:
        pi.monitor("set_link", name="nic", up=True)


@contextmanager
def hidden(pi: VirtualPi, *patterns: str) -> Iterator[None]:
    """A board that lacks files, such as `PYTHON` or `LIBSTDCXX`; the board's shell expands them."""
    files = " ".join(patterns)
    pi.as_root(["sh", "-c", f'for file in {files}; do mv "$file" "$file.hidden"; done'])
    try:
        yield
    finally:
        back = 'mv "$file" "${file%.hidden}"'
        names = " ".join(f"{pattern}.hidden" for pattern in patterns)
        _mend(pi, f"for file in {names}; do {back}; done")


@contextmanager
def old_python(pi: VirtualPi, major: int = 3, minor: int = 5, micro: int = 3) -> Iterator[None]:
    """A Python that calls itself older than it is.

    It is still the newer one and understands the newer language: only what asks for the version
    sees a difference.
    """
    with hidden(pi, SITE):
        pi.write(SITE, OLD_PYTHON.format(major=major, minor=minor, micro=micro))
        try:
            yield
        finally:
            _mend(pi, f"rm {SITE}")


@contextmanager
def full_disk(pi: VirtualPi, *, free_kib: int = 0) -> Iterator[None]:
    """A disk with so little free space left for users."""
    free = int(pi.as_root(["df", "-k", "--output=avail", "/"]).split()[-1])
    pi.as_root(["fallocate", "-l", f"{free - free_kib}KiB", FILLER])
    try:
        yield
    finally:
        _mend(pi, f"rm {FILLER}")


@contextmanager
def hot(pi: VirtualPi, celsius: float) -> Iterator[None]:
    """A board of this temperature."""
    pi.heat(celsius)
    try:
        yield
    finally:
        pi.heat(WARM)


@contextmanager
def throttled(pi: VirtualPi, bits: int) -> Iterator[None]:
    """A board whose firmware reports these bits."""
    pi.throttle(bits)
    try:
        yield
    finally:
        pi.throttle(0)


def _mend(pi: VirtualPi, script: str) -> None:
    """Undo a fault on the disk itself, or else the next power cut would bring it back."""
    pi.as_root(["sh", "-c", f"{script} && sync"])
