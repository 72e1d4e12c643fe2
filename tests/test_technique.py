"""Recipes that stand for a technique: what they say, what finishes them, what they may not do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from tiny import CommandLine

from edgepack import pipeline, plan, recipe
from edgepack.errors import RecipeError, StepError, TargetError
from edgepack.plan import make_plan
from edgepack.recipe import code_named, finish, make_recipe, read_recipe, step_labels
from edgepack.step import Given, Step, setting
from edgepack.store import Store
from edgepack.target import make_target, read_target, target_names
from edgepack.technique import Strength, make_technique

PRUNE = {"steps": [{"step": "prune", "epochs": 0}]}


def test_a_technique_says_what_is_claimed_and_how_far_it_goes() -> None:
    strengths = [{"name": "half", "settings": ["prune.sparsity=0.5"]}]
    found = make_technique("r", {"name": "pruning", "size": "2x", "strengths": strengths})
    assert (found.name, found.size, found.speed) == ("pruning", "2x", "")
    assert found.strengths == (Strength("half", ("prune.sparsity=0.5",)),)
    assert make_technique("r", {"name": "pruning"}).strengths == (Strength(""),)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"size": "2x"}, "technique has no name"),
        ("pruning", "technique has no name"),
        ({"name": "p", "colour": "red"}, "technique has 'colour'"),
        ({"name": "p", "size": 2}, "technique.size is 2"),
        ({"name": "p", "strengths": "all"}, "technique.strengths is 'all'"),
        ({"name": "p", "strengths": [{}]}, "technique.strengths has no name"),
        ({"name": "p", "strengths": [{"name": "s", "settings": "a"}]}, "settings is 'a'"),
    ],
)
def test_a_wrong_technique_is_refused(facts: Any, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make_technique("r", facts)
    assert message in caught.value.message
    assert caught.value.hint


def test_the_strengths_of_every_recipe_change_settings_that_it_has() -> None:
    for name in recipe.recipe_names():
        found = read_recipe(name)
        for strength in found.technique.strengths if found.technique else ():
            assert recipe.override(found, strength.settings).steps


@pytest.mark.parametrize(
    ("target", "steps"),
    [
        ("rpi4", ["prune", "convert", "strip"]),
        ("cortex-m4", ["prune", "convert", "strip", "c_array"]),
        ("coral-usb", ["prune", "convert", "edgetpu"]),
    ],
)
def test_a_recipe_that_ends_trainable_is_finished_as_the_target_does(
    target: str, steps: list[str]
) -> None:
    own = read_recipe(read_target(target).recipe)
    assert step_labels(finish(make_recipe("r", PRUNE), own)) == steps


def test_a_recipe_with_an_end_of_its_own_keeps_it() -> None:
    own = read_recipe("mcu-int8")
    for name in ("float16", "prune-cluster-qat-int8", "frozen-int8"):
        assert finish(read_recipe(name), own) == read_recipe(name)


def test_a_targets_settings_hold_where_nobody_says_otherwise() -> None:
    words = ["prune.sparsity=0.5", "convert.samples=7"]
    plain = make_recipe("r", {"steps": [{"step": "prune"}]}, words)
    told = make_recipe("r", {"steps": [{"step": "prune", "sparsity": 0.9}]}, words)
    assert [x.steps[0].sparsity for x in (plain, told)] == [0.5, 0.9]  # type: ignore[attr-defined]
    with pytest.raises(RecipeError, match="no setting 'sparseness'"):
        make_recipe("r", {"steps": [{"step": "prune"}]}, ["prune.sparseness=1"])


def test_the_settings_of_every_target_are_settings() -> None:
    for name in target_names():
        for word in read_target(name).settings:
            step, _, key, value = recipe.read_setting(word)
            recipe.with_settings(recipe.step_class(step)(), {key: value})


def test_a_targets_settings_are_texts() -> None:
    facts = {"name": "n", "architecture": "any", "cpu": "any", "cores": 0, "ram_kib": 0}
    facts |= {"forms": ["c"], "recipe": "mcu-int8", "runtimes": ["tflm"]}
    assert make_target("t", facts | {"settings": ["prune.block=8"]}).settings == ("prune.block=8",)
    with pytest.raises(TargetError, match="settings"):
        make_target("t", facts | {"settings": [8]})


# Code, other models, and files that steps leave


@dataclass(frozen=True)
class Coded(Step):
    """A step that may run a file."""

    takes: ClassVar[frozenset[str]] = frozenset({"keras"})
    file: str = setting("", "what to run", code=True)
    word: str = setting("", "a text that happens to end in .py")


def test_only_settings_that_run_code_count_as_code() -> None:
    steps = (Coded(file="student.keras", word="x.py"), Coded(file="make.py:student"))
    found = code_named(recipe.Recipe("r", "", steps))
    assert len(found) == 1
    assert found[0].endswith("file = 'make.py:student'")


def test_a_recipe_that_runs_code_is_refused_until_it_is_allowed() -> None:
    bad = recipe.Recipe("r", "", (Coded(file="make.py:student"),))
    with pytest.raises(RecipeError) as caught:
        plan._refuse_code(bad, allowed=False)
    assert "make.py:student" in caught.value.message
    assert "--allow-code" in caught.value.hint
    plan._refuse_code(bad, allowed=True)


@dataclass(frozen=True)
class Learner(Step):
    """A step that looks at another model and leaves a file."""

    takes: ClassVar[frozenset[str]] = frozenset({"keras"})
    gives: ClassVar[str] = "keras"
    teacher: str = ""

    def needs(self) -> frozenset[str]:
        """The unreduced model."""
        return frozenset({"teacher"})

    def apply(self, model: Any, given: Given) -> Any:
        """Halve all weights, and tell the sum of the teacher's."""
        teacher = given.read(self.teacher)
        assert teacher is not model
        given.attach("sums.txt", str(sum(float(np.sum(w)) for w in teacher.get_weights())).encode())
        model.set_weights([0.5 * w for w in model.get_weights()])
        return model


