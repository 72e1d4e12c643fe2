"""What a build leaves: a folder with model, golden vectors and manifest, written atomically."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edgepack.artifact import sha256_of
from edgepack.errors import GateError, InputError

SCHEMA = 1
"""Version of the manifest; it grows whenever a reader would have to change."""

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Bundle:
    """A finished build on disk.

    Attributes:
        path: the folder.
        manifest: what `docs/bundle.md` describes.
    """

    path: Path
    manifest: Mapping[str, Any]

    @property
    def model(self) -> Path:
        """The model file."""
        return self.path / str(self.manifest["model"]["path"])


def render(manifest: Mapping[str, Any]) -> bytes:
    """A manifest's one and only bytes, its own digest included."""
    body = {name: value for name, value in manifest.items() if name != "digest"}
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return (json.dumps({**body, "digest": digest}, indent=1, sort_keys=True) + "\n").encode()


def write_bundle(
    folder: Path, files: Mapping[str, bytes | Path], manifest: Mapping[str, Any]
) -> Bundle:
    """Write all files beside, the manifest last, and put the whole in place by renaming.

    Args:
        folder: the bundle's place; an earlier bundle there is replaced.
        files: contents, or files to copy, by name, such as ``c/README.md``.
        manifest: without ``files``, which are added here with size and sha256.

    Raises:
        InputError: if the folder holds something else, is read-only, or the disk is full.
    """
    check_place(folder)
    place = folder.resolve()  # of a link, where it leads
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{place.name}-", dir=place.parent, ignore_cleanup_errors=True
        ) as beside:
            fresh = Path(beside) / "new"
            fresh.mkdir()
            written = _fill(fresh, files, manifest)
            _swap(fresh, place, Path(beside))
    except OSError as error:
        raise InputError(
            f"the bundle cannot be written to {folder}: {error.strerror}",
            "make room or name another folder with --out; finished steps are kept in the cache",
        ) from error
    return Bundle(folder, written)


def _swap(fresh: Path, place: Path, beside: Path) -> None:
    """Put a folder in place of the one that is there, whatever another build does meanwhile."""
    for attempt in itertools.count():
        with contextlib.suppress(FileNotFoundError):
            place.rename(beside / str(attempt))
        try:
            fresh.rename(place)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return


def check_place(folder: Path) -> None:
    """Refuse a place where a bundle cannot be written; nothing is left there.

    Raises:
        InputError: if the folder holds something else, or its nearest parent cannot be written.
    """
    hint = "name another folder with --out"
    if not _replaceable(folder):
        raise InputError(f"{folder} exists and is no bundle, or holds more than one", hint)
    parent = next(path for path in folder.resolve().parents if path.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=parent):
            pass
    except OSError as error:
        raise InputError(
            f"the bundle cannot be written to {folder}: {parent}: {error.strerror}", hint
        ) from error


def _replaceable(folder: Path) -> bool:
    """Whether nothing is there, or an empty folder, or a bundle to which nothing was added.

    It is looked at once, as another build may replace it meanwhile.
    """
    try:
        names = _names(folder)
        return not names or names <= {MANIFEST, *read_bundle(folder).manifest["files"]}
    except FileNotFoundError:
        return True
    except NotADirectoryError:
        return not folder.exists()
    except InputError as error:
        return MANIFEST in names and isinstance(error.__cause__, FileNotFoundError)


def _fill(
    folder: Path, files: Mapping[str, bytes | Path], manifest: Mapping[str, Any]
) -> dict[str, Any]:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            shutil.copyfile(content, folder / name)
        else:
            (folder / name).write_bytes(content)
    listed = {
        name: {"sha256": sha256_of(folder / name), "size_bytes": (folder / name).stat().st_size}
        for name in sorted(files)
    }
    text = render({**manifest, "files": listed})
    (folder / MANIFEST).write_bytes(text)
    for path in folder.rglob("*"):
        _sync(path)
    whole: dict[str, Any] = json.loads(text)
    return whole


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle's manifest.

    Raises:
        InputError: if the folder is no bundle, or one of a newer schema.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        schema, files, model = manifest["schema"], manifest["files"], manifest["model"]["path"]
        inside = all(_is_inside(name) and "sha256" in files[name] for name in files)
        if not inside or model not in files:
            raise ValueError(f"{MANIFEST} names files outside of its folder")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} is no bundle: {MANIFEST} is missing, or is none of edgepack's",
            "make one with: edgepack build MODEL --target T",
        ) from error
    if schema != SCHEMA:
        raise InputError(
            f"{folder} has a manifest of schema {schema}, this edgepack reads {SCHEMA}",
            "update edgepack",
        )
    return Bundle(folder, manifest)


def _is_inside(name: str) -> bool:
    """Whether a name is that of a file in the folder or in one of its folders, plainly written."""
    parts = PurePosixPath(name).parts
    return bool(parts) and name == "/".join(parts) and ".." not in parts and parts[0] != "/"


def _names(folder: Path) -> set[str]:
    """The files in a folder and in its folders, and the empty folders; no link is followed."""
    found = set()
    for path in folder.iterdir():
        inner = _names(path) if path.is_dir() and not path.is_symlink() else set()
        found |= {f"{path.name}/{name}" for name in inner} or {path.name}
    return found


def verify(folder: Path) -> Bundle:
    """Check every byte of a bundle against its manifest, and the manifest against its digest.

    Raises:
        GateError: naming each file that is changed, missing or was not there before.
        InputError: if the folder is no bundle.
    """
    found = read_bundle(folder)
    listed: dict[str, Any] = found.manifest["files"]
    wrong = []
    if (folder / MANIFEST).read_bytes() != render(found.manifest):
        wrong.append(f"{MANIFEST} is changed")
    for name in sorted(listed):
        state = _state(folder / name, listed[name])
        wrong += [f"{name} is {state}"] if state else []
    known = {MANIFEST, *listed}
    wrong += [f"{name} was added" for name in sorted(_names(folder) - known)]
    if wrong:
        raise GateError(f"{folder} is not what was built: {'; '.join(wrong)}", "build it again")
    return found


def _state(path: Path, wanted: Mapping[str, Any]) -> str:
    if path.is_symlink() or not path.is_file():
        return "missing"
    return "" if sha256_of(path) == wanted["sha256"] else "changed"
