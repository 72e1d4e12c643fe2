"""Runs steps one after another through the store, and measures what each one leaves."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from edgepack import audit, keras
from edgepack.artifact import COMPILED, Artifact
from edgepack.data import linter
from edgepack.data.dataset import Dataset
from edgepack.data.noise import SOURCE
from edgepack.errors import EdgepackError, RecipeError, StepError
from edgepack.progress import Progress, Reporter, silent
from edgepack.step import KNOWN, Given, Step, unreadable
from edgepack.store import Result, Store, key_of, source_digest, versions
from edgepack.target import Target
from edgepack.training import objective, properties

FILES = {
    "keras": "model.npz",
    "keras-qat": "model.npz",
    "tflite": "model.tflite",
    "edgetpu": "model_edgetpu.tflite",
    "ethosu": "model_ethosu.tflite",
}
"""The file that holds each form inside a result; the form ``c`` is several files."""

TRAINABLE = frozenset({"keras", "keras-qat"})
"""The forms that are tf_keras models."""


@dataclass(frozen=True)
class Stage:
    """A model between two steps.

    Attributes:
        artifact: its file in the store.
        facts: what was measured: seconds, structure, findings.
        cached: whether it was in the store already.
        model: the model itself where it is still in memory; a step may consume it.
        files: the names of all its files, beside `artifact`.
    """

    artifact: Artifact
    facts: Mapping[str, Any]
    cached: bool
    model: Any = None
    files: tuple[str, ...] = ()

    def read(self) -> bytes:
        """The file's bytes."""
        return self.artifact.path.read_bytes()


def stage_of(result: Result, form: str, properties: frozenset[str], model: Any = None) -> Stage:
    """The stage that a stored result stands for; of the form ``c`` the source file is the model."""
    own = tuple(name for name in result.files if name not in result.facts.get("attached", ()))
    name = FILES.get(form) or min(n for n in own if not n.endswith(".h"))
    artifact = Artifact(result.folder / name, form, result.files[name], properties)
    return Stage(artifact, result.facts, result.cached, model, own)


def unreadable_by(chain: Chain, file: str) -> Any:  # noqa: ARG001
    """Where a chain reads no files."""
    return unreadable(file)


