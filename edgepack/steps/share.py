"""Share: let the weights of several layers have one set of few values, and train on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgepack.errors import StepError
from edgepack.step import Given, setting
from edgepack.training.training_step import TrainingStep, check_expression

if TYPE_CHECKING:
    from edgepack.network.kernels import Kernel


@dataclass(frozen=True)
class Share(TrainingStep):
    """Weight sharing (Han et al. 2016, arXiv:1510.00149, section 3) with one codebook for all."""

    takes: ClassVar[frozenset[str]] = frozenset({"keras"})
    gives: ClassVar[str] = "keras"
    adds: ClassVar[frozenset[str]] = frozenset({"clustered", "shared"})
    breaks: ClassVar[frozenset[str]] = frozenset({"binary", "ternary"})

    values: int = setting(
        32, "of the codebook, zero included where there are zeros", unit="values", low=4, high=256
    )
    layers: str = setting(".*", "regular expression; layers whose whole name it matches are taken")

    def check(self) -> None:
        """Refuse an expression that is none."""
        check_expression("share.layers", self.layers)

    def apply(self, model: Any, given: Given) -> Any:
        """The same model with few values in all chosen layers together; zeros stay zero.

        Raises:
            StepError: if fewer than two layers have values to share.
        """
        from edgepack.network.graph import copy_layer, rebuild
        from edgepack.network.kernels import kernels
        from edgepack.training.keeping import keepers
        from edgepack.training.loop import fit

        made = rebuild(model, copy_layer)
        chosen = [kernel for kernel in kernels(made) if self._fits(kernel)]
        if len(chosen) < 2:
            raise StepError(
                f"{len(chosen)} layers of the model have {self.values} values to share",
                "set share.values to fewer, or share.layers to more",
            )
        self._share(chosen, given)
        if self.epochs:
            fit(made, given, self, keep=keepers(kernels(made), given.properties | self.adds))
        return made

    def _share(self, chosen: Sequence[Kernel], given: Given) -> None:
        import numpy as np

        from edgepack.training import kmeans

        before = [kernel.variable.numpy() for kernel in chosen]
        flat = np.concatenate([values.ravel() for values in before])
        rng = np.random.default_rng(given.seed)
        after = kmeans.share(flat, self.values, "density", rng)
        cuts = np.cumsum([values.size for values in before])[:-1]
        for kernel, part in zip(chosen, np.split(after, cuts), strict=True):
            kernel.variable.assign(part.reshape(kernel.variable.shape))
        names = [kernel.layer.name for kernel in chosen]
        given.record("codebook", {"values": self.values, "layers": names})
        given.remark(f"{self.values} values serve {len(names)} layers: {', '.join(names)}")

    def _fits(self, kernel: Kernel) -> bool:
        """Whether a kernel is chosen and has more values than the codebook; depthwise ones lose."""
        import numpy as np

        from edgepack.surgery.tying import KINDS

        enough = np.count_nonzero(kernel.variable.numpy()) > self.values
        treated = type(kernel.layer).__name__ in KINDS and kernel.word != "depthwise_kernel"
        return treated and bool(enough and re.fullmatch(self.layers, kernel.layer.name))