def build(model: Path, folder: Path, *steps: Step) -> Any:
    """A build with steps of a test's own before the conversion."""
    planned = make_plan(str(model), "linux-x86_64", recipe="float32", data="digits", out=folder)
    whole = recipe.Recipe("own", "", (*steps, *planned.recipe.steps))
    planned = plan.replace(planned, recipe=whole)
    return pipeline.build(planned, store=Store(folder.parent / "store"))


def test_a_step_learns_from_the_unreduced_model_and_leaves_a_file(
    tiny: Path, tmp_path: Path
) -> None:
    bundle = build(tiny, tmp_path / "out", Learner(), Learner())
    names = [name for step in bundle.manifest["steps"] for name in step["attached"]]
    assert len(set(names)) == 2
    assert set(names) <= set(bundle.manifest["files"])
    first, second = ((bundle.path / name).read_text() for name in names)
    assert first == second  # both saw the model that came in, not the half of it


def test_a_step_reads_another_file(tiny: Path, tmp_path: Path) -> None:
    made = [build(tiny, tmp_path / f, Learner(teacher=t)) for f, t in (("a", str(tiny)), ("b", ""))]
    first, second = ((b.path / b.manifest["steps"][0]["attached"][0]).read_text() for b in made)
    assert first == second


def test_without_a_build_there_is_no_other_model() -> None:
    with pytest.raises(StepError, match="nothing here reads"):
        Given(read_target("rpi4")).read("")


def test_a_technique_is_built_for_a_microcontroller(edgepack: CommandLine, tiny: Path) -> None:
    words = ["-t", "cortex-m4", "-r", "cluster", "-d", "digits"]
    ran = edgepack("build", tiny, *words, "--dry-run", "--json")
    assert ran.code == 0
    names = [step["name"] for step in ran.json["steps"]]
    assert names[-3:] == ["convert", "strip", "c_array"]
