"""What edgepack has left on a device, and how all of it is removed."""

from __future__ import annotations

from dataclasses import dataclass

from edgepack.boards.files import run_script
from edgepack.boards.reading import whole
from edgepack.device import check_folder
from edgepack.transport import Transport

LOCKS = ("/run/lock/edgepack.lock", "/tmp/edgepack.lock")
"""The lock of all users of a board; only who made it may remove it."""

OWN = """\
LC_ALL=C; export LC_ALL
top=${1%/}
hex() { [ "${#1}" = "$2" ] || return 1; case $1 in *[!0-9a-f]*) return 1;; esac; }
own() {
  name=${1##*/}
  case $1 in
    "$top"/files/*.part) [ -f "$1" ] && hex "${name%.part}" 64;;
    "$top"/files/*) [ -d "$1" ] && hex "$name" 64;;
    "$top"/packages/.lock) [ -f "$1" ];;
    "$top"/packages/.part-*) [ -d "$1" ];;
    "$top"/packages/*-*-*) [ -d "$1" ] && hex "${name##*-}" 16;;
    "$top"/outputs-*.npz) name=${name#outputs-}; hex "${name%.npz}" 16;;
    "$top"/lock) [ -f "$1" ] && grep -q '^{"owner": ' "$1";;
    *) return 1;;
  esac
}
every() {
  if [ ! -L "$top/files" ]; then
    for entry in "$top"/files/*; do "$1" "$entry" || return 1; done
  fi
  if [ ! -L "$top/packages" ]; then
    for entry in "$top"/packages/* "$top"/packages/.[!.]*; do "$1" "$entry" || return 1; done
  fi
  for entry in "$top"/outputs-*.npz "$top"/lock; do "$1" "$entry" || return 1; done
}
"""
"""Of the folder: what in it edgepack has made, told by its name; a link never is."""

LOOK = f"""{OWN}
size() {{ if [ ! -L "$1" ] && own "$1" && [ -e "$1" ]; then du -sk "$1"; fi; }}
every size || exit 1
shift
for lock do
  if [ -f "$lock" ] && [ -O "$lock" ]; then du -sk "$lock" || exit 1; fi
done
"""
"""Of the folder and the locks: the size in KiB and the path of what is there."""

CLEAN = f"""{OWN}
if [ ! -d "$top" ]; then exit 0; fi
real=$(cd "$top" && pwd -P) || exit 1
home=$(cd && pwd -P)
case $home/ in "${{real%/}}"/*) echo "refused: $real holds the home folder" >&2; exit 1;; esac
discard() {{ if [ ! -L "$1" ] && own "$1"; then rm -rf -- "$1"; fi; }}
every discard || exit 1
for folder in "$top/files" "$top/packages" "$top"; do
  if [ ! -L "$folder" ]; then rmdir -- "$folder" 2>/dev/null; fi
done
for entry in "$top"/* "$top"/.[!.]*; do
  if [ -e "$entry" ] || [ -L "$entry" ]; then echo "$entry"; fi
done
if [ -L "$top" ]; then echo "$top"; fi
"""
"""Of the folder: remove that, then what is empty, and print what stays."""

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
    """What edgepack has made in its folder, and the locks of this user.

    Raises:
        DeviceError: if it cannot be looked at.
    """
    words = (transport.folder, *LOCKS)
    done = run_script(transport, LOOK, words, 0, repeatable=True)
    rows = [line.partition("\t") for line in done.stdout.splitlines()]
    return tuple(Trace(path, whole(size) or 0) for size, _, path in rows if path)


def remove(transport: Transport) -> tuple[str, ...]:
    """Remove all of that, and the folder if nothing else is in it.

    Returns:
        what stays, as it is not edgepack's: other files, and a link in the folder's place.

    Raises:
        InputError: if the folder is one that cannot be edgepack's.
        DeviceError: if it cannot be removed, or holds the home folder.
    """
    run_script(transport, UNLOCK, LOCKS, 0, repeatable=True)
    return clean(transport)


def clean(transport: Transport) -> tuple[str, ...]:
    """Remove what edgepack has made in its folder, as `remove` does."""
    check_folder(transport.folder)
    done = run_script(transport, CLEAN, (transport.folder,), 0, repeatable=True)
    return tuple(done.stdout.splitlines())
