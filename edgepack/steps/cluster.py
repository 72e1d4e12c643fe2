"""Cluster: let the weights of a layer, or of each channel, share few values; zeros stay zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgepack.errors import StepError
from edgepack.step import Given, setting
from edgepack.training.training_step import TrainingStep

if TYPE_CHECKING:
    import numpy as np

    from edgepack.network.kernels import Kernel

CLUSTERABLE = (
    *("Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"),
    *("SeparableConv1D", "SeparableConv2D", "Dense", "Embedding"),
)
"""Layers that TF-MOT clusters; of a separable one the pointwise kernel. Depthwise ones lose too
much accuracy and are left alone."""


@dataclass(frozen=True)
class Cluster(TrainingStep):
    """Weight sharing (Han et al. 2016, arXiv:1510.00149, section 3)."""

    takes: ClassVar[frozenset[str]] = frozenset({"keras", "tflite"})
    adds: ClassVar[frozenset[str]] = frozenset({"clustered"})
    breaks: ClassVar[frozenset[str]] = frozenset({"binary", "ternary", "shared"})

    clusters: int = setting(
        16,
        "values to share, zero included where the layer is sparse",
        unit="values",
        low=3,
        high=256,
    )
    initialization: str = setting(
        "linear",
        "where the search for values starts",
        choices=("kmeans++", "linear", "density", "random"),
    )
    scope: str = setting(
        "tensor",
        "what shares; channel is for Conv2D, others go by tensor",
        choices=("tensor", "channel"),
    )
    learning_rate: float = setting(1e-4, "of Adam", unit="step size", low=0.0, high=1.0)

    def apply(self, model: Any, given: Given) -> Any:
        """The same model with shared values.

        TF-MOT clusters by tensor. By channel it fails on pruned layers, and where nothing is
        trained it only starts a search; k-means of our own and the keepers do both.

        Raises:
            StepError: if no layer has enough values to share, or values are more than asked for.
        """
        if isinstance(model, bytes):
            return self._cluster_flatbuffer(model, given)
        from edgepack.network.kernels import kernels
        from edgepack.training.properties import measure

        chosen = [k for k in kernels(model) if self._fits(k)]
        if not chosen:
            raise StepError(
                f"no layer of the model has {self.clusters} values to share",
                "set cluster.clusters to fewer",
            )
        by_library = self.scope == "tensor" and self.epochs > 0
        train = self._train_by_library if by_library else self._train_shared
        names = {kernel.name for kernel in chosen}
        made = train(model, given, chosen)
        self._verify([s for s in measure([k.weight() for k in kernels(made)]) if s.name in names])
        return made

    def _cluster_flatbuffer(self, model: bytes, given: Given) -> bytes:
        from edgepack.tflite.clustering import Sharing, cluster

        sharing = Sharing(self.clusters, self.initialization, self.scope, given.seed)
        return cluster(model, sharing, given.remark)

    def _fits(self, kernel: Kernel) -> bool:
        """Whether a kernel can be clustered and has more values than clusters."""
        import numpy as np

        if type(kernel.layer).__name__ not in CLUSTERABLE or kernel.word == "depthwise_kernel":
            return False
        return bool(np.count_nonzero(kernel.variable.numpy()) > self.clusters)

    def _train_by_library(self, model: Any, given: Given, chosen: Sequence[Kernel]) -> Any:
        from edgepack import keras
        from edgepack.network.kernels import kernels
        from edgepack.training.keeping import keepers
        from edgepack.training.loop import fit
        from edgepack.training.objective import derive_loss
        from edgepack.training.properties import measure

        clustering = keras.tfmot().clustering.keras
        start = clustering.CentroidInitialization[_name_of(self.initialization)]
        sparse = {id(k.layer): s.sparse for k in chosen for s in measure([k.weight()])}
        objective = derive_loss(model, given.dataset, self.loss) if given.dataset else None
        others = [k for k in kernels(model) if id(k.layer) not in sparse]

        def wrap(layer: Any) -> Any:
            if id(layer) not in sparse:
                return layer
            options = {"preserve_sparsity": sparse[id(layer)]}
            return clustering.cluster_weights(layer, self.clusters, start, **options)

        keep = keepers(others, given.properties)
        wrapped = keras.tf_keras().models.clone_model(model, clone_function=wrap)
        fit(wrapped, given, self, objective=objective, keep=keep)
        return clustering.strip_clustering(wrapped)

    def _train_shared(self, model: Any, given: Given, chosen: Sequence[Kernel]) -> Any:
        from edgepack.network.kernels import kernels
        from edgepack.training.keeping import keepers
        from edgepack.training.loop import fit

        left = sum(self._share(kernel, given.seed) for kernel in chosen)
        if left:
            note = f"{left} channels have fewer than {self.clusters} values and are left alone"
            given.remark(note)
        if self.epochs:
            fit(model, given, self, keep=keepers(kernels(model), given.properties | self.adds))
        return model

    def _share(self, kernel: Kernel, seed: int) -> int:
        """Cluster a kernel at once; returns the number of channels that were left alone."""
        import numpy as np

        from edgepack.training import kmeans

        rng = np.random.default_rng(seed)
        values: np.ndarray[Any, Any] = kernel.variable.numpy()
        if self.scope == "tensor" or type(kernel.layer).__name__ != "Conv2D":
            kernel.variable.assign(kmeans.share(values, self.clusters, self.initialization, rng))
            return 0
        left = 0
        for channel in range(values.shape[-1]):
            part = values[..., channel]
            left += int(np.count_nonzero(part) < self.clusters)
            values[..., channel] = kmeans.share(part, self.clusters, self.initialization, rng)
        kernel.variable.assign(values)
        return left

    def _verify(self, structures: Sequence[Any]) -> None:
        by_channel = self.scope == "channel"
        for found in structures:
            count = found.unique_in_channel if by_channel else found.unique_in_tensor
            if count > self.clusters:
                raise StepError(
                    f"{found.name} has {count} values where {self.clusters} were asked for"
                )


def _name_of(initialization: str) -> str:
    words = {"kmeans++": "KMEANS_PLUS_PLUS", "density": "DENSITY_BASED"}
    return words.get(initialization, initialization.upper())
