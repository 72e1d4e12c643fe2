"""Chains of techniques suit every kind of board, and keep what one step gave in the next ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgepack
from edgepack.bundle import verify
from edgepack.errors import RecipeError
from edgepack.recipe import finish, make_recipe, read_recipe
from edgepack.step import KNOWN
from edgepack.target import read_target
from edgepack.tflite.counting import weights
from edgepack.tflite.flatbuffer import read_graph

EVERYTHING = frozenset({"training", "labels", "calibration"}) | KNOWN
CHAINS = ("deep-compression", "channels-prune-cluster-qat", "lowrank-prune-cluster-qat", "cascade")
ORDER = ("distill", "prune_channels", "lowrank", "prune", "fold", "cluster", "qat", "convert")
BOARDS = {"rpi4": "tflite", "cortex-m4": "c", "coral-dev-board": "edgetpu"}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize(("board", "form"), BOARDS.items())
def test_a_chain_is_finished_for_every_kind_of_board(name: str, board: str, form: str) -> None:
    target = read_target(board)
    whole = finish(read_recipe(name), read_recipe(target.recipe))
    whole.check("keras", EVERYTHING, target)
    assert whole.steps[-1].result("tflite") == form
    order = [step.step_name() for step in whole.steps]
    known = [word for word in ORDER if word in order]
    assert order[: len(known)] == known


@pytest.mark.parametrize("late", ["distill", "prune_channels", "lowrank", "fold"])
def test_what_would_lose_clusters_must_come_before_them(late: str) -> None:
    settings = {"width": 0.5} if late == "distill" else {}
    rows: list[dict[str, Any]] = [{"step": "cluster"}, {"step": late, **settings}]
    recipe = make_recipe("mine", {"steps": [*rows, {"step": "convert"}]})
    with pytest.raises(RecipeError, match="clustered") as caught:
        recipe.check("keras", EVERYTHING, read_target("rpi4"))
    assert late in caught.value.hint or "first" in caught.value.hint


SETTINGS = (
    *("distill.multiple=4", "prune_channels.multiple=4", "prune_channels.amount=0.2"),
    *(f"{name}.epochs=1" for name in ORDER if name not in ("fold", "convert")),
    *("cluster.clusters=8", "cluster.learning_rate=0.001"),
)


@pytest.mark.training
def test_the_longest_chain_keeps_zeros_and_clusters(
    trained: Any, tmp_path: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    options: dict[str, Any] = {"recipe": "cascade", "data": "digits", "settings": SETTINGS}
    bundle = edgepack.build(trained, "rpi4", out=tmp_path / "b", **options)
    steps = {step["name"]: step for step in verify(bundle.path).manifest["steps"]}
    parameters = [steps[name]["structure"]["parameters"] for name in ORDER[:3]]
    assert sorted(set(parameters), reverse=True) == parameters
    assert steps["lowrank"]["recorded"]["layers"]
    graph = read_graph(bundle.model)
    found = {w.name: w.values for w in weights(graph) if "depthwise" not in w.name}
    assert len(found) > 4
    for name, values in found.items():
        if values.size > 64:  # so few values are too few to share
            assert len(np.unique(values)) <= 8, name
            assert np.mean(values == 0) > 0.45, name
    assert max(np.abs(values).max() for values in found.values()) <= 127
