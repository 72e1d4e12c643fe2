"""What edgepack has left on a device, and how all of it is removed."""

from __future__ import annotations

from dataclasses import dataclass

from edgepack.boards.files import clean, run_script
from edgepack.boards.reading import whole
from edgepack.transport import Transport

LOCKS = ("/run/lock/edgepack.lock", "/tmp/edgepack.lock")
"""The lock of all users of a board; only who made it may remove it."""

LOOK = """\
LC_ALL=C; export LC_ALL
if [ -d "$1" ]; then
  for entry in "$1"/* "$1"/.[!.]*; do
    if [ -e "$entry" ]; then du -sk "$entry" || exit 1; fi
  done
fi
shift
for lock do
  if [ -f "$lock" ] && [ -O "$lock" ]; then du -sk "$lock" || exit 1; fi
done
"""
"""Of the folder and the locks: the size in KiB and the path of what is there."""

UNLOCK = 'for lock do if [ -O "$lock" ]; then rm -f -- "$lock" || exit 1; fi; done'


@dataclass(frozen=True)
class Trace:
    """One thing that edgepack has left on a device.

    Attributes:
        path: of it there.
        size_kib: what removing it frees.
    """

    path: str
    size_kib: int


def traces(transport: Transport) -> tuple[Trace, ...]:
    """What lies in edgepack's folder, and the locks of this user.

    Raises:
        DeviceError: if it cannot be looked at.
    """
    words = (transport.folder, *LOCKS)
    done = run_script(transport, LOOK, words, 0, repeatable=True)
    rows = [line.partition("\t") for line in done.stdout.splitlines()]
    return tuple(Trace(path, whole(size) or 0) for size, _, path in rows if path)


def remove(transport: Transport) -> None:
    """Remove all of that, and the folder.

    Raises:
        InputError: if the folder is one that may hold anything else.
        DeviceError: if it cannot be removed.
    """
    run_script(transport, UNLOCK, LOCKS, 0, repeatable=True)
    clean(transport)