@dataclass(frozen=True)
class Chain:
    """What all steps of a build share.

    Attributes:
        store: where results are kept.
        target: what the model is for.
        name: what it is called.
        seed: of everything random.
        fingerprint: of the data.
        custom: sha256 of the user's own layers; empty where there are none.
        load_data: gives the data set, or noise; called only when something must run.
        load_custom: gives the user's own classes by name; called only when something must run.
        read_model: gives the tf_keras model in a file that a step's settings name.
        report: where progress goes.
    """

    store: Store
    target: Target
    name: str
    seed: int
    fingerprint: str
    custom: str
    load_data: Callable[[], Dataset]
    load_custom: Callable[[], Mapping[str, Any]] = field(default=dict)
    read_model: Callable[[Chain, str], Any] = unreadable_by
    report: Reporter = silent

    @cached_property
    def dataset(self) -> Dataset:
        """The data set, loaded at the first need."""
        return self.load_data()

    @cached_property
    def custom_objects(self) -> Mapping[str, Any]:
        """The user's own classes and functions by name; their file runs at the first need."""
        return self.load_custom()

    def key(self, step: Step, parent: Artifact, unreduced: Stage | None = None) -> str:
        """The key of a step's result: everything that it depends on."""
        needs = step.needs()
        teacher = unreduced.artifact.sha256 if unreduced and "teacher" in needs else ""
        return key_of(
            step=step.step_name(),
            settings=asdict(step),
            source=source_digest(type(step).__module__),
            audit=source_digest("edgepack.audit"),
            custom=self.custom,
            parent=parent.sha256,
            properties=sorted(parent.properties),
            data=self.fingerprint if needs - KNOWN else "",
            target=asdict(self.target) if "target" in needs else "",
            name=self.name if "name" in needs else "",
            teacher=teacher,
            seed=self.seed,
            versions=versions(),
            outside=step.outside(),
        )

    def find(self, step: Step, parent: Artifact, unreduced: Stage | None = None) -> Stage | None:
        """The stage after a step, if it is in the store."""
        result = self.store.get(self.key(step, parent, unreduced))
        if result is None:
            return None
        return stage_of(result, step.result(parent.form), parent.properties | step.adds)

    def run(self, step: Step, parent: Stage, unreduced: Stage | None = None) -> Stage:
        """The stage after a step: from the store, or made now.

        Args:
            step: what is done.
            parent: the stage before it.
            unreduced: the first stage that is a tf_keras model, which a step may learn from.

        Raises:
            RecipeError: if it would lose structure that the model came with.
            StepError: if the step fails, or silently loses structure that was there.
        """
        if lost := step.breaks & parent.artifact.properties:
            raise RecipeError(
                f"step {step.step_name()} would lose what the model has: {', '.join(sorted(lost))}",
                f"leave {step.step_name()} out, or begin with a model that is not {min(lost)}",
            )
        if found := self.find(step, parent.artifact, unreduced):
            return found
        key = self.key(step, parent.artifact, unreduced)
        waiting = Progress(step.step_name(), 0, 0, "waits for another build of the same")
        with self.store.lock(key, lambda: self.report(waiting)):
            found = self.find(step, parent.artifact, unreduced)
            return found or self._make(key, step, parent, unreduced)

    def _make(self, key: str, step: Step, parent: Stage, unreduced: Stage | None) -> Stage:
        started = time.perf_counter()
        taken, form = parent.artifact.form, step.result(parent.artifact.form)
        scope = self._keras() if {taken, form} & TRAINABLE else contextlib.nullcontext()
        with self.store.checkpoints(key) as folder, scope:
            model = parent.model if parent.model is not None else self.load(parent)
            before = parent.facts["structure"]
            facts, attached = self._facts(step, model), dict[str, bytes]()
            given = self._given(step, parent, folder, facts)
            read = partial(self._read, unreduced)
            made = _apply(step, model, replace(given, attach=attached.__setitem__, read=read))
            after = before if form in COMPILED else audit.audit(form, made)
            _refuse_losses(step, parent.artifact.properties, before, after)
            facts |= {"structure": after, "seconds": time.perf_counter() - started}
            facts["attached"] = sorted(attached)
            result = self.store.put(key, contents(form, made) | attached, facts)
        return stage_of(result, form, parent.artifact.properties | step.adds, made)

    @contextlib.contextmanager
    def _keras(self) -> Iterator[None]:
        """Keras begun anew; what copies a model knows the user's own layers and allowed Lambdas."""
        keras.start(self.seed)
        scope = keras.tf_keras().utils.custom_object_scope
        with scope(dict(self.custom_objects)), keras.trusted():
            yield

    def _given(self, step: Step, parent: Stage, checkpoints: Path, facts: dict[str, Any]) -> Given:
        return Given(
            target=self.target,
            name=self.name,
            dataset=self.dataset if step.needs() - KNOWN else None,
            seed=self.seed,
            properties=parent.artifact.properties,
            checkpoints=checkpoints,
            report=self.report,
            remark=facts["remarks"].append,
            record=facts["recorded"].__setitem__,
        )

    def _facts(self, step: Step, model: Any) -> dict[str, Any]:
        """What the step's data looks like to the model: the loss, and what the linter finds."""
        facts: dict[str, Any] = {"findings": [], "loss": None, "remarks": [], "recorded": {}}
        if "calibration" in step.needs() and self.dataset.source != SOURCE:
            count = asdict(step).get("samples", linter.SAMPLES)
            found = linter.lint_for(model, self.dataset, self.seed, count)
            facts["findings"] = [asdict(finding) for finding in found]
        if "labels" in step.needs():
            loss = asdict(step).get("loss", objective.AUTO)
            facts["loss"] = str(objective.derive_loss(model, self.dataset, loss))
        return facts

    def _read(self, unreduced: Stage | None, file: str) -> Any:
        """A tf_keras model besides the one in hand, as `edgepack.step.Given.read` says."""
        if file:
            return self.read_model(self, file)
        return self.load(unreduced) if unreduced else unreadable(file)

    def load(self, stage: Stage) -> Any:
        """A stage's model, read from its file."""
        if stage.artifact.path.suffix == ".tflite":
            return stage.read()
        return keras.read(stage.artifact.path, self.custom_objects)


@dataclass(frozen=True)
class FloatModel:
    """A model as a float flatbuffer with the names of its layers.

    Attributes:
        chain: of a build, whose data and store serve what comes.
        stage: the flatbuffer.
        inputs: the model's input names in its order.
        outputs: its output names.
    """

    chain: Chain
    stage: Stage
    inputs: Sequence[str]
    outputs: Sequence[str]


def _apply(step: Step, model: Any, given: Given) -> Any:
    try:
        return step.apply(model, given)
    except (EdgepackError, KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise StepError(
            f"step {step.step_name()} failed: {type(error).__name__}: {reason}",
            "run again with --verbose for the traceback",
        ) from error


def _refuse_losses(
    step: Step, kept: frozenset[str], before: dict[str, Any], after: dict[str, Any]
) -> None:
    sentences = properties.lost(audit.structures(before), audit.structures(after), kept)
    if sentences:
        raise StepError(
            f"step {step.step_name()} lost structure: {'; '.join(sentences)}",
            "leave the step out, or put it before the step that gave the structure",
        )


def contents(form: str, model: Any) -> dict[str, bytes]:
    """The bytes of a model's files by name."""
    if form == "c":
        return dict(model)
    return {FILES[form]: keras.dump(model) if form in TRAINABLE else model}


def runnable(stages: Sequence[Stage]) -> Stage:
    """The last stage that this machine can run; what a board runs was compiled from it."""
    return next(stage for stage in reversed(stages) if stage.artifact.form not in COMPILED)


def deployed(stages: Sequence[Stage]) -> Stage:
    """The last stage that is a single file: what a board runs, as C or by itself."""
    return next(stage for stage in reversed(stages) if stage.artifact.form in FILES)


def without_model(stage: Stage) -> Stage:
    """The same stage for a second reader, which must not share the model with the first."""
    return replace(stage, model=None)
