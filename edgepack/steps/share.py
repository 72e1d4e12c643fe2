"""Share: let several layers have one set of weights, or one set of few values, and train on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgepack.errors import RecipeError, StepError
from edgepack.step import Given, setting
from edgepack.training.training_step import TrainingStep

if TYPE_CHECKING:
    from edgepack.network.kernels import Kernel


@dataclass(frozen=True)
class Share(TrainingStep):
    """Weights across layers: tied as in ALBERT (Lan et al. 2020, arXiv:1909.11942, section 3.1).

    With ``mode`` values it is the weight sharing of Han et al. 2016, arXiv:1510.00149, section 3,
    with one codebook for all chosen layers.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"keras"})
    gives: ClassVar[str] = "keras"
    breaks: ClassVar[frozenset[str]] = frozenset({"binary", "ternary", "clustered", "shared"})

    mode: str = setting(
        "layers", "what is shared: whole layers, or few values", choices=("layers", "values")
    )
    layers: str = setting(".*", "regular expression; layers whose whole name it matches are taken")
    together: int = setting(
        0, "layers that one set of weights serves; 0: all that fit", unit="layers", low=0, high=1000
    )
    start: str = setting(
        "mean",
        "what a group's weights start from: their mean, or the first",
        choices=("mean", "first"),
    )
    ends: bool = setting(False, "the first and the last layers, too, where layers are shared")
    values: int = setting(
        32, "of the codebook, zero included where there are zeros", unit="values", low=4, high=256
    )
    learning_rate: float = setting(1e-3, "of Adam", unit="step size", low=0.0, high=1.0)

    def check(self) -> None:
        """Refuse an expression that is none, and a group of one."""
        try:
            re.compile(self.layers)
        except re.error as error:
            raise RecipeError(
                f"share.layers is no regular expression: {error}", "such as conv.*"
            ) from error
        if self.together == 1:
            raise RecipeError("share.together is 1, which shares nothing", "set it to 0, or to 2")

    def apply(self, model: Any, given: Given) -> Any:
        """The model with fewer weights, or with fewer values in them.

        Raises:
            StepError: if nothing can be shared.
        """
        from edgepack.network.graph import copy_layer, rebuild
        from edgepack.network.kernels import kernels
        from edgepack.training.keeping import keepers
        from edgepack.training.loop import fit

        flat = rebuild(model, copy_layer)
        made = self._tie(flat, given) if self.mode == "layers" else self._share_values(flat, given)
        if self.epochs:
            added = {"clustered", "shared"} if self.mode == "values" else set()
            fit(made, given, self, keep=keepers(kernels(made), given.properties | added))
        return made

    def _tie(self, model: Any, given: Given) -> Any:
        from edgepack.network.kernels import parameters
        from edgepack.network.tying import equal_layers, tie

        groups = equal_layers(self._tieable(model, given), self.together)
        if not groups:
            raise StepError(
                "no two layers of the model have equal settings and shapes and different inputs",
                "set share.mode to values, or share.ends to true",
            )
        made = tie(model, groups, mean=self.start == "mean")
        names = [[layer.name for layer in group] for group in groups]
        given.record("tied", names)
        told = "; ".join(", ".join(group) for group in names)
        saved = parameters(model) - parameters(made)
        given.remark(f"tied, which saves {saved:,} parameters: {told}")
        return made

    def _tieable(self, model: Any, given: Given) -> list[Any]:
        """The layers that are chosen and that no normalization tells apart again."""
        from edgepack.network.folding import foldable
        from edgepack.network.outermost import outermost

        outer = set() if self.ends else outermost(model)
        chosen = [
            layer
            for layer in model.layers
            if re.fullmatch(self.layers, layer.name) and layer.name not in outer
        ]
        normalized = {id(layer) for layer, _ in foldable(model)}
        left = [layer.name for layer in chosen if id(layer) in normalized]
        if left:
            given.remark(
                "not tied, as each normalization would be folded into a copy of its own, unless the"
                f" step fold goes before: {', '.join(left)}"
            )
        return [layer for layer in chosen if id(layer) not in normalized]

    def _share_values(self, model: Any, given: Given) -> Any:
        import numpy as np

        from edgepack.network.kernels import kernels
        from edgepack.training import kmeans

        chosen = [k for k in kernels(model) if self._fits(k)]
        if len(chosen) < 2:
            raise StepError(
                f"{len(chosen)} layers of the model have {self.values} values to share",
                "set share.values to fewer, or share.layers to more",
            )
        before = [kernel.variable.numpy() for kernel in chosen]
        flat = np.concatenate([values.ravel() for values in before])
        rng = np.random.default_rng(given.seed)
        after = kmeans.share(flat, self.values, "density", rng)
        cuts = np.cumsum([values.size for values in before])[:-1]
        for kernel, part in zip(chosen, np.split(after, cuts), strict=True):
            kernel.variable.assign(part.reshape(kernel.variable.shape))
        self._tell(chosen, given)
        return model

    def _fits(self, kernel: Kernel) -> bool:
        """Whether a kernel is chosen and has more values than the codebook; depthwise ones lose."""
        import numpy as np

        from edgepack.network.tying import KINDS

        enough = np.count_nonzero(kernel.variable.numpy()) > self.values
        treated = type(kernel.layer).__name__ in KINDS and kernel.word != "depthwise_kernel"
        return treated and bool(enough and re.fullmatch(self.layers, kernel.layer.name))

    def _tell(self, chosen: Sequence[Kernel], given: Given) -> None:
        names = [kernel.layer.name for kernel in chosen]
        given.record("codebook", {"values": self.values, "layers": names})
        given.remark(f"{self.values} values serve {len(names)} layers: {', '.join(names)}")
