"""Golden vectors show as many classes as there are."""

from __future__ import annotations

import numpy as np

from edgepack.data.dataset import Split
from edgepack.golden import spread


def test_samples_of_many_classes_are_chosen_however_labels_are_written() -> None:
    numbers = np.repeat(np.arange(5), 20)
    x = np.zeros((100, 2))
    for labels in (numbers, np.eye(5, dtype=np.float32)[numbers], numbers[:, None]):
        chosen = spread(Split({"x": x}, {"y": labels}), 8)
        assert len(chosen) == 8
        assert set(numbers[chosen]) == {0, 1, 2, 3, 4}


def test_samples_without_classes_are_evenly_spaced() -> None:
    assert list(spread(Split({"x": np.zeros((15, 2))}), 8)) == list(range(0, 15, 2))
    assert list(spread(Split({"x": np.zeros((3, 2))}), 8)) == [0, 1, 2]
