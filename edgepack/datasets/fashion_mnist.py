"""Fashion-MNIST from Debian's package or a folder of its files: 70,000 garments of 28x28 pixels."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.data import fingerprint as sha256
from edgepack.data.dataset import Dataset, Preprocessing, Split
from edgepack.data.splitting import SEED
from edgepack.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORM = "fashion-mnist"
DEBIAN = "/usr/share/datasets/fashion-mnist"
VARIABLE = "EDGEPACK_FASHION_MNIST"
FILES = {"training": "train", "test": "t10k"}
LABELS = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
VALIDATION = 5000


def matches(spec: str) -> bool:
    """Whether the user means this source."""
    return spec == FORM


def offers(spec: str) -> frozenset[str]:  # noqa: ARG001
    """What the data can be used for."""
    return frozenset({"training", "labels", "calibration"})


def fingerprint(spec: str) -> str:  # noqa: ARG001
    """The sha256 of the four files and of this code."""
    names = [f"{part}-{kind}" for part in FILES.values() for kind in ("images-idx3", "labels-idx1")]
    files = [(name, _file(f"{name}-ubyte")) for name in names]
    return sha256.of_files([*files, *sha256.code("datasets.fashion_mnist", "data.splitting")])


def load(spec: str) -> Dataset:
    """Images ``[n, 28, 28, 1]`` from 0 to 255; 5,000 of the training samples validate.

    Raises:
        DataError: if a file is missing or broken.
    """
    import numpy as np

    whole, test = (_read_split(part) for part in FILES.values())
    order = np.random.default_rng(SEED).permutation(len(whole))
    return Dataset(
        spec,
        fingerprint(spec),
        training=whole.take(np.sort(order[:-VALIDATION])),
        validation=whole.take(np.sort(order[-VALIDATION:])),
        test=test,
        preprocessing=Preprocessing(scale=(1 / 255,)),
        labels=LABELS,
    )


def _read_split(part: str) -> Split:
    images = _read_idx(_file(f"{part}-images-idx3-ubyte"), rank=3)
    return Split({"x": images[..., None]}, {"y": _read_idx(_file(f"{part}-labels-idx1-ubyte"), 1)})


def _read_idx(path: Path, rank: int) -> NDArray[Any]:
    """An array of bytes in the IDX format (http://yann.lecun.com/exdb/mnist/)."""
    import numpy as np

    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is broken: {error}", "fetch the file again") from error
    sizes = np.frombuffer(data[: 4 + 4 * rank], ">u4") if len(data) > 4 + 4 * rank else [0]
    if sizes[0] != 0x800 + rank or len(data) != 4 + 4 * rank + np.prod(sizes[1:], dtype=np.int64):
        raise DataError(f"{path} is not a whole IDX file of rank {rank}", "fetch the file again")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(sizes[1:])


def _file(name: str) -> Path:
    folder = Path(os.environ.get(VARIABLE) or DEBIAN)
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise DataError(
        f"Fashion-MNIST is not in {folder}: there is no {name}.gz",
        f"type: apt install dataset-fashion-mnist, or set {VARIABLE} to a folder of its four files",
    )
