"""The contract of a step: one technique that turns a model into another, and says what it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgepack.errors import StepError
from edgepack.progress import Reporter, silent

if TYPE_CHECKING:
    from edgepack.data.dataset import Dataset
    from edgepack.target import Target

KNOWN = frozenset({"target", "name", "teacher"})
"""Needs that every build meets: the target, what the model is called, the unreduced model.

A step that needs one of them is redone for each; all others are shared between builds.
"""

NEEDS = ("training", "labels", "calibration", *sorted(KNOWN))
"""What a step may need besides the model; `Recipe.check` refuses a recipe whose needs are not met.
"""


def unremarked(sentence: str) -> None:
    """Where remarks go that nobody keeps."""


def unrecorded(name: str, facts: Any) -> None:
    """Where facts and files go that nobody keeps."""


def unreadable(file: str) -> Any:
    """Where a step asks for a model that nobody can read."""
    raise StepError(f"nothing here reads the model {file or 'that came in'!r}", "run a whole build")


@dataclass(frozen=True)
class Given:
    """What a step is handed besides the model.

    Attributes:
        target: the board that the model is for.
        dataset: the data, or None where there is none.
        seed: of everything random.
        properties: structure that is present in the model and must be kept.
        checkpoints: a folder of this step's own, which outlives a killed run; None: keep none.
        report: where progress goes.
        remark: takes a sentence that belongs into the manifest, such as what was left alone.
        record: takes a name and plain data that belong into the manifest, such as memory used.
        attach: takes a file's name and its bytes, which belong into the bundle.
        read: gives the tf_keras model in a file, or, for an empty name, the model that the build
            started from, before any step has reduced it; a new copy each time.
        name: what the model is called.
    """

    target: Target
    dataset: Dataset | None = None
    seed: int = 0
    properties: frozenset[str] = frozenset()
    checkpoints: Path | None = None
    report: Reporter = silent
    remark: Callable[[str], None] = unremarked
    record: Callable[[str, Any], None] = unrecorded
    attach: Callable[[str, bytes], None] = unrecorded
    read: Callable[[str], Any] = unreadable
    name: str = "model"


def setting(
    default: Any,
    help: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    code: bool = False,
) -> Any:
    """A user's setting of a step, as a dataclass field; its type is the default's type.

    Args:
        default: the value without the user's word; bool, int, float, str or a tuple of str.
        help: one phrase for ``edgepack steps NAME``.
        unit: of the value, such as ``epochs`` or ``fraction``.
        low: the smallest value allowed.
        high: the largest value allowed.
        choices: the words allowed.
        code: whether it may name a Python file to run, as ``FILE.py:function``; a recipe that does
            is refused without ``--allow-code``.
    """
    facts = {"help": help, "unit": unit, "low": low, "high": high, "choices": choices, "code": code}
    return field(default=default, metadata=facts)


@dataclass(frozen=True)
class Step:
    """One technique: its fields are the user's settings, its class variables the constraints.

    Attributes:
        takes: the forms that it accepts.
        gives: the form that it returns; empty where that is the form that it was given.
        adds: properties that it gives to a model.
        breaks: properties that a model must not have, because the step would lose them.
        extras: the extras of the package that must be installed.
        lossless: whether the model computes the same afterwards, to the last bit; the float
            baseline that a build is compared with goes through such steps too.
    """

    takes: ClassVar[frozenset[str]] = frozenset()
    gives: ClassVar[str] = ""
    adds: ClassVar[frozenset[str]] = frozenset()
    breaks: ClassVar[frozenset[str]] = frozenset()
    extras: ClassVar[tuple[str, ...]] = ()
    lossless: ClassVar[bool] = False

    @classmethod
    def step_name(cls) -> str:
        """The word for this step in recipes and on the command line: its file's name."""
        return cls.__module__.rsplit(".", 1)[-1]

    @classmethod
    def settings(cls) -> Iterator[Field[Any]]:
        """The fields that a recipe may set."""
        return (f for f in fields(cls) if f.metadata and f.default is not MISSING)

    def needs(self) -> frozenset[str]:
        """What of `NEEDS` these settings ask for."""
        return frozenset()

    def result(self, form: str) -> str:
        """The form that it returns for a form that it takes."""
        return self.gives or form

    def check(self) -> None:
        """Refuse settings that contradict one another with a RecipeError; imports nothing heavy."""

    def check_form(self, form: str) -> None:
        """Refuse settings that mean nothing for a form that it takes with a RecipeError."""

    def check_after(self, earlier: Sequence[Step]) -> None:
        """Refuse earlier steps with a RecipeError where this one cannot take what they give."""

    def check_target(self, target: Target) -> None:
        """Refuse targets for which the technique means nothing with a RecipeError."""

    def is_done(self, quantized: str) -> bool:  # noqa: ARG002
        """Whether a .tflite that is quantized so needs this step no more."""
        return False

    def outside(self) -> str:
        """What it depends on besides model, data and settings; empty where that is nothing.

        That is the name and version of an outside program that does the work, or the sha256 of
        files that its settings name.

        Raises:
            InputError: if the program is missing or does not run, or a file cannot be read.
        """
        return ""

    def apply(self, model: Any, given: Given) -> Any:
        """Return a new model; pure: no printing, no files but the checkpoints.

        Args:
            model: a tf_keras model for the Keras forms, bytes for the others.
            given: data, seed, target and where to report progress.

        Raises:
            StepError: if the technique fails on this model.
        """
        raise NotImplementedError
