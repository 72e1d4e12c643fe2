"""Runs models on samples without training them: what their loss is, and on which samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgepack import keras
from edgepack.step import Given
from edgepack.training.loop import batches_of
from edgepack.training.objective import Objective
from edgepack.training.training_step import TrainingStep

Samples = Sequence[tuple[list[Any], list[Any]]]
"""Batches of inputs and labels, as a model takes them."""

UNLABELLED = Objective(())
"""Where only inputs are looked at."""


def training_samples(
    model: Any, given: Given, settings: TrainingStep, objective: Objective, count: int
) -> Samples:
    """Training samples in batches, drawn by the seed; without labels where there is no loss.

    Args:
        model: that takes them.
        given: the data and the seed.
        settings: the size of a batch.
        objective: what the labels are for.
        count: of samples.

    Raises:
        DataError: if there is no training data.
    """
    batches = batches_of(model, given, settings, objective)
    split = batches.dataset.calibration(count, given.seed)
    if not objective.losses:
        split = type(split)(split.inputs)
    starts = range(0, len(split), settings.batch_size)
    return [batches.batch(split, slice(start, start + settings.batch_size)) for start in starts]


def held_out_samples(
    model: Any, given: Given, settings: TrainingStep, objective: Objective, count: int
) -> Samples:
    """About as many validation samples, in batches; training samples where nothing is held out."""
    batches = batches_of(model, given, settings, objective)
    most = range(-(-count // settings.batch_size))
    held = [batch for batch, _ in zip(batches.held_out(settings.batch_size), most, strict=False)]
    return held or training_samples(model, given, settings, objective, count)


def supervised(objective: Objective, labels: Sequence[Any], outputs: Sequence[Any]) -> Any:
    """The sum of the losses of all outputs that have one."""
    rows = zip(objective.losses, labels, outputs, strict=False)
    return keras.tensorflow().add_n([loss.function()(y, output) for loss, y, output in rows])


def loss_of(model: Any, objective: Objective, samples: Samples) -> float:
    """The mean loss of a model on samples."""
    tf = keras.tensorflow()

    def judge(inputs: Any, labels: Any) -> Any:
        outputs = model(inputs[0] if len(inputs) == 1 else inputs, training=False)
        return supervised(objective, labels, tf.nest.flatten(outputs))

    compiled = tf.function(judge)
    losses = [(float(compiled(*batch)), len(batch[0][0])) for batch in samples]
    return sum(loss * count for loss, count in losses) / sum(count for _, count in losses)
