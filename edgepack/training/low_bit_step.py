"""What the steps that leave one or two bits of a weight have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgepack.errors import StepError
from edgepack.step import Given, setting
from edgepack.training.training_step import TrainingStep, check_expression

if TYPE_CHECKING:
    from edgepack.network.kernels import Kernel
    from edgepack.training.reparametrization import Parametrization


@dataclass(frozen=True)
class LowBitStep(TrainingStep):
    """Layers compute with weights of few bits, and full weights behind them are trained.

    Attributes:
        bits: of a weight, where something packs it.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"keras"})
    gives: ClassVar[str] = "keras"
    bits: ClassVar[int] = 1

    epochs: int = setting(4, "passes over the training data", unit="epochs", low=0, high=10_000)
    layers: str = setting(".*", "regular expression; layers whose whole name it matches are taken")
    ends: bool = setting(False, "the first and the last layer, too, which lose most")
    depthwise: bool = setting(False, "depthwise layers, too, which have few weights and lose much")

    def check(self) -> None:
        """Refuse an expression that is none."""
        check_expression(f"{self.step_name()}.layers", self.layers)

    def parametrization(self, kernel: Kernel) -> Parametrization:
        """How the weights of few bits follow from a kernel."""
        raise NotImplementedError

    def apply(self, model: Any, given: Given) -> Any:
        """The same model with few bits in each weight of the chosen layers.

        Raises:
            StepError: if no layer is chosen.
        """
        from edgepack.network.graph import copy_layer, rebuild
        from edgepack.training.low_bits import choose
        from edgepack.training.reparametrization import reparametrize, strip

        flat = rebuild(model, copy_layer)
        choice = choose(flat, self.layers, ends=self.ends, depthwise=self.depthwise)
        left = [
            f"{', '.join(dict.fromkeys(names))} ({reason})" for reason, names in choice.left.items()
        ]
        if not choice.kernels:
            raise StepError(
                f"no layer of the model is left to {self.step_name()}: {'; '.join(left) or 'none'}",
                f"set {self.step_name()}.layers to others, or {self.step_name()}.ends to true",
            )
        if left:
            given.remark(f"left as they are: {'; '.join(left)}")
        chosen = {kernel.layer.name: self.parametrization(kernel) for kernel in choice.kernels}
        wrapped = reparametrize(flat, chosen)
        if self.epochs:
            self._train(flat, wrapped, given)
        made = strip(wrapped)
        self._tell(made, choice.kernels, given)
        return made

    def _train(self, flat: Any, wrapped: Any, given: Given) -> None:
        from edgepack.network.kernels import kernels
        from edgepack.training.keeping import keepers
        from edgepack.training.loop import fit
        from edgepack.training.objective import derive_loss

        objective = derive_loss(flat, given.dataset, self.loss) if given.dataset else None
        keep = keepers(kernels(wrapped), given.properties)
        fit(wrapped, given, self, objective=objective, keep=keep)

    def _tell(self, made: Any, chosen: Sequence[Kernel], given: Given) -> None:
        """Record what packing would save, which no file here does."""
        from edgepack.training.low_bits import packing

        facts = packing(made, {kernel.name for kernel in chosen}, self.bits)
        given.record("packing", {"bits": self.bits, **facts})
        whole = facts["float_bytes"] + facts["others_bytes"]
        packed = facts["packed_bytes"] + facts["others_bytes"]
        bits = "1 bit" if self.bits == 1 else f"{self.bits} bits"
        given.remark(
            f"{facts['weights']:,} weights in {len(facts['layers'])} layers need {bits} each where"
            f" something packs them: {packed:,} bytes instead of {whole:,} for all parameters; what"
            " is deployed stores them as the conversion does"
        )
