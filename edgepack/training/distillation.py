"""What a student learns from a teacher: its softened outputs, and what its layers find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgepack import keras
from edgepack.errors import StepError
from edgepack.network.walk import calls
from edgepack.plugins import suggest
from edgepack.training.loop import Lesson
from edgepack.training.objective import Objective, last_activation

AUTO = ("auto",)
"""The pairs of layers that asks for `paired`."""

LEAST = 1e-30
"""Probabilities are not taken to be less, or their logarithm would be infinite."""

Distance = Callable[[Any, Any], Any]
"""``f(teacher, student)`` of two outputs, a number in TensorFlow operators."""

Pair = tuple[Any, Any]
"""A tensor of the teacher and one of the student that is to become like it."""


@dataclass(frozen=True)
class Weights:
    """How much each part of what is learnt counts.

    Attributes:
        soft: the distance of the outputs.
        hard: the loss by the labels.
        feature: the distance of the layers' outputs.
    """

    soft: float
    hard: float
    feature: float


def distances(
    teacher: Any, student: Any, objective: Objective | None, temperature: float
) -> list[Distance]:
    """How far each output of a student is from its teacher's.

    Args:
        teacher: a tf_keras model.
        student: another with outputs in the same order.
        objective: what the labels tell of outputs without an activation; None: nothing, and they
            are compared as numbers (Ba and Caruana 2014, arXiv:1312.6184, equation 1).
        temperature: by which logits are divided.
    """
    losses = [loss.name for loss in objective.losses] if objective else [""] * len(student.outputs)
    ends = zip(teacher.outputs, student.outputs, losses, strict=False)
    return [_distance(last_activation(t), last_activation(s), n, temperature) for t, s, n in ends]


def _distance(teacher: str, student: str, loss: str, temperature: float) -> Distance:
    """The distance for the last activations of two outputs and the loss by the labels."""
    tf = keras.tensorflow()
    words = {teacher, student}
    if "softmax" in words or loss.endswith("categorical_crossentropy"):
        measure, logits = categorical_distance, _log
    elif "sigmoid" in words or loss == "binary_crossentropy":
        measure, logits = binary_distance, _logit
    else:
        return lambda t, s: tf.reduce_mean(tf.square(t - s))

    def distance(t: Any, s: Any) -> Any:
        t = logits(t) if teacher in ("softmax", "sigmoid") else t
        s = logits(s) if student in ("softmax", "sigmoid") else s
        return measure(t, s, temperature)

    return distance


def categorical_distance(teacher: Any, student: Any, temperature: float) -> Any:
    """Kullback-Leibler divergence of softened classes, the mean over a batch, times T squared.

    Hinton et al. 2015, arXiv:1503.02531, equation 1 and section 2; the logits' last dimension
    counts the classes.
    """
    tf = keras.tensorflow()
    wanted, found = (tf.nn.log_softmax(z / temperature) for z in (teacher, student))
    divergence = tf.reduce_sum(tf.exp(wanted) * (wanted - found), axis=-1)
    return tf.reduce_mean(divergence) * temperature**2


def binary_distance(teacher: Any, student: Any, temperature: float) -> Any:
    """The same for outputs each of which is a yes or no by itself."""
    tf = keras.tensorflow()
    terms = []
    for sign in (1, -1):
        wanted, found = (tf.math.log_sigmoid(sign * z / temperature) for z in (teacher, student))
        terms.append(tf.exp(wanted) * (wanted - found))
    return tf.reduce_mean(tf.add_n(terms)) * temperature**2


def _log(probabilities: Any) -> Any:
    """Logits of a softmax, up to a constant that a softmax does not see."""
    tf = keras.tensorflow()
    return tf.math.log(tf.maximum(probabilities, LEAST))


def _logit(probabilities: Any) -> Any:
    """Logits of a sigmoid; 1 - p has no more digits than float32."""
    tf = keras.tensorflow()
    rest = tf.maximum(1 - probabilities, keras.tf_keras().backend.epsilon())
    return tf.math.log(tf.maximum(probabilities, LEAST)) - tf.math.log(rest)


def named_pairs(teacher: Any, student: Any, words: Sequence[str]) -> list[Pair]:
    """The pairs that words such as ``conv_4:conv_2`` name, teacher's layer first.

    Raises:
        StepError: if a model has no such layer, or positions differ.
    """
    found = []
    for word in words:
        names = word.split(":")
        pair = (_output(teacher, names[0], "teacher"), _output(student, names[1], "student"))
        if _place(pair[0]) != _place(pair[1]):
            shapes = [list(t.shape[1:]) for t in pair]
            raise StepError(
                f"features {word} have the shapes {shapes[0]} and {shapes[1]}",
                "pair layers whose shapes differ in the last dimension only",
            )
        found.append(pair)
    return found


def _output(model: Any, name: str, title: str) -> Any:
    known = {layer.name: outputs[0] for layer, _, _, outputs in calls(model)}
    if name not in known:
        raise StepError(f"the {title} has no layer {name!r}", suggest(name, sorted(known)))
    return known[name]


def paired(teacher: Any, student: Any) -> list[Pair]:
    """The last layers of both before each downsampling: pairs of equal spatial shape.

    Raises:
        StepError: if there are none.
    """
    found, own = _last_of_place(teacher), _last_of_place(student)
    pairs = [(found[place], own[place]) for place in found if place in own]
    if not pairs:
        raise StepError(
            "teacher and student have no layers of the same spatial shape",
            "name pairs by distill.features, such as teacher_layer:student_layer",
        )
    return pairs


def _place(tensor: Any) -> tuple[int | None, ...]:
    """The dimensions between batch and channels."""
    return tuple(tensor.shape[1:-1])


def _last_of_place(model: Any) -> dict[tuple[int | None, ...], Any]:
    """The last tensor of each spatial shape that something learnt has part in."""
    ends, found, learnt = {id(t) for t in model.outputs}, {}, False
    for layer, _, _, outputs in calls(model):
        learnt |= bool(layer.trainable_weights)
        for tensor in outputs:
            if learnt and len(tensor.shape) > 2 and id(tensor) not in ends:
                found[_place(tensor)] = tensor
    return found


def with_features(student: Any, pairs: Sequence[Pair]) -> Any:
    """The student, whose further outputs are features with as many channels as the teacher's.

    Where these differ, a projection is learnt with the student (Romero et al. 2015,
    arXiv:1412.6550, equation 3): a matrix for all positions, as a 1x1 convolution has.
    """
    features = []
    for i, (wanted, own) in enumerate(pairs):
        width = wanted.shape[-1]
        project = keras.tf_keras().layers.Dense(width, name=f"distill_projection_{i}")
        features.append(own if own.shape[-1] == width else project(own))
    return keras.tf_keras().Model(student.inputs, [*student.outputs, *features], name=student.name)


def make_lesson(guide: Any, outputs: Sequence[Distance], weights: Weights) -> Lesson:
    """The lesson of a batch, for a student that `with_features` gave.

    Args:
        guide: the teacher; its further outputs are the features. It runs as it would when used.
        outputs: the distance of each output.
        weights: of the parts of the sum.
    """
    tf = keras.tensorflow()
    count = len(outputs)

    def lesson(inputs: Any, found: Sequence[Any], supervised: Any) -> Any:
        wanted = [tf.stop_gradient(t) for t in tf.nest.flatten(guide(inputs, training=False))]
        pairs = list(zip(wanted, found, strict=True))
        soft = [distance(*pair) for distance, pair in zip(outputs, pairs, strict=False)]
        total = weights.soft * tf.add_n(soft) + weights.hard * supervised
        features = [feature_distance(*pair) for pair in pairs[count:]]
        return total + weights.feature * tf.add_n(features) / len(features) if features else total

    return lesson


def feature_distance(teacher: Any, student: Any) -> Any:
    """The squared error over the teacher's mean square, so that all layers count alike."""
    tf = keras.tensorflow()
    size = tf.reduce_mean(tf.square(teacher)) + keras.tf_keras().backend.epsilon()
    return tf.reduce_mean(tf.square(teacher - student)) / size
