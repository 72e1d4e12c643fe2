"""Data in splits that never mix, with the preprocessing that every input goes through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgepack.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Preprocessing:
    """What turns a stored sample into a model's input: ``(x - mean) * scale`` as float32.

    Attributes:
        mean: one value, or one for each channel (the last axis).
        scale: one value, or one for each channel.
    """

    mean: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Preprocess samples ``[n, ...]``; integers with the identity setting stay as they are."""
        import numpy as np

        if self == Preprocessing():
            return x
        return (x.astype(np.float32) - np.float32(self.mean)) * np.float32(self.scale)


@dataclass(frozen=True)
class Split:
    """Samples of one split as they are stored, before preprocessing.

    Attributes:
        inputs: arrays ``[n, ...]`` by input name; one input may have any name.
        outputs: labels or targets ``[n, ...]`` by output name; empty where there are none.
    """

    inputs: Arrays
    outputs: Arrays = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def take(self, chosen: slice | np.ndarray) -> Split:
        """The chosen samples only."""
        return Split(
            {name: x[chosen] for name, x in self.inputs.items()},
            {name: y[chosen] for name, y in self.outputs.items()},
        )


@dataclass(frozen=True)
class Dataset:
    """Samples for training, validation, calibration and test.

    Attributes:
        source: what the user typed after ``--data``.
        fingerprint: sha256 that changes whenever any sample or its preprocessing does.
        training: what models are trained on; calibration samples are taken from here only.
        validation: held out of training, for early stopping.
        test: what models are judged on, and nothing else.
        preprocessing: applied wherever a model's inputs are made.
        labels: names of the classes, in the order of their numbers.
    """

    source: str
    fingerprint: str
    training: Split | None
    validation: Split | None
    test: Split | None
    preprocessing: Preprocessing = Preprocessing()
    labels: tuple[str, ...] = ()

    def calibration(self, count: int, seed: int) -> Split:
        """``count`` training samples, drawn without repetition by ``seed``."""
        import numpy as np

        if self.training is None:
            raise DataError(
                f"the data {self.source} has no training samples to calibrate on",
                "give training samples; calibration never uses the test split",
            )
        order = np.random.default_rng(seed).permutation(len(self.training))
        return self.training.take(np.sort(order[:count]))

    def feed(self, split: Split, input_names: list[str]) -> dict[str, np.ndarray]:
        """Preprocessed inputs of a split by the model's own input names.

        Args:
            split: one of this data set's splits, or a part of it.
            input_names: the model's inputs in its order; a single input takes any name.

        Raises:
            DataError: if the data has other inputs than the model.
        """
        return {n: self.preprocessing(x) for n, x in match(split.inputs, input_names).items()}


def match(arrays: Arrays, names: list[str]) -> dict[str, np.ndarray]:
    """Arrays in a model's order of names; a single one matches whatever it is called."""
    if len(arrays) == len(names) == 1:
        return {names[0]: next(iter(arrays.values()))}
    if sorted(arrays) != sorted(names):
        raise DataError(
            f"the data has {', '.join(sorted(arrays)) or 'nothing'}"
            f" where the model has {', '.join(sorted(names))}",
            "name the arrays of the data as the model names its inputs and outputs",
        )
    return {name: arrays[name] for name in names}
