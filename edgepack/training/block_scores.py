"""How much a block of a model matters: what it does to what goes through it, or to the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgepack import keras
from edgepack.network.walk import calls
from edgepack.surgery.blocks import Block, drop, tensors_in
from edgepack.training.objective import Objective
from edgepack.training.trials import Samples, loss_of


def changes(model: Any, blocks: Sequence[Block], samples: Samples) -> list[float]:
    """For each block 1 less the mean cosine of what goes in and what comes out.

    Men et al. 2024, arXiv:2403.03853, equation 1, there for the layers of a transformer.

    Args:
        model: a flat tf_keras model.
        blocks: of the model.
        samples: labels are not looked at.
    """
    tf = keras.tensorflow()
    ends = [end for block in blocks for end in _ends(model, block)]
    probe = keras.tf_keras().Model(model.inputs, ends)

    def cosines(inputs: Any) -> Any:
        found = probe(inputs[0] if len(inputs) == 1 else inputs, training=False)
        rows = [tf.math.l2_normalize(tf.reshape(x, [tf.shape(x)[0], -1]), 1) for x in found]
        pairs = zip(rows[::2], rows[1::2], strict=True)
        return tf.stack([tf.reduce_sum(a * b) for a, b in pairs])

    compiled = tf.function(cosines)
    count = sum(len(inputs[0]) for inputs, _ in samples)
    sums = sum(compiled(inputs).numpy().astype(float) for inputs, _ in samples)
    return [1 - float(total) / count for total in sums]


def growths(
    model: Any, blocks: Sequence[Block], objective: Objective, samples: Samples
) -> list[float]:
    """For each block by how much the loss grows without it, as a part of the whole model's."""
    whole = max(loss_of(model, objective, samples), 1e-9)
    return [loss_of(drop(model, [block]), objective, samples) / whole - 1 for block in blocks]


def _ends(model: Any, block: Block) -> tuple[Any, Any]:
    """The tensors that go into a block and come out of it."""
    inside = [call for call in calls(model) if call[0].name in block.layers]
    made = {id(y) for *_, outputs in inside for y in outputs}
    read = [x for _, args, kwargs, _ in inside for x in tensors_in((args, kwargs))]
    entry = next(x for x in read if id(x) not in made)
    return entry, inside[-1][3][0]
