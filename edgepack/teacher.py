"""Finds the models that a step may learn from besides the one in hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgepack import intake
from edgepack.chain import Chain, Stage
from edgepack.errors import ModelError
from edgepack.plan import Plan
from edgepack.recipe import step_class
from edgepack.source import open_model


def unreduced(stages: Sequence[Stage]) -> Stage | None:
    """The first stage of a build that is a plain tf_keras model; None where none is yet."""
    return next((stage for stage in stages if stage.artifact.form == "keras"), None)


def read(planned: Plan, chain: Chain, file: str) -> Any:
    """The tf_keras model in a file that a step's settings name.

    Any form is read that a build reads; a float .tflite is thawed.

    Args:
        planned: the build, whose user's own layers and trust hold for this file too.
        chain: of the build.
        file: the path.

    Raises:
        ModelError: if the file is no model, or one that cannot be made trainable.
    """
    trusted = planned.model
    origin = open_model(file, custom=trusted.custom or "", allow_code=trusted.allow_code)
    stage = intake.read(origin, chain.store, chain.seed, chain.report)
    if stage.artifact.form == "tflite":
        stage = chain.run(step_class("thaw")(), stage)
    if stage.artifact.form != "keras":
        raise ModelError(f"{file} is no model to learn from", "give a float Keras model")
    return chain.load(stage)
