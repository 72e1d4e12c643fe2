"""Compares techniques: every variant is built and timed, and set beside the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import edgepack
from edgepack.bundle import Bundle
from edgepack.errors import EdgepackError, InputError
from edgepack.evaluate import ERRORS
from edgepack.plan import Plan
from edgepack.progress import Progress, Reporter, silent
from edgepack.recipe import read_recipe
from edgepack.store import versions
from edgepack.target import Target, read_target
from edgepack.tradeoff.columns import COSTS, FLOAT, cost
from edgepack.tradeoff.front import front
from edgepack.tradeoff.timing import Stopwatch
from edgepack.tradeoff.trial import Facts, Study, attempt, training_samples
from edgepack.tradeoff.variants import Variant, choose, fits

SCHEMA = 1
"""Version of the facts; it grows whenever a reader would have to change."""


def unheard(facts: Facts) -> None:
    """Where facts go that nobody waits for."""


def compare(
    study: Study,
    build: Callable[[Plan], Bundle],
    stopwatch: Stopwatch | None,
    report: Reporter = silent,
    tell: Callable[[Facts], None] = unheard,
) -> Facts:
    """Build and time every variant.

    What was built or timed before is found again, so that a study that was cut off goes on. A
    variant that fails is told with its reason, and stops no other.

    Args:
        study: what is to be compared.
        build: makes a bundle of a plan.
        stopwatch: what times them; None: nothing is timed.
        report: where progress goes.
        tell: hears all that is known, each time that more is.

    Returns:
        Plain data: what `docs/compare.md` describes.

    Raises:
        EdgepackError: if model, target or data are wrong, or every variant fails.
    """
    known = _begin(study, stopwatch.device.name if stopwatch else "")
    samples = training_samples(study)
    for i, variant in enumerate(known.variants):
        report(Progress("compare", i, len(known.variants), variant.name))
        known.add(variant.name, attempt(study, known.target, variant, samples, build))
        tell(known.facts())
    if not any(row["error"] is None for row in known.rows):
        raise _nothing_built(known.rows)
    if stopwatch:
        for name, facts in stopwatch.time(known.baseline, known.models(), report):
            known.add(name, {"timing": facts})
            tell(known.facts())
    return known.facts()


def _begin(study: Study, device: str) -> Known:
    """What is known before anything is built: the variants, and which mean nothing here."""
    board = read_target(study.target)
    variants = choose(study.techniques, study.strengths, board.recipe)
    chosen = [v for v in variants if study.techniques or fits(read_recipe(v.recipe), board)]
    skipped = [v.name for v in variants if v not in chosen]
    return Known(study, board, chosen, [row_of(v) for v in chosen], device, skipped)


@dataclass
class Known:
    """What is known so far.

    Attributes:
        study: what is compared.
        target: what for.
        variants: what is built.
        rows: one for each of them.
        device: where variants are timed; empty where they are not.
        skipped: variants that mean nothing for the target.
    """

    study: Study
    target: Target
    variants: list[Variant]
    rows: list[Facts]
    device: str = ""
    skipped: list[str] = field(default_factory=list)

    def add(self, name: str, facts: Facts) -> None:
        """More facts of one variant."""
        next(row for row in self.rows if row["name"] == name).update(facts)

    @property
    def done(self) -> list[Facts]:
        """The rows of variants that were built."""
        return [row for row in self.rows if row.get("bundle")]

    @property
    def baseline(self) -> Path:
        """The float model's file."""
        first = self.done[0]
        folder, name = str(first["folder"]), str(first["baseline"]["path"])
        return self.study.out / folder / name

    def models(self) -> dict[str, Path]:
        """The bundles that a device can run, by the variant's name."""
        return {
            row["name"]: self.study.out / row["folder"]
            for row in self.done
            if row["form"] == "tflite"
        }

    def facts(self) -> Facts:
        """All of it as plain data, with the fronts."""
        first = self.done[0] if self.done else {}
        less = first.get("metric") in ERRORS
        return {
            "schema": SCHEMA,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {"edgepack": edgepack.__version__, **versions()},
            "model": Path(self.study.model).name,
            "target": self.target.id,
            "device": self.device,
            "data": self.study.data,
            "samples": first.get("samples"),
            "metric": {"name": first.get("metric"), "less_is_better": less},
            "seed": self.study.seed,
            "updates": self.study.updates,
            "baseline": first.get("baseline"),
            "variants": [_shown(row) for row in self.rows],
            "fronts": {word: _front(self.done, word, less=less) for word in COSTS},
            "skipped": self.skipped,
        }


def row_of(variant: Variant) -> Facts:
    """What is known of a variant before it is built."""
    claim = {k: v for k, v in asdict(variant.technique).items() if k not in ("name", "strengths")}
    return {
        "name": variant.name,
        "recipe": variant.recipe,
        "technique": variant.technique.name,
        "strength": variant.strength.name,
        "claim": claim,
        "folder": variant.folder,
        "error": None,
        "timing": None,
    }


def _shown(row: Facts) -> Facts:
    return {key: value for key, value in row.items() if key != "baseline"}


def _front(rows: Sequence[Facts], word: str, *, less: bool) -> list[str]:
    """The names on the front of a cost and the metric, the cheapest first."""
    if not any(cost(row, word) for row in rows):
        return []
    known = [(FLOAT, cost(rows[0]["baseline"], word, own=True), rows[0]["baseline"]["value"])]
    known += [(row["name"], cost(row, word), row["value"]) for row in rows]
    whole = [(name, c, value) for name, c, value in known if c is not None and value is not None]
    points = [(c, -value if less else value) for _, c, value in whole]
    return [whole[i][0] for i in front(points)]


def _nothing_built(rows: Sequence[Facts]) -> EdgepackError:
    if not rows:
        return InputError("there is nothing to compare", "name recipes with --techniques")
    return InputError(f"no variant could be built: {rows[0]['error']}", rows[0]["hint"])
