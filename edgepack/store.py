"""Results by content: computed once, found again; a killed run leaves nothing that looks whole."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgepack.artifact import sha256_of
from edgepack.errors import InputError
from edgepack.plugins import PACKAGE

FRAMEWORKS = (
    "ai-edge-litert",
    "ai-edge-quantizer",
    "keras",
    "numpy",
    "onnx",
    "onnx2tf",
    "onnxsim",
    "tensorflow",
    "tensorflow-model-optimization",
    "tf_keras",
)
"""The packages whose versions are part of every key."""


UNWRITABLE = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
        *(errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG),
    }
)
"""What a folder that is full, read-only or no folder at all answers with."""

IMPORT = re.compile(
    r"^[ \t]*(?:from (edgepack[\w.]*) import (\([^)]*\)|.*)|import (edgepack[\w.]*))", re.MULTILINE
)
"""A line that imports edgepack's own; parsing 50 files would take longer than a cached build."""


def cache_folder() -> Path:
    """The user's cache folder of edgepack, by the XDG convention, which ignores relative paths.

    Raises:
        InputError: if the user has no home, as in some containers.
    """
    try:
        named = Path(os.environ.get("XDG_CACHE_HOME", ""))
        base = named if named.is_absolute() else Path.home() / ".cache"
    except RuntimeError as error:
        hint = "set XDG_CACHE_HOME to a folder for what is kept between builds"
        raise InputError(f"there is no cache folder: {error}", hint) from error
    return base / "edgepack"


@cache
def versions() -> dict[str, str]:
    """Versions of the installed `FRAMEWORKS`."""
    from importlib import metadata

    found = {}
    for package in FRAMEWORKS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


@cache
def source_digest(module: str) -> str:
    """sha256 over a module's file, all that it imports of edgepack, and the tables beside them."""
    digest = hashlib.sha256()
    files = _closure(module)
    for folder in {path.parent for path in files.values()}:
        files |= {str(table.relative_to(PACKAGE)): table for table in _tables(folder)}
    for name, path in sorted(files.items()):
        digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@cache
def _tables(folder: Path) -> tuple[Path, ...]:
    return tuple(folder.glob("*.toml"))


def _closure(module: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _file_of(name)
        if path and name not in found:
            found[name] = path
            waiting += _imports(path)
    return found


def _file_of(module: str) -> Path | None:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    file = path.with_suffix(".py") if path != PACKAGE else path / "__init__.py"
    return file if module.split(".")[0] == "edgepack" and file.is_file() else None


@cache
def _imports(path: Path) -> tuple[str, ...]:
    names: list[str] = []
    for package, members, module in IMPORT.findall(path.read_text(encoding="utf-8")):
        names += [module or package, *(f"{package}.{word}" for word in re.findall(r"\w+", members))]
    return tuple(name for name in names if name.startswith("edgepack."))


def key_of(**parts: Any) -> str:
    """The key of a result: sha256 over its named causes."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class Result:
    """A finished computation.

    Attributes:
        folder: where its files are; never write there.
        facts: what else was found, as plain data.
        files: sha256 of each file by name.
        cached: whether it was there already.
    """

    folder: Path
    facts: Mapping[str, Any]
    files: Mapping[str, str]
    cached: bool = True


class Store:
    """A folder of results; safe against kills, full disks and other processes.

    Args:
        root: the folder; the user's cache folder by default.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or cache_folder()

    def get(self, key: str) -> Result | None:
        """A finished result whose files are still what they were, or None."""
        folder = self.root / "results" / key
        try:
            record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
            digest, files, facts = record.pop("digest"), record["files"], record["facts"]
            whole = digest == key_of(**record)
            whole = whole and all(sha256_of(folder / name) == files[name] for name in files)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return Result(folder, facts, files) if whole else None

    def put(self, key: str, files: Mapping[str, bytes | Path], facts: Mapping[str, Any]) -> Result:
        """Keep a result: written beside, synced, then renamed.

        Args:
            key: from `key_of`.
            files: contents, or files to copy, by name.
            facts: plain data that belongs to it.

        Raises:
            InputError: if the cache folder is full or cannot be written.
        """
        with self._errors(), self._scratch() as scratch:
            for name, content in files.items():
                _write(scratch / name, content)
            sums = {name: sha256_of(scratch / name) for name in files}
            text = json.dumps({"files": sums, "facts": facts}, sort_keys=True)
            record = {**json.loads(text), "digest": key_of(**json.loads(text))}
            _write(scratch / "result.json", json.dumps(record, sort_keys=True).encode())
            self._publish(scratch, key)
        return Result(self.root / "results" / key, facts, sums, cached=False)

    @contextlib.contextmanager
    def lock(self, key: str, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold a key, so that two builds at once compute it once; a killed holder lets go.

        Args:
            key: from `key_of`.
            waiting: called once if another process holds it.
        """
        with self._errors():
            path = self.root / "locks" / key
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("w")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def checkpoints(self, key: str) -> Iterator[Path]:
        """A folder that a computation may resume from; removed when it has finished."""
        folder = self.root / "checkpoints" / key
        with self._errors():
            folder.mkdir(parents=True, exist_ok=True)
            yield folder
        shutil.rmtree(folder, ignore_errors=True)

    def size_bytes(self) -> int:
        """The size of everything in the store."""
        return sum(p.stat().st_size for p in self.root.rglob("*") if p.is_file())

    def count(self) -> int:
        """How many finished results there are."""
        return sum(1 for _ in (self.root / "results").glob("*/result.json"))

    def clean(self) -> None:
        """Remove everything."""
        for part in ("results", "checkpoints", "scratch", "locks", "logs", "wheels", "debian"):
            shutil.rmtree(self.root / part, ignore_errors=True)

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[Path]:
        parent = self.root / "scratch"
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as folder:
            yield Path(folder)

    def _publish(self, scratch: Path, key: str) -> None:
        """Rename into place; a damaged result there gives way, a whole one of another build stays.

        What stays may be read at this moment, and is the same: it has the same key.
        """
        place = self.root / "results" / key
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=scratch.parent, ignore_cleanup_errors=True) as aside:
            for attempt in itertools.count():
                if _moved(scratch, place) or self.get(key):
                    return
                with contextlib.suppress(FileNotFoundError):
                    place.rename(Path(aside) / str(attempt))

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            raise InputError(
                f"the cache folder {self.root} cannot be written: {error.strerror}",
                "make room (edgepack cache --clean), or set XDG_CACHE_HOME to another folder",
            ) from error


def _moved(scratch: Path, place: Path) -> bool:
    """Whether a folder could be renamed, which a full one in its place prevents."""
    try:
        scratch.rename(place)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _write(path: Path, content: bytes | Path) -> None:
    with path.open("wb") as file:
        if isinstance(content, bytes):
            file.write(content)
        else:
            with content.open("rb") as source:
                shutil.copyfileobj(source, file)
        file.flush()
        os.fsync(file.fileno())
