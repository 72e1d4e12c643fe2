"""Finds mistakes in representative data, each with a code and what to do about it.

====  =======================================================================
code  what was found
====  =======================================================================
D01   the same sample again and again
D02   samples whose values are all the same
D03   a range that does not fit what the model was trained on
D04   NaN or infinite values
D05   a few outliers that stretch the range of everything else
D06   too few samples
D07   test samples that are in the training split too
====  =======================================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack.data.checks import Slot, check_input
from edgepack.data.dataset import Dataset, Split, match
from edgepack.data.expectation import Expectation, Range, expect, range_of
from edgepack.network.walk import inputs_of
from edgepack.tflite import signature

Array = NDArray[Any]

TOLERATED_SHARE = 0.01
"""Of repeated or constant samples: real data holds some."""
FEWEST_SAMPLES = 100
OUTLIER_FACTOR = 4.0
"""Of the 99.9th percentile; among a million samples of a Gaussian the largest reaches 1.5 of it."""
RANGE_FACTOR = 16.0
"""Between the widths of two ranges: 0-255 for 0-1 is 255, a dark picture is less than 16."""
RANGE_MARGIN = 0.25
"""Of a range's width, that values may lie outside of it."""
VARIANCE_HIGH, VARIANCE_LOW = 100.0, 1e-3
"""Of the variance before a batch normalization to what it has seen in training. Measured on small
networks after 1 and 5 epochs: 0.004 to 0.6 with right inputs, 190 to 20,000 with inputs times 255,
below 3e-4 with inputs divided by 255."""
THUMBNAIL = 64


SAMPLES = 200
"""How many are looked at where nothing else is said."""


@dataclass(frozen=True)
class Finding:
    """One mistake in the data: a warning, not an error.

    Attributes:
        code: of the table above.
        message: what was found, with its figures.
        hint: what to do about it.
    """

    code: str
    message: str
    hint: str


def lint_for(model: Any, dataset: Dataset, seed: int, count: int = SAMPLES) -> tuple[Finding, ...]:
    """What is wrong with the samples that a model would be calibrated on.

    Args:
        model: a functional or Sequential tf_keras model, or the bytes of a .tflite, which tells
            nothing of what it was trained on.
        dataset: where calibration samples are drawn from.
        seed: that they are drawn by.
        count: how many.

    Raises:
        DataError: if shape or type do not fit the model's inputs.
    """
    frozen = isinstance(model, bytes)
    rows = signature.slots(model)["inputs"] if frozen else inputs_of(model)
    slots = tuple(Slot(*row) for row in rows)
    samples = dataset.feed(dataset.calibration(count, seed), [slot.name for slot in slots])
    for slot in slots:
        check_input(slot, samples[slot.name])
    expected = Expectation() if frozen else expect(model, samples)
    return lint(samples, expected) + lint_splits(dataset)


def lint(samples: Mapping[str, Array], expected: Expectation) -> tuple[Finding, ...]:
    """What is wrong with preprocessed samples.

    Args:
        samples: arrays ``[n, ...]`` by input name.
        expected: what the model was trained on, as far as that is known.
    """
    found = [*_repeated(samples), *_few(samples)]
    for name, x in samples.items():
        found += _constant(name, x)
        finite = x[np.isfinite(x)] if x.dtype.kind == "f" else x.ravel()
        found += _not_finite(name, x.size - finite.size, x.size)
        if x.dtype.kind == "f" and finite.size:
            found += _outliers(name, finite)
        if name in expected.ranges:
            found += _range(name, range_of(x, "samples"), expected.ranges[name])
    if not any(finding.code == "D03" for finding in found):
        found += _variance(expected)
    return tuple(sorted(found, key=lambda finding: finding.code))


def lint_splits(dataset: Dataset) -> tuple[Finding, ...]:
    """Whether test samples have another range than training samples, or are among them."""
    if dataset.training is None or dataset.test is None:
        return ()
    found: list[Finding] = []
    training = match(dataset.training.inputs, list(dataset.test.inputs))
    for name, x in dataset.test.inputs.items():
        trained = range_of(training[name], "the training split")
        found += _range(f"{name} for the test", range_of(x, "the test split"), trained)
    shared = _count_shared(dataset.training, dataset.test)
    if _notable(shared, len(dataset.test)):
        message = f"{shared} of {len(dataset.test)} test samples are in the training split too"
        hint = "take them out: a model knows what it was trained on"
        found.append(Finding("D07", message, hint))
    return tuple(found)


