"""The one training loop: repeatable to the last bit, resumable, and it stops when it diverges."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from edgepack import keras
from edgepack.data.dataset import Dataset, Split, match
from edgepack.errors import DataError, StepError
from edgepack.progress import Progress
from edgepack.step import Given
from edgepack.training import checkpoint
from edgepack.training.keeping import Keep
from edgepack.training.objective import Objective, as_labels, derive_loss
from edgepack.training.training_step import TrainingStep

REPORT_EVERY_S = 0.1

Lesson = Callable[[Any, Sequence[Any], Any], Any]
"""``f(inputs, outputs, supervised)``, the loss of a batch in TensorFlow operators.

``inputs`` are as the model is fed, ``outputs`` all that it gives, flat, and ``supervised`` is the
loss by the labels; 0 where there are none.
"""

Watch = Callable[[Sequence[tuple[Any, Any]]], None]
"""Sees each batch's gradients with their variables before they are applied."""

Row = tuple[float, ...]
"""Training loss and validation loss of an epoch; NaN where nothing is held out."""


def fit(
    model: Any,
    given: Given,
    settings: TrainingStep,
    *,
    objective: Objective | None = None,
    keep: Sequence[Keep] = (),
    lesson: Lesson | None = None,
    watch: Watch | None = None,
    state: Sequence[Any] = (),
) -> list[Row]:
    """Train a model in place, and go on where a killed run has stopped; tells a row an epoch.

    Args:
        model: a tf_keras model; what is not trainable stays as it is.
        given: data, seed, checkpoints and where to report progress.
        settings: how long, how fast, in which batches.
        objective: what to train on, of the first outputs; None: what `derive_loss` says.
        keep: called after each batch.
        lesson: what to learn from besides labels; None: nothing.
        watch: sees the gradients.
        state: more variables that a killed run needs to go on, such as what ``watch`` adds up.

    Raises:
        EdgepackError: if the loss is not a finite number, or nothing is there to train on.
    """
    data = batches_of(model, given, settings, objective)
    run = _Run(model, data, given, settings, tuple(keep), lesson, watch)
    optimizer = _optimizer(model, settings)
    variables = [*model.weights, *optimizer.variables, *state]
    history = checkpoint.restore(given.checkpoints, variables)
    step = run.compile(optimizer)
    while not _is_done(history, settings):
        if has_randomness(model):
            # Only a new trace starts the random numbers anew, which a resumed run needs.
            keras.tf_keras().utils.set_random_seed(given.seed + len(history) + 1)
            step = run.compile(optimizer)
        history.append(run.epoch(len(history), step, optimizer))
        checkpoint.write(given.checkpoints, variables, history)
    return history


def _is_done(history: Sequence[Row], settings: TrainingStep) -> bool:
    losses = [validation for _, validation in history]
    return len(history) >= settings.epochs or is_over(losses, settings.patience)


def _optimizer(model: Any, settings: TrainingStep) -> Any:
    optimizer = keras.tf_keras().optimizers.Adam(settings.learning_rate)
    optimizer.build(model.trainable_variables)
    return optimizer


def rate(settings: TrainingStep, epochs_done: float) -> float:
    """The learning rate at a point of the training.

    With ``cosine`` it falls from its setting to zero (Loshchilov and Hutter 2017, arXiv:1608.03983,
    equation 5, without restarts).
    """
    if settings.decay == "none":
        return settings.learning_rate
    fall = 1 + math.cos(math.pi * epochs_done / settings.epochs)
    return settings.learning_rate * fall / 2


def is_over(losses: Sequence[float], patience: int) -> bool:
    """Whether the best of these losses is ``patience`` epochs old; never where that is 0."""
    if patience == 0 or not losses or math.isnan(losses[-1]):
        return False
    return len(losses) - 1 - int(np.argmin(losses)) >= patience


def order(count: int, seed: int, epoch: int) -> np.ndarray[Any, Any]:
    """The order of samples in one epoch, which depends on nothing else."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def has_randomness(model: Any) -> bool:
    """Whether any layer draws random numbers, as dropout does."""
    return any(hasattr(layer, "_random_generator") for layer in model.submodules)


@dataclass(frozen=True)
class Batches:
    """Batches as the model wants them."""

    dataset: Dataset
    training: Split
    model: Any
    objective: Objective

    def batch(self, split: Split, chosen: Any) -> tuple[list[Any], list[Any]]:
        """Inputs and labels of some samples, in the model's order, preprocessed only now."""
        part = split.take(chosen)
        names = list(self.model.input_names)
        fed = self.dataset.feed(part, names)
        kinds = [x.dtype.as_numpy_dtype for x in self.model.inputs]
        inputs = [fed[name].astype(kind) for name, kind in zip(names, kinds, strict=True)]
        labels = match(part.outputs, [loss.output for loss in self.objective.losses])
        return inputs, as_labels(labels, self.objective)

    def held_out(self, size: int) -> Iterator[tuple[list[Any], list[Any]]]:
        """The validation split in batches; nothing where it has no labels."""
        split = self.dataset.validation
        known = split and (split.outputs or not self.objective.losses)
        for start in range(0, len(split) if split and known else 0, size):
            assert split is not None
            yield self.batch(split, slice(start, start + size))


