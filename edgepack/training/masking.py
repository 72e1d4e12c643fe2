"""Sets weights to zero while a model trains, by importance and on a schedule, and keeps them so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from edgepack import keras
from edgepack.network.kernels import Kernel
from edgepack.training import masks
from edgepack.training.importance import Scores
from edgepack.training.rungs import Rung

TRANSPOSED = ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")


@dataclass(frozen=True)
class Pattern:
    """A word of `edgepack.training.patterns.PATTERNS`, and the size of its blocks."""

    word: str
    block: int


@dataclass(frozen=True)
class Masking:
    """The masks of some kernels through one training run.

    Attributes:
        kernels: what is pruned.
        scores: what decides, in the same order.
        pattern: where zeros may lie.
        rungs: when how many weights go.
        masks: TensorFlow variables of ones and zeros.
        batches: TensorFlow variable that counts.
    """

    kernels: Sequence[Kernel]
    scores: Scores
    pattern: Pattern
    rungs: Sequence[Rung]
    masks: Sequence[Any]
    batches: Any

    @property
    def state(self) -> list[Any]:
        """The variables that a killed run needs to go on."""
        return [self.batches, *self.masks, *self.scores.sums]

    def keep(self) -> None:
        """After a batch: choose anew where a rung is reached, and put zeros back."""
        tf = keras.tensorflow()
        self.batches.assign_add(1)
        reached = tf.equal(tf.constant([rung.batch for rung in self.rungs]), self.batches)
        amounts = tf.constant([rung.sparsity for rung in self.rungs], tf.float32)
        wanted = tf.reduce_max(tf.where(reached, amounts, 0.0))
        tf.cond(tf.reduce_any(reached), lambda: self._choose(wanted), tf.no_op)
        for kernel, mask in zip(self.kernels, self.masks, strict=True):
            kernel.variable.assign(kernel.variable * mask)

    def _choose(self, sparsity: Any) -> Any:
        """New masks, in operators of TensorFlow."""
        tf = keras.tensorflow()
        assigned = []
        for kernel, mask, total in self._each():
            function = partial(self._mask, kernel)
            read = [kernel.variable, total, mask, sparsity]
            new = tf.numpy_function(function, read, tf.float32)
            assigned.append(mask.assign(tf.ensure_shape(new, mask.shape)))
        return tf.group(*assigned)

    def finish(self, sparsity: float) -> None:
        """Choose once more what a whole run would have reached, and leave true zeros."""
        for kernel, mask, total in self._each():
            values = kernel.variable.numpy()
            found = self._mask(kernel, values, total.numpy(), mask.numpy(), sparsity)
            kernel.variable.assign(np.where(found > 0, values, np.float32(0)))

    def _each(self) -> Any:
        return zip(self.kernels, self.masks, self.scores.sums, strict=True)

    def _mask(self, kernel: Kernel, weights: Any, total: Any, mask: Any, sparsity: float) -> Any:
        """Ones where weights stay; what has gone stays away."""
        alive = np.where(mask > 0, weights, np.float32(0))
        ranked = self.scores.criterion != "magnitude"
        importance = masks.ranks(total, alive) if ranked else np.abs(alive)
        laid = inputs_last(kernel, importance)
        found = masks.kept(laid, self.pattern.word, sparsity, self.pattern.block)
        return inputs_back(kernel, found).astype(np.float32) * (mask > 0)


def masking(
    kernels: Sequence[Kernel], scores: Scores, pattern: Pattern, rungs: Sequence[Rung]
) -> Masking:
    """Masks that let everything pass yet."""
    tf = keras.tensorflow()
    ones = [tf.Variable(tf.ones_like(kernel.variable)) for kernel in kernels]
    return Masking(kernels, scores, pattern, rungs, ones, tf.Variable(0))


def inputs_last(kernel: Kernel, values: Any) -> Any:
    """A kernel's values with the input channels last, as TFLite lays them out."""
    return values if type(kernel.layer).__name__ in TRANSPOSED else np.swapaxes(values, -1, -2)


def inputs_back(kernel: Kernel, values: Any) -> Any:
    """The reverse of `inputs_last`."""
    return inputs_last(kernel, values)
