"""What a build is asked to do, checked whole before TensorFlow loads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack import entry, firmware, source
from edgepack.entry import Newcomer
from edgepack.errors import InputError, RecipeError
from edgepack.plugins import suggest
from edgepack.recipe import Recipe, code_named, finish, override, read_recipe
from edgepack.step import KNOWN
from edgepack.target import Target, read_target

if TYPE_CHECKING:
    from edgepack.data.dataset import Source
    from edgepack.source import ModelSource


@dataclass(frozen=True)
class Asked:
    """What the user asked for in words that depend on what the model turns out to be.

    Attributes:
        recipe: as it was read.
        named: whether the user named it.
        settings: words such as ``prune.sparsity=0.9``.
        offered: what the data offers, in the words of `edgepack.step.NEEDS`.
    """

    recipe: Recipe
    named: bool
    settings: tuple[str, ...]
    offered: frozenset[str]


@dataclass(frozen=True)
class Plan:
    """Everything that decides a build, checked and nothing slow begun.

    Attributes:
        model: where the model comes from.
        target: what it is for.
        recipe: the steps, of which the first takes the model.
        runtime: what runs the model on the target.
        data: where samples come from, or None.
        seed: of everything random.
        metric: what the models are judged by; empty derives it from the labels.
        max_drop: the gate, in units of the metric; None for none.
        evaluate: whether to judge at all.
        out: the bundle's folder; empty for the usual one.
        asked: what else was asked for.
        frozen: why the recipe is not the one that was asked for; empty where it is.
    """

    model: ModelSource
    target: Target
    recipe: Recipe
    runtime: str
    data: Source | None
    seed: int
    metric: str
    max_drop: float | None
    evaluate: bool
    out: str | Path
    asked: Asked
    frozen: str = ""

    @property
    def place(self) -> Path:
        """The bundle's folder."""
        return Path(self.out or f"build/{self.model.name}-{self.target.id}-{self.recipe.name}")

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_metric(self.metric, self.max_drop, judged=self.evaluate, data=bool(self.data))
        _check_place(self.place)


def make_plan(
    model: Any,
    target: str,
    *,
    recipe: str = "",
    runtime: str = "",
    data: str = "",
    metric: str = "",
    max_drop: float | None = None,
    out: str | Path = "",
    settings: Sequence[str] = (),
    seed: int = 0,
    calibrate_on_noise: bool = False,
    evaluate: bool = True,
    **options: Any,
) -> Plan:
    """Check everything that can be checked before TensorFlow loads.

    Args:
        model: a path, or a Keras 2 or 3 model object.
        target: a name, or a path to a TOML file, as ``recipe``.
        recipe: the target's by default; see `edgepack.entry`.
        runtime: the target's first by default.
        data: what ``--data`` takes; see ``docs/data.md``.
        metric: a word that ``--metric`` takes.
        max_drop: by how much the metric may get worse.
        out: the bundle's folder; ``build/<model>-<target>-<recipe>`` by default.
        settings: words such as ``prune.sparsity=0.9``.
        seed: of everything random.
        calibrate_on_noise: calibrate on random numbers where there is no data.
        evaluate: compare the final model with the float baseline.
        options: of `edgepack.source.open_model`, such as ``custom``.
    """
    board, runner, whole = _board(target, runtime, recipe)
    samples, origin = _samples(data), source.open_model(model, **options)
    _refuse_code(whole, allowed=origin.allow_code)
    asked = Asked(whole, bool(recipe), tuple(settings), _offered(samples, calibrate_on_noise))
    chosen, why = _entered(asked, _newcomer(origin), board, runner)
    facts = (origin, board, chosen, runner, samples, seed, metric, max_drop, evaluate, out)
    return Plan(*facts, asked=asked, frozen=why)


def settle(planned: Plan, model: Path) -> Plan:
    """The same plan once the model was read, where only that tells which steps it can go through.

    Args:
        planned: what was made before.
        model: what the model was read into.

    Raises:
        RecipeError: if the model turned out to be none for the recipe.
    """
    if not source.is_converted(planned.model):
        return planned
    found = entry.look(model)
    chosen, why = _entered(planned.asked, found, planned.target, planned.runtime)
    return replace(planned, recipe=chosen, frozen=why)


def _newcomer(origin: ModelSource) -> Newcomer:
    """What the file tells before it is read; what must be converted counts as trainable."""
    return entry.look(origin.file) if origin.form == "tflite" else Newcomer(origin.gives)


def _entered(asked: Asked, model: Newcomer, board: Target, runtime: str) -> tuple[Recipe, str]:
    """The steps from the model on, checked, and why they are not those of the recipe asked for."""
    entered = entry.enter(asked.recipe, model, named=asked.named)
    chosen = override(entered.recipe, asked.settings)
    _check(chosen, model.form, asked.offered, board, runtime)
    return chosen, entered.frozen


def _board(target: str, runtime: str, recipe: str) -> tuple[Target, str, Recipe]:
    """The target, what runs the model there, and the steps towards it."""
    board = read_target(target)
    if runtime and runtime not in board.runtimes:
        raise InputError(
            f"target {board.id} has no runtime {runtime!r}", suggest(runtime, list(board.runtimes))
        )
    own = read_recipe(board.recipe, board.settings)
    whole = finish(read_recipe(recipe, board.settings), own) if recipe else own
    return board, runtime or board.runtimes[0], whole


def _refuse_code(recipe: Recipe, *, allowed: bool) -> None:
    """Refuse a recipe that would run code which the user did not ask for."""
    named = code_named(recipe)
    if named and not allowed:
        raise RecipeError(
            f"recipe {recipe.name} would run code: {', '.join(named)}",
            "read the file, then allow it with --allow-code, or name it with --set yourself",
        )


def check_seed(seed: int) -> None:
    """Refuse a seed that numpy does not take.

    Raises:
        InputError: if it is negative or has more than 32 bits.
    """
    if not 0 <= seed < 1 << 32:
        raise InputError(f"--seed is {seed}, out of its range", f"give one from 0 to {2**32 - 1}")


def _samples(data: str) -> Source | None:
    """Where samples come from; imported only now: a misspelt recipe need not wait."""
    if not data:
        return None
    from edgepack.data.dataset import open_source

    return open_source(data)


def _check(recipe: Recipe, form: str, offered: frozenset[str], board: Target, runtime: str) -> None:
    """Refuse a recipe that cannot work, and one whose programs are missing here."""
    recipe.check(form, offered, board)
    for step in recipe.steps:
        step.outside()
    if bare := firmware.find(runtime):
        bare.outside()


def _check_place(place: Path) -> None:
    from edgepack.bundle import check_place

    check_place(place)


def _offered(data: Source | None, noise: bool) -> frozenset[str]:
    if data:
        return data.offers | KNOWN
    return KNOWN | ({"calibration"} if noise else set())


def check_metric(metric: str, max_drop: float | None, *, judged: bool, data: bool) -> None:
    """Refuse a metric or a gate that nothing could be judged by.

    Raises:
        InputError: with the option that is missing.
    """
    if metric:
        from edgepack.evaluate import read_metric

        read_metric(metric)
    if max_drop is None:
        return
    if not math.isfinite(max_drop):
        raise InputError(f"--max-drop is {max_drop}", "give a number, such as 0.01")
    if not judged:
        raise InputError("--max-drop needs an evaluation", "leave --no-eval away")
    if not data:
        raise InputError("--max-drop needs labelled test data", "name data with --data")
