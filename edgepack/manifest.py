"""Composes a bundle's manifest: where each byte came from, and what was measured."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import edgepack
from edgepack import audit
from edgepack.bundle import SCHEMA
from edgepack.chain import FILES, Stage, deployed, runnable
from edgepack.data.noise import SOURCE
from edgepack.judgement import Pair, gate
from edgepack.plan import Plan
from edgepack.recipe import Recipe, step_labels
from edgepack.source import ModelSource
from edgepack.store import versions

BASELINE = "baseline.tflite"


def name_of(stage: Stage) -> str:
    """A model's file in the bundle."""
    return FILES[stage.artifact.form]


def describe_model(name: str, stage: Stage) -> dict[str, Any]:
    """A model file of the bundle: path, form, sizes, sha256."""
    return {
        "path": name,
        "form": stage.artifact.form,
        "sha256": stage.artifact.sha256,
        **audit.file_facts(stage.read()),
    }


def describe_steps(recipe: Recipe, stages: Sequence[Stage]) -> list[dict[str, Any]]:
    """Each step with settings, seconds, findings and the structure that it left."""
    rows = []
    for label, step, stage in zip(step_labels(recipe), recipe.steps, stages, strict=True):
        rows.append(
            {
                "name": label,
                "settings": asdict(step),
                "seconds": round(stage.facts["seconds"], 3),
                "cached": stage.cached,
                "form": stage.artifact.form,
                "sha256": stage.artifact.sha256,
                "loss": stage.facts["loss"],
                "findings": stage.facts["findings"],
                "remarks": stage.facts["remarks"],
                "recorded": stage.facts["recorded"],
                "attached": [f"{_word(label)}.{name}" for name in stage.facts["attached"]],
                "structure": stage.facts["structure"],
            }
        )
    return rows


def attached(recipe: Recipe, stages: Sequence[Stage]) -> dict[str, bytes | Path]:
    """The files that steps left beside their models, under the name of the step."""
    return {
        f"{_word(label)}.{name}": stage.artifact.path.parent / name
        for label, stage in zip(step_labels(recipe), stages, strict=True)
        for name in stage.facts["attached"]
    }


def _word(label: str) -> str:
    """A step's label as part of a file's name."""
    return label.replace("#", "-")


def describe_source(origin: ModelSource, first: Stage) -> dict[str, Any]:
    """The model that came in."""
    return {
        "name": origin.path.name if origin.path else origin.name,
        "form": origin.form,
        "sha256": origin.sha256 or first.artifact.sha256,
        "inputs": first.facts["inputs"],
        "outputs": first.facts["outputs"],
        "structure": first.facts["structure"],
        "refused": first.facts["refused"],
        "conversion": first.facts["conversion"],
        "custom": str(origin.custom) if origin.custom else None,
        "allow_code": origin.allow_code,
        "shapes": {name: list(shape) for name, shape in origin.shapes.items()},
        "signature": origin.signature,
    }


def environment() -> dict[str, Any]:
    """What the build ran on."""
    return {
        "edgepack": edgepack.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        **versions(),
    }


def model_files(stages: Sequence[Stage], pair: Pair | None) -> dict[str, bytes | Path]:
    """The final model, what it was compiled from, and the float baseline where it was made."""
    kept = (deployed(stages), runnable(stages))
    files: dict[str, bytes | Path] = {name_of(stage): stage.artifact.path for stage in kept}
    return files | ({BASELINE: pair.baseline.artifact.path} if pair else {})


def compose(
    planned: Plan,
    stages: Sequence[Stage],
    pair: Pair | None,
    evaluation: Mapping[str, Any] | None,
    golden: Mapping[str, Any],
    firmware: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """A whole manifest but for the list of files, which `edgepack.bundle.write_bundle` adds.

    Args:
        planned: the build.
        stages: the model that came in, and what each step made of it.
        pair: what was compared.
        evaluation: what came of it.
        golden: facts of the golden vectors.
        firmware: what a microcontroller will need.
    """
    first, final, tried = stages[0], deployed(stages), runnable(stages)
    run = {"model": name_of(tried)}
    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": environment(),
        **_asked(planned),
        "source": {**describe_source(planned.model, first), "frozen": planned.frozen},
        "golden": {**golden, **run},
        "model": describe_model(name_of(final), final),
        "compiled_from": describe_model(name_of(tried), tried) if tried is not final else None,
        "baseline": describe_model(BASELINE, pair.baseline) if pair else None,
        "evaluation": {**evaluation, **run} if evaluation else None,
        "firmware": firmware,
        "gate": gate(evaluation, planned.max_drop),
        "structure": final.facts["structure"],
        "steps": describe_steps(planned.recipe, stages[1:]),
    }


def _asked(planned: Plan) -> dict[str, Any]:
    return {
        "target": planned.target.id,
        "target_facts": asdict(planned.target),
        "recipe": planned.recipe.name,
        "runtime": planned.runtime,
        "seed": planned.seed,
        "data": planned.data.spec if planned.data else SOURCE,
        "data_fingerprint": planned.data.fingerprint if planned.data else None,
    }
