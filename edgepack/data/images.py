"""Image files as arrays of bytes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM")
GRAY = ("1", "L", "LA")
COLOR = ("P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


def pillow_version() -> str:
    """The version of Pillow, on which the pixels of a JPEG depend; empty without it."""
    try:
        return metadata.version("pillow")
    except metadata.PackageNotFoundError:
        return ""


def read_images(
    paths: Sequence[Path], size: Sequence[int] | None = None, color: str | None = None
) -> NDArray[Any]:
    """Read images of one size, or bring them to one.

    Args:
        paths: the files, at least one.
        size: height and width to resize to, bilinear; by default all must have the first's.
        color: ``rgb`` or ``gray``; by default gray if all images are.

    Returns:
        Bytes ``[n, height, width, channels]``, 1 or 3 channels; transparency is dropped.

    Raises:
        DataError: if a file is no image, broken, too large, of 16 bits, or of another size.
        MissingExtraError: if Pillow is not installed.
    """
    import numpy as np

    if color is None:
        color = "gray" if all(_open(path)[1] in GRAY for path in paths) else "rgb"
    mode = {"gray": "L", "rgb": "RGB"}[color]
    first = _read(paths[0], mode, size)
    pixels = np.empty((len(paths), *first.shape), np.uint8)
    for i, path in enumerate(paths):
        image = _read(path, mode, size)
        if image.shape != first.shape:
            raise DataError(
                f"{path} is {image.shape[0]}x{image.shape[1]} pixels,"
                f" {paths[0]} is {first.shape[0]}x{first.shape[1]} (height x width)",
                "write size = [height, width] into dataset.toml",
            )
        pixels[i] = image
    return pixels


def _read(path: Path, mode: str, size: Sequence[int] | None) -> NDArray[Any]:
    import numpy as np

    image, _ = _open(path, mode)
    if size is not None:
        image = image.resize((size[1], size[0]), _image_module().Resampling.BILINEAR)
    pixels: NDArray[Any] = np.asarray(image)
    return pixels[..., None] if mode == "L" else pixels


def _open(path: Path, mode: str | None = None) -> tuple[Any, str]:
    """An image and its mode in the file; decoded and converted where a mode is asked for."""
    module = _image_module()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", module.DecompressionBombWarning)
            with module.open(path, formats=FORMATS) as image:
                found = image.mode
                _check_mode(path, found)
                return (image.convert(mode) if mode else None), found
    except (module.DecompressionBombWarning, module.DecompressionBombError) as error:
        raise DataError(f"{path} is too large: {error}", "scale it down, or remove it") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(f"{path} is no whole image: {error}", "repair or remove it") from error


def _check_mode(path: Path, mode: str) -> None:
    if mode not in GRAY + COLOR:
        raise DataError(f"{path} has pixels of type {mode}, not bytes", "save it with 8 bits")


def _image_module() -> Any:
    """The module ``PIL.Image``."""
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise MissingExtraError("pillow", "build") from error
    return Image
