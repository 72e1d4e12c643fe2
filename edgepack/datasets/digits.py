"""scikit-learn's 1,797 handwritten digits of 8x8 pixels, read from inside its package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from edgepack.data import fingerprint as sha256
from edgepack.data.dataset import Dataset, Preprocessing, Split
from edgepack.data.splitting import hold_out
from edgepack.errors import DataError, MissingExtraError

FORM = "digits"
TEST_SHARE = 0.2
VALIDATION_SHARE = 0.125
"""Of what the test split leaves: 70, 10 and 20 percent of all."""


def matches(spec: str) -> bool:
    """Whether the user means this source."""
    return spec == FORM


def offers(spec: str) -> frozenset[str]:  # noqa: ARG001
    """What the data can be used for."""
    return frozenset({"training", "labels", "calibration"})


def fingerprint(spec: str) -> str:
    """The sha256 of the file inside scikit-learn, which is not imported, and of this code."""
    return sha256.of_files([(spec, _file()), *sha256.code("datasets.digits", "data.splitting")])


def load(spec: str) -> Dataset:
    """Images ``[n, 8, 8, 1]`` from 0 to 16, each class divided alike between the splits.

    Raises:
        MissingExtraError: if scikit-learn is not installed.
        DataError: if its file is not what it should be.
    """
    import numpy as np

    path = _file()
    try:
        table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
        images, classes = table[:, :64].reshape(-1, 8, 8, 1), table[:, 64]
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise DataError(f"{path} is broken: {error}", "install scikit-learn again") from error
    whole = Split({"x": images}, {"y": classes})
    kept, test = hold_out(len(whole), TEST_SHARE, classes)
    training, validation = hold_out(len(kept), VALIDATION_SHARE, classes[kept])
    return Dataset(
        spec,
        fingerprint(spec),
        training=whole.take(kept[training]),
        validation=whole.take(kept[validation]),
        test=whole.take(test),
        preprocessing=Preprocessing(scale=(1 / 16,)),
        labels=tuple("0123456789"),
    )


def _file() -> Path:
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise MissingExtraError("scikit-learn", "build")
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
