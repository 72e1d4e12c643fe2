"""Named arrays, as ``.npz`` files and users' functions give them, made into a data set."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from edgepack.data.checks import check_split, is_labels
from edgepack.data.dataset import Dataset, Preprocessing, Split
from edgepack.data.splitting import hold_out
from edgepack.errors import DataError
from edgepack.plugins import suggest

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEYS = (
    *("x_train", "y_train", "x_validation", "y_validation", "x_test", "y_test"),
    *("x", "y", "mean", "scale", "labels"),
)
SPLITS = {"train": "training", "validation": "validation", "test": "test"}
TEST_SHARE = 0.2
"""Of the samples, where they come in one piece."""

_KEY = re.compile(r"(?P<kind>[xy])(_(?P<split>train|validation|test))?(\.(?P<name>.+))?")

Parts = dict[str, dict[str, Any]]


def offers(keys: Collection[str]) -> frozenset[str]:
    """What data with these keys can be used for, as in `edgepack.step.NEEDS`.

    Raises:
        DataError: on an unknown key, or keys that contradict each other.
    """
    _sort(dict.fromkeys(keys))
    found = [match for key in keys if (match := _KEY.fullmatch(key))]
    training = {match["kind"] for match in found if match["split"] in (None, "train")}
    if "x" not in training:
        return frozenset()
    return frozenset({"training", "calibration"} | ({"labels"} if "y" in training else set()))


def to_dataset(source: str, arrays: Mapping[str, Any], fingerprint: str = "") -> Dataset:
    """Make a data set of arrays by key.

    Args:
        source: what the user typed.
        arrays: by the keys in `KEYS`; ``x_train.NAME`` where there are several inputs, and so on.
            Without splits (``x``, ``y``) a fifth, of each class, is held out as the test split.
        fingerprint: of the data set.

    Raises:
        DataError: on an unknown key, keys that contradict each other, or what is not numbers.
    """
    splits = {
        split: Split(_named(part, "x"), _named(part, "y")) for split, part in _sort(arrays).items()
    }
    made = _divide(splits[""]) if "" in splits else splits
    return Dataset(
        source,
        fingerprint,
        **{SPLITS[split]: made.get(split) for split in SPLITS},
        preprocessing=Preprocessing(
            _floats("mean", arrays.get("mean", 0.0)), _floats("scale", arrays.get("scale", 1.0))
        ),
        labels=_words(arrays.get("labels", ())),
    )


def _sort(arrays: Mapping[str, Any]) -> dict[str, Parts]:
    """Arrays by split, kind (``x``, ``y``) and name; the split is empty where none is named."""
    splits: dict[str, Parts] = {}
    for key, value in arrays.items():
        match = _KEY.fullmatch(key)
        if match:
            part = splits.setdefault(match["split"] or "", {"x": {}, "y": {}})
            part[match["kind"]][match["name"] or ""] = value
        elif key not in KEYS:
            raise DataError(f"the data has an unknown key {key!r}", suggest(key, list(KEYS)))
    _check_keys(splits)
    return splits


def _check_keys(splits: dict[str, Parts]) -> None:
    if not splits:
        raise DataError("the data has neither x nor x_train", f"keys are: {', '.join(KEYS)}")
    if "" in splits and len(splits) > 1:
        raise DataError(
            "the data has x or y beside arrays that name their split",
            "name the split in every key, such as x_train, or in none",
        )
    for split, part in splits.items():
        for kind, named in part.items():
            key = f"{kind}_{split}".rstrip("_")
            if kind == "x" and not named:
                raise DataError(f"the data has no {key}", f"labels need samples: add {key}")
            if "" in named and len(named) > 1:
                raise DataError(f"the data has both {key} and {key}.NAME", "name all of them")


def _divide(whole: Split) -> dict[str, Split]:
    """Samples that came in one piece, checked to be of one length, as training and test."""
    check_split("only", whole.inputs, whole.outputs)
    first = next(iter(whole.outputs.values()), None)
    classes = first if first is not None and first.ndim == 1 and is_labels(first) else None
    kept, held = hold_out(len(whole), TEST_SHARE, classes)
    return {"train": whole.take(kept)} | ({"test": whole.take(held)} if len(held) else {})


def _named(part: Parts, kind: str) -> dict[str, NDArray[Any]]:
    return {name or kind: _as_array(kind, value) for name, value in part[kind].items()}


def _as_array(kind: str, value: Any) -> NDArray[Any]:
    """An array as it is kept: reals as float32, truth as 0 and 1, a column of labels flat."""
    import numpy as np

    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataError(f"{kind} is not an array: {error}", "give arrays of one shape") from error
    if array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
    elif array.dtype.kind == "b":
        array = array.astype(np.uint8)
    if kind == "y" and is_labels(array) and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    return array


def _floats(name: str, values: Any) -> tuple[float, ...]:
    import numpy as np

    try:
        array = np.atleast_1d(np.asarray(values, np.float64))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{name} is not a number: {values!r}", "give one number, or one a channel"
        ) from error
    usable = array.ndim == 1 and array.size and np.isfinite(array).all()
    if not usable or (name == "scale" and not array.all()):
        raise DataError(
            f"{name} is {values!r}",
            "give one finite number, or one for each channel; scale is never 0",
        )
    return tuple(float(value) for value in array)


def _words(values: Any) -> tuple[str, ...]:
    import numpy as np

    if np.ndim(values) != 1:
        raise DataError(f"labels is {values!r}", "give a list of the classes' names")
    return tuple(str(value) for value in values)
