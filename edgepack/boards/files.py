"""Moves files to and from a device by their content, with nothing but programs that run there."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgepack.artifact import sha256_of
from edgepack.errors import ConnectionLostError, DeviceError, InputError
from edgepack.progress import Progress, Reporter, silent
from edgepack.transport import Completed, Transport

BLOCK = 1 << 16
"""Bytes that ``dd`` takes at once; a broken transfer goes on at one of its multiples."""
CHUNK = 1 << 18
TRIES = 3
ANSWER_S = 60.0
LINK_S = 120.0
"""For what is still on its way when the last byte is taken: 2 MiB, as SSH lets be unanswered."""
SLOWEST_BYTES_PER_S = 2_000_000
"""The least that a device hashes or copies."""

LOOK = """\
LC_ALL=C; export LC_ALL
files=$1/files; file=$files/$2/$3
mkdir -p "$files" || exit 1
if [ -f "$file" ]; then echo "have $(sha256sum <"$file")"; fi
if [ -f "$files/$2.part" ]; then echo "part $(wc -c <"$files/$2.part")"; fi
df -Pk "$files"
"""
"""Of folder, sha256 and name: what is there, and how much room."""

TAKE = """\
LC_ALL=C; export LC_ALL
files=$1/files; part=$files/$2.part
failed() { if [ -e "$part" ] && [ ! -e "$files/$2/$3" ]; then exit 1; fi; exit 0; }
if [ -f "$part" ] && [ "$(wc -c <"$part")" -gt "$5" ]; then rm -f "$part"; fi
said=$(dd of="$part" bs="$6" seek="$4" conv=notrunc 2>&1)
if [ $? != 0 ]; then rm -f "$part"; echo "$said" >&2; exit 1; fi
size=$(wc -c <"$part") || failed
if [ "$size" -lt "$5" ]; then exit 0; fi
if command -v b2sum >/dev/null; then sum=$(b2sum <"$part"); want=$7
else sum=$(sha256sum <"$part"); want=$2; fi
if [ -z "$sum" ]; then failed; fi
if [ "${sum%% *}" != "$want" ]; then rm -f "$part"; exit 0; fi
mkdir -p "$files/$2" || exit 1
mv -f "$part" "$files/$2/$3" || failed
echo "have $2"
"""
"""Of folder, sha256, name, blocks that are there, size, size of a block, BLAKE2b: take the rest.

