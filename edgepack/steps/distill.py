"""Distill: let a smaller model learn from a larger one, or a reduced model from what it was."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgepack.errors import RecipeError, StepError
from edgepack.step import Given, Step, setting
from edgepack.training.training_step import TrainingStep

if TYPE_CHECKING:
    from edgepack.training.distillation import Pair
    from edgepack.training.objective import Objective

CODE = re.compile(r"(.*\.py)(:\w*)?")
"""A student that a function makes."""


@dataclass(frozen=True)
class Distill(TrainingStep):
    """Knowledge distillation (Hinton et al. 2015, arXiv:1503.02531).

    By default the model in hand learns from what it was before any step had reduced it, and keeps
    the structure that it has. A student of its own, from a file, a function or derived, has none:
    a recipe that would lose structure so is refused.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"keras"})
    gives: ClassVar[str] = "keras"

    epochs: int = setting(10, "passes over the training data", unit="epochs", low=1, high=10_000)
    teacher: str = setting("", "a model file; empty: the model that came in, not yet reduced")
    student: str = setting(
        "",
        "a model file, or FILE.py:function that makes one; empty: the model in hand",
        code=True,
    )
    width: float = setting(
        1.0, "of the student's layers, of those in hand", unit="multiplier", low=0.01, high=1
    )
    depth: float = setting(
        1.0, "of the blocks that keep their shape, how many stay", unit="fraction", low=0, high=1
    )
    multiple: int = setting(8, "what channels are rounded to", unit="channels", low=1, high=256)
    initialization: str = setting(
        "selected",
        "weights of a derived student: chosen from the model in hand, or new",
        choices=("selected", "new"),
    )
    temperature: float = setting(2.0, "that softens the outputs", unit="factor", low=0.1, high=100)
    soft: float = setting(0.9, "weight of the teacher's outputs", unit="factor", low=0)
    hard: float = setting(0.1, "weight of the labels", unit="factor", low=0)
    features: tuple[str, ...] = setting(
        (), "teacher_layer:student_layer, ..., or auto: the last ones before each downsampling"
    )
    feature: float = setting(1.0, "weight of all features", unit="factor", low=0)

    def needs(self) -> frozenset[str]:
        """Training data; labels where they count; the unreduced model where it is the teacher."""
        labels = {"labels"} if self.hard else set()
        teacher = set() if self.teacher else {"teacher"}
        return frozenset({"training", *labels, *teacher})

    def check(self) -> None:
        """Refuse pairs that are none, two students at once, and a lesson without content."""
        for word in () if self.features == ("auto",) else self.features:
            if not re.fullmatch(r"[^:]+:[^:]+", word):
                raise RecipeError(
                    f"distill.features has {word!r}, which is no pair of layers",
                    "write teacher_layer:student_layer, or auto alone",
                )
        if self.student and (self.width, self.depth) != (1.0, 1.0):
            raise RecipeError(
                "distill.width and distill.depth make a student, but distill.student names one",
                "leave distill.student out, or width and depth at 1",
            )
        if not (self.soft or self.hard or (self.features and self.feature)):
            raise RecipeError(
                "distill.soft and distill.hard are 0: there is nothing to learn",
                "set distill.soft to 0.9",
            )

    def check_after(self, earlier: Sequence[Step]) -> None:
        """Refuse to lose what earlier steps gave to the model: a new student has none of it."""
        adds = sorted({word for step in earlier for word in step.adds})
        if self._is_new and adds:
            raise RecipeError(
                f"distill makes a new student, which would not be {' and '.join(adds)}",
                "put distill first, or leave distill.student, width and depth as they are",
            )

    @property
    def _is_new(self) -> bool:
        """Whether the student is another model than the one in hand."""
        return bool(self.student) or (self.width, self.depth) != (1.0, 1.0)

    def outside(self) -> str:
        """The sha256 of teacher and student, where they are files.

        Raises:
            ModelError: if there is no such file.
        """
        from edgepack.source import open_model
        from edgepack.userfile import digest

        code = CODE.fullmatch(self.student)
        files = [self.teacher, "" if code else self.student]
        found = [open_model(file).sha256 if file else "" for file in files]
        return " ".join([*found, digest(Path(code[1])) if code else ""]).strip()

    def apply(self, model: Any, given: Given) -> Any:
        """The student, trained, with the names of the model's inputs and outputs.

        Raises:
            StepError: if teacher, student and model do not fit together, or no student can be made.
        """
        from edgepack import keras
        from edgepack.network.ends import align, rename
        from edgepack.network.graph import copy_layer, rebuild
        from edgepack.network.kernels import parameters

        self._refuse_losses(given)
        teacher = given.read(self.teacher)
        other = given.read(self.student) if self.student and not self._code else None
        keras.start(given.seed)  # what was read may have been in the store, or not
        hand = rebuild(model, copy_layer)
        student = hand
        if self._is_new:
            student = rename(other or self._made(hand, given.seed), hand, "student")
        teacher = align(rebuild(teacher, copy_layer), hand, "teacher")
        for name, trained in (("teacher", teacher), ("student", student)):
            given.record(name, {"parameters": parameters(trained)})
        self._teach(teacher, student, given)
        return student

    @property
    def _code(self) -> str:
        """The function that makes the student, if one does."""
        return self.student if CODE.fullmatch(self.student) else ""

    def _refuse_losses(self, given: Given) -> None:
        if self._is_new and given.properties:
            lost = ", ".join(sorted(given.properties))
            raise StepError(
                f"the new student would lose what the model has: {lost}",
                "leave distill.student, width and depth as they are",
            )

    def _made(self, hand: Any, seed: int) -> Any:
        """The student before it is trained, made by a function or from the model in hand."""
        from edgepack.surgery import blocks
        from edgepack.surgery.narrowing import narrow

        if self._code:
            return self._call(hand, seed)
        student = blocks.shorten(hand, self.depth) if self.depth < 1 else hand
        select = self.initialization == "selected"
        if self.width == 1 and select:
            return student
        return narrow(student, self.width, self.multiple, select=select)

    def _call(self, hand: Any, seed: int) -> Any:
        """The student that the user's function makes, of either Keras."""
        from edgepack import keras
        from edgepack.network.bridge import to_flat
        from edgepack.network.walk import inputs_of, outputs_of
        from edgepack.userfile import load_function

        keras.keras3().utils.clear_session()
        keras.keras3().utils.set_random_seed(seed)
        ends = [{n: s[1:] for n, s, _ in found(hand)} for found in (inputs_of, outputs_of)]
        made = load_function(self._code, StepError)(*ends)
        if not hasattr(made, "layers"):
            raise StepError(
                f"{self._code} gave a {type(made).__name__}, no Keras model",
                "let it return keras.Model(inputs, outputs)",
            )
        return to_flat(made)

    def _teach(self, teacher: Any, student: Any, given: Given) -> None:
        from edgepack import keras
        from edgepack.network.kernels import kernels
        from edgepack.training import distillation
        from edgepack.training.keeping import keepers
        from edgepack.training.loop import fit
        from edgepack.training.objective import Objective

        objective = self._objective(student, given)
        outputs = distillation.distances(teacher, student, objective, self.temperature)
        pairs = self._pairs(teacher, student)
        guide = keras.tf_keras().Model(teacher.inputs, [*teacher.outputs, *(t for t, _ in pairs)])
        weights = distillation.Weights(self.soft, self.hard, self.feature)
        history = fit(
            distillation.with_features(student, pairs),
            given,
            self,
            objective=objective or Objective(()),
            keep=keepers(kernels(student), given.properties),
            lesson=distillation.make_lesson(guide, outputs, weights),
        )
        given.record("losses", dict(zip(("training", "validation"), history[-1], strict=True)))

    def _pairs(self, teacher: Any, student: Any) -> list[Pair]:
        from edgepack.training.distillation import named_pairs, paired

        if self.features == ("auto",):
            return paired(teacher, student)
        return named_pairs(teacher, student, self.features)

    def _objective(self, student: Any, given: Given) -> Objective | None:
        """The losses by the labels; where they count for nothing, data may have none."""
        from edgepack.training.objective import derive_loss

        known = given.dataset and given.dataset.training and given.dataset.training.outputs
        if given.dataset and (known or self.hard):
            return derive_loss(student, given.dataset, self.loss)
        return None
