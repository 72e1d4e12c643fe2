"""What each layer costs when it alone is quantized or pruned, on the user's own data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from edgepack import evaluate, judgement
from edgepack.chain import FloatModel
from edgepack.data.dataset import Split
from edgepack.data.noise import SOURCE
from edgepack.errors import InputError, StepError
from edgepack.progress import Progress
from edgepack.store import key_of, source_digest, versions
from edgepack.tflite import counting, flatbuffer, pruning
from edgepack.tflite.calibration import samples_of
from edgepack.tflite.quantizer import Samples, quantize
from edgepack.tflite.scheme import Scheme, literal, read_rule

PRUNED = "pruned"
CHANGES = ("int8", "int4", PRUNED)
"""What a layer alone is made."""

Facts = dict[str, Any]


@dataclass(frozen=True)
class Study:
    """What is to be measured.

    Attributes:
        changes: some of `CHANGES`.
        scheme: of quantization, one of `edgepack.tflite.scheme.KINDS`.
        sparsity: fraction of zeros in a pruned layer.
        samples: test samples that are run at most.
        calibration: training samples that ranges are read from.
        metric: what the models are judged by; empty derives it from the labels.
    """

    changes: tuple[str, ...] = CHANGES
    scheme: str = "static"
    sparsity: float = 0.5
    samples: int = 256
    calibration: int = 32
    metric: str = ""

    def __post_init__(self) -> None:
        unknown = [word for word in self.changes if word not in CHANGES]
        if unknown or not self.changes:
            raise InputError(
                f"--changes has {', '.join(unknown) or 'nothing'}", f"give some of {CHANGES}"
            )
        if not 0 < self.sparsity < 1:
            raise InputError(f"--sparsity is {self.sparsity}", "give a fraction such as 0.5")
        if self.samples < 1:
            raise InputError(f"--samples is {self.samples}", "give a number such as 256")


@dataclass(frozen=True)
class Layer:
    """A layer with weights.

    Attributes:
        name: as in the audit of the model.
        operators: the codes of its operators.
        parameters: weights, without biases.
    """

    name: str
    operators: tuple[str, ...]
    parameters: int


@dataclass(frozen=True)
class Bench:
    """A float model with the samples that changed copies of it are tried on."""

    model: FloatModel
    study: Study

    @cached_property
    def base(self) -> bytes:
        """The float flatbuffer."""
        return self.model.stage.read()

    @cached_property
    def split(self) -> Split:
        """Test samples, evenly drawn from all."""
        import numpy as np

        data = self.model.chain.dataset
        if data.test is None:
            raise InputError(f"the data {data.source} has no test samples", "add a test split")
        count = min(self.study.samples, len(data.test))
        places = np.linspace(0, len(data.test) - 1, count).astype(np.int64)
        return data.test.take(np.unique(places))

    @cached_property
    def wanted(self) -> evaluate.Arrays:
        """What the float model makes of the samples.

        Raises:
            DataError: if some of it is NaN or infinite.
        """
        made = self.run(self.base)
        judgement.refuse_broken_baseline(made)
        return made

    def run(self, model: bytes) -> evaluate.Arrays:
        """The outputs for the samples by name."""
        ends = self.model.inputs, self.model.outputs
        return judgement.run_split(self.model.chain, model, ends, self.split)

    @cached_property
    def samples(self) -> Samples:
        """What ranges are read from."""
        chain = self.model.chain
        return samples_of(self.base, chain.dataset, self.study.calibration, chain.seed)

    def judge(self, model: bytes) -> Facts | None:
        """How a changed model does: ``sqnr_db`` of the worst output, ``metric`` and ``drop``.

        None where an output is NaN or infinite.
        """
        made = self.run(model)
        if evaluate.count_broken(made):
            return None
        ratios = [evaluate.fidelity(self.wanted[n], made[n])["sqnr_db"] for n in self.wanted]
        found = judgement.scores(self.split, self.study.metric, self.wanted, made)
        # In the order in which the store gives it back.
        return {
            "drop": found["drop"],
            "metric": found["final"],
            "size_bytes": len(flatbuffer.strip(model)),
            "sqnr_db": min((r for r in ratios if r is not None), default=None),
        }

    def quantized(self, weights: str, rules: Sequence[str]) -> bytes:
        """The model quantized by a scheme with rules."""
        scheme = Scheme(kind=self.study.scheme, weights=weights)
        return quantize(self.base, scheme, [read_rule(rule) for rule in rules], self.samples)


def measure(model: FloatModel, study: Study) -> Facts:
    """Try each layer alone, and all together, as plain data.

    Args:
        model: from `edgepack.pipeline.to_float`.
        study: what to try.

    Returns:
        ``model``, ``study``, ``data`` (``test`` or ``noise``), ``samples``, ``metric`` (its name
        and the float model's ``baseline``), ``size_bytes`` of the float model, ``whole`` and
        ``layers``: each with ``trials`` by change, as `Bench.judge` tells them; None where the
        change cannot be had there.

    Raises:
        InputError: if there are no samples, or the model has no layer with weights.
    """
    bench = Bench(model, study)
    found = layers(bench.base)
    if not found:
        raise InputError(f"{model.chain.name} has no layer with weights", "give another model")
    results = _try_all(bench, found)
    judged = judgement.scores(bench.split, study.metric, bench.wanted, bench.wanted)
    return {
        "model": model.chain.name,
        "sha256": model.stage.artifact.sha256,
        "study": asdict(study),
        "data": "noise" if model.chain.dataset.source == SOURCE else "test",
        "samples": len(bench.split),
        "metric": {"name": judged["metric"], "baseline": judged["baseline"]},
        "size_bytes": len(flatbuffer.strip(bench.base)),
        "whole": {"trials": results[""]},
        "layers": [{**asdict(layer), "trials": results[layer.name]} for layer in found],
    }


def _try_all(bench: Bench, found: Sequence[Layer]) -> dict[str, Facts]:
    """The trials of each layer by its name, and of all together under an empty one."""
    changes = bench.study.changes
    tasks: list[tuple[Layer | None, str]] = [
        (x, change) for x in (None, *found) for change in changes
    ]
    results: dict[str, Facts] = {name: {} for name in ("", *(layer.name for layer in found))}
    for done, (layer, change) in enumerate(tasks):
        name = layer.name if layer else ""
        note = f"{change} {name or 'all layers'}"
        bench.model.chain.report(Progress("sensitivity", done, len(tasks), note))
        results[name][change] = _kept(bench, layer, change)
    return results


def layers(model: bytes) -> list[Layer]:
    """The layers with weights, in the order of execution."""
    found: dict[str, list[Any]] = {}
    for place in counting.places(flatbuffer.read_graph(model)):
        if place.where == 0:
            found.setdefault(place.layer, []).append(place)
    return [
        Layer(
            name,
            tuple(dict.fromkeys(place.operator.code for place in places)),
            sum(place.tensor.size for place in places),
        )
        for name, places in found.items()
    ]


def _kept(bench: Bench, layer: Layer | None, change: str) -> Facts | None:
    """One trial, from the store or made now; None where the layer cannot be changed so."""
    chain = bench.model.chain
    key = key_of(
        sensitivity=bench.model.stage.artifact.sha256,
        layer=layer.name if layer else None,
        change=change,
        study={**asdict(bench.study), "changes": ()},
        data=chain.fingerprint,
        seed=chain.seed,
        source=source_digest("edgepack.sensitivity"),
        versions=versions(),
    )
    found = chain.store.get(key) or chain.store.put(
        key, {}, {"trial": _trial(bench, layer, change)}
    )
    trial: Facts | None = found.facts["trial"]
    return trial


def _trial(bench: Bench, layer: Layer | None, change: str) -> Facts | None:
    made = (_pruned if change == PRUNED else _quantized)(bench, layer, change)
    return bench.judge(made) if made else None


def _pruned(bench: Bench, layer: Layer | None, change: str) -> bytes | None:  # noqa: ARG001
    def chosen(name: str) -> bool:
        return layer is None or name == layer.name

    try:
        made: bytes = pruning.prune(bench.base, bench.study.sparsity, chosen=chosen)
    except StepError:
        return None  # It has no layer to prune, which only trying tells.
    return made


def _quantized(bench: Bench, layer: Layer | None, change: str) -> bytes | None:
    rules = [] if layer is None else [".*=float", f"{literal(layer.name)}={change}"]
    try:
        made = bench.quantized(change, rules)
    except StepError:
        return None
    return made if layer is None or change in formats(made) else None


def formats(model: bytes) -> set[str]:
    """The dtypes of all weights."""
    return {place.tensor.dtype for place in counting.places(flatbuffer.read_graph(model))}


def judge_rules(model: FloatModel, study: Study, change: str, rules: Sequence[str]) -> Facts | None:
    """How the model does when all of it is quantized, but for what rules say."""
    bench = Bench(model, study)
    return bench.judge(bench.quantized(change, rules))