def _notable(count: int, total: int) -> bool:
    return count > TOLERATED_SHARE * total


def _repeated(samples: Mapping[str, Array]) -> Iterator[Finding]:
    total = len(next(iter(samples.values())))
    repeated = total - len({_digest(samples, i) for i in range(total)})
    if _notable(repeated, total):
        message = f"{repeated} of {total} samples repeat another"
        yield Finding("D01", message, "give different samples; look at what makes them")


def _few(samples: Mapping[str, Array]) -> Iterator[Finding]:
    total = len(next(iter(samples.values())))
    if total < FEWEST_SAMPLES:
        hint = f"give {FEWEST_SAMPLES} or more, of all that the model will see"
        yield Finding("D06", f"only {total} samples", hint)


def _constant(name: str, x: Array) -> Iterator[Finding]:
    rows = x.reshape(len(x), -1)
    constant = int(np.sum(rows.min(axis=1) == rows.max(axis=1))) if rows.shape[1] > 1 else 0
    if _notable(constant, len(x)):
        message = f"{constant} of {len(x)} samples of {name} hold one value only"
        yield Finding("D02", message, "leave blank samples out")


def _not_finite(name: str, count: int, size: int) -> Iterator[Finding]:
    if count:
        message = f"{count} of {size} values of {name} are NaN or infinite"
        yield Finding("D04", message, "leave those samples out, or fill their gaps")


def _outliers(name: str, values: Array) -> Iterator[Finding]:
    """Zeros are left out, as sparse inputs would have nothing else below the percentile."""
    sizes = np.abs(values[values != 0])
    if not sizes.size:
        return
    usual, largest = float(np.percentile(sizes, 99.9)), float(sizes.max())
    if largest > OUTLIER_FACTOR * usual:
        yield Finding(
            "D05",
            f"values of {name} reach {largest:.4g}, 99.9 % are below {usual:.4g}",
            "clip them, or leave those samples out: an int8 step grows with the largest",
        )


def _range(name: str, given: Range | None, expected: Range | None) -> Iterator[Finding]:
    if given is None or expected is None:
        return
    low, high = given.low, given.high
    width = max(expected.high - expected.low, 1e-30)
    margin = RANGE_MARGIN * width
    wide = (high - low) > RANGE_FACTOR * width
    narrow = low < high and (high - low) * RANGE_FACTOR < width
    outside = low < expected.low - margin or high > expected.high + margin
    if wide or narrow or outside:
        yield Finding(
            "D03",
            f"values of {name} lie in {low:.4g} to {high:.4g}, where {expected.source} tells of"
            f" {expected.low:.4g} to {expected.high:.4g}",
            "state mean and scale with the data as the model was trained",
        )


def _variance(expected: Expectation) -> Iterator[Finding]:
    ratio = expected.variance_ratio
    if ratio is not None and not VARIANCE_LOW <= ratio <= VARIANCE_HIGH:
        yield Finding(
            "D03",
            f"what reaches {expected.normalization} varies {ratio:.3g} times as much as it did in"
            " training",
            "state mean and scale with the data as the model was trained, such as scale 1/255",
        )


def _count_shared(training: Split, test: Split) -> int:
    """How many test samples equal a training sample; few values tell which to compare whole."""
    names = list(test.inputs)
    trained, tested = match(training.inputs, names), match(test.inputs, names)
    wanted = set(_thumbnails(tested))
    known = {_digest(trained, i) for i, few in enumerate(_thumbnails(trained)) if few in wanted}
    return sum(_digest(tested, i) in known for i in range(len(test))) if known else 0


def _thumbnails(inputs: Mapping[str, Array]) -> Iterator[bytes]:
    columns = []
    for x in inputs.values():
        rows = x.reshape(len(x), -1)
        columns.append(np.ascontiguousarray(rows[:, :: max(1, rows.shape[1] // THUMBNAIL)]))
    for parts in zip(*columns, strict=True):
        yield b"".join(part.tobytes() for part in parts)


def _digest(inputs: Mapping[str, Array], i: int) -> bytes:
    return hashlib.sha256(b"".join(x[i].tobytes() for x in inputs.values())).digest()
