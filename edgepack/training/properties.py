"""Structure in weights (zeros, few values): measure it, name it, and tell where a step lost it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepack.training.codebooks import FEW, codebooks
from edgepack.training.masks import zero_block
from edgepack.training.signs import is_binary, is_ternary

SPARSE = 0.05
"""From this fraction of zeros on they are no accident, and are kept."""

SHARED = 0.9
"""Above this fraction of distinct values, equal ones are a coincidence."""

ROUNDING = 1e-3
"""The fraction of zeros that may go astray without being a loss."""


SIGNED = ("binary", "ternary")
"""What weights are that are a sign, or a sign or zero, times a number of their channel."""


@dataclass(frozen=True)
class Weight:
    """Values that are multiplied with activations.

    Attributes:
        name: the layer's name and the weight's.
        values: as stored: floats, or integers whose zero is 0.
        channel_axis: the dimension of the output channels.
    """

    name: str
    values: np.ndarray[Any, Any]
    channel_axis: int


@dataclass(frozen=True)
class WeightStructure:
    """What is regular in one weight.

    Attributes:
        name: the weight's.
        size: number of values.
        zeros: fraction of values that are zero.
        unique_in_tensor: number of distinct values.
        unique_in_channel: the largest number of distinct values in a channel.
        two_of_four: whether two of any four values in a row are zero, where a row goes along the
            input channels, as in the layout of TFLite.
        channels: number of output channels.
        binary: whether all values of a channel are one number or its negative.
        ternary: whether they are that or zero.
        codebook: the same for weights that have few distinct floats in common; else empty.
    """

    name: str
    size: int
    zeros: float
    unique_in_tensor: int
    unique_in_channel: int
    two_of_four: bool
    channels: int = 1
    binary: bool = False
    ternary: bool = False
    codebook: str = ""
    zero_block: int = 1

    @property
    def sparse(self) -> bool:
        """Whether enough values are zero to be worth keeping."""
        return self.zeros >= SPARSE

    @property
    def clustered_in_tensor(self) -> bool:
        """Whether the whole weight shares few values."""
        return self.unique_in_tensor <= min(FEW, SHARED * self.size)

    @property
    def clustered_in_channel(self) -> bool:
        """Whether each channel shares few values."""
        return self.unique_in_channel <= min(FEW, SHARED * self.size / self.channels)

    @property
    def clustered(self) -> bool:
        """Whether the weight, or each of its channels, shares few values; zeros count as shared."""
        return self.clustered_in_tensor or self.clustered_in_channel

    @property
    def signed(self) -> set[str]:
        """``binary`` or ``ternary``, or neither."""
        return {word for word in SIGNED if getattr(self, word)}

    @property
    def shares_beside_zeros(self) -> bool:
        """Whether values other than zero are shared, in the whole or in a usual channel."""
        zero = int(self.zeros > 0)
        others = SHARED * self.size * (1 - self.zeros)
        in_tensor = self.unique_in_tensor - zero <= others
        return self.clustered and (
            in_tensor or self.unique_in_channel - zero <= others / self.channels
        )


def measure(weights: Sequence[Weight]) -> tuple[WeightStructure, ...]:
    """The structure of each weight."""
    named = codebooks([weight.values for weight in weights])
    return tuple(_structure(*pair) for pair in zip(weights, named, strict=True))


def _structure(weight: Weight, codebook: str) -> WeightStructure:
    values = weight.values
    rows = np.moveaxis(values, weight.channel_axis, 0).reshape(
        values.shape[weight.channel_axis], -1
    )
    return WeightStructure(
        name=weight.name,
        size=int(values.size),
        zeros=float(np.mean(values == 0)),
        unique_in_tensor=int(np.unique(values).size),
        unique_in_channel=_most_values(rows),
        two_of_four=is_two_of_four(values, weight.channel_axis),
        channels=len(rows),
        binary=is_binary(rows),
        ternary=is_ternary(rows),
        codebook=codebook,
        zero_block=zero_block(values, weight.channel_axis),
    )


def _most_values(rows: np.ndarray[Any, Any]) -> int:
    ordered = np.sort(rows, axis=1)
    return int(np.max(1 + np.count_nonzero(np.diff(ordered, axis=1), axis=1)))


def is_two_of_four(values: np.ndarray[Any, Any], channel_axis: int) -> bool:
    """Whether two of each four along the input channels are zero; a rest is padded with zeros."""
    last = values.ndim - 1
    along = np.moveaxis(values, last if channel_axis != last else last - 1, -1)
    if along.shape[-1] < 4:
        return False
    padding = [(0, 0)] * (values.ndim - 1) + [(0, -along.shape[-1] % 4)]
    groups = np.pad(along != 0, padding).reshape(-1, 4)
    return bool(np.all(np.count_nonzero(groups, axis=1) <= 2))


def present(structures: Sequence[WeightStructure]) -> frozenset[str]:
    """The properties of a model with these weights."""
    found = {
        "sparse": any(s.sparse for s in structures),
        "clustered": any(s.shares_beside_zeros for s in structures),
        "shared": bool(books(structures)),
    }
    named = {name for name, there in found.items() if there}
    return frozenset(named.union(*(s.signed for s in structures)))


def books(structures: Sequence[WeightStructure]) -> list[list[int]]:
    """The numbers of the weights that have few values in common, for each such group."""
    found = defaultdict(list)
    for number, structure in enumerate(structures):
        if structure.codebook and structure.clustered_in_tensor:
            found[structure.codebook].append(number)
    return [numbers for numbers in found.values() if len(numbers) > 1]


def lost(
    before: Sequence[WeightStructure], after: Sequence[WeightStructure], kept: Collection[str]
) -> list[str]:
    """What a step lost in silence, as sentences; weights are matched by name, else by size.

    Where the names are the same, the step worked on one form, and a weight that shared values in
    all must still do so. A conversion may scale each channel: there the values of a channel count.

    Args:
        before: the weights that went in.
        after: the weights that came out.
        kept: the properties that the step must keep.
    """
    same = {s.name for s in before} == {s.name for s in after}
    sentences = []
    if "sparse" in kept:
        sentences += _lost_zeros(before, after)
    if "clustered" in kept:
        sentences += _lost_clusters(before, after) if same else _lost_in_channels(before, after)
    if "shared" in kept and same:
        sentences += _lost_books(before, after)
    for name in (word for word in SIGNED if word in kept):
        sentences += _lost_signs(before, after, name)
    return sentences


def _lost_zeros(before: Sequence[WeightStructure], after: Sequence[WeightStructure]) -> list[str]:
    had = sum(s.zeros * s.size for s in before if s.sparse)
    total = sum(s.size for s in before if s.sparse)
    names = {s.name for s in before if s.sparse}
    paired = [s for s in after if s.name in names]
    candidates = paired if len(paired) == len(names) else after
    have = sum(s.zeros * s.size for s in candidates)
    if have >= had - ROUNDING * total:
        return []
    return [f"{had:.0f} zeros in sparse weights became {have:.0f}"]


def _lost_clusters(
    before: Sequence[WeightStructure], after: Sequence[WeightStructure]
) -> list[str]:
    found = {s.name: s for s in after}
    sentences = []
    for old in before:
        new = found[old.name]
        if old.clustered_in_tensor and new.unique_in_tensor > old.unique_in_tensor:
            counts = f"{old.unique_in_tensor} distinct values became {new.unique_in_tensor}"
            sentences.append(f"{old.name}: {counts}")
        elif old.clustered_in_channel and new.unique_in_channel > old.unique_in_channel:
            counts = f"{old.unique_in_channel} distinct values became {new.unique_in_channel}"
            sentences.append(f"{old.name}: {counts} in a channel")
    return sentences


def _lost_in_channels(
    before: Sequence[WeightStructure], after: Sequence[WeightStructure]
) -> list[str]:
    """Compare weights of the same size, the most clustered with the most clustered."""
    found = defaultdict(list)
    for new in after:
        found[new.size].append(new.unique_in_channel)
    sentences = []
    for old in sorted((s for s in before if s.clustered), key=lambda s: s.unique_in_channel):
        counts = sorted(found[old.size])
        if not counts:
            continue
        found[old.size] = counts[1:]
        if counts[0] > old.unique_in_channel:
            pair = f"{old.unique_in_channel} distinct values in a channel became {counts[0]}"
            sentences.append(f"{old.name}: {pair}")
    return sentences


def _lost_books(before: Sequence[WeightStructure], after: Sequence[WeightStructure]) -> list[str]:
    found = {s.name: s.codebook for s in after}
    sentences = []
    for numbers in books(before):
        names = [before[number].name for number in numbers]
        words = {found[name] for name in names}
        if len(words) > 1 or "" in words:
            sentences.append(f"{', '.join(names)} no longer have the same values")
    return sentences


def _lost_signs(
    before: Sequence[WeightStructure], after: Sequence[WeightStructure], name: str
) -> list[str]:
    """Compare the numbers of weights of each size, whatever they are called now."""
    left = Counter(s.size for s in after)
    had = Counter(s.size for s in before if getattr(s, name))
    have = Counter(s.size for s in after if getattr(s, name))
    return [
        f"{min(count, left[size]) - have[size]} weights of {size} values are no longer {name}"
        for size, count in had.items()
        if have[size] < min(count, left[size])
    ]
