"""Judges a build: the float baseline and the final model on the same test samples, and the gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepack import confidence, evaluate, userfile
from edgepack.chain import Chain, Stage
from edgepack.data.dataset import Split, match
from edgepack.data.noise import SOURCE
from edgepack.errors import DataError, InputError, StepError
from edgepack.progress import Progress
from edgepack.store import key_of, source_digest, versions
from edgepack.tflite.interpreter import Interpreter

DIAGNOSED = 16
"""Samples that the search for a collapsed layer runs, with every tensor kept."""


BLOCK = 256
"""Samples that are preprocessed at once."""

ROUNDING = 1e-9
"""What a difference of two shares may be off by, so that 0.98 - 0.97 is not above 0.01."""


@dataclass(frozen=True)
class Pair:
    """What is compared: the float baseline and the final model, each before and after stripping.

    Attributes:
        baseline: the float32 flatbuffer as it is shipped.
        final: the final flatbuffer as it is shipped.
        named_baseline: the baseline with its layers' names.
        named_final: the final flatbuffer with its layers' names.
        inputs: the model's input names in its order.
        outputs: its output names.
        retrained: whether the model was trained on between the two.
    """

    baseline: Stage
    final: Stage
    named_baseline: Stage
    named_final: Stage
    inputs: Sequence[str]
    outputs: Sequence[str]
    retrained: bool = False


def judge(chain: Chain, pair: Pair, metric: str) -> Mapping[str, Any]:
    """The evaluation as plain data, from the store or made now; `docs/bundle.md` describes it."""
    key = key_of(
        baseline=pair.baseline.artifact.sha256,
        final=pair.final.artifact.sha256,
        named=[pair.named_baseline.artifact.sha256, pair.named_final.artifact.sha256],
        names=[list(pair.inputs), list(pair.outputs)],
        retrained=pair.retrained,
        data=chain.fingerprint,
        metric=metric,
        metric_file=_metric_file(metric),
        source=source_digest("edgepack.judgement"),
        versions=versions(),
    )
    found = chain.store.get(key)
    return (found or chain.store.put(key, {}, _judge(chain, pair, metric))).facts


def _metric_file(metric: str) -> str:
    return userfile.digest(Path(metric.rpartition(":")[0])) if ".py:" in metric else ""


def _judge(chain: Chain, pair: Pair, metric: str) -> dict[str, Any]:
    split = chain.dataset.test
    if split is None:
        raise InputError(
            f"the data {chain.dataset.source} has no test samples",
            "add a test split, or leave the evaluation away with --no-eval",
        )
    ends = pair.inputs, pair.outputs
    before = run_split(chain, pair.baseline.read(), ends, split, "evaluate baseline")
    after = run_split(chain, pair.final.read(), ends, split, "evaluate final")
    _refuse_broken(before, after)
    figures = {name: evaluate.fidelity(before[name], after[name]) for name in pair.outputs}
    why = evaluate.collapsed(figures, retrained=pair.retrained)
    return {
        "data": "noise" if chain.dataset.source == SOURCE else "test",
        "samples": len(split),
        **scores(split, metric, before, after),
        "interval": _intervals(split, metric, before, after),
        "fidelity": figures,
        "collapse": {"reason": why, "layer": _culprit(chain, pair, split)} if why else None,
    }


def run_split(
    chain: Chain,
    model: bytes,
    ends: tuple[Sequence[str], Sequence[str]],
    split: Split,
    task: str = "",
) -> evaluate.Arrays:
    """The outputs of a flatbuffer for a whole split, of which a block at a time is preprocessed.

    Args:
        chain: of the build, whose data the split is of.
        model: the flatbuffer.
        ends: the names of its inputs and of its outputs.
        split: the samples.
        task: what progress is reported as; empty for none.
    """
    running = Interpreter(model, *ends)
    parts = []
    for start in range(0, len(split), BLOCK):
        if task:
            chain.report(Progress(task, start, len(split)))
        block = split.take(slice(start, start + BLOCK))
        parts.append(running.run(chain.dataset.feed(block, list(ends[0]))))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _refuse_broken(before: evaluate.Arrays, after: evaluate.Arrays) -> None:
    """Refuse outputs that nothing can be compared with, or that nobody could use."""
    refuse_broken_baseline(before)
    for name, count in evaluate.count_broken(after).items():
        raise StepError(
            f"the final model's output {name} has {count} NaN or infinite values where the float"
            " model has numbers",
            "a range overflows: take another quantization, such as int8 or dynamic",
        )


def refuse_broken_baseline(outputs: evaluate.Arrays) -> None:
    """Refuse a float model's outputs that nothing can be compared with.

    Raises:
        DataError: if one has values that are NaN or infinite.
    """
    for name, count in evaluate.count_broken(outputs).items():
        raise DataError(
            f"the float model's output {name} has {count} NaN or infinite values on the test split",
            "look for NaN in the test samples, and whether their range is the training's",
        )


def scores(
    split: Split, metric: str, before: evaluate.Arrays, after: evaluate.Arrays
) -> dict[str, Any]:
    """The metric of two models' outputs; none of it where there are no labels."""
    if not split.outputs:
        return {"metric": None, "baseline": None, "final": None, "drop": None, "top5": None}
    chosen, labels = _judging(split, metric, before)
    baseline, final = chosen(before, labels), chosen(after, labels)
    many = chosen.name == "accuracy" and all(y.shape[-1] > 5 for y in before.values())
    five = evaluate.read_metric("top5")
    return {
        "metric": chosen.name,
        "baseline": baseline,
        "final": final,
        "drop": chosen.drop(baseline, final),
        "top5": {"baseline": five(before, labels), "final": five(after, labels)} if many else None,
    }


def _judging(
    split: Split, metric: str, outputs: evaluate.Arrays
) -> tuple[evaluate.Metric, evaluate.Arrays]:
    """The metric, derived from the labels where none is named, and the labels it judges by."""
    given = match(split.outputs, list(outputs))
    name, labels = (metric, given) if metric else evaluate.derive_metric(given)
    return evaluate.read_metric(name), labels


def _intervals(
    split: Split, metric: str, before: evaluate.Arrays, after: evaluate.Arrays
) -> dict[str, tuple[float, float]] | None:
    """How sure the metric of each model is; None where there are no labels."""
    if not split.outputs:
        return None
    chosen, labels = _judging(split, metric, before)
    pairs = (("baseline", before), ("final", after))
    return {word: confidence.interval(chosen, outputs, labels) for word, outputs in pairs}


def _culprit(chain: Chain, pair: Pair, split: Split) -> str:
    from edgepack.tflite import diagnose

    few = chain.dataset.feed(split.take(slice(DIAGNOSED)), list(pair.inputs))
    return diagnose.first_collapsed_layer(
        pair.named_baseline.read(), pair.named_final.read(), few, pair.inputs
    )


def gate(evaluation: Mapping[str, Any] | None, max_drop: float | None) -> dict[str, Any] | None:
    """Whether the metric got worse by at most ``max_drop``; None where no gate was asked for.

    Raises:
        InputError: if there are no labels to judge by.
    """
    if max_drop is None or evaluation is None:
        return None
    if evaluation["drop"] is None:
        raise InputError("--max-drop needs labelled test data", "add labels to the data")
    met = evaluation["drop"] <= max_drop + ROUNDING
    return {"max_drop": max_drop, "drop": evaluation["drop"], "met": met}
