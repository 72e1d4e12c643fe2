"""Metrics and fidelity, the same for every form: arrays in, figures out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepack.errors import DataError, InputError
from edgepack.plugins import suggest
from edgepack.userfile import load_function

Arrays = Mapping[str, NDArray[Any]]

COLLAPSE_DB = 10.0
"""A signal to quantization noise ratio below this is a collapse, not a loss."""


def accuracy(predicted: NDArray[Any], labels: NDArray[Any]) -> float:
    """Share of samples whose largest output is the label's.

    One unit tells two classes apart at 0.5 where all values are probabilities, else, as logits
    do, at 0.
    """
    return float(np.mean(_classes(predicted) == _indices(predicted, labels)))


def top5(predicted: NDArray[Any], labels: NDArray[Any]) -> float:
    """Share of samples whose label is among the five largest outputs."""
    best = np.argsort(-predicted, axis=-1)[..., :5]
    return float(np.mean(np.any(best == _indices(predicted, labels)[..., None], axis=-1)))


def mae(predicted: NDArray[Any], labels: NDArray[Any]) -> float:
    """Mean absolute error."""
    return float(np.mean(np.abs(predicted.reshape(labels.shape) - labels)))


def mse(predicted: NDArray[Any], labels: NDArray[Any]) -> float:
    """Mean squared error."""
    return float(np.mean(np.square(predicted.reshape(labels.shape) - labels)))


METRICS = {"accuracy": accuracy, "top5": top5, "mae": mae, "mse": mse}
ERRORS = frozenset({"mae", "mse"})
"""Metrics of which less is better; of all others, a user's own too, more is better."""


def _classes(predicted: NDArray[Any]) -> NDArray[Any]:
    if predicted.shape[-1] == 1:
        logits = bool(np.any((predicted < 0) | (predicted > 1)))
        return (predicted[..., 0] > (0.0 if logits else 0.5)).astype(np.int64)
    found: NDArray[Any] = np.argmax(predicted, axis=-1)
    return found


def _indices(predicted: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
    """Labels as class numbers, whether they came as numbers or one-hot."""
    if labels.ndim == predicted.ndim:
        one_hot = labels.shape[-1] > 1
        return np.argmax(labels, axis=-1) if one_hot else labels[..., 0].astype(np.int64)
    return labels.astype(np.int64)


@dataclass(frozen=True)
class Metric:
    """What a model is judged by.

    Attributes:
        name: one of `METRICS`, or ``FILE.py:function``.
        function: takes predicted and true arrays of one output and gives a number.
        less_is_better: for errors.
    """

    name: str
    function: Callable[[Any, Any], float]
    less_is_better: bool = False

    def drop(self, baseline: float, final: float) -> float:
        """By how much the final model is worse; negative where it is better."""
        return final - baseline if self.less_is_better else baseline - final

    def __call__(self, outputs: Arrays, labels: Arrays) -> float:
        """The mean over the outputs that have labels."""
        if len(outputs) == len(labels) == 1:
            labels = dict(zip(outputs, labels.values(), strict=True))
        common = [name for name in outputs if name in labels]
        if not common:
            raise DataError(
                f"the labels {', '.join(labels)} name no output of {', '.join(outputs)}",
                "name the labels of the data as the model names its outputs",
            )
        try:
            found = float(np.mean([self.function(outputs[n], labels[n]) for n in common]))
        except (ValueError, TypeError, IndexError) as error:
            raise DataError(
                f"the metric {self.name} fails on these labels: {error}",
                f"name one that suits them with --metric: {', '.join(METRICS)}, FILE.py:function",
            ) from error
        if not np.isfinite(found):
            raise DataError(
                f"the metric {self.name} is {found}", "look for NaN in the outputs and the labels"
            )
        return found


def read_metric(name: str) -> Metric:
    """A metric by its name, or a user's own ``FILE.py:function``."""
    if ".py:" in name:
        return Metric(name, load_function(name))
    if name not in METRICS:
        raise InputError(f"there is no metric {name!r}", suggest(name, list(METRICS)))
    return Metric(name, METRICS[name], name in ERRORS)


def derive_metric(labels: Arrays) -> tuple[str, Arrays]:
    """Accuracy of the outputs that have class labels; of none, mean absolute error of all.

    Returns:
        The metric's name, and the labels that it judges by.
    """
    classes = {name: y for name, y in labels.items() if is_classes(y)}
    return ("accuracy", classes) if classes else ("mae", labels)


def is_classes(labels: NDArray[Any]) -> bool:
    """Whether labels are classes: integers, or rows of zeros with a single one."""
    if labels.dtype.kind in "iub":
        return True
    one_hot = labels.ndim == 2 and labels.shape[1] > 1
    return one_hot and bool(np.all((labels == 0) | (labels == 1)) and np.all(labels.sum(1) == 1))


def fidelity(baseline: NDArray[Any], final: NDArray[Any]) -> dict[str, float | bool | None]:
    """How close one output of the final model is to the baseline's.

    Args:
        baseline: ``[n, ...]``.
        final: the same shape.

    Returns:
        ``cosine``, the mean over samples; ``sqnr_db``, ``10 log10(signal / noise)``, None where
        they are equal; ``max_difference``; ``top1_agreement`` where the output has classes, else
        None; ``constant``: whether the final output is the same for all samples while the
        baseline's is not.
    """
    n = len(baseline)
    a = baseline.reshape(n, -1).astype(np.float64)
    b = final.reshape(n, -1).astype(np.float64)
    classes = baseline.ndim == 2 and baseline.shape[1] > 1
    agreement = float(np.mean(a.argmax(1) == b.argmax(1))) if classes else None
    constant = n > 1 and bool(np.all(b == b[:1]) and not np.all(a == a[:1]))
    return {
        "top1_agreement": agreement,
        "cosine": _cosine(a, b),
        "sqnr_db": sqnr_db(a, b),
        "max_difference": float(np.max(np.abs(a - b))),
        "constant": constant,
    }


def _cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    norms: NDArray[Any] = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    products = np.sum(a * b, axis=1)
    same = np.all(a == b, axis=1)
    cosines = np.divide(products, norms, out=same.astype(np.float64), where=norms > 0)
    return float(np.mean(cosines))


def sqnr_db(signal: NDArray[Any], noisy: NDArray[Any]) -> float | None:
    """Signal to quantization noise ratio in dB; None where there is no noise at all."""
    noise = float(np.sum(np.square(signal - noisy)))
    power = float(np.sum(np.square(signal)))
    if noise == 0:
        return None
    least = float(np.finfo(np.float64).tiny)
    return float(10 * np.log10(max(power / noise, least)))


def count_broken(outputs: Arrays) -> dict[str, int]:
    """How many values of each output are NaN or infinite, of those that have any."""
    broken = {name: int(np.sum(~np.isfinite(y))) for name, y in outputs.items()}
    return {name: count for name, count in broken.items() if count}


def collapsed(figures: Mapping[str, Mapping[str, Any]], *, retrained: bool = False) -> str:
    """Why a model counts as collapsed, or nothing.

    Args:
        figures: by output, what `fidelity` says.
        retrained: whether the model was trained on, so that its outputs are others by intention.
    """
    for name, figure in figures.items():
        if figure["constant"]:
            return f"output {name} is the same for every sample"
        if retrained or figure["sqnr_db"] is None:
            continue
        if figure["sqnr_db"] < COLLAPSE_DB:
            return f"output {name} has an SQNR of {figure['sqnr_db']:.1f} dB"
    return ""
