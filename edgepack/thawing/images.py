"""Operators on images: pooling and resizing."""

from __future__ import annotations

from typing import Any

from edgepack import keras
from edgepack.thawing.activations import activate
from edgepack.thawing.call import Builder, Call, bounded


def table() -> dict[str, Builder]:
    """Builders by operator code."""
    return {
        "AVERAGE_POOL_2D": lambda call: pool(call, "AveragePooling2D"),
        "MAX_POOL_2D": lambda call: pool(call, "MaxPooling2D"),
        "RESIZE_BILINEAR": lambda call: resize(call, "bilinear", "resize_bilinear"),
        "RESIZE_NEAREST_NEIGHBOR": lambda call: resize(call, "nearest", "resize_nearest_neighbor"),
    }


def pool(call: Call, kind: str) -> Any:
    """The mean or the maximum of a window."""
    sizes = {
        name: (int(call.option(f"{word}_{high}", 1)), int(call.option(f"{word}_{wide}", 1)))
        for name, word, high, wide in (
            ("pool_size", "filter", "height", "width"),
            ("strides", "stride", "h", "w"),
        )
    }
    padding = str(call.option("padding", "SAME")).lower()
    return activate(call, call.layer(kind, call.input(0), padding=padding, **sizes))


def resize(call: Call, word: str, name: str) -> Any:
    """To a size; by whole factors a layer, in the ways of old files a function."""
    x = call.input(0)
    wanted = [int(n) for n in call.constant(1)]
    corners = bool(call.option("align_corners", False))
    centers = bool(call.option("half_pixel_centers", False))
    old = [call.sizes(0)[1], call.sizes(0)[2]]
    bounded([*wanted, call.sizes(0)[-1]])
    factors = [b // a if b % a == 0 else 0 for a, b in zip(old, wanted, strict=True)]
    if all(factors) and not corners and (centers or word == "nearest"):
        return call.layer("UpSampling2D", x, size=tuple(factors), interpolation=word)
    function = getattr(keras.tensorflow().compat.v1.image, name)
    ways = {"align_corners": corners, "half_pixel_centers": centers}
    return call.function(function, x, wanted, **ways)
