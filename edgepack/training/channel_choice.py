"""Decides which channels of a model go: importance, budget, and what is said about both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from edgepack.errors import StepError
from edgepack.step import Given
from edgepack.surgery.channel_budget import (
    Costs,
    Rank,
    cheaply,
    costs_of,
    evenly,
    narrow,
    next_width,
)
from edgepack.surgery.channels import Array
from edgepack.surgery.coupling import Coupling, Group
from edgepack.training.channel_scan import Trial, damage, least, narrowest, scan
from edgepack.training.channel_scores import scores
from edgepack.training.loop import batches_of
from edgepack.training.objective import Objective
from edgepack.training.training_step import TrainingStep
from edgepack.training.trials import (
    UNLABELLED,
    Samples,
    held_out_samples,
    loss_of,
    training_samples,
)


@dataclass(frozen=True)
class Wish:
    """What the user wants of the cut.

    Attributes:
        importance: one of `edgepack.training.channel_scores.scores`.
        amount_by: one of `edgepack.surgery.channel_budget.MEASURES`, or ``scan``.
        spread: ``uniform`` or ``importance``.
        multiple: that widths are cut to.
        samples: to measure importance on.
        drop: how far the loss may grow for each group in a scan; 0: as far as it takes.
    """

    importance: str
    amount_by: str
    spread: str
    multiple: int
    samples: int
    drop: float = 0.0

    @property
    def measure(self) -> str:
        """What the budget counts."""
        return "macs" if self.amount_by == "scan" else self.amount_by


@dataclass(frozen=True)
class Choice:
    """One model, and what is to be cut from it.

    Attributes:
        model: flat.
        coupling: its channels.
        groups: those that may be cut.
        wish: the user's.
        given: data and seed.
        settings: of the training.
    """

    model: Any
    coupling: Coupling
    groups: tuple[Group, ...]
    wish: Wish
    given: Given
    settings: TrainingStep

    @cached_property
    def whole(self) -> Array:
        """The width of each group."""
        return np.array([len(group.channels) for group in self.groups], np.int64)

    @cached_property
    def costs(self) -> Costs:
        """What the model costs by the widths of the groups."""
        return costs_of(self.model, self.coupling, self.groups)

    def refuse_nothing(self) -> None:
        """Raise a StepError where no group is wide enough to lose anything."""
        widest, multiple = int(max(self.whole, default=0)), self.wish.multiple
        if not next_width(widest, multiple):
            raise StepError(
                f"the model has no channels to cut: its widest group has {widest}, and {multiple}"
                " stay",
                "set prune_channels.multiple to 1 or prune_channels.skip to nothing, or leave the"
                " step out",
            )

    def gone(self, most: float) -> list[int]:
        """The channels to cut, so that the model costs about as much as it may."""
        widths = self.widths(most)
        rows = zip(self.groups, self.scores, self.whole - widths, strict=True)
        return [n for group, values, count in rows for n in least(group, values, int(count))]

    def widths(self, most: float) -> Array:
        """The new width of each group."""
        if self.wish.amount_by == "scan" and self.wish.drop:
            rows = zip(self._trials, self.whole.tolist(), strict=True)
            return np.array([narrowest(trials, w, self.wish.drop) for trials, w in rows])
        measure = self.wish.measure
        return narrow(self.costs, measure, most, self.whole, self.wish.multiple, self._rank())

    def _rank(self) -> Rank:
        if self.wish.amount_by == "scan":
            curves = [damage(t, int(w)) for t, w in zip(self._trials, self.whole, strict=True)]
            return cheaply(self.costs, self.wish.measure, curves)
        if self.wish.spread == "uniform":
            return evenly(self.whole)
        sums = [np.concatenate([[0.0], np.cumsum(np.sort(values))]) for values in self.scores]
        return cheaply(self.costs, self.wish.measure, sums)

    @cached_property
    def scores(self) -> list[Array]:
        """The importance of each group's channels; by l1 where the criterion says nothing."""
        criterion = self.wish.importance
        found = scores(self.model, self.coupling, criterion, self._objective, self._samples)
        plain = scores(self.model, self.coupling, "l1", self._objective, ())
        places = {id(group): i for i, group in enumerate(self.coupling.groups)}
        rows = [(group, places[id(group)]) for group in self.groups]
        silent = [group.name for group, i in rows if found[i] is None]
        if silent:
            self.given.remark(f"l1 in place of {criterion}, which tells nothing: {listed(silent)}")
        chosen = [plain[i] if found[i] is None else found[i] for _, i in rows]
        return [values for values in chosen if values is not None]

    @cached_property
    def _objective(self) -> Objective:
        if self.wish.importance == "taylor" or self.wish.amount_by == "scan":
            return batches_of(self.model, self.given, self.settings).objective
        return UNLABELLED

    @cached_property
    def _samples(self) -> Samples:
        if self.wish.importance not in ("taylor", "activation"):
            return ()
        return training_samples(*self._source)

    @property
    def _source(self) -> tuple[Any, Given, TrainingStep, Objective, int]:
        return self.model, self.given, self.settings, self._objective, self.wish.samples

    @cached_property
    def _trials(self) -> list[list[Trial]]:
        held = held_out_samples(*self._source)
        rows = scan(
            *(self.model, self.coupling, self.groups, self.scores, self.wish.multiple),
            lambda model: loss_of(model, self._objective, held),
        )
        pairs = zip(self.groups, rows, strict=True)
        self.given.record("scan", {group.name: told(trials) for group, trials in pairs})
        return rows


def told(trials: Sequence[Trial]) -> dict[str, float]:
    """Trials as plain data: the growth of the loss by width."""
    return {str(trial.width): trial.growth for trial in trials}


def listed(names: Sequence[str], most: int = 6) -> str:
    """Some names."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
