"""Weights and settings of a layer on their way into tf_keras."""

from __future__ import annotations

import inspect
from typing import Any

from edgepack.errors import ModelError


def weights_of(layer: Any, new: Any = None) -> list[Any]:
    """The weights of a layer as arrays.

    Raises:
        ModelError: if one of them is not finite; it is named.
    """
    import numpy as np

    if type(new).__name__ == "Normalization":
        return []
    arrays: list[Any] = list(layer.get_weights())
    for variable, array in zip(layer.weights, arrays, strict=True):
        if array.dtype.kind == "f" and not np.isfinite(array.astype(np.float32)).all():
            raise ModelError(
                f"the weight {variable.name!r} of layer {layer.name!r}"
                f" ({type(layer).__name__}) holds {_broken(array)}",
                "the training that made it diverged: train again, or take an earlier checkpoint",
            )
    return arrays


def float32_config(config: dict[str, Any]) -> dict[str, Any]:
    """A layer's configuration with float32 for a mixed or half precision."""
    policy = config.get("dtype")
    if isinstance(policy, dict):
        policy = policy.get("config", {}).get("name", "float32")
    whole = isinstance(policy, str) and policy.startswith(("int", "uint", "bool", "string"))
    return {**config, "dtype": policy if whole else "float32"} if "dtype" in config else config


def normalization_config(layer: Any, config: dict[str, Any]) -> dict[str, Any]:
    """Mean and variance of a Normalization layer as settings, in the shape that broadcasts."""
    import numpy as np

    if layer.mean is None:
        return config
    mean, variance = (np.asarray(v).tolist() for v in (layer.mean, layer.variance))
    return {**config, "mean": mean, "variance": variance}


def is_mirror(forward: Any, backward: Any) -> bool:
    """Whether the backward layer is what Bidirectional makes of the forward one by itself."""
    own = ("name", "go_backwards", "zero_output_for_mask", "seed")
    one, other = (
        {k: v for k, v in x.get_config().items() if k not in own} for x in (forward, backward)
    )
    return type(forward) is type(backward) and one == other


def plain(value: Any) -> Any:
    """Configuration without Keras 3's wrappers: just ``class_name`` and ``config`` of objects."""
    if isinstance(value, dict) and "class_name" in value:
        return {k: plain(v) for k, v in value.items() if k in ("class_name", "config")}
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


def parameters(cls: type[Any]) -> set[str]:
    """The settings that a tf_keras layer's constructor takes."""
    known = {"name", "trainable", "dtype"}
    for base in cls.__mro__:
        if base.__module__.endswith("base_layer"):
            break
        constructor = vars(base).get("__init__")
        known |= set(inspect.signature(constructor).parameters) if constructor else set()
    return known - {"self", "args", "kwargs"}


def _broken(array: Any) -> str:
    import numpy as np

    return "NaN" if np.isnan(array).any() else "infinite values"