def batches_of(
    model: Any, given: Given, settings: TrainingStep, objective: Objective | None = None
) -> Batches:
    """The labelled samples that a model is trained on.

    Raises:
        DataError: if there are none.
    """
    if given.dataset is None or given.dataset.training is None:
        raise DataError("there are no training samples", "give --data with a training split")
    objective = objective or derive_loss(model, given.dataset, settings.loss)
    return Batches(given.dataset, given.dataset.training, model, objective)


@dataclass(frozen=True)
class _Run:
    """One training run: what stays the same from its first batch to its last."""

    model: Any
    data: Batches
    given: Given
    settings: TrainingStep
    keep: tuple[Keep, ...]
    lesson: Lesson | None = None
    watch: Watch | None = None

    def compile(self, optimizer: Any) -> Callable[[Any, Any], Any]:
        """One step of training as a TensorFlow function."""
        tf = keras.tensorflow()
        variables = self.model.trainable_variables

        def step(inputs: Any, labels: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = self.loss(inputs, labels, training=True)
            pairs = zip(tape.gradient(loss, variables), variables, strict=True)
            known = [(g, v) for g, v in pairs if g is not None]
            if self.watch:
                self.watch(known)
            optimizer.apply_gradients(known)
            for put_back in self.keep:
                put_back()
            return loss

        compiled: Callable[[Any, Any], Any] = tf.function(step)
        return compiled

    def loss(self, inputs: Any, labels: Any, *, training: bool) -> Any:
        """What the lesson says, with the model's own penalties where it trains.

        Without a lesson it is the sum of the losses of all outputs.
        """
        tf = keras.tensorflow()
        fed = inputs[0] if len(inputs) == 1 else inputs
        outputs = tf.nest.flatten(self.model(fed, training=training))
        pairs = zip(self.data.objective.losses, labels, outputs, strict=False)
        parts = [loss.function()(y, output) for loss, y, output in pairs]
        told = tf.add_n(parts) if parts else tf.constant(0.0)
        told = self.lesson(fed, outputs, told) if self.lesson else told
        return tf.add_n([told, *(self.model.losses if training else [])])

    def epoch(self, epoch: int, step: Callable[[Any, Any], Any], optimizer: Any) -> Row:
        """Train on all full batches once."""
        training = self.data.training
        size = min(self.settings.batch_size, len(training))
        chosen = order(len(training), self.given.seed, epoch)
        batches = len(chosen) // size
        total, told = 0.0, 0.0
        for i in range(batches):
            optimizer.learning_rate.assign(rate(self.settings, epoch + i / batches))
            loss = float(step(*self.data.batch(training, chosen[i * size : (i + 1) * size])))
            self.refuse_divergence(loss, epoch, i)
            total += loss
            if time.monotonic() - told > REPORT_EVERY_S or i + 1 == batches:
                told = time.monotonic()
                self.report(epoch * batches + i + 1, batches, total / (i + 1))
        return total / batches, self.validation_loss()

    @cached_property
    def judge(self) -> Callable[[Any, Any], Any]:
        """The loss of a batch, without training."""
        judge: Callable[[Any, Any], Any] = keras.tensorflow().function(
            lambda inputs, labels: self.loss(inputs, labels, training=False)
        )
        return judge

    def validation_loss(self) -> float:
        """The mean loss on what is held out of training; NaN where nothing is."""
        parts = [
            (float(self.judge(inputs, labels)), len(inputs[0]))
            for inputs, labels in self.data.held_out(self.settings.batch_size)
        ]
        count = sum(n for _, n in parts)
        return sum(loss * n for loss, n in parts) / count if count else math.nan

    def refuse_divergence(self, loss: float, epoch: int, batch: int) -> None:
        if math.isfinite(loss):
            return
        name = self.settings.step_name()
        raise StepError(
            f"{name} diverged: the loss is {loss} at epoch {epoch + 1}, batch {batch + 1}",
            f"try --set {name}.learning_rate={self.settings.learning_rate / 10:g}",
        )

    def report(self, done: int, batches: int, loss: float) -> None:
        epochs = self.settings.epochs
        note = f"epoch {-(-done // batches)}/{epochs}, loss {loss:.3f}"
        self.given.report(Progress(self.settings.step_name(), done, batches * epochs, note))
