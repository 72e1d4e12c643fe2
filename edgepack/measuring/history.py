"""Keeps every benchmark per device, and finds them again."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from edgepack.errors import InputError
from edgepack.measuring.benchmark import Benchmark, read_benchmarks, to_json
from edgepack.measuring.writing import write_whole

LONGEST_NAME = 80
NAME = re.compile(r"\d{8}T\d{6}Z-.*-[0-9a-f]{8}\.json\Z")


@dataclass(frozen=True)
class Entry:
    """A kept benchmark.

    Attributes:
        path: its file.
        benchmark: what the file holds.
    """

    path: Path
    benchmark: Benchmark

    @property
    def id(self) -> str:
        """The end of the file's name: eight digits that name it on the command line."""
        return _id(self.path)


@dataclass(frozen=True)
class Unreadable:
    """A file of the history that cannot be read, and why."""

    path: Path
    reason: str


@dataclass
class History:
    """What was found in the history, the oldest first."""

    entries: list[Entry] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)


def history_folder() -> Path:
    """Where benchmarks are kept, by the XDG convention, which ignores relative paths.

    Raises:
        InputError: if the user has no home, as in some containers.
    """
    try:
        named = Path(os.environ.get("XDG_DATA_HOME", ""))
        base = named if named.is_absolute() else Path.home() / ".local" / "share"
    except RuntimeError as error:
        hint = "set XDG_DATA_HOME to a folder for what is kept"
        raise InputError(f"there is no folder for the history: {error}", hint) from error
    return base / "edgepack" / "history"


def keep(benchmarks: Iterable[Benchmark]) -> list[Path]:
    """Write each benchmark to a file of its own in its device's folder.

    Raises:
        InputError: if that cannot be written.
    """
    root = history_folder()
    return [_keep(root / _folder_name(str(b.device["name"])), b) for b in benchmarks]


def _keep(folder: Path, benchmark: Benchmark) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "set XDG_DATA_HOME to a folder where you may write"
        raise InputError(f"cannot make the folder {folder}: {error.strerror}", hint) from error
    time = re.sub(r"[^0-9TZ]", "", benchmark.created)
    model = re.sub(r"[^A-Za-z0-9_.+-]+", "_", str(benchmark.model["name"]))[:LONGEST_NAME]
    path = folder / f"{time}-{model}-{secrets.token_hex(4)}.json"
    write_whole(path, json.dumps(to_json([benchmark]), separators=(",", ":")) + "\n")
    return path


def _folder_name(device: str) -> str:
    """A device's name as the name of a folder: other characters as %XX, a long one cut."""
    name = quote(device, safe="@+=,", errors="surrogatepass")
    name = re.sub(r"^\.", "%2E", name) or "%"
    digest = sha256(device.encode(errors="surrogatepass")).hexdigest()[:16]
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}-{digest}"


def read(device: str = "", model: str = "", limit: int | None = None) -> History:
    """The newest benchmarks of the history.

    Args:
        device: only those of the device of this name; empty for all.
        model: only those of models of this name; empty for all.
        limit: at most so many; None for all.

    Returns:
        what was found, and the files among it that cannot be read.
    """
    found = History()
    for path in sorted(_files(device), key=lambda p: p.name, reverse=True):
        if limit is not None and len(found.entries) >= limit:
            break
        _read_into(found, path, model)
    found.entries.sort(key=lambda entry: entry.benchmark.created)
    found.unreadable.reverse()
    return found


def _read_into(found: History, path: Path, model: str) -> None:
    try:
        benchmarks = read_benchmarks(path)
    except InputError as error:
        found.unreadable.append(Unreadable(path, error.message))
        return
    found.entries += [Entry(path, b) for b in benchmarks if model in ("", b.model["name"])]


def _files(device: str = "") -> list[Path]:
    """The kept files of one device or all; a folder that is not there has none."""
    root = history_folder()
    folders = [root / _folder_name(device)] if device else list(root.glob("*"))
    return [file for folder in folders for file in folder.glob("*.json") if NAME.match(file.name)]


def find(name: str) -> Path:
    """The file that a word on the command line means: a path, or the id of a kept benchmark.

    Raises:
        InputError: if there is no such file.
    """
    with contextlib.suppress(OSError):
        if Path(name).exists():
            return Path(name)
    kept = [file for file in _files() if name in (_id(file), file.stem)]
    if not kept:
        raise InputError(
            f"there is no file {name!r}, and no such measurement in the history",
            "edgepack bench --out FILE writes one; edgepack history lists those that were kept",
        )
    return kept[0]


def _id(path: Path) -> str:
    return path.stem.rpartition("-")[2]
