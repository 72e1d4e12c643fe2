"""Rewrites what keeps XNNPACK from sparse kernels, with outputs that stay the same.

Its channels-first convolutions pad by half the kernel on every side. Keras' ``same`` does so only
for odd sizes: for even ones with stride 2 it pads after the image alone, and so do the layers that
imitate it. On the mirrored image that is a padding before the image alone, which is the same as one
on both sides that is not read to its end. So such a network is mirrored: image and kernels are
turned by half a turn, and what is averaged over the whole image in the end does not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepack import keras
from edgepack.errors import StepError
from edgepack.network.graph import Replacement, copy_layer, rebuild
from edgepack.network.sameness import refuse_change
from edgepack.surgery.geometry import Steps, steps

CONVOLUTIONS = ("Conv2D", "DepthwiseConv2D")

TURNED = (
    *("Activation", "Add", "BatchNormalization", "Concatenate", "Dropout", "LeakyReLU", "Multiply"),
    *("ELU", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "ReLU", "Rescaling"),
)
"""Layers that mean the same on a mirrored image, as they treat all its places alike."""


@dataclass(frozen=True)
class Change:
    """What becomes of the layers of one model.

    Attributes:
        padded: the border of zeros that a convolution gets, by its identity.
        absorbed: identities of paddings that their convolutions take over.
        mirrored: whether image and kernels are turned.
        colours: identities of first convolutions that get three channels in place of one.
    """

    padded: dict[int, int]
    absorbed: frozenset[int] = frozenset()
    mirrored: bool = False
    colours: frozenset[int] = frozenset()


@dataclass(frozen=True)
class _Convolution:
    """A convolution, the padding that it alone reads, and its steps along height and width."""

    layer: Any
    padding: Any
    along: tuple[Steps, Steps]

    @property
    def wanted(self) -> bool:
        """Whether XNNPACK would ask for a padding by half the kernel, written out."""
        kind, sizes = type(self.layer).__name__, self.layer.kernel_size
        strided = self.layer.strides == (2, 2) and sizes[0] == sizes[1]
        return strided and (sizes[0] == 3 or (kind == "DepthwiseConv2D" and sizes[0] == 5))

    @property
    def done(self) -> bool:
        """Whether the padding is written out already."""
        return self.layer.padding == "valid" and self.padding and self.even(mirrored=False)

    def even(self, *, mirrored: bool) -> bool:
        """Whether half the kernel on every side is the same padding."""
        return all((s.mirrored if mirrored else s).even for s in self.along)

    @property
    def merged(self) -> bool:
        """Whether the converter takes the padding back in, however it is written."""
        return all(s.merged for s in self.along)


def unblock(model: Any, seed: int) -> tuple[Any, list[str]]:
    """A model with the same outputs, and sentences on what was done and what was left alone.

    Args:
        model: a tf_keras model without nested models.
        seed: of the samples that outputs are compared on.

    Raises:
        StepError: if nothing that blocks can be rewritten, or the outputs differ.
    """
    found = _convolutions(model)
    blocking = [c for c in found if c.wanted and (c.merged or not c.done)]
    change = _plan(model, found, blocking)
    if blocking and not (change.padded or change.colours):
        names = ", ".join(c.layer.name for c in blocking)
        raise StepError(
            f"the padding of {names} cannot be written out with the same outputs",
            "take images whose sides are even before each stride, and padding='same' throughout;"
            " or leave the step unblock out",
        )
    made = rebuild(model, lambda layer, name: _make(layer, name, change, model))
    refuse_change(model, made, seed, "unblock")
    return made, _remarks(blocking, change)


def _remarks(blocking: Sequence[_Convolution], change: Change) -> list[str]:
    done = [c.layer.name for c in blocking if id(c.layer) in change.padded]
    left = [c.layer.name for c in blocking if id(c.layer) not in change.padded]
    told = []
    if done:
        told.append(f"padding is written out for {', '.join(done)}")
    if change.mirrored:
        told.append("the image and all kernels are mirrored, which lets paddings be even")
    if change.colours:
        told.append("the image of one channel is repeated for a first convolution on three")
    if left:
        told.append(f"the padding of {', '.join(left)} has no exact equivalent")
    return told or ["no padding blocks"]


def _convolutions(model: Any) -> list[_Convolution]:
    found = []
    for layer in model.layers:
        if type(layer).__name__ in CONVOLUTIONS and len(layer._inbound_nodes) == 1:
            before = layer._inbound_nodes[0].inbound_layers
            alone = isinstance(before, list) or len(before._outbound_nodes) == 1
            pads = alone and type(before).__name__ == "ZeroPadding2D"
            made = _convolution(layer, before if pads else None)
            found += [made] if made else []
    return found


def _convolution(layer: Any, padding: Any) -> _Convolution | None:
    shape = (padding or layer).input_shape
    if layer.data_format != "channels_last" or layer.dilation_rate not in (1, (1, 1)):
        return None
    if None in shape[1:3] or (padding and layer.padding == "same"):
        return None
    borders = padding.padding if padding else ((0, 0), (0, 0))
    down, across = (
        steps(size, kernel, stride, same=layer.padding == "same", border=border)
        for size, kernel, stride, border in zip(
            shape[1:3], layer.kernel_size, layer.strides, borders, strict=True
        )
    )
    return _Convolution(layer, padding, (down, across))


def _plan(model: Any, found: Sequence[_Convolution], blocking: Sequence[_Convolution]) -> Change:
    """Mirrored only where that frees what stays blocked otherwise."""
    straight = [c for c in blocking if c.even(mirrored=False) and not c.merged]
    crooked = [c for c in blocking if not c.even(mirrored=False)]
    mirrored = bool(crooked) and _turns(model, found)
    chosen = [c for c in found if c.wanted and not c.merged] if mirrored else straight
    colours = {
        id(c.layer)
        for c in found
        if c.wanted and type(c.layer).__name__ == "Conv2D" and c.layer.input_shape[-1] == 1
    }
    return Change(
        {id(c.layer): c.layer.kernel_size[0] // 2 for c in chosen},
        frozenset(id(c.padding) for c in chosen if c.padding),
        mirrored,
        frozenset(colours),
    )


def _turns(model: Any, found: Sequence[_Convolution]) -> bool:
    """Whether every layer on images means the same on mirrored ones."""
    known = {id(c.layer): c for c in found}
    for layer in model.layers:
        if type(layer).__name__ == "InputLayer" or not _on_images(layer):
            continue
        convolution = known.get(id(layer))
        if convolution is not None:
            kept = all(s.after == s.before for s in convolution.along)
            if not (convolution.even(mirrored=True) if convolution.wanted else kept):
                return False
        elif type(layer).__name__ == "ZeroPadding2D":
            if not any(c.padding is layer for c in found):
                return False
        elif type(layer).__name__ not in TURNED:
            return False
    return not any(map(_is_image, model.outputs))


def _on_images(layer: Any) -> bool:
    return any(map(_is_image, keras.tensorflow().nest.flatten(layer.get_input_at(0))))


def _is_image(tensor: Any) -> bool:
    """Whether it has height and width, of which more than one place is known or open."""
    return len(tensor.shape) == 4 and tuple(tensor.shape[1:3]) != (1, 1)


def _make(layer: Any, name: str, change: Change, model: Any) -> Any:
    if id(layer) in change.absorbed:
        return Replacement(call=_pass_on)
    kind, half = type(layer).__name__, change.padded.get(id(layer))
    new = copy_layer(layer, name)
    if half is not None:
        new = type(layer).from_config({**new.get_config(), "padding": "valid"})
    taken = {x.name for x in model.layers}
    pad = _zeros(half, _free(f"{name}_zeros", taken)) if half else _pass_on
    thrice = _repeat(_free(f"{name}_colours", taken)) if id(layer) in change.colours else _pass_on
    turn = _turn if change.mirrored and _reads_input(layer, model) else _pass_on

    def call(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return new(pad(thrice(turn(inputs))), *args, **kwargs)

    if kind not in CONVOLUTIONS:
        return Replacement(call, new) if turn is _turn else new
    return Replacement(call, new, _weights(layer, change))


def _weights(layer: Any, change: Change) -> list[Any]:
    """The kernel turned, and with channels of zeros for repeated ones, as planned."""
    kernel, *rest = layer.get_weights()
    if change.mirrored:
        kernel = kernel[::-1, ::-1]
    if id(layer) in change.colours:
        kernel = np.concatenate([kernel, np.zeros_like(kernel), np.zeros_like(kernel)], axis=2)
    return [kernel, *rest]


def _reads_input(layer: Any, model: Any) -> bool:
    read = keras.tensorflow().nest.flatten(layer.get_input_at(0))
    return any(_is_image(t) and any(t is x for x in model.inputs) for t in read)


def _pass_on(inputs: Any, **_: Any) -> Any:
    return inputs


def _turn(inputs: Any) -> Any:
    return keras.tensorflow().nest.map_structure(
        lambda x: keras.tensorflow().reverse(x, [1, 2]), inputs
    )


def _zeros(half: int, name: str) -> Any:
    return keras.tf_keras().layers.ZeroPadding2D(half, name=name)


def _repeat(name: str) -> Any:
    layer = keras.tf_keras().layers.Concatenate(axis=-1, name=name)
    return lambda x: layer([x, x, x])


def _free(name: str, taken: set[str]) -> str:
    """The name, longer where the model has it."""
    while name in taken:
        name += "_"
    return name
