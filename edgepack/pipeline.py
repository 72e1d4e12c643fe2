"""The whole flow: a model in, a recipe's steps, an evaluation, a bundle out."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from edgepack import golden, intake, judgement, manifest, userfile
from edgepack.bundle import Bundle, write_bundle
from edgepack.chain import Chain, Stage, runnable, without_model
from edgepack.data.dataset import Dataset, fits
from edgepack.data.noise import make_noise
from edgepack.plan import Plan
from edgepack.plugins import PACKAGE
from edgepack.progress import Progress, Reporter, silent
from edgepack.recipe import Recipe, make_recipe, step_labels
from edgepack.store import Store

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
    chain = _chain(planned, store, first, report)
    stages = run_recipe(chain, planned.recipe, first)
    inputs, outputs = ([s.name for s in intake.slots(first, w)] for w in ("inputs", "outputs"))
    tried = runnable(stages)
    vectors = golden.make(chain, tried, inputs, outputs)
    pair = None
    if planned.evaluate:
        named, shipped = _baseline(chain, planned.recipe, without_model(first))
        pair = judgement.Pair(shipped, tried, named, _named(planned, stages), inputs, outputs)
    evaluation = judgement.judge(chain, pair, planned.metric) if pair else None
    facts = manifest.compose(planned, first, stages, pair, evaluation, vectors.facts)
    files = {golden.FILE: vectors.folder / golden.FILE, EXAMPLE.name: EXAMPLE}
    return write_bundle(planned.out, files | manifest.model_files(stages, pair), facts)


def preview(planned: Plan, *, store: Store | None = None) -> list[dict[str, Any]]:
    """Each step with its settings, and whether it is done already; nothing is run.

    What follows a step that is not done cannot be known, and counts as not done.
    """
    store = store or Store()
    stage = intake.find(planned.model, store)
    chain = _chain(planned, store, stage, silent) if stage else None
    rows = []
    for label, step in zip(step_labels(planned.recipe), planned.recipe.steps, strict=True):
        stage = chain.find(step, stage.artifact) if chain and stage else None
        rows.append({"name": label, "settings": asdict(step), "cached": stage is not None})
    return rows


def run_recipe(chain: Chain, recipe: Recipe, first: Stage) -> list[Stage]:
    """The stage after each step; only the last one may still hold its model."""
    stages: list[Stage] = []
    for i, (label, step) in enumerate(zip(step_labels(recipe), recipe.steps, strict=True)):
        chain.report(Progress(label, i, len(recipe.steps), STEP))
        stages.append(chain.run(step, stages[-1] if stages else first))
        stages[:-1] = [without_model(stage) for stage in stages[:-1]]
    return stages


def _baseline(chain: Chain, recipe: Recipe, first: Stage) -> tuple[Stage, Stage]:
    """The float32 flatbuffer of the same model: with its layers' names, and as it is shipped."""
    lossless = tuple(step for step in recipe.steps if step.lossless)
    plain = make_recipe("baseline", BASELINE)
    stages = run_recipe(chain, replace(plain, steps=plain.steps + lossless), first)
    return stages[0], stages[-1]


def _named(planned: Plan, stages: list[Stage]) -> Stage:
    """The final flatbuffer before lossless steps took its layers' names away."""
    lossy = [
        stage for step, stage in zip(planned.recipe.steps, stages, strict=True) if not step.lossless
    ]
    return runnable(lossy)


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
        seed=planned.seed,
        fingerprint=planned.data.fingerprint if planned.data else f"noise {planned.seed}",
        custom=userfile.digest(planned.model.custom) if planned.model.custom else "",
        load_data=load_data,
        load_custom=planned.model.custom_objects,
        report=report,
    )
