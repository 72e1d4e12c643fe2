"""Every recipe to every target that runs what it gives, on a small trained network."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgepack
from edgepack.bundle import verify
from edgepack.recipe import read_recipe, recipe_names, settings_of
from edgepack.target import read_target, target_names

PAIRS = [
    (recipe, target)
    for recipe in recipe_names()
    for target in target_names()
    if read_recipe(recipe).steps[-1].gives in read_target(target).forms
]


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(("recipe", "target"), PAIRS)
def test_every_recipe_to_every_target(
    recipe: str,
    target: str,
    tiny: Path,
    shared_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    bundle = edgepack.build(tiny, target, recipe=recipe, data="digits", out=tmp_path / "b")
    facts = verify(bundle.path).manifest
    assert facts["evaluation"]["baseline"] > 0.8
    steps = {step.step_name(): step for step in read_recipe(recipe).steps}
    harsh = steps.keys() & {"prune", "cluster"} or "int4" in recipe
    if not harsh:  # so small a network does not live through these
        assert facts["evaluation"]["collapse"] is None
    if prune := steps.get("prune"):
        assert facts["structure"]["zeros"] > 0.7 * settings_of(prune)["sparsity"]
