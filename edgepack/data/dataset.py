"""Data in splits that never mix, with the preprocessing that every input goes through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from edgepack import plugins
from edgepack.data import checks
from edgepack.data.checks import Slot
from edgepack.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Preprocessing:
    """What turns a stored sample into a model's input: ``(x - mean) * scale`` as float32.

    Attributes:
        mean: one value, or one for each channel (the last axis).
        scale: one value, or one for each channel.
    """

    mean: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)

    def __call__(self, x: NDArray[Any]) -> NDArray[Any]:
        """Preprocess samples ``[n, ...]``; integers with the identity setting stay as they are."""
        import numpy as np

        if self == Preprocessing():
            return x
        mean, scale = np.asarray(self.mean, np.float32), np.asarray(self.scale, np.float32)
        made: NDArray[Any] = (x.astype(np.float32) - mean) * scale
        return made


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

    def take(self, chosen: slice | NDArray[Any]) -> Split:
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

    def splits(self) -> dict[str, Split]:
        """The splits that there are, by name."""
        named = {"training": self.training, "validation": self.validation, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}

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

    def feed(self, split: Split, input_names: list[str]) -> dict[str, NDArray[Any]]:
        """Preprocessed inputs of a split by the model's own input names.

        Args:
            split: one of this data set's splits, or a part of it.
            input_names: the model's inputs in its order; a single input takes any name.

        Raises:
            DataError: if the data has other inputs than the model.
        """
        return {n: self.preprocessing(x) for n, x in match(split.inputs, input_names).items()}


def match(arrays: Arrays, names: list[str]) -> dict[str, NDArray[Any]]:
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


@dataclass(frozen=True)
class Source:
    """Where data comes from; nothing is read until it is asked for, and nothing twice.

    Attributes:
        spec: what the user typed after ``--data``.
        plugin: the file in ``datasets/`` that reads it.
    """

    spec: str
    plugin: str

    @cached_property
    def fingerprint(self) -> str:
        """The data set's fingerprint, without loading it where the bytes of files tell."""
        if "_dataset" in vars(self):
            return self._dataset.fingerprint
        cheap: str | None = plugins.load("datasets", self.plugin).fingerprint(self.spec)
        return cheap or self._dataset.fingerprint

    @cached_property
    def offers(self) -> frozenset[str]:
        """What `offers` says of the data, without loading it where names of files tell."""
        cheap: frozenset[str] | None = plugins.load("datasets", self.plugin).offers(self.spec)
        return offers(self._dataset) if cheap is None else cheap

    def load(self) -> Dataset:
        """The data, checked.

        Raises:
            DataError: if it is missing, broken, empty, or contradicts itself.
        """
        return self._dataset

    @cached_property
    def _dataset(self) -> Dataset:
        dataset: Dataset = plugins.load("datasets", self.plugin).load(self.spec)
        if vars(self).get("fingerprint", dataset.fingerprint) != dataset.fingerprint:
            raise DataError(f"the data {self.spec} has changed since it was looked at", "try again")
        check(dataset)
        return dataset


def open_source(spec: str) -> Source:
    """The source that the text after ``--data`` means.

    Raises:
        DataError: if it means none.
    """
    names = plugins.names("datasets")
    for name in names:
        if plugins.load("datasets", name).matches(spec):
            return Source(spec, name)
    forms = [str(plugins.load("datasets", name).FORM) for name in names]
    raise DataError(f"there is no data {spec!r}", plugins.suggest(spec, forms))


def offers(dataset: Dataset | None) -> frozenset[str]:
    """Which of the words in `edgepack.step.NEEDS` a data set meets."""
    if dataset is None or dataset.training is None:
        return frozenset()
    labels = {"labels"} if dataset.training.outputs else set()
    return frozenset({"training", "calibration"} | labels)


def check(dataset: Dataset) -> None:
    """Refuse data that contradicts itself.

    Raises:
        DataError: on an empty split, arrays of different length or shape, labels out of range
            or of one class only, targets that are not finite, or what is not numbers.
    """
    splits = dataset.splits()
    if not splits:
        raise DataError(
            f"the data {dataset.source} has no samples", "give some of x, x_train or x_test"
        )
    named = dataset.labels if all(len(s.outputs) < 2 for s in splits.values()) else ()
    for name, split in splits.items():
        checks.check_split(name, split.inputs, split.outputs)
        for output, y in split.outputs.items():
            checks.check_outputs(name, output, y, named)
    _check_between(list(splits.values()))
    for x in next(iter(splits.values())).inputs.values():
        checks.check_channels(x, dataset.preprocessing.mean, dataset.preprocessing.scale)
    for output, y in dataset.training.outputs.items() if dataset.training else ():
        checks.check_classes(output, y)


def _check_between(splits: list[Split]) -> None:
    first, *others = splits
    for split in others:
        for name, x in match(split.inputs, list(first.inputs)).items():
            checks.check_same_shape(name, first.inputs[name], x)
        if first.outputs and split.outputs:
            for name, y in match(split.outputs, list(first.outputs)).items():
                checks.check_same_shape(name, first.outputs[name], y)


def fits(dataset: Dataset, inputs: Sequence[Slot], outputs: Sequence[Slot]) -> None:
    """Refuse data that a model cannot take.

    Args:
        dataset: the data.
        inputs: the model's inputs in its order.
        outputs: the model's outputs in its order; not looked at where the data has no labels.

    Raises:
        DataError: if names, shapes or types differ, or labels go beyond the model's classes.
    """
    for split in dataset.splits().values():
        samples = dataset.feed(split.take(slice(1)), [slot.name for slot in inputs])
        for slot in inputs:
            checks.check_input(slot, samples[slot.name])
        if split.outputs:
            truth = match(split.outputs, [slot.name for slot in outputs])
            for slot in outputs:
                checks.check_output(slot, truth[slot.name])
