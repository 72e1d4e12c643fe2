"""How much a weight matters, learnt batch by batch while a model trains, or in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgepack import keras
from edgepack.progress import Progress
from edgepack.step import Given
from edgepack.training.loop import batches_of, order
from edgepack.training.training_step import TrainingStep

MOST_BATCHES = 64
"""Whose gradients are looked at where a model is not trained."""


@dataclass(frozen=True)
class Scores:
    """What batches have told of some variables.

    ``movement`` adds up ``-gradient * weight``: weights that training moves away from zero matter
    (Sanh et al. 2020, arXiv:2005.07683, equation 5, without the learning rate). ``taylor`` adds up
    ``(gradient * weight)^2``: what the loss would change by if the weight were zero (Molchanov et
    al. 2019, arXiv:1906.10771, equation 8). ``magnitude`` needs no batches.

    Attributes:
        criterion: ``magnitude``, ``movement`` or ``taylor``.
        variables: the weights.
        sums: TensorFlow variables of their shapes.
    """

    criterion: str
    variables: Sequence[Any]
    sums: Sequence[Any]

    def watch(self, pairs: Sequence[tuple[Any, Any]]) -> None:
        """Take in a batch's gradients with their variables."""
        if self.criterion == "magnitude":
            return
        tf = keras.tensorflow()
        places = {variable.ref(): total for variable, total in self}
        for gradient, variable in pairs:
            if variable.ref() in places:
                product = tf.convert_to_tensor(gradient) * variable
                told = tf.square(product) if self.criterion == "taylor" else -product
                places[variable.ref()].assign_add(told)

    def __iter__(self) -> Any:
        """Pairs of a weight and its sum."""
        return iter(zip(self.variables, self.sums, strict=True))


def scores_of(criterion: str, variables: Sequence[Any]) -> Scores:
    """Scores of nothing yet."""
    tf = keras.tensorflow()
    return Scores(criterion, variables, [tf.Variable(tf.zeros_like(v)) for v in variables])


def look(model: Any, given: Given, settings: TrainingStep, scores: Scores) -> None:
    """Let scores see the gradients of some batches, while the model stays as it is.

    Raises:
        DataError: if there are no labelled training samples.
    """
    tf = keras.tensorflow()
    data = batches_of(model, given, settings)
    variables = model.trainable_variables

    def see(inputs: Any, labels: Any) -> None:
        with tf.GradientTape() as tape:
            outputs = tf.nest.flatten(model(inputs[0] if len(inputs) == 1 else inputs))
            pairs = zip(data.objective.losses, labels, outputs, strict=False)
            told = tf.add_n([loss.function()(y, output) for loss, y, output in pairs])
        known = zip(tape.gradient(told, variables), variables, strict=True)
        scores.watch([(gradient, variable) for gradient, variable in known if gradient is not None])

    compiled = tf.function(see)
    size = min(settings.batch_size, len(data.training))
    chosen = order(len(data.training), given.seed, 0)
    count = min(MOST_BATCHES, len(chosen) // size)
    for i in range(count):
        compiled(*data.batch(data.training, chosen[i * size : (i + 1) * size]))
        given.report(Progress(f"{settings.step_name()}: gradients", i + 1, count))