What has arrived is checked by BLAKE2b where that is at hand: coreutils compute it in less than half
of the time of SHA-256, which would be a fifth of the time of a push.
Every sender writes the same bytes to the same places of the same file, so several of them at once
do no harm; the first one that is ready renames it. What is too short is kept: the connection
dropped, and the next sender goes on there. ``dd`` must not fail for want of a place for its words.
"""

GIVE = 'sum=$(sha256sum <"$1") && echo "${sum%% *}" && cat "$1"'

DISCARD = 'rm -f -- "$1" && { rmdir -- "${1%/*}" 2>/dev/null || true; }'

HINTS = {
    "No space left on device": "make room there; edgepack devices NAME --clean removes its files",
    "Disk quota exceeded": "make room there; edgepack devices NAME --clean removes its files",
    "Permission denied": "make edgepack's folder writable for the user who logs in, or name "
    "another one: folder = ... in devices.toml",
    "Read-only file system": "name a folder on a disk that can be written: folder = ... in "
    "devices.toml",
    "not found": "install coreutils or busybox there",
}


@dataclass(frozen=True)
class Found:
    """What a device has of a file.

    Attributes:
        sha256: of the file by its name; empty where there is none.
        part_bytes: what an earlier transfer left.
        free_kib: on its disk; None where it does not tell.
    """

    sha256: str
    part_bytes: int
    free_kib: int | None


def push(transport: Transport, local: Path, report: Reporter = silent) -> str:
    """Bring a file to a device, unless it is there: its content is hashed there every time.

    It is sent to a temporary name, checked on the device, and renamed. Where the connection drops
    it goes on with what has arrived, now or in the next run.

    Args:
        transport: of the device.
        local: the file here.
        report: where progress goes, in bytes.

    Returns:
        its path there.

    Raises:
        InputError: if there is no such file here.
        DeviceError: if the device has no room or no permission, or the file does not arrive.
    """
    with _readable(local):
        sha256, size = sha256_of(local), local.stat().st_size
    words = (transport.folder, sha256, local.name)
    for attempt in range(1, TRIES + 1):
        found = look(transport, words, size)
        arrived = found.sha256
        try:
            if arrived != sha256:
                with _readable(local):
                    arrived = _send(transport, local, words, size, found, report)
        except ConnectionLostError:
            if attempt == TRIES:
                raise
        if arrived == sha256:
            report(Progress("push", size, size, local.name))
            return f"{transport.folder}/files/{sha256}/{local.name}"
    raise DeviceError(
        f"{local} does not arrive as it is here, in {TRIES} attempts",
        "look whether it changes meanwhile, and at the device's memory and disk: dmesg | tail",
    )


def look(transport: Transport, words: tuple[str, str, str], size: int) -> Found:
    """What a device has of a file.

    Args:
        transport: of the device.
        words: edgepack's folder there, the file's sha256, its name.
        size: of the file, in bytes, for the time that this may take.

    Raises:
        DeviceError: if the folder cannot be made or read.
    """
    done = run_script(transport, LOOK, words, size, repeatable=True)
    have = re.search(r"^have (\w+)", done.stdout, re.MULTILINE)
    part = re.search(r"^part +(\d+)", done.stdout, re.MULTILINE)
    free = re.search(r"\s\d+\s+\d+\s+(\d+)\s+\d+%\s", done.stdout)
    return Found(
        have[1] if have else "", int(part[1]) if part else 0, int(free[1]) if free else None
    )


def fetch(transport: Transport, remote: str, local: Path, size: int = 0) -> None:
    """Bring a file from a device, checked, and whole or not at all.

    Args:
        transport: of the device.
        remote: the file there.
        local: where it goes here.
        size: about how many bytes it has, for the time that this may take.

    Raises:
        InputError: if it cannot be written here.
        DeviceError: if it cannot be read there, or does not arrive as it is there.
    """
    done = run_script(transport, GIVE, (remote,), size, repeatable=True)
    sha256, _, content = done.output.partition(b"\n")
    if hashlib.sha256(content).hexdigest() != sha256.decode():
        raise DeviceError(f"{remote} does not arrive as it is on the device", "try again")
    part = local.with_name(local.name + ".part")
    try:
        part.write_bytes(content)
        part.replace(local)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(f"{local} cannot be written: {error.strerror}", "make room") from error


def discard(transport: Transport, remote: str) -> None:
    """Remove a file of edgepack's from a device, if it is there, and its folder if that is empty.

    Raises:
        DeviceError: if it cannot be removed.
    """
    run_script(transport, DISCARD, (remote,), 0, repeatable=True)


def run_script(
    transport: Transport,
    script: str,
    words: Sequence[str],
    size: int,
    stdin: bytes | Iterable[bytes] = b"",
    *,
    repeatable: bool = False,
) -> Completed:
    """Run a script of ``sh`` on a device.

    Args:
        transport: of the device.
        script: what to run; it knows ``words`` as ``$1``, ``$2``, ...
        words: its arguments.
        size: how many bytes it hashes or copies, for the time that it may take.
        stdin: what it reads.
        repeatable: whether it may be run again where the connection drops.

    Raises:
        DeviceError: if it fails, with what it said last.
    """
    done = transport.run(
        ["sh", "-c", script, "sh", *words],
        timeout_s=ANSWER_S + (LINK_S if stdin else 0.0) + size / SLOWEST_BYTES_PER_S,
        stdin=stdin,
        repeatable=repeatable,
    )
    if done.returncode:
        raise _fault(done, words[0])
    return done


def _send(
    transport: Transport,
    local: Path,
    words: tuple[str, str, str],
    size: int,
    found: Found,
    report: Reporter,
) -> str:
    """Send what is missing; the sha256 that the device then finds, empty where it broke off."""
    blocks = found.part_bytes // BLOCK if found.part_bytes <= size else 0
    _check_room(local, size - blocks * BLOCK, found.free_kib)
    rest = (str(blocks), str(size), str(BLOCK), _blake2b_of(local))
    content = _chunks(local, blocks * BLOCK, size, report)
    done = run_script(transport, TAKE, (*words, *rest), size, content)
    arrived = re.search(r"^have (\w+)", done.stdout, re.MULTILINE)
    return arrived[1] if arrived else ""


def _chunks(local: Path, start: int, size: int, report: Reporter) -> Iterator[bytes]:
    with local.open("rb") as file:
        file.seek(start)
        while chunk := file.read(CHUNK):
            report(Progress("push", file.tell() - len(chunk), size, local.name))
            yield chunk


@contextmanager
def _readable(local: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{local} cannot be read: {error.strerror}", "check its name") from error


def _blake2b_of(path: Path) -> str:
    """The digest that the program ``b2sum`` prints."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _check_room(local: Path, size: int, free_kib: int | None) -> None:
    if free_kib is not None and size > free_kib * 1024:
        raise DeviceError(
            f"{local.name} needs {size / 1e6:.1f} MB on the device, but only "
            f"{free_kib * 1024 / 1e6:.1f} MB are free",
            HINTS["No space left on device"],
        )


def _fault(done: Completed, where: str) -> DeviceError:
    """What a failed script said, without the figures that ``dd`` always gives."""
    lines = [line for line in done.stderr.splitlines() if ":" in line]
    said = lines[-1].strip() if lines else f"exit code {done.returncode}"
    hint = next((HINTS[words] for words in HINTS if words in done.stderr), "")
    return DeviceError(f"the device cannot do its part with {where}: {said}", hint)
