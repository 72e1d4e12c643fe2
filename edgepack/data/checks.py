"""What arrays must hold before anything slow is done with them; each refusal is a DataError."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgepack.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Slot:
    """One input or output of a model.

    Attributes:
        name: as the model calls it.
        shape: with the batch first; None where any size will do.
        dtype: numpy's word for the type, such as ``float32``.
        low: the lowest real number that it is made for.
        high: the highest.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    low: float = 0.0
    high: float = 1.0


def is_labels(y: NDArray[Any]) -> bool:
    """Whether outputs are class numbers, which integers are; floats are targets."""
    return y.dtype.kind in "iu"


def check_split(split: str, inputs: Arrays, outputs: Arrays) -> None:
    """Refuse a split that is empty, whose arrays differ in length, or that are not numbers."""
    lengths = {}
    for name, array in {**inputs, **outputs}.items():
        if array.dtype.kind not in "iuf":
            raise DataError(
                f"{name} of the {split} split is of type {array.dtype}, not numbers",
                "store integers or floats; class names belong into labels",
            )
        lengths[name] = len(array) if array.ndim else 0
    if not lengths or not all(lengths.values()):
        empty = ", ".join(name for name, length in lengths.items() if not length) or "it"
        raise DataError(
            f"the {split} split is empty: {empty} has no samples",
            "give samples, or leave the split out",
        )
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{length} of {name}" for name, length in lengths.items())
        raise DataError(
            f"the arrays of the {split} split differ in length: {told}",
            "every sample needs one entry in each array",
        )


def check_outputs(split: str, name: str, y: NDArray[Any], labels: Sequence[str]) -> None:
    """Refuse targets that are not finite and labels that are out of range."""
    import numpy as np

    if not is_labels(y):
        if not np.isfinite(y).all():
            raise DataError(
                f"{name} of the {split} split holds NaN or infinite values",
                "leave those samples out",
            )
        return
    low, high = int(y.min()), int(y.max())
    if low < 0 or (labels and high >= len(labels)):
        allowed = f"0 to {len(labels) - 1}" if labels else "0 and up"
        raise DataError(
            f"{name} of the {split} split has labels from {low} to {high}, allowed are {allowed}",
            "number the classes from 0; store targets of a regression as float32",
        )


def check_classes(name: str, y: NDArray[Any]) -> None:
    """Refuse training labels that are all the same."""
    if is_labels(y) and y.min() == y.max():
        raise DataError(
            f"{name} of the training split holds one class only: {int(y.min())}",
            "give samples of at least two classes",
        )


def check_same_shape(what: str, first: NDArray[Any], second: NDArray[Any]) -> None:
    """Refuse one input or output whose samples differ in shape between two splits."""
    if first.shape[1:] != second.shape[1:]:
        raise DataError(
            f"{what} has samples of shape {first.shape[1:]} in one split"
            f" and {second.shape[1:]} in another",
            "give all samples one shape",
        )


def check_channels(x: NDArray[Any], mean: Sequence[float], scale: Sequence[float]) -> None:
    """Refuse a mean or scale that is neither one value nor one for each channel of ``x``."""
    channels = x.shape[-1] if x.ndim > 1 else 1
    for name, values in (("mean", mean), ("scale", scale)):
        if len(values) not in (1, channels):
            raise DataError(
                f"{name} has {len(values)} values, the samples have {channels} channels",
                "give one value, or one for each channel",
            )


def check_input(slot: Slot, x: NDArray[Any]) -> None:
    """Refuse preprocessed samples ``[n, ...]`` that a model's input cannot take."""
    if not _same(slot.shape[1:], x.shape[1:]):
        raise DataError(
            f"the data has samples of shape {x.shape[1:]},"
            f" the input {slot.name} takes {_told(slot.shape[1:])}",
            "give the samples the shape that the model was trained on, channels last",
        )
    wanted = "iu" if slot.dtype.startswith(("int", "uint")) else "iuf"
    if x.dtype.kind not in wanted:
        raise DataError(
            f"the data has samples of type {x.dtype} after preprocessing,"
            f" the input {slot.name} takes {slot.dtype}",
            "integer inputs need integers, without mean and scale" if wanted == "iu" else "",
        )


def check_output(slot: Slot, y: NDArray[Any]) -> None:
    """Refuse labels or targets ``[n, ...]`` that are not what a model's output says."""
    shape = slot.shape[1:]
    if is_labels(y) and shape and _same(shape[:-1], y.shape[1:]):
        _check_label_range(slot, y, shape[-1])
        return
    bare = not y.shape[1:] and shape == (1,)
    if not bare and not _same(shape, y.shape[1:]):
        raise DataError(
            f"the data has labels or targets of shape {y.shape[1:]},"
            f" the output {slot.name} is {_told(shape)}",
            "give one integer for each sample of a classifier, else the output's own shape",
        )


def _check_label_range(slot: Slot, y: NDArray[Any], size: int | None) -> None:
    classes = 2 if size == 1 else size
    if classes is not None and int(y.max()) >= classes:
        raise DataError(
            f"the data has the label {int(y.max())}, the output {slot.name} tells"
            f" {classes} classes apart, 0 to {classes - 1}",
            "store targets of a regression as float32"
            if size == 1
            else "correct the labels, or give a model with an output for each class",
        )


def _same(shape: Sequence[int | None], given: Sequence[int]) -> bool:
    same_rank = len(shape) == len(given)
    return same_rank and all(a in (None, b) for a, b in zip(shape, given, strict=True))


def _told(shape: Sequence[int | None]) -> str:
    return str(tuple(shape)).replace("None", "any")
