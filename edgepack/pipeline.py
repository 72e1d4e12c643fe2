"""The whole flow: a model in, a recipe's steps, an evaluation, a bundle out."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from edgepack import firmware, golden, intake, judgement, manifest, packing, teacher, userfile
from edgepack.artifact import COMPILED
from edgepack.bundle import Bundle, write_bundle
from edgepack.chain import Chain, FloatModel, Stage, deployed, runnable, without_model
from edgepack.data.dataset import Dataset, fits
from edgepack.data.noise import make_noise
from edgepack.errors import ModelError
from edgepack.plan import Plan, settle
from edgepack.plugins import PACKAGE
from edgepack.progress import Progress, Reporter, silent
from edgepack.recipe import Recipe, make_recipe, step_labels
from edgepack.store import Store
from edgepack.teacher import unreduced

BASELINE = {"steps": [{"step": "convert", "quantization": "float32"}]}
"""The recipe of what every build is compared with."""

STEP = "step"
"""The note of a `Progress` that counts the steps of a recipe."""

EXAMPLE = PACKAGE / "agent" / "infer.py"
"""The inference example that every bundle carries."""


def build(planned: Plan, *, report: Reporter = silent, store: Store | None = None) -> Bundle:
    """Run a plan and write its bundle.

    Args:
        planned: what to do.
        report: where progress goes.
        store: where results are kept; the user's cache folder by default.

    Returns:
        The bundle; its manifest says whether the gate was met.
    """
    store = store or Store()
    first = intake.read(planned.model, store, planned.seed, report)
    planned = settle(planned, first.artifact.path)
    _check_runnable(planned, first)
    chain = _chain(planned, store, first, report)
    stages = [without_model(first), *run_recipe(chain, planned.recipe, first)]
    inputs, outputs = ([s.name for s in intake.slots(first, w)] for w in ("inputs", "outputs"))
    tried, named = runnable(stages), _named(planned, stages)
    if runtime := firmware.find(planned.runtime):
        runtime.check(named.read())
    vectors = golden.make(chain, tried, inputs, outputs, planned.runtime)
    models = packing.Models(stages[-1], deployed(stages), tried, named)
    package = packing.pack(planned, chain, models, vectors, inputs, outputs)
    pair = None
    if planned.evaluate and not first.facts["refused"]:
        bare, shipped = _baseline(chain, planned, stages[0])
        trained = any("training" in step.needs() for step in planned.recipe.steps)
        pair = judgement.Pair(shipped, tried, bare, named, inputs, outputs, trained)
    evaluation = judgement.judge(chain, pair, planned.metric) if pair else None
    facts = manifest.compose(planned, stages, pair, evaluation, vectors.facts, package.facts)
    files: dict[str, bytes | Path] = {golden.FILE: vectors.folder / golden.FILE, **package.files}
    if not first.facts["refused"]:
        files[EXAMPLE.name] = EXAMPLE
    files |= manifest.model_files(stages, pair) | manifest.attached(planned.recipe, stages[1:])
    return write_bundle(planned.place, files, facts)


def to_float(planned: Plan, *, report: Reporter = silent, store: Store | None = None) -> FloatModel:
    """What a plan by the recipe ``float32`` comes to before names are stripped.

    Args:
        planned: what to do.
        report: where progress goes.
        store: where results are kept; the user's cache folder by default.
    """
    store = store or Store()
    first = intake.read(planned.model, store, planned.seed, report)
    planned = settle(planned, first.artifact.path)
    _check_runnable(planned, first)
    chain = _chain(planned, store, first, report)
    kept = tuple(step for step in planned.recipe.steps if not step.lossless)
    stages = [first, *run_recipe(chain, replace(planned.recipe, steps=kept), first)]
    names = ([slot.name for slot in intake.slots(first, which)] for which in ("inputs", "outputs"))
    return FloatModel(chain, stages[-1], *names)


def preview(planned: Plan, *, store: Store | None = None) -> tuple[Plan, list[dict[str, Any]]]:
    """What a build would do; nothing is run.

    What follows a step that is not done cannot be known, and counts as not done.

    Returns:
        The plan, settled if the model was read before; and each step with its settings, and
        whether it is done already.
    """
    store = store or Store()
    stage = intake.find(planned.model, store)
    if stage is None:
        intake.check(planned.model)
    planned = settle(planned, stage.artifact.path) if stage else planned
    chain = _chain(planned, store, stage, silent) if stage else None
    rows = []
    known = [stage] if stage else []
    for label, step in zip(step_labels(planned.recipe), planned.recipe.steps, strict=True):
        stage = chain.find(step, stage.artifact, unreduced(known)) if chain and stage else None
        known += [stage] if stage else []
        rows.append({"name": label, "settings": asdict(step), "cached": stage is not None})
    return planned, rows


def run_recipe(chain: Chain, recipe: Recipe, first: Stage) -> list[Stage]:
    """The stage after each step; only the last one may still hold its model."""
    stages: list[Stage] = []
    for i, (label, step) in enumerate(zip(step_labels(recipe), recipe.steps, strict=True)):
        chain.report(Progress(label, i, len(recipe.steps), STEP))
        stages.append(chain.run(step, [first, *stages][-1], unreduced([first, *stages])))
        stages[:-1] = [without_model(stage) for stage in stages[:-1]]
    return stages


def _check_runnable(planned: Plan, first: Stage) -> None:
    """Refuse a model that nothing here can run, or judge."""
    reason = first.facts["refused"]
    if reason and firmware.find(planned.runtime) is None:
        hint = "build it for a microcontroller, such as --target cortex-m4, or convert it again"
        raise ModelError(f"{planned.model.name}: {reason}", hint)
    if reason and planned.max_drop is not None:
        message = f"--max-drop cannot be judged: {reason}"
        raise ModelError(message, "leave --max-drop away; parity is checked nevertheless")


def _baseline(chain: Chain, planned: Plan, first: Stage) -> tuple[Stage, Stage]:
    """The float32 flatbuffer of the same model: with its layers' names, and as it is shipped.

    A .tflite that came in is its own baseline, as it came.
    """
    if planned.model.form == "tflite":
        return first, first
    lossless = (step for step in planned.recipe.steps if step.lossless)
    kept = [step for step in lossless if step.gives not in COMPILED]
    converted = first.artifact.form == "tflite"
    plain = make_recipe("baseline", BASELINE)
    steps = kept if converted else [*plain.steps, *kept]
    stages = run_recipe(chain, replace(plain, steps=tuple(steps)), first)
    return (first if converted else stages[0]), [first, *stages][-1]


def _named(planned: Plan, stages: list[Stage]) -> Stage:
    """The final flatbuffer before lossless steps took its layers' names away."""
    pairs = zip(planned.recipe.steps, stages[1:], strict=True)
    return runnable([stages[0], *(stage for step, stage in pairs if not step.lossless)])


def _chain(planned: Plan, store: Store, first: Stage, report: Reporter) -> Chain:
    inputs, outputs = intake.slots(first, "inputs"), intake.slots(first, "outputs")

    def load_data() -> Dataset:
        if planned.data is None:
            return make_noise(inputs, planned.seed)
        dataset = planned.data.load()
        fits(dataset, inputs, outputs)
        return dataset

    return Chain(
        store=store,
        target=planned.target,
        name=planned.model.name,
        seed=planned.seed,
        fingerprint=planned.data.fingerprint if planned.data else f"noise {planned.seed}",
        custom=userfile.digest(planned.model.custom) if planned.model.custom else "",
        load_data=load_data,
        load_custom=planned.model.custom_objects,
        read_model=partial(teacher.read, planned),
        report=report,
    )
