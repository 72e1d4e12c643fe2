"""Arrays in a NumPy ``.npz`` file, by documented keys.

========================  ====================================================================
key                       what it holds
========================  ====================================================================
``x_train``, ``y_train``  training samples ``[n, ...]`` and their labels or targets
``x_validation``, ...     the same for the validation split
``x_test``, ...           the same for the test split
``x``, ``y``              samples without splits: a fifth of each class becomes the test split
``x_train.NAME``, ...     one of several inputs or outputs, as the model names it
``mean``, ``scale``       preprocessing ``(x - mean) * scale``: one value, or one per channel
``labels``                names of the classes, in the order of their numbers
========================  ====================================================================

Every ``y`` may be missing; samples without labels calibrate, and judge fidelity.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

from edgepack.data import arrays
from edgepack.data import fingerprint as sha256
from edgepack.data.dataset import Dataset
from edgepack.errors import DataError

FORM = "FILE.npz"


def matches(spec: str) -> bool:
    """Whether the user means this source."""
    return spec.endswith(".npz")


def offers(spec: str) -> frozenset[str]:
    """What the data can be used for, by the names inside the file."""
    _check_exists(spec)
    try:
        with zipfile.ZipFile(spec) as file:
            names = file.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        hint = "copy it again, or save it with numpy.savez"
        raise DataError(f"{spec} is not a whole .npz file: {error}", hint) from error
    return arrays.offers([name.removesuffix(".npy") for name in names])


def fingerprint(spec: str) -> str:
    """The sha256 of the file and of this code."""
    _check_exists(spec)
    code = sha256.code("datasets.npz", "data.arrays", "data.splitting")
    return sha256.of_files([("npz", Path(spec)), *code])


def load(spec: str) -> Dataset:
    """The arrays of the file; pickled objects are never read.

    Raises:
        DataError: if the file is missing or broken, or its keys are not those above.
    """
    import numpy as np

    _check_exists(spec)
    try:
        with np.load(spec, allow_pickle=False) as file:
            found = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
        hint = "save plain arrays of numbers with numpy.savez"
        raise DataError(f"{spec} cannot be read: {error}", hint) from error
    return arrays.to_dataset(spec, found, fingerprint(spec))


def _check_exists(spec: str) -> None:
    if not Path(spec).is_file():
        raise DataError(f"there is no file {spec}", "give the path of an .npz file")
