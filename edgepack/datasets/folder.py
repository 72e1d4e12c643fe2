"""A folder of images in class folders, with an optional ``dataset.toml`` beside them.

``train/CLASS/*.png`` and ``test/CLASS/*`` (``validation/CLASS/*``), or ``CLASS/*`` alone, of which
a fifth of each class becomes the test split. Images without class folders have no labels.

=========  ==============================================================================
key        in ``dataset.toml``
=========  ==============================================================================
``size``   ``[height, width]`` that all images are resized to
``color``  ``"rgb"`` or ``"gray"``; by default gray where all images are
``mean``   a number, or one for each channel: ``(x - mean) * scale``
``scale``  a number, or one for each channel
``labels`` the class folders in the order of their numbers; by default sorted
=========  ==============================================================================
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepack.data import arrays
from edgepack.data import fingerprint as sha256
from edgepack.data.dataset import Dataset
from edgepack.data.images import SUFFIXES, pillow_version, read_images
from edgepack.errors import DataError
from edgepack.plugins import suggest

FORM = "FOLDER"
SETTINGS = "dataset.toml"
KEYS: dict[str, tuple[type, ...]] = {
    "size": (list,),
    "color": (str,),
    "mean": (int, float, list),
    "scale": (int, float, list),
    "labels": (list,),
}


@dataclass(frozen=True)
class _Image:
    path: Path
    split: str
    label: str


def matches(spec: str) -> bool:
    """Whether the user means this source."""
    return Path(spec).is_dir()


def offers(spec: str) -> frozenset[str]:
    """What the data can be used for, by the names of its folders."""
    keys = set()
    for image in _scan(Path(spec)):
        suffix = f"_{image.split}".rstrip("_")
        keys |= {f"x{suffix}", f"y{suffix}" if image.label else f"x{suffix}"}
    return arrays.offers(keys)


def fingerprint(spec: str) -> str:
    """The sha256 over names and contents, ``dataset.toml``, Pillow's version and this code."""
    root = Path(spec)
    files = [(str(image.path.relative_to(root)), image.path) for image in _scan(root)]
    if (root / SETTINGS).is_file():
        files.append((SETTINGS, root / SETTINGS))
    code = sha256.code("datasets.folder", "data.images", "data.arrays", "data.splitting")
    return sha256.of_files([*files, *code], pillow_version())


def load(spec: str) -> Dataset:
    """All images as bytes ``[n, height, width, channels]``.

    Raises:
        DataError: if there are no images, one is broken or leads outside the folder, they differ
            in size without ``size``, or ``dataset.toml`` is wrong.
        MissingExtraError: if Pillow is not installed.
    """
    import numpy as np

    root = Path(spec)
    settings = _settings(root / SETTINGS)
    images = _scan(root)
    labels = _labels(images, settings.get("labels"))
    pixels = read_images([i.path for i in images], settings.get("size"), settings.get("color"))
    found: dict[str, Any] = {k: v for k, v in settings.items() if k in ("mean", "scale")}
    for split in {image.split for image in images}:
        chosen = [n for n, image in enumerate(images) if image.split == split]
        suffix = f"_{split}".rstrip("_")
        found[f"x{suffix}"] = pixels[chosen]
        if images[chosen[0]].label:
            found[f"y{suffix}"] = np.array([labels.index(images[n].label) for n in chosen])
    return arrays.to_dataset(spec, {**found, "labels": labels}, fingerprint(spec))


def _scan(root: Path) -> list[_Image]:
    """All images of a folder in the order of their names."""
    folders = _folders(root)
    names = {folder.name for folder in folders}
    if "train" not in names and not (names and names <= set(arrays.SPLITS)):
        return list(_scan_split(root, ""))
    if strangers := sorted(names - set(arrays.SPLITS)):
        raise DataError(
            f"{root} has the folder {strangers[0]} beside its splits",
            f"move it away; the splits are {', '.join(arrays.SPLITS)}",
        )
    return [image for folder in folders for image in _scan_split(folder, folder.name)]


def _scan_split(root: Path, split: str) -> Iterator[_Image]:
    classes = _folders(root)
    loose = _files(root)
    if loose and classes:
        raise DataError(
            f"{root} has images beside class folders: {loose[0].name}", "move them into a class"
        )
    for folder in classes or [root]:
        files = _files(folder)
        if not files:
            raise DataError(f"{folder} has no images", f"images are {', '.join(SUFFIXES)}")
        for path in files:
            yield _Image(path, split, folder.name if classes else "")


def _folders(root: Path) -> list[Path]:
    return [path for path in _visible(root) if path.is_dir()]


def _files(root: Path) -> list[Path]:
    return [path for path in _visible(root) if path.suffix.lower() in SUFFIXES and path.is_file()]


def _visible(root: Path) -> Iterator[Path]:
    """What a folder holds, sorted; links out of it are refused, because data must stay whole."""
    try:
        paths = sorted(path for path in root.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(
            f"cannot read the folder {root}: {error.strerror}", "check its rights"
        ) from error
    for path in paths:
        if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
            raise DataError(f"{path} is a link that leads outside its folder", "copy the file")
        yield path


def _labels(images: list[_Image], given: list[Any] | None) -> list[str]:
    """The names of the classes in order, of which every class folder must be one."""
    found = sorted({image.label for image in images if image.label})
    if given is None:
        return found
    labels = [str(label) for label in given]
    if strangers := [label for label in found if label not in labels]:
        raise DataError(
            f"the class folder {strangers[0]!r} is not among labels in {SETTINGS}",
            suggest(strangers[0], labels),
        )
    return labels


def _settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        settings = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(
            f"{path} cannot be read: {error}", "copy it again, or leave it out"
        ) from error
    for key, value in settings.items():
        if key not in KEYS:
            raise DataError(f"{path} has an unknown key {key!r}", suggest(key, list(KEYS)))
        if not isinstance(value, KEYS[key]) or isinstance(value, bool):
            raise DataError(f"{key} in {path} is {value!r}", "see docs/data.md")
    _check_settings(path, settings)
    return settings


def _check_settings(path: Path, settings: dict[str, Any]) -> None:
    size = settings.get("size", [1, 1])
    if len(size) != 2 or not all(type(n) is int and 0 < n <= 1 << 14 for n in size):
        raise DataError(f"size in {path} is {size!r}", "write size = [height, width] in pixels")
    if settings.get("color", "rgb") not in ("rgb", "gray"):
        raise DataError(f"color in {path} is {settings['color']!r}", 'write "rgb" or "gray"')
    labels = settings.get("labels", [])
    if len(set(map(str, labels))) != len(labels):
        raise DataError(f"labels in {path} names a class twice", "give each class one line")
