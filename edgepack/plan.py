"""What a build is asked to do, checked whole before TensorFlow loads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepack.errors import InputError
from edgepack.recipe import Recipe, override, read_recipe
from edgepack.target import Target, read_target

if TYPE_CHECKING:
    from edgepack.data.dataset import Source
    from edgepack.source import ModelSource


@dataclass(frozen=True)
class Plan:
    """Everything that decides a build, checked and nothing slow begun.

    Attributes:
        model: where the model comes from.
        target: what it is for.
        recipe: the steps.
        data: where samples come from, or None.
        seed: of everything random.
        metric: what the models are judged by; empty derives it from the labels.
        max_drop: the gate, in units of the metric; None for none.
        evaluate: whether to judge at all.
        out: the bundle's folder.
    """

    model: ModelSource
    target: Target
    recipe: Recipe
    data: Source | None
    seed: int
    metric: str
    max_drop: float | None
    evaluate: bool
    out: Path

    def __post_init__(self) -> None:
        check_seed(self.seed)


def make_plan(
    model: Any,
    target: str,
    *,
    recipe: str = "",
    data: str = "",
    metric: str = "",
    max_drop: float | None = None,
    out: str | Path = "",
    settings: Sequence[str] = (),
    seed: int = 0,
    custom: str | Path = "",
    allow_code: bool = False,
    calibrate_on_noise: bool = False,
    evaluate: bool = True,
) -> Plan:
    """Check everything that can be checked before TensorFlow loads.

    Args:
        model: a path, or a Keras 2 or 3 model object.
        target: a target's name, or a path to a TOML file.
        recipe: a recipe's name or path; the target's own by default.
        data: what ``--data`` takes; see ``docs/data.md``.
        metric: ``accuracy``, ``top5``, ``mae``, ``mse`` or ``FILE.py:function``.
        max_drop: by how much the metric may get worse.
        out: the bundle's folder; ``build/<model>-<target>-<recipe>`` by default.
        settings: words such as ``prune.sparsity=0.9``.
        seed: of everything random.
        custom: a Python file with the model's own layers.
        allow_code: let code inside the model's archive run.
        calibrate_on_noise: calibrate on random numbers where there is no data.
        evaluate: compare the final model with the float baseline.
    """
    board = read_target(target)
    chosen = override(read_recipe(recipe or board.recipe), settings)
    check_metric(metric, max_drop, judged=evaluate, data=bool(data))
    samples, origin = _open(data, model, str(custom), allow_code=allow_code)
    _check(chosen, origin.gives, _offered(samples, noise=calibrate_on_noise), board)
    folder = _place(out or f"build/{origin.name}-{board.id}-{chosen.name}")
    return Plan(origin, board, chosen, samples, seed, metric, max_drop, evaluate, folder)


def check_seed(seed: int) -> None:
    """Refuse a seed that numpy does not take.

    Raises:
        InputError: if it is negative or has more than 32 bits.
    """
    if not 0 <= seed < 1 << 32:
        raise InputError(f"--seed is {seed}, out of its range", f"give one from 0 to {2**32 - 1}")


def _open(
    data: str, model: Any, custom: str, *, allow_code: bool
) -> tuple[Source | None, ModelSource]:
    """Where samples and model come from; imported only now: a misspelt recipe need not wait."""
    from edgepack.data.dataset import open_source
    from edgepack.source import open_model

    samples = open_source(data) if data else None
    return samples, open_model(model, custom=custom, allow_code=allow_code)


def _check(recipe: Recipe, form: str, offered: frozenset[str], board: Target) -> None:
    """Refuse a recipe that cannot work, and one whose programs are missing here."""
    recipe.check(form, offered, board)
    for step in recipe.steps:
        step.outside()


def _place(out: str | Path) -> Path:
    from edgepack.bundle import check_place

    check_place(Path(out))
    return Path(out)


def _offered(data: Source | None, *, noise: bool) -> frozenset[str]:
    if data:
        return data.offers | {"target"}
    return frozenset({"target", "calibration"} if noise else {"target"})


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
